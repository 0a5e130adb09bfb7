"""A fit as a function to minimise: the sum over rows of a loss of residuals, with its gradient, for
many sets at once.

What is optimised is a vector of normalised parameters. Positive coefficients enter as logarithms;
where a coefficient multiplies a term, its parameter is the logarithm of that term at the rows'
geometric mean in units of the target, which is what dividing every input by its geometric mean
comes to.

Shape letters: S sets of parameters, P free parameters, N rows, X places to predict at.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from scalelab.core.errors import UserError, nearest
from scalelab.fit import formula
from scalelab.fit.forms import Forms
from scalelab.fit.formula import Floats
from scalelab.fit.graph import Compiler, Operation
from scalelab.fit.law import Law
from scalelab.fit.layout import FLOOR, Axis, Layout

_BLOCK = 1 << 15
"""Values in one block of sets: what stays in a core's cache."""

_DAMPED = 1e-6
"""Added to a Gauss-Newton matrix in units of its mean diagonal: a flat direction has no inverse."""


@dataclass(frozen=True)
class Problem:
    """A law with its rows.

    Build it by `Problem.of`; parameters [S, P] are normalised ones, in the order of `axes`.
    """

    law: Law
    columns: Mapping[str, Floats]
    y_N: Floats
    weight_N: Floats
    axes: tuple[Axis, ...]
    matrix_PP: Floats = field(repr=False)
    """Normalised parameters = matrix @ (coefficients or their logarithms) + shift."""
    shift_P: Floats = field(repr=False)
    operation: Operation = field(repr=False)

    @classmethod
    def of(
        cls, law: Law, columns: Mapping[str, Floats], y_N: Floats, weight_N: Floats | None = None
    ) -> "Problem":
        """Columns by symbol of the formula and the target, all [N] and finite.

        Raises UserError for a symbol without a column.
        """
        for symbol in law.columns:
            if symbol not in columns:
                raise UserError(
                    f"the law `{law.name}` needs a column for `{symbol}`",
                    cure=nearest(symbol, list(columns)),
                )
        used = {symbol: np.asarray(columns[symbol], dtype=np.float64) for symbol in law.columns}
        y_N = np.asarray(y_N, dtype=np.float64)
        weight_N = np.ones_like(y_N) if weight_N is None else np.asarray(weight_N, dtype=np.float64)
        forms = Forms(used, frozenset(law.exponents | law.real))
        tree = forms.spread(law.reduced)
        layout = Layout.of(law, tree, forms, y_N)
        matrix_PP, shift_P = layout.normalisation()
        try:
            inverse_PP = np.linalg.inv(matrix_PP)
        except np.linalg.LinAlgError as error:
            raise UserError(
                f"the terms of the law `{law.name}` differ too much in size for float64",
                cure="write it with numbers nearer to one",
            ) from error
        basis = {
            name: (inverse_PP[row], float(-inverse_PP[row] @ shift_P))
            for row, name in enumerate(law.free)
        }
        operation = Compiler(forms, basis).compile(tree)
        return cls(law, used, y_N, weight_N, layout.axes(), matrix_PP, shift_P, operation)

    def having(self, **fixed: float) -> "Problem":
        """The problem with these coefficients held at values."""
        law = replace(
            self.law,
            fixed={**self.law.fixed, **fixed},
            bounds={k: v for k, v in self.law.bounds.items() if k not in fixed},
        )
        return Problem.of(law, self.columns, self.y_N, self.weight_N)

    @property
    def names(self) -> tuple[str, ...]:
        """The free coefficients, in the order of the parameters."""
        return tuple(axis.name for axis in self.axes)

    @property
    def lower_P(self) -> Floats:
        """The least that each parameter may be."""
        return np.array([axis.lower for axis in self.axes])

    @property
    def upper_P(self) -> Floats:
        """The most that each parameter may be."""
        return np.array([axis.upper for axis in self.axes])

    def exponents_of(self, term: int) -> list[int]:
        """The exponents in the term whose carrier is this parameter."""
        row_P = self.matrix_PP[term]
        return [
            index
            for index, axis in enumerate(self.axes)
            if index != term and row_P[index] and not axis.is_log
        ]

    @property
    def negligible(self) -> float:
        """An objective that says that the law meets every row: residuals of a billionth of the
        target.
        """
        unit = 1.0 if self.law.residual == "log" else float(np.abs(self.y_N).mean())
        return float(self.weight_N.sum()) * (1e-9 * unit) ** 2

    @property
    def target_N(self) -> Floats:
        """The target in the space of the residuals."""
        return np.log(self.y_N) if self.law.residual == "log" else self.y_N

    def coefficients(self, theta_SP: Floats) -> dict[str, Floats]:
        """Every coefficient of the law [S], tied and fixed ones too; one at its lower end is
        exactly zero.
        """
        raw_SP: Floats = np.linalg.solve(self.matrix_PP, (theta_SP - self.shift_P).T).T.astype(
            np.float64
        )
        with np.errstate(over="ignore"):
            values: dict[str, Floats] = {
                axis.name: _value(axis, raw_SP[:, index], theta_SP[:, index])
                for index, axis in enumerate(self.axes)
            }
        values |= {
            name: np.full(len(theta_SP), float(value)) for name, value in self.law.fixed.items()
        }
        for name, text in self.law.tied.items():
            values[name] = np.broadcast_to(
                formula.evaluate(formula.parse(text), values), len(theta_SP)
            ).copy()
        return {name: values[name] for name in self.law.coefficients}

    def theta(self, coefficients: Mapping[str, float | Floats]) -> Floats:
        """Parameters [S, P] of given coefficients; zeros are taken to the lower end."""
        columns = [
            np.atleast_1d(np.asarray(coefficients[axis.name], dtype=np.float64))
            for axis in self.axes
        ]
        with np.errstate(divide="ignore", invalid="ignore"):
            raw = [
                np.log(value) if axis.is_log else value
                for axis, value in zip(self.axes, columns, strict=True)
            ]
        raw_SP = np.stack(np.broadcast_arrays(*raw), axis=1)
        raw_SP = np.where(np.isneginf(raw_SP), -1e6, raw_SP)
        return np.clip(raw_SP @ self.matrix_PP.T + self.shift_P, self.lower_P, self.upper_P)

    def predict(
        self,
        coefficients: Mapping[str, float | Floats],
        columns: Mapping[str, Floats] | None = None,
    ) -> Floats:
        """The law at places [X] (the rows, unless `columns` says otherwise) for coefficients that
        are numbers, or [S, X] for arrays [S].
        """
        places = {
            name: np.asarray(value, dtype=np.float64)
            for name, value in (columns or self.columns).items()
        }
        many = any(np.ndim(value) for value in coefficients.values())
        values = {
            name: np.asarray(value)[..., None] if many else value
            for name, value in coefficients.items()
        }
        width = max((value.size for value in places.values()), default=1)
        found = formula.evaluate(self.law.tree, {**places, **values})
        return (
            np.broadcast_to(found, (*found.shape[:-1], width))
            if found.ndim
            else np.full(width, found)
        )

    def residuals(self, coefficients: Mapping[str, float]) -> Floats:
        """[N] in the law's residual space, prediction minus target."""
        predicted_N = self.predict(coefficients)
        with np.errstate(all="ignore"):
            return (
                np.log(predicted_N) if self.law.residual == "log" else predicted_N
            ) - self.target_N

    def slopes(self, theta_P: Floats) -> Floats:
        """[N, P]: how every row's residual changes with the parameters, by central differences."""
        step = 1e-5
        shift_PP = step * np.eye(len(theta_P))
        values = self.coefficients(np.concatenate([theta_P + shift_PP, theta_P - shift_PP]))
        with np.errstate(all="ignore"):
            predicted_SN = self.predict(values)
            if self.law.residual == "log":
                predicted_SN = np.log(predicted_SN)
        return (predicted_SN[: len(theta_P)] - predicted_SN[len(theta_P) :]).T / (2 * step)

    def inverse_hessian(self, theta_P: Floats) -> Floats | None:
        """[P, P] inverse of the Gauss-Newton matrix at parameters, under the weights that Huber's
        loss gives the rows; None where it has none.
        """
        slope_NP, loss = self.slopes(theta_P), self.law.loss
        values = self.coefficients(theta_P[None])
        residual_N = self.residuals({name: float(value[0]) for name, value in values.items()})
        curve_N = (
            np.full(len(residual_N), 2.0)
            if loss.kind == "squared"
            else loss.delta / np.maximum(np.abs(residual_N), loss.delta)
        )
        matrix_PP = (slope_NP * (self.weight_N * curve_N)[:, None]).T @ slope_NP
        if not np.isfinite(matrix_PP).all() or not np.trace(matrix_PP) > 0:
            return None
        width = len(matrix_PP)
        return np.linalg.inv(matrix_PP + _DAMPED * np.trace(matrix_PP) / width * np.eye(width))

    def objective(self, coefficients: Mapping[str, float]) -> float:
        """The weighted sum of losses at given coefficients."""
        return float((self.weight_N * _loss(self.residuals(coefficients), self.law)[0]).sum())

    def value_and_gradient(
        self,
        theta_SP: Floats,
        weight_SN: Floats | None = None,
        target_SN: Floats | None = None,
        which_S: NDArray[np.intp] | None = None,
    ) -> tuple[Floats, Floats]:
        """Objectives [S] and gradients [S, P]; infinite and zero where the law has no value.

        `weight_SN` multiplies the rows' own weights set by set; `target_SN` takes the place of the
        target, in residual space. `which_S` says which of their rows belongs to each set, where
        these are more than the sets.
        """
        value_S, gradient_SP = np.empty(len(theta_SP)), np.zeros_like(theta_SP)
        step, target_N = max(1, _BLOCK // len(self.y_N)), self.target_N
        with np.errstate(all="ignore"):
            for first in range(0, len(theta_SP), step):
                block = slice(first, first + step)
                own = block if which_S is None else which_S[block]
                weights = self.weight_N if weight_SN is None else self.weight_N * weight_SN[own]
                targets = target_N if target_SN is None else target_SN[own]
                value_S[block] = self._block(theta_SP[block], weights, targets, gradient_SP[block])
        lost_S = ~np.isfinite(value_S) | ~np.isfinite(gradient_SP).all(axis=1)
        value_S[lost_S], gradient_SP[lost_S] = np.inf, 0.0
        return value_S, gradient_SP

    def _block(
        self, theta_SP: Floats, weight_SN: Floats, target_SN: Floats, gradient_SP: Floats
    ) -> Floats:
        predicted_SN, pull = self.operation(theta_SP)
        residual_SN = (
            np.log(predicted_SN) if self.law.residual == "log" else predicted_SN
        ) - target_SN
        loss_SN, slope_SN = _loss(residual_SN, self.law)
        slope_SN = slope_SN * weight_SN
        pull(slope_SN / predicted_SN if self.law.residual == "log" else slope_SN, gradient_SP)
        return np.einsum("sn,sn->s", loss_SN, np.broadcast_to(weight_SN, loss_SN.shape))


def _value(axis: Axis, raw_S: Floats, theta_S: Floats) -> Floats:
    if not axis.is_log:
        return raw_S
    return (
        np.where(theta_S <= -FLOOR, 0.0, np.exp(raw_S)) if axis.lower == -FLOOR else np.exp(raw_S)
    )


def _loss(residual: Floats, law: Law) -> tuple[Floats, Floats]:
    """Loss and slope of every residual. Huber 1964: half the square up to delta,
    straight beyond.
    """
    if law.loss.kind == "squared":
        return residual * residual, 2 * residual
    slope = np.clip(residual, -law.loss.delta, law.loss.delta)
    return slope * (residual - 0.5 * slope), slope
