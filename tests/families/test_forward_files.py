"""A reader follows a forward pass through a few files."""

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from tests.families.variants import CONTEXT, VOCAB
from torch import Tensor

import scalelab
from scalelab.families import LayerRouter, Lstm, Model, Transformer, build
from scalelab.families.language_model import LanguageModel

PACKAGE = str(Path(scalelab.__file__).parent)


def files_of_a_forward_pass(model: LanguageModel, tokens_BT: Tensor) -> set[str]:
    """The files of the package whose functions run."""
    files = set[str]()

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            files.add(frame.f_code.co_filename.removeprefix(PACKAGE))

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        model(tokens_BT)
    finally:
        sys.setprofile(before)
    return files


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("spec", "most"),
    [(Transformer(), 6), (LayerRouter(), 10), (Lstm(), 4)],
    ids=["transformer", "layer_router", "lstm"],
)
def test_a_forward_pass_runs_through_few_files(
    spec: Model, most: int, training: bool, tokens_BT: Tensor
) -> None:
    model = build(spec.resolved(), VOCAB, CONTEXT).initialise(0).train(training)
    with torch.set_grad_enabled(training):
        files = files_of_a_forward_pass(model, tokens_BT)
    assert 2 < len(files) <= most, sorted(files)
