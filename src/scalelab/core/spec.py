"""The base of every spec class: frozen, no unknown keys, field docstrings as the one source of
help.
"""

import re
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_core import ErrorDetails

from scalelab.core.errors import UserError

if TYPE_CHECKING:
    from scalelab.spec.experiment import Trial


class Spec(BaseModel):
    """A part of an experiment."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )
    recipe: ClassVar[int] = 1
    """Raised when a default or a meaning changes for every trial that has this part."""

    def recipe_in(self, trial: "Trial") -> int:
        """The recipe of this part in a trial; above 1 it enters the digest.

        Overridden where a change moves the numbers of some trials only: all others then keep their
        digest. `trial` is resolved.
        """
        return self.recipe

    def implied(self) -> frozenset[str]:
        """Fields that another field settles: they enter no digest."""
        return frozenset()


def kind_alone() -> BeforeValidator:
    """For a union told apart by `kind`: a word is short for a mapping that says this kind."""
    return BeforeValidator(lambda value: {"kind": value} if isinstance(value, str) else value)


def default_kind(kind: str) -> BeforeValidator:
    """For a union told apart by `kind`: a mapping that does not say its kind is of this one."""
    return BeforeValidator(
        lambda value: {"kind": kind, **value} if isinstance(value, dict) else value
    )


def fault_of(details: ErrorDetails) -> UserError:
    """What pydantic says of a value, as it stands within a sentence; of the UserError that a
    validator raised all of it.
    """
    raised = details.get("ctx", {}).get("error")
    if not isinstance(raised, UserError):
        raised = UserError(re.sub(r"^(Value error|Assertion failed), ", "", details["msg"]))
    what = f"{raised.what[:1].lower()}{raised.what[1:]}"
    return UserError(what, cure=raised.cure, paths=raised.paths)
