"""Spaces: what a guided search may try, spec paths with their distributions, and what
it looks for.
"""

import math
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from scalelab.core.canon import canonical_json
from scalelab.core.errors import UserError
from scalelab.core.spec import Spec
from scalelab.core.units import Count, Whole, parse_number
from scalelab.search.pruners import NoPruner, Pruner
from scalelab.search.samplers import Sampler, Tpe

MOST_PATHS = 100
"""Paths of a space."""

MOST_CHOICES = 100
"""Values of a choice."""

MOST_WHOLE = 2**53
"""Whole numbers up to here are exact as floats, which samplers calculate with."""


class Distribution(Spec):
    """The values that a searched path may take, and when it is searched at all."""

    model_config = ConfigDict(serialize_by_alias=True)
    keys: ClassVar[tuple[str, ...]]
    """What may be written of it beside `when`; the first one tells it from the others."""

    when: dict[str, tuple[Any, ...]] = {}
    """Searched path -> the values at which this path is searched too; at others it is not set.

    All of several must hold.
    """

    def has(self, value: Any) -> bool:
        """Whether it takes exactly this value. A `float` takes none: it hits no value twice."""
        return False

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        unknown = (
            [key for key in value if key not in (*cls.keys, "when")]
            if isinstance(value, dict)
            else []
        )
        if unknown:
            known = ", ".join(f"`{key}`" for key in (*cls.keys, "when"))
            raise UserError(
                f"the distribution `{cls.keys[0]}` has no `{unknown[0]}`", cure=f"it takes {known}"
            )
        return value

    @field_validator("when", mode="before")
    @classmethod
    def _value_alone(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise UserError(
                "`when` maps searched paths to values",
                cure="write `when: {model.router.kind: [mlp, gru]}`",
            )
        return {
            path: tuple(values) if isinstance(values, list | tuple) else (values,)
            for path, values in value.items()
        }


class Float(Distribution):
    """A number in a range."""

    keys: ClassVar = ("float", "log")

    ends: tuple[float, float] = Field(alias="float")
    """The smallest and the largest value."""
    log: bool = False
    """Whether ratios count, not differences: for what spans orders of magnitude."""

    @field_validator("ends", mode="before")
    @classmethod
    def _two_ends(cls, value: Any) -> Any:
        return _two(value)

    @model_validator(mode="after")
    def _is_finite(self) -> Self:
        _check_log(self)
        low, high = self.ends
        if not (high / low if self.log else high - low) < math.inf:
            raise UserError(
                f"the range {_shown(self.ends)} is wider than any number", cure="take nearer ends"
            )
        return self


class Int(Distribution):
    """A whole number in a range."""

    keys: ClassVar = ("int", "log", "step")

    ends: tuple[int, int] = Field(alias="int")
    """The smallest and the largest value."""
    log: bool = False
    """Whether ratios count, not differences."""
    step: Count = 1
    """Distance of two neighbours, counted from the smallest."""

    @field_validator("ends", mode="before")
    @classmethod
    def _two_whole_ends(cls, value: Any) -> Any:
        ends = _two(value)
        if any(end != int(end) for end in ends):
            raise UserError(
                f"the range {_shown(ends)} of whole numbers has a fraction",
                cure="write `float`, or whole ends",
            )
        if max(map(abs, ends)) > MOST_WHOLE:
            raise UserError(
                f"the range {_shown(ends)} of whole numbers leaves -{MOST_WHOLE:,} to"
                f" {MOST_WHOLE:,}",
                cure="take ends between these",
            )
        return tuple(map(int, ends))

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        if self.step > self.ends[1] - self.ends[0]:
            raise UserError(
                f"a step of {self.step} leaves one value of the range {_shown(self.ends)}",
                cure="take a smaller step",
            )
        if self.log and self.step > 1:
            raise UserError("`log` and `step` do not go together", cure="keep one of them")
        _check_log(self)
        return self

    @property
    def values(self) -> range:
        """All of them, ascending."""
        return range(self.ends[0], self.ends[1] + 1, self.step)

    def has(self, value: Any) -> bool:
        """Whether it takes this value."""
        is_whole = isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0
        return is_whole and int(value) in self.values


class Choice(Distribution):
    """One of several values, which may be whole parts of a spec."""

    keys: ClassVar = ("choice",)

    choice: tuple[Any, ...]
    """The values; their order means nothing."""

    @field_validator("choice", mode="before")
    @classmethod
    def _different_ones(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or not value:
            raise UserError(
                "a choice is a list of values, of one at least",
                cure="write `{choice: [linear, mlp]}`",
            )
        if len(value) > MOST_CHOICES:
            raise UserError(
                f"there are {len(value):,} choices, and at most {MOST_CHOICES} are searched",
                cure="write `int` or `float` for a range",
            )
        for index, one in enumerate(value):
            if any(same(one, other) for other in value[:index]):
                raise UserError(
                    f"the choice {canonical_json(one)} stands there twice", cure="keep one of them"
                )
        return tuple(value)

    def has(self, value: Any) -> bool:
        """Whether it is one of the choices."""
        return any(same(value, one) for one in self.choice)


def same(one: Any, other: Any) -> bool:
    """Whether two values of a spec are equal; `true` is no 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _two(value: Any) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise UserError(f"a range has two ends, and this is {value!r}", cure="write `[low, high]`")
    low, high = map(parse_number, value)
    if low > high:
        raise UserError(
            f"the range {_shown((low, high))} is inverted", cure="write the smaller end first"
        )
    if low == high:
        raise UserError(
            f"the range {_shown((low, high))} has one value",
            cure="write it in `base`, or take a wider range",
        )
    return low, high


def _check_log(given: Float | Int) -> None:
    if given.log and given.ends[0] <= 0:
        what = f"a range on a log scale begins above 0, and {_shown(given.ends)} does not"
        raise UserError(what, cure="raise its lower end, or leave `log` out")


def _shown(ends: tuple[float, float]) -> str:
    return f"[{ends[0]:g}, {ends[1]:g}]"


def _which(value: Any) -> str | None:
    """The key that tells which distribution is written; None where none or several do."""
    if isinstance(value, Distribution):
        return type(value).keys[0]
    found = [key for key in ("float", "int", "choice") if isinstance(value, dict) and key in value]
    return found[0] if len(found) == 1 else None


def _one_distribution(value: Any) -> Any:
    if _which(value) is None:
        what = f"{value!r} is not one of the distributions"
        raise UserError(
            what, cure="write `{float: [low, high]}`, `{int: [low, high]}` or `{choice: [...]}`"
        )
    return value


Searched = Annotated[
    Annotated[Float, Tag("float")] | Annotated[Int, Tag("int")] | Annotated[Choice, Tag("choice")],
    Discriminator(_which),
    BeforeValidator(_one_distribution),
]
"""Every distribution, told apart by its key."""


Direction = Literal["minimize", "maximize"]


class Space(Spec):
    """A space to search: a base experiment, the paths that vary, and what is to be reached."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """Name of the experiment that its trials belong to."""
    about: str = ""
    """What it asks, for the reports."""
    base: dict[str, Any]
    """What every trial has: an experiment without axes, as a mapping or as the path of a spec.

    What is searched may stand there too.
    """
    search: Annotated[dict[str, Searched], Field(min_length=1, max_length=MOST_PATHS)]
    """Spec path -> distribution: `{float: [low, high], log: true}`, `{int: [low, high]}` or
    `{choice: [...]}`, and `when` it applies.
    """
    objectives: Annotated[dict[str, Direction], Field(min_length=1)]
    """Final metric, or `flops`, `flops_per_token`, `params.total` -> `minimize` or `maximize`.

    Of several the front is found.
    """
    sampler: Sampler = Tpe()
    """Who proposes trials: `tpe`, `random`, `gp`, `cmaes` or `nsga2`."""
    pruner: Pruner = NoPruner()
    """Who ends trials early: `none`, `asha`, `hyperband` or `median`."""
    trials: Count | None = None
    """Trials in all; as many as there is time for where it is not given."""
    seed: Annotated[Whole, Field(lt=2**62)] = 0
    """Seed of what is proposed. That of the trials is `base.seed`."""
