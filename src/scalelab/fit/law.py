"""A law as it is declared: a formula, the columns that its names stand for, and how it is fitted.

    Law("chinchilla", "E + A*N^-alpha + B*D^-beta", {"N": "params.total", "D": "budget.tokens"})

Every name of the formula that is no column and no `let` is a coefficient. Coefficients in the
exponent of a power are real numbers, all others are positive unless `real` names them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args

from scalelab.core.errors import UserError, nearest
from scalelab.core.jsonable import with_words
from scalelab.core.units import parse_number
from scalelab.fit import formula
from scalelab.fit.accurate import accurate
from scalelab.fit.formula import Node, Number, Symbol
from scalelab.fit.grids import GRIDS

Residual = Literal["log", "linear"]

EXTREME = 1e80
"""Bounds are at most so large, and at least one over it, zero and infinity apart."""

SMALLEST = 1e-12
"""The smallest delta of Huber's loss, and the inverse of the largest: below, residuals are noise of
float64.
"""

Bounds = tuple[float, float]
COEFFICIENTS = 50
"""Most coefficients of a law."""

STARTS = 100_000
"""Most starts of a fit."""


@dataclass(frozen=True)
class Loss:
    """What is summed over the rows: Huber's loss of the residual (half its square up to `delta`,
    straight beyond), or its square.
    """

    kind: Literal["huber", "squared"] = "huber"
    delta: float = 1e-3

    @classmethod
    def parse(cls, text: "str | Loss") -> "Loss":
        """From `huber`, `huber:1e-3` or `squared`. Raises UserError for anything else."""
        if isinstance(text, Loss):
            return text
        kind, _, delta = str(text).partition(":")
        if kind not in ("huber", "squared") or (delta and kind == "squared"):
            what = f"there is no loss `{text!s}`"
            raise UserError(what, cure="write `huber:1e-3` or `squared`")
        if not delta:
            return cls(kind)
        try:
            value = parse_number(delta)
        except ValueError:
            value = math.nan
        if not SMALLEST <= value <= 1 / SMALLEST:
            raise UserError(
                f"`{text}` is no loss: its delta is no positive number from {SMALLEST:g} to"
                f" {1 / SMALLEST:g}",
                cure="write `huber:1e-3`",
            )
        return cls("huber", value)

    def __str__(self) -> str:
        return f"huber:{self.delta:g}" if self.kind == "huber" else "squared"


@dataclass(frozen=True)
class Law:
    """A law and the way it is fitted by default.

    Raises UserError where its parts do not fit together.
    """

    name: str
    formula: str
    columns: Mapping[str, str]
    """Symbol of the formula -> column of the table."""
    target: str = "metrics.loss"
    about: str = ""
    source: str = ""
    residual: Residual = "log"
    """`log`: log of the prediction minus log of the target; `linear`: their difference."""
    loss: Loss = Loss()
    let: Mapping[str, str] = field(default_factory=dict)
    """Symbol -> expression of columns, earlier lets and coefficients, as `C: 6*N*D`."""
    real: frozenset[str] = frozenset()
    """Coefficients that may be negative though they multiply a term."""
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    """Coefficient -> expression of other coefficients, as `beta: alpha` or `beta: 2*alpha`."""
    weights: str | None = None
    """A column, or an expression of columns, by which every row's loss is multiplied."""

    def __post_init__(self) -> None:
        if self.residual not in get_args(Residual):
            raise UserError(
                f"there is no residual space `{self.residual}`", cure="write `log` or `linear`"
            )
        self._check_names()
        for name, (low, high) in self.bounds.items():
            if not low < high or math.isnan(low) or math.isnan(high):
                raise UserError(
                    f"the bounds of `{name}` hold no number",
                    cure="write the smaller one first, as 0:1",
                )
            ends = [abs(end) for end in (low, high) if end != 0 and math.isfinite(end)]
            if any(not 1 / EXTREME <= end <= EXTREME for end in ends):
                raise UserError(
                    f"the bounds of `{name}` are {low:g} to {high:g}",
                    cure=f"stay below {EXTREME:g} and above {1 / EXTREME:g}, or leave an end out",
                )
            if high <= 0 and name not in self.exponents | self.real:
                raise UserError(
                    f"the bounds of `{name}` hold no positive number, and it multiplies a term",
                    cure="a law in a file may say `real: [...]`",
                )
        for name, value in self.fixed.items():
            if not math.isfinite(value) or (value < 0 and name not in self.exponents | self.real):
                raise UserError(
                    f"`{name}` is fixed at {value:g}",
                    cure="give a finite number, not negative where it multiplies a term",
                )

    def _check_names(self) -> None:
        used = formula.names(self.declared)
        self._check_lets(used)
        if len(self.coefficients) > COEFFICIENTS:
            raise UserError(
                f"the law `{self.name}` has {len(self.coefficients)} coefficients",
                cure=f"write at most {COEFFICIENTS}",
            )
        for symbol in self.columns:
            if symbol not in used:
                raise UserError(
                    f"the formula of `{self.name}` does not use `{symbol}`, which has a column",
                    cure=nearest(symbol, used),
                )
        for name in {*self.bounds, *self.fixed, *self.tied, *self.real} - set(self.coefficients):
            raise UserError(
                f"the law `{self.name}` has no coefficient `{name}`",
                cure=nearest(name, self.coefficients),
            )
        for name, text in self.tied.items():
            for other in formula.names(formula.parse(text)):
                if other not in self.coefficients or other == name or other in self.tied:
                    raise UserError(
                        f"`{name}` is tied to `{text}`",
                        cure="tie it to coefficients that are free themselves, as beta=alpha",
                    )
            if name in self.fixed or name in self.bounds:
                raise UserError(
                    f"`{name}` is tied, and fixed or bounded too", cure="say one of them"
                )

    def _check_lets(self, used: Sequence[str]) -> None:
        """A let that is not put in would make its name a coefficient."""
        for name in self.let:
            if formula.parse(name) != Symbol(name):
                raise UserError(
                    f"`let` gives a value to `{name}`, which is no name",
                    cure="write it like `let: {C: 6*N*D}`",
                )
            if name in self.columns:
                raise UserError(
                    f"`{name}` is a column and a `let` too", cure="give one of them another name"
                )
            if name in used:
                what = f"`{name}` is used by a `let` that stands above its own"
                raise UserError(what, cure="put it first; none may use itself")

    @cached_property
    def declared(self) -> Node:
        """The formula as it is written, with every `let` put in."""
        lets: dict[str, Node] = {}
        for name, text in self.let.items():
            lets[name] = formula.substitute(formula.parse(text), lets)
        return formula.substitute(formula.parse(self.formula), lets)

    @cached_property
    def tree(self) -> Node:
        """The formula as it is evaluated, before anything is tied or fixed."""
        return accurate(self.declared)

    @cached_property
    def coefficients(self) -> list[str]:
        """Every coefficient of the formula in order of appearance, tied and fixed ones too."""
        return [name for name in formula.names(self.declared) if name not in self.columns]

    @property
    def free(self) -> list[str]:
        """The coefficients that are fitted."""
        return [
            name for name in self.coefficients if name not in self.fixed and name not in self.tied
        ]

    @property
    def exponents(self) -> set[str]:
        """Coefficients that stand in the exponent of a power somewhere: these may be negative."""
        return _exponents(self.declared) - set(self.columns)

    @cached_property
    def reduced(self) -> Node:
        """The formula that is fitted: lets, ties and fixed values put in."""
        fixed: dict[str, Node] = {name: Number(float(value)) for name, value in self.fixed.items()}
        tied = {
            name: formula.substitute(formula.parse(text), fixed) for name, text in self.tied.items()
        }
        return accurate(formula.substitute(self.declared, {**fixed, **tied}))

    def to_json(self) -> dict[str, Any]:
        """The law as plain values, for a record."""
        return {
            "name": self.name,
            "formula": self.formula,
            "columns": dict(self.columns),
            "let": dict(self.let),
            "target": self.target,
            "residual": self.residual,
            "loss": str(self.loss),
            "weights": self.weights,
            "real": sorted(self.real),
            "bounds": with_words(self.bounds),
            "fixed": dict(self.fixed),
            "tied": dict(self.tied),
            "source": self.source,
        }


def _exponents(node: Node) -> set[str]:
    inside = set(formula.names(node.exponent)) if isinstance(node, formula.Power) else set()
    return inside.union(*map(_exponents, formula.children(node)))


@dataclass(frozen=True)
class Choices:
    """What a user says differently from the law's defaults; None leaves a default."""

    tie: Mapping[str, str] = field(default_factory=dict)
    fix: Mapping[str, float] = field(default_factory=dict)
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    residual: Residual | None = None
    loss: Loss | None = None
    weights: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    """Symbol -> column, as N -> params.non_embedding."""
    target: str | None = None
    starts: int | str = 500
    """How many starts are drawn from the box, or the name of a published grid (`fit.grids`)."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.starts in GRIDS:
            return
        if isinstance(self.starts, str) or self.starts < 1:
            raise UserError(
                f"{self.starts!s} starts make no fit",
                cure=f"give a number from 1 on, or {' or '.join(f'`{name}`' for name in GRIDS)}",
            )
        if self.starts > STARTS:
            raise UserError(f"{self.starts:,} starts are too many", cure=f"give at most {STARTS:,}")


def apply(law: Law, choices: Choices) -> Law:
    """The law under a user's choices.

    Raises UserError for an unknown coefficient or column symbol, naming the nearest.
    """
    for symbol in choices.columns:
        if symbol not in formula.names(law.declared):
            raise UserError(
                f"the formula of `{law.name}` has no `{symbol}`",
                cure=nearest(symbol, formula.names(law.declared)),
            )
    chosen = {**choices.fix, **choices.tie}
    return replace(
        law,
        columns={**law.columns, **choices.columns},
        tied={
            **{name: text for name, text in law.tied.items() if name not in chosen},
            **choices.tie,
        },
        fixed={
            **{name: value for name, value in law.fixed.items() if name not in chosen},
            **choices.fix,
        },
        bounds={
            **{name: bounds for name, bounds in law.bounds.items() if name not in chosen},
            **choices.bounds,
        },
        residual=choices.residual or law.residual,
        loss=choices.loss or law.loss,
        weights=choices.weights or law.weights,
        target=choices.target or law.target,
    )
