"""Layers of a trained plain transformer, with which a router over layers begins."""

from typing import Any

import torch

from scalelab.core.canon import SHORT
from scalelab.core.errors import Unreadable
from scalelab.families import build
from scalelab.families.family import Family
from scalelab.families.language_model import LanguageModel
from scalelab.spec.experiment import Trial
from scalelab.train import checkpoint


def take(model: LanguageModel, trial: Trial, folder: str | None, sha256: str | None = None) -> None:
    """Begin with the weights of `model.pretrained`: its embedding, positions, layers, last norm and
    head; frozen where that is asked.

    They lie beside the trial's own folder, in that of the trial which they are from, in a file of
    this `sha256`, where that is known. A trial that goes on from a checkpoint has them there, and
    reads no others. Raises Unreadable where they are missing, damaged, or another model's.
    """
    given = trial.model.initial_weights
    if given is None:
        return
    names = _names(given.model, model)
    if folder is None or not any(checkpoint.exists(folder, one) for one in checkpoint.CHECKPOINTS):
        weights = _weights(given.trial, names, folder, model, sha256)
        model.load_state_dict(weights, strict=False)
    for name, weight in model.named_parameters():
        weight.requires_grad_(name not in names or not given.freeze)


def _names(source: Family, model: LanguageModel) -> set[str]:
    """The names of the weights that are taken, which both models' modules use."""
    with torch.device("meta"):
        module = build(source, len(model.embedding.weight), model.context)
    return set(module.state_dict())


def _weights(
    digest: str, names: set[str], folder: str | None, model: LanguageModel, sha256: str | None
) -> dict[str, Any]:
    if folder is None:
        raise Unreadable(
            "layers are taken from another trial's folder, and this trial has none",
            cure="give it one beside that",
        )
    beside = f"{folder.rstrip('/').rpartition('/')[0] or '.'}/{digest}"
    fault = {
        "cure": f"train {digest[:SHORT]} again with the same store and artifacts",
        "where": f"{beside}/{checkpoint.MODEL}",
    }
    try:
        weights = checkpoint.load_model(
            beside, checkpoint.MODEL, model.embedding.weight.device, sha256
        )
    except checkpoint.Unusable as error:
        raise Unreadable(f"the pre-trained layers can't be used: {error}", **fault) from error
    if weights is None:
        raise Unreadable("the pre-trained layers are not there", **fault)
    own = model.state_dict()
    if set(weights) != names or any(weights[name].shape != own[name].shape for name in names):
        raise Unreadable("these are not the layers of the same plain transformer", **fault)
    return weights
