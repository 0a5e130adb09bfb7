"""The coordinate check of muP (arXiv 2203.03466, appendix D.1): do activations move as much in a
wide model as in a narrow one?

A model is trained for a few updates at several widths, at its trial's learning rate. How far each
activation has moved goes as a power of the width: 0 under muP, where a learning rate then holds at
every width, and above 0 where some wider model will blow up.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scalelab.core.seeds import derive
from scalelab.data import build as build_data
from scalelab.evaluate.mode import evaluating
from scalelab.models import Family
from scalelab.models import build as build_model
from scalelab.spec import model as spec
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.spec.optim import Constant
from scalelab.train.objective import Batch, mean_loss, summed_loss
from scalelab.train.optimizer import Optimizer
from scalelab.train.source import open_source

FACTORS = (0.5, 1, 2, 4)
"""Widths that are compared, as multiples of the model's own."""

GROWS = 0.25
"""A slope beyond this is no scatter."""

SEQUENCES = 8
"""Sequences that a model is trained on."""


@dataclass(frozen=True)
class Coordinate:
    """How far one activation has moved from where it began, by width."""

    name: str
    """`layers.0.attention`, `layers.0.ffn`, ..., `logits`."""
    moved: dict[int, float]
    """Width -> mean absolute change of an entry."""

    @property
    def slope(self) -> float:
        """The power of the width that the change goes as."""
        return float(np.polyfit(np.log(list(self.moved)), np.log(list(self.moved.values())), 1)[0])

    @property
    def grows(self) -> bool:
        """Whether wider models move further."""
        return self.slope > GROWS

    def as_dict(self) -> dict[str, Any]:
        """The coordinate for `--json`."""
        return asdict(self) | {"slope": self.slope, "grows": self.grows}


def coordinate_check(
    trial: Trial,
    factors: Sequence[float] = FACTORS,
    steps: int = 5,
    seeds: int = 2,
    data: str = Execution().data,
) -> list[Coordinate]:
    """Train the trial's model on the CPU at several widths for a few updates, and tell how far each
    activation has moved.

    `data` is the folder of prepared corpora. The learning rate is the peak at once.
    Raises UserError where the task cannot be built.
    """
    trial, built = (
        trial.model_copy(update={"batch": SEQUENCES, "precision": "fp32"}),
        build_data(trial.task, data),
    )
    _, batches = open_source(trial, built, torch.device("cpu")).draw(0, SEQUENCES)
    batch, shape = next(iter(batches)), built.shape
    found: dict[str, dict[int, float]] = {}
    for given in (at_width(trial.model, factor) for factor in factors):
        assert isinstance(given.width, int)
        for seed in range(seeds):
            model = build_model(given, shape.vocab, shape.context).initialise(
                derive(seed, "weights")
            )
            for name, moved in _moved(trial, model, batch, steps).items():
                of_name = found.setdefault(name, {})
                of_name[given.width] = of_name.get(given.width, 0.0) + moved / seeds
    return [Coordinate(name, moved) for name, moved in found.items()]


def at_width(model: spec.Model, factor: float) -> spec.Model:
    """A resolved model made wider or narrower: more heads of the same width, where that leaves
    whole heads, else wider heads.
    """
    if isinstance(model, spec.Lstm):
        assert isinstance(model.width, int), "a resolved model is scaled"
        return model.model_copy(update={"width": round(model.width * factor)})
    assert (
        isinstance(model.width, int)
        and isinstance(model.heads, int)
        and model.kv_heads is not None
        and model.head_width is not None
    )
    assert isinstance(model.ffn.width, int), "a resolved model is scaled"
    scaled: dict[str, Any] = {"width": round(model.width * factor)}
    heads, kv_heads = model.heads * factor, model.kv_heads * factor
    if heads == int(heads) and kv_heads == int(kv_heads):
        scaled |= {"heads": int(heads), "kv_heads": int(kv_heads)}
    else:
        scaled |= {"head_width": round(model.head_width * factor)}
    return model.model_copy(
        update=scaled
        | {"ffn": model.ffn.model_copy(update={"width": max(1, round(model.ffn.width * factor))})}
    )


def _moved(trial: Trial, model: Family, batch: Batch, steps: int) -> dict[str, float]:
    """Mean absolute change of each activation on a batch by some updates on it."""
    targets = (
        torch.tensor(float(batch.labels_BM.numel()))
        if batch.weights_BM is None
        else batch.weights_BM.sum()
    )
    optim = trial.optim.model_copy(update={"schedule": Constant(warmup=0)})
    optimizer = Optimizer(optim, model, torch.device("cpu"))
    before = _activations(model, batch)
    for step in range(steps):
        mean_loss(
            summed_loss(model, batch, z_loss=optim.z_loss > 0), targets, 1.0, optim.z_loss
        ).backward()
        optimizer.update(step, steps)
    after = _activations(model, batch)
    return {name: (after[name] - before[name]).abs().mean().item() for name in before}


@torch.no_grad()
def _activations(model: Family, batch: Batch) -> dict[str, Tensor]:
    """Outputs of the embedding and of each sublayer, and the logits."""
    found: dict[str, Tensor] = {}
    with evaluating(model), _recorded(model, found):
        found["logits"] = model(batch.tokens_BT, batch.given_B)
    return found


@contextmanager
def _recorded(model: Family, found: dict[str, Tensor]) -> Iterator[None]:
    def record(name: str) -> Any:
        def hook(module: nn.Module, given: object, out: Any) -> None:
            found[name] = (out[0] if isinstance(out, tuple) else out).clone()

        return hook

    chosen = [
        (name, module)
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in ("embedding", "attention", "ffn")
    ]
    handles = [module.register_forward_hook(record(name)) for name, module in chosen]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
