"""Optimizers and learning-rate schedules."""

from typing import Annotated, Literal

from pydantic import Field

from scalelab.core.units import Number
from scalelab.spec.base import Spec, default_kind

Share = Annotated[Number, Field(ge=0, le=1)]


class Constant(Spec):
    """Linear warm-up, then constant."""

    kind: Literal["constant"] = "constant"
    warmup: Annotated[int, Field(ge=0)] = 50
    """Steps of linear warm-up."""


class Cosine(Spec):
    """Linear warm-up, then a half cosine down to `floor`."""

    kind: Literal["cosine"] = "cosine"
    warmup: Annotated[int, Field(ge=0)] = 50
    """Steps of linear warm-up."""
    floor: Share = 0.05
    """The last learning rate, as a share of the peak."""


class Wsd(Spec):
    """Linear warm-up, constant, then a linear decay to `floor` (warm-up, stable, decay)."""

    kind: Literal["wsd"] = "wsd"
    warmup: Annotated[int, Field(ge=0)] = 50
    """Steps of linear warm-up."""
    decay: Share = 0.2
    """Share of all steps spent in the decay."""
    floor: Share = 0.0
    """The last learning rate, as a share of the peak."""


class AdamW(Spec):
    """AdamW (Loshchilov and Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"
    lr: Annotated[Number, Field(gt=0)] = 1e-3
    """Peak learning rate."""
    betas: tuple[Annotated[Number, Field(ge=0, lt=1)], Annotated[Number, Field(ge=0, lt=1)]] = (0.9, 0.95)
    """Decay of the first and second moment."""
    eps: Annotated[Number, Field(gt=0)] = 1e-8
    """Added to the root of the second moment."""
    weight_decay: Annotated[Number, Field(ge=0)] = 0.1
    """Decoupled weight decay, on every parameter."""
    clip: Annotated[Number, Field(gt=0)] | None = 1.0
    """Largest gradient norm; `null` does not clip."""
    schedule: Annotated[Constant | Cosine | Wsd, Field(discriminator="kind"), default_kind("cosine")] = Cosine()
    """Learning rate over the steps."""


Optim = AdamW
"""Every optimizer, told apart by `kind`."""
