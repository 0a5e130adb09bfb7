"""Optimizers and learning-rate schedules."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from scalelab.core.spec import Spec, default_kind
from scalelab.core.units import Count, Number, Whole
from scalelab.layers.spec import Role

if TYPE_CHECKING:
    from scalelab.spec.experiment import Trial

Share = Annotated[Number, Field(ge=0, le=1)]


class Constant(Spec):
    """Linear warm-up, then constant."""

    kind: Literal["constant"] = "constant"
    warmup: Whole = 50
    """Steps of linear warm-up."""


class Cosine(Spec):
    """Linear warm-up, then a half cosine down to `floor`."""

    kind: Literal["cosine"] = "cosine"
    warmup: Whole = 50
    """Steps of linear warm-up."""
    floor: Share = 0.05
    """Last learning rate, as a share of the peak; 0 would be reached one update after the last."""

    def recipe_in(self, trial: "Trial") -> int:
        """Recipe 2: the last update of a schedule down to 0 has a rate above 0."""
        return 2 if self.floor == 0 and _falls(self.warmup, trial) else 1


class Linear(Spec):
    """Linear warm-up, then linear down to `floor`."""

    kind: Literal["linear"] = "linear"
    warmup: Whole = 50
    """Steps of linear warm-up."""
    floor: Share = 0.0
    """Last learning rate, as a share of the peak; 0 would be reached one update after the last."""

    def recipe_in(self, trial: "Trial") -> int:
        """Recipe 2: the last update of a schedule down to 0 has a rate above 0."""
        return 2 if self.floor == 0 and _falls(self.warmup, trial) else 1


class Wsd(Spec):
    """Linear warm-up, constant, then a linear decay to `floor` (warm-up, stable, decay)."""

    kind: Literal["wsd"] = "wsd"
    warmup: Whole = 50
    """Steps of linear warm-up."""
    decay: Share = 0.2
    """Share of all steps spent in the decay; 0 with a floor of 0 never decays."""
    floor: Share = 0.0
    """Last learning rate, as a share of the peak; 0 would be reached one update after the last."""

    def recipe_in(self, trial: "Trial") -> int:
        """Recipe 2: the last update of a schedule down to 0 has a rate above 0."""
        return 2 if self.floor == 0 else 1


def _falls(warmup: int, trial: "Trial") -> bool:
    """Whether any update comes after the one at the peak: all others are warm-up."""
    return trial.budget.steps is None or trial.budget.steps > warmup + 1


Schedule = Annotated[
    Constant | Cosine | Linear | Wsd, Field(discriminator="kind"), default_kind("cosine")
]


class _Optimizer(Spec):
    """What every optimizer has."""

    clip: Annotated[Number, Field(gt=0)] | None = 1.0
    """Largest gradient norm; `null` does not clip."""
    schedule: Schedule = Cosine()
    """Learning rate over the steps."""
    z_loss: Annotated[Number, Field(ge=0)] = 0.0
    """Coefficient of the mean squared log-partition of the logits, added to the loss (PaLM, arXiv
    2204.02311; 1e-4 there).
    """
    decayed: Annotated[tuple[Role, ...], Field(fail_fast=True)] = (
        "embedding",
        "head",
        "matrix",
        "router",
        "gain",
    )
    """Which parameters decay."""


class AdamW(_Optimizer):
    """AdamW (Loshchilov and Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"
    lr: Annotated[Number, Field(gt=0)] = 1e-3
    """Peak learning rate."""
    betas: tuple[Annotated[Number, Field(ge=0, lt=1)], Annotated[Number, Field(ge=0, lt=1)]] = (
        0.9,
        0.95,
    )
    """Decay of the first and second moment."""
    eps: Annotated[Number, Field(gt=0)] = 1e-8
    """Added to the root of the second moment."""
    weight_decay: Annotated[Number, Field(ge=0)] = 0.1
    """Decoupled weight decay of the parameters that `decayed` names."""


class Muon(_Optimizer):
    """Muon for hidden matrices (Jordan et al. 2024), AdamW for embeddings, head,
    routers and gains.
    """

    kind: Literal["muon"] = "muon"
    lr: Annotated[Number, Field(gt=0)] = 0.02
    """Peak learning rate of the matrices."""
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.95
    """Decay of the momentum; Nesterov's kind."""
    newton_schulz: Annotated[Count, Field(le=100)] = 5
    """Newton-Schulz steps that make an update orthogonal, in the trial's `precision`."""
    scaling: Literal["original", "match_rms_adamw"] = "original"
    """`original`: the update times sqrt(max(1, rows / columns)).

    `match_rms_adamw`: times 0.2 sqrt(max(rows, columns)), for the learning rate and decay of AdamW
    (arXiv 2502.16982).
    """
    weight_decay: Annotated[Number, Field(ge=0)] = 0.1
    """Decoupled weight decay of the parameters that `decayed` names."""
    adamw_lr: Annotated[Number, Field(gt=0)] = 1e-3
    """Peak learning rate of the other parameters."""
    betas: tuple[Annotated[Number, Field(ge=0, lt=1)], Annotated[Number, Field(ge=0, lt=1)]] = (
        0.9,
        0.95,
    )
    """Decay of the first and second moment of the other parameters."""
    eps: Annotated[Number, Field(gt=0)] = 1e-8
    """Added to the root of the second moment of the other parameters."""

    def recipe_in(self, trial: "Trial") -> int:
        """Recipe 2: under fp32 the Newton-Schulz steps are fp32; they were bf16."""
        return 2 if trial.precision == "fp32" else 1


Optim = Annotated[AdamW | Muon, Field(discriminator="kind"), default_kind("adamw")]
"""Every optimizer, told apart by `kind`."""
