"""Budgets: how long a trial trains, and how many parameters it may have."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from scalelab.core.errors import UserError
from scalelab.core.spec import Spec
from scalelab.core.units import Count, Number

LENGTHS = frozenset({"exposures", "tokens", "steps", "flops"})
"""The ways to say how long a trial trains; a budget has exactly one of them."""

Convention = Literal["total", "non_embedding", "active", "used"]


class Params(Spec):
    """A parameter budget, met by solving the model's field that says `solve`."""

    target: Count
    """Number of parameters."""
    convention: Convention = "total"
    """What is counted: `total`, `non_embedding` (without embedding and head), `active` (for each
    token), or `used` (without the rows of tokens that never occur; for biographies).
    """
    tolerance: Annotated[Number, Field(gt=0, lt=1)] = 0.01
    """Largest relative distance from the target."""


class Budget(Spec):
    """Exactly one of `exposures`, `tokens`, `steps`, `flops`; with or without `params`."""

    exposures: Count | None = None
    """Training passes over each fact, over each person's biography, or over the training split of a
    text.
    """
    tokens: Count | None = None
    """Positions trained on: sequences times context."""
    steps: Count | None = None
    """Optimizer updates."""
    flops: Count | None = None
    """Training FLOPs (forward and backward)."""
    params: Params | None = None
    """Parameter budget: a number (`1M`), or `target`, `convention`, `tolerance`."""

    @field_validator("params", mode="before")
    @classmethod
    def _number_is_target(cls, value: Any) -> Any:
        return value if value is None or isinstance(value, dict | Params) else {"target": value}

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = sorted(name for name in LENGTHS if getattr(self, name) is not None)
        if len(given) > 1:
            raise UserError(
                f"two budgets at once, `{given[0]}` and `{given[1]}`", cure="keep one of them"
            )
        if not given:
            raise UserError("no budget", cure="give one of `exposures`, `tokens`, `steps`, `flops`")
        return self
