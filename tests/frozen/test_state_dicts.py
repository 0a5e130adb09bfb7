"""Names and shapes of the weights of every variant of every family: files of weights are read by
them.
"""

import hashlib
import json

import torch
from pydantic import TypeAdapter
from tests.families.variants import CONTEXT, VARIANTS, VOCAB
from tests.frozen.frozen import EXPECTED, check

from scalelab.families import Model, build

READABLE = ("default", "mixture", "open", "lstm")
"""Variants whose names are written out; of the others a hash is."""


def test_weights_have_the_names_and_shapes_that_they_had(freeze: bool) -> None:
    if freeze:
        specs = {name: given.model_dump(mode="json") for name, given in VARIANTS.items()}
    else:
        text = (EXPECTED / "state-dicts.json").read_text(encoding="utf-8")
        specs = {name: one["spec"] for name, one in json.loads(text).items()}
    found = {}
    for name, spec in specs.items():
        given: Model = TypeAdapter(Model).validate_python(spec)
        with torch.device("meta"):
            state = build(given.resolved(), VOCAB, CONTEXT).state_dict()
        weights = {key: [str(one.dtype), *one.shape] for key, one in state.items()}
        digest = hashlib.sha256(json.dumps(sorted(weights.items())).encode()).hexdigest()
        found[name] = {"spec": spec, "weights": weights if name in READABLE else digest}
    check("state-dicts", found, freeze=freeze)
