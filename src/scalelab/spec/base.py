"""The base of every spec class: frozen, no unknown keys, field docstrings as the one source of
help.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Spec(BaseModel):
    """A part of an experiment.

    A `recipe` above 1 says that a default or a meaning changed; it enters the digest.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )
    recipe: ClassVar[int] = 1

    def implied(self) -> frozenset[str]:
        """Fields that another field settles: they enter no digest."""
        return frozenset()


def default_kind(kind: str) -> BeforeValidator:
    """For a union told apart by `kind`: a mapping that does not say its kind is of this one."""

    def _with_kind(value: Any) -> Any:
        return {"kind": kind, **value} if isinstance(value, dict) else value

    return BeforeValidator(_with_kind)
