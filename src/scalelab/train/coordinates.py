"""The coordinate check of muP (arXiv 2203.03466, appendix D.1): do activations move as much in a
wide model as in a narrow one?

A model is trained for a few updates at several widths, at its trial's learning rate. How far each
activation has moved goes as a power of the width: 0 under muP, where a learning rate then holds at
every width, and above 0 where some wider model will blow up.

Below 0 wide models learn less. The change of an activation does not show it: most of it comes from
the layers before, and that of the logits falls as width^-1/2 under muP too, because a random head
reads the features. What shows it is how far the first update of a sublayer's own weights moves its
output at the input that it had before.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scalelab.core.seeds import derive
from scalelab.evaluate.mode import evaluating
from scalelab.families import build as build_model
from scalelab.families.language_model import LanguageModel
from scalelab.families.layout import Layout
from scalelab.families.objective import Batch, mean_loss
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.spec.optim import Constant
from scalelab.tasks import build as build_data
from scalelab.tasks import open_batches
from scalelab.train.optimizer import Optimizer

FACTORS = (0.5, 1, 2, 4)
"""Widths that are compared, as multiples of the model's own."""

GROWS = 0.25
"""A slope above this is no scatter."""

VANISHES = -0.75
"""A slope below this is no scatter: small models under muP reach -0.65 at large learning rates, and
a rate with one power of the width too few gives -0.95 or less.
"""

WIDEST = 3
"""How many widths the slope of that change is taken over: narrower models scatter more."""

SEQUENCES = 8
"""Sequences that a model is trained on."""


@dataclass(frozen=True)
class Coordinate:
    """How far one activation has moved from where it began, by width."""

    name: str
    """`layers.0.attention`, `layers.0.ffn`, ..., `logits`."""
    moved: dict[int, float]
    """Width -> mean absolute change of an entry."""
    own: dict[int, float]
    """Width -> mean absolute change of an entry by the first update of the sublayer's own weights,
    at the input that the sublayer had before.
    """

    @property
    def slope(self) -> float:
        """The power of the width that the change goes as; infinite where a model blew up."""
        return _power(self.moved)

    @property
    def own_slope(self) -> float:
        """The power of the width that the change by the sublayer's own weights goes as, over the
        largest widths.
        """
        return _power(dict(sorted(self.own.items())[-WIDEST:]))

    @property
    def grows(self) -> bool:
        """Whether wider models move further."""
        return self.slope > GROWS

    @property
    def vanishes(self) -> bool:
        """Whether the weights of wider models move their output less, or not at all."""
        return self.own_slope < VANISHES or not self.own[max(self.own)]

    def as_dict(self) -> dict[str, Any]:
        """The coordinate for `--json`."""
        return asdict(self) | {
            "slope": self.slope,
            "own_slope": self.own_slope,
            "grows": self.grows,
            "vanishes": self.vanishes,
        }


def _power(of_width: Mapping[int, float]) -> float:
    values = np.array(list(of_width.values()))
    if not np.isfinite(values).all():
        return math.inf
    least = np.finfo(np.float64).tiny  # what does not move has no logarithm
    return float(np.polyfit(np.log(list(of_width)), np.log(np.maximum(values, least)), 1)[0])


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
    _, batches = open_batches(trial, built, torch.device("cpu")).draw(0, SEQUENCES)
    batch, shape = next(iter(batches)), built.shape
    found: dict[str, Coordinate] = {}
    for given in (trial.model.scaled(factor) for factor in factors):
        assert isinstance(given.width, int)
        for seed in range(seeds):
            model = build_model(given, shape.vocab, shape.context).initialise(
                derive(seed, "weights")
            )
            for name, changes in _changes(trial, model, batch, steps).items():
                one = found.setdefault(name, Coordinate(name, {}, {}))
                for of_width, change in zip((one.moved, one.own), changes, strict=True):
                    of_width[given.width] = of_width.get(given.width, 0.0) + change / seeds
    return list(found.values())


def _changes(
    trial: Trial, model: LanguageModel, batch: Batch, steps: int
) -> dict[str, tuple[float, float]]:
    """Mean absolute change of each activation on a batch by some updates on it, and by the first
    update of its own sublayer's weights alone.
    """
    targets = (
        torch.tensor(float(batch.labels_BM.numel()))
        if batch.weights_BM is None
        else batch.weights_BM.sum()
    )
    optim = trial.optim.model_copy(update={"schedule": Constant(warmup=0)})
    optimizer = Optimizer(optim, model, torch.device("cpu"))
    before, own = _activations(model, batch), dict[str, float]()
    for step in range(steps):
        mean_loss(model.loss(batch, z_loss=optim.z_loss > 0), targets, 1.0, optim.z_loss).backward()
        optimizer.update(step, steps)
        own = own or _own_changes(model, before)
    after = _activations(model, batch)
    return {name: (_distance(after[name].out, old.out), own[name]) for name, old in before.items()}


@torch.no_grad()
def _own_changes(model: LanguageModel, before: "Mapping[str, _Activation]") -> dict[str, float]:
    with evaluating(model):
        return {name: _distance(old.again(), old.out) for name, old in before.items()}


def _distance(first: Tensor, second: Tensor) -> float:
    return (first - second).abs().mean().item()


@dataclass(frozen=True)
class _Activation:
    out: Tensor
    again: Callable[[], Tensor]
    """The output for the same input by the weights of now."""


@torch.no_grad()
def _activations(model: LanguageModel, batch: Batch) -> dict[str, _Activation]:
    """Outputs of the embedding and of each sublayer, and the logits.

    A router over layers sends other tokens to a sublayer at each call, so there the sublayers are
    left out.
    """
    found: dict[str, _Activation] = {}
    with evaluating(model), _recorded(model, found):
        features = model.trunk(batch.tokens_BT, Layout(prefix_B=batch.layout.prefix_B)).clone()
        found["logits"] = _Activation(model.head(features), lambda: model.head(features))
    return found


@contextmanager
def _recorded(model: LanguageModel, found: dict[str, _Activation]) -> Iterator[None]:
    def record(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Any, ...], options: Any, out: Any) -> None:
            kept = [one.clone() if isinstance(one, Tensor) else one for one in given]
            found[name] = _Activation(_first(out).clone(), lambda: _first(module(*kept, **options)))

        return hook

    chosen = [
        (name, module)
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in model.config.compared
    ]
    handles = [
        module.register_forward_hook(record(name), with_kwargs=True) for name, module in chosen
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _first(out: Any) -> Tensor:
    """The output itself: experts return how they were chosen with it."""
    return out[0] if isinstance(out, tuple) else out
