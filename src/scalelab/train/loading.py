"""From the artifact of a finished trial back to its model."""

from collections.abc import Mapping

import torch

from scalelab.core.errors import UserError
from scalelab.core.locations import split
from scalelab.families import build
from scalelab.families.language_model import LanguageModel
from scalelab.spec.experiment import Trial
from scalelab.tasks.task import TaskShape
from scalelab.train import checkpoint


def load_model(
    trial: Trial, artifacts: Mapping[str, str], shape: TaskShape, device: torch.device
) -> LanguageModel:
    """The trained model of a trial, in evaluation mode; its `artifacts` say where it lies, and what
    the file and the weights hash to.

    Raises UserError where there is no such file, or it is not this model.
    """
    place = artifacts["model"]
    folder, name = split(place)
    cure = (
        "bring it there from the machine that trained it, or run the trial again with another store"
    )
    try:
        weights = checkpoint.load_model(folder, name, device, artifacts.get("model_sha256"))
    except checkpoint.Unusable as fault:
        raise UserError(f"the model can't be used: {fault}", cure=cure, where=place) from fault
    if weights is None:
        raise UserError("the model was not kept, or lies elsewhere", cure=cure, where=place)
    model = build(trial.model, shape.vocab, shape.context).to(device).eval()
    try:
        model.load_state_dict(weights)
    except RuntimeError as fault:
        raise UserError(
            "these are not the weights of this trial's model", cure=cure, where=place
        ) from fault
    sha256 = artifacts.get("weights_sha256")
    if sha256 is not None and checkpoint.weights_digest(model) != sha256:
        raise UserError(
            "these are not the weights that the trial ended with", cure=cure, where=place
        )
    return model
