"""A fitted law over parameters and tokens as fig. 4 draws it: its best splits of compute, and the
data of its two charts.

Shape letters: N runs, X amounts of compute, B draws, L levels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from scalelab.core.metrics import metric_of
from scalelab.fit.censored import Floats
from scalelab.fit.compute import FLOPS
from scalelab.fit.estimate import interval
from scalelab.report.charts.axes import log_domain, log_ticks
from scalelab.report.charts.contours import contour_lines
from scalelab.report.figures.loss_contours.charts import (
    BEYOND,
    WITHIN,
    Span,
    compute_chart,
    surface_chart,
)
from scalelab.report.figures.loss_contours.hull import Hull
from scalelab.report.figures.loss_contours.labels import clear_labels
from scalelab.report.fits.data import Fitted
from scalelab.report.fits.text import band, compute, fewer, run_marks
from scalelab.report.numbers import rounded

FURTHER = 10.0
"""The frontier is drawn up to the largest run's compute times this."""
_GRID, _PLACES, _LEVELS = 72, 36, 13


@dataclass(frozen=True)
class Surface:
    """A fitted law over parameters and tokens with its best splits: within the runs' compute, and
    beyond.
    """

    fitted: Fitted
    params_N: Floats
    tokens_N: Floats
    largest: float
    """Compute of the largest run."""
    flops_X: Floats
    params_X: Floats
    tokens_X: Floats
    loss_X: Floats
    params_BX: Floats
    loss_BX: Floats
    """The law at the best split of the fit, in every draw."""
    run_BX: Floats
    """What one more run would show there."""

    @classmethod
    def of(cls, fitted: Fitted) -> "Surface":
        """From the least compute of a run to the largest's times `FURTHER`."""
        fit, (params, tokens) = fitted.fit, fitted.axes
        params_N, tokens_N = fit.sample.columns[params], fit.sample.columns[tokens]
        compute_N = FLOPS * params_N * tokens_N
        inside_X = np.geomspace(compute_N.min(), compute_N.max(), _PLACES)
        flops_X = np.concatenate(
            [inside_X, np.geomspace(compute_N.max(), compute_N.max() * FURTHER, _PLACES // 3)[1:]]
        )
        params_X, params_BX = fitted.best_params(flops_X)
        kept_X = np.isfinite(params_X)
        flops_X, params_X, params_BX = flops_X[kept_X], params_X[kept_X], params_BX[:, kept_X]
        places = {params: params_X, tokens: flops_X / (FLOPS * params_X)}
        loss_BX = fit.predict_draws(places)
        # One more run: in each draw one error of the rows, the same all along, so that the band is
        # smooth.
        errors, random = fit.errors(), np.random.default_rng(fit.choices.seed)
        error_B1 = random.choice(errors, size=(len(loss_BX), 1))
        is_log = fit.law.residual == "log"
        run_BX = loss_BX * np.exp(error_B1) if is_log else loss_BX + error_B1
        return cls(
            fitted,
            params_N,
            tokens_N,
            float(compute_N.max()),
            flops_X,
            params_X,
            places[tokens],
            fit.predict(places),
            params_BX,
            loss_BX,
            run_BX,
        )

    def exponent(self) -> tuple[float, Span | None]:
        """a of N* ~ C^a over the runs' compute, and its interval; NaN where the law has no best
        split.
        """
        kept_X = self.flops_X <= self.largest * (1 + 1e-9)
        if kept_X.sum() < 2:
            return np.nan, None
        x_X = np.log(self.flops_X[kept_X]) - np.log(self.flops_X[kept_X]).mean()
        slope_S = np.log(np.vstack([self.params_X, self.params_BX])[:, kept_X]) @ x_X / (x_X @ x_X)
        return float(slope_S[0]), interval(slope_S[1:])


def contours(one: Surface) -> dict[str, Any]:
    """The chart of contours."""
    params, tokens = (
        log_domain([*one.params_N, *one.params_X], 0.04),
        log_domain([*one.tokens_N, *one.tokens_X], 0.04),
    )
    x_X, y_X = np.geomspace(*params, _GRID), np.geomspace(*tokens, _GRID)
    symbols = one.fitted.axes
    z_YX = one.fitted.fit.predict(
        dict(zip(symbols, (np.tile(x_X, _GRID), np.repeat(y_X, _GRID)), strict=True))
    ).reshape(_GRID, _GRID)
    lines = contour_lines(x_X, y_X, z_YX, levels(z_YX))
    ticks = log_ticks(FLOPS * params[0] * tokens[0], FLOPS * params[1] * tokens[1], 8)
    budgets = [
        place for flops in ticks for place in _isoflop_label(flops / FLOPS, flops, params, tokens)
    ]
    runs = _marks(one)
    covered = [(mark["params"], mark["tokens"]) for mark in [*runs, *budgets]]
    data = {
        "contours": Hull.of(one.params_N, one.tokens_N).parted(lines, WITHIN, BEYOND),
        "labels": [
            {"x": row["x"], "y": row["y"], "text": f"{row['level']:.6g}"}
            for row in clear_labels(lines, covered, (params, tokens))
        ],
        "runs": runs,
        "isoflops": [row for flops in ticks for row in _isoflop(flops / FLOPS, flops, params)],
        "budgets": budgets,
        "frontier": _frontier(one),
    }
    return surface_chart(rounded(data), params, tokens)


def levels(z: Floats) -> list[float]:
    """Round numbers, about as far apart on the drawn surface as `_LEVELS` lines can be."""
    at_L = np.quantile(z[np.isfinite(z)], np.linspace(0.02, 0.98, _LEVELS))
    gap_L = np.minimum(np.diff(at_L, prepend=-np.inf), np.diff(at_L, append=np.inf))
    return sorted(
        {_round(float(at), float(gap)) for at, gap in zip(at_L, gap_L, strict=True) if gap > 0}
    )


def _round(value: float, gap: float) -> float:
    """The nearest multiple of the largest 1, 2 or 5 times a power of ten within the gap."""
    ten = 10.0 ** np.floor(np.log10(gap))
    step = max(times * ten for times in (1, 2, 5) if times * ten <= gap * 1.0001)
    return float(f"{round(value / step) * step:.10g}")


def _isoflop(product: float, flops: float, params: tuple[float, float]) -> list[dict[str, Any]]:
    return [
        {"params": at, "tokens": product / at, "flops": flops}
        for at in (params[0] / 2, params[1] * 2)
    ]


def _isoflop_label(
    product: float, flops: float, params: tuple[float, float], tokens: tuple[float, float]
) -> list[dict[str, Any]]:
    """A place on the line near the left or the upper end of the window; none where little of the
    line is seen.
    """
    wide, tall = params[1] / params[0], tokens[1] / tokens[0]
    at = max(params[0] * wide**0.06, product / (tokens[1] / tall**0.05))
    inside = at < params[1] / wide**0.1 and product / at > tokens[0] * tall**0.1
    return (
        [{"params": at, "tokens": product / at, "text": f"{flops:.0e} FLOPs".replace("+", "")}]
        if inside
        else []
    )


def _frontier(one: Surface) -> list[dict[str, Any]]:
    """The best splits, in two pieces that meet at the largest run's compute; the band is of tokens
    at these parameters.
    """
    low_X, high_X = _band(one)
    columns = zip(one.params_X, one.tokens_X, low_X, high_X, one.flops_X, strict=True)
    return [
        {
            "params": float(params),
            "tokens": float(tokens),
            "low": float(low),
            "high": float(high),
            "i": i,
            "part": part,
        }
        for i, (params, tokens, low, high, flops) in enumerate(columns)
        for part in _parts(float(flops), one.largest)
    ]


def _parts(flops: float, largest: float) -> list[str]:
    if abs(flops / largest - 1) < 1e-9:
        return [WITHIN, BEYOND]
    return [WITHIN] if flops < largest else [BEYOND]


def _band(one: Surface) -> tuple[Floats, Floats]:
    """[X] the 95 % interval of the tokens at which the draws' frontiers pass the fit's sizes.

    A draw's frontier is a straight line on log axes where the law is a sum of two powers, and close
    to one elsewhere.
    """
    x_X, log_BX = np.log(one.flops_X), np.log(one.params_BX)
    log_BX = log_BX[np.isfinite(log_BX).all(axis=1)]
    if len(log_BX) < 40 or x_X.size < 2:
        return one.tokens_X, one.tokens_X
    slope_B = log_BX @ (x_X - x_X.mean()) / ((x_X - x_X.mean()) ** 2).sum()
    rising_B = slope_B > 0.02
    compute_BX = (
        x_X.mean()
        + (np.log(one.params_X) - log_BX.mean(axis=1, keepdims=True))[rising_B]
        / slope_B[rising_B, None]
    )
    low_X, high_X = np.quantile(compute_BX, (0.025, 0.975), axis=0) - np.log(FLOPS * one.params_X)
    return np.exp(low_X), np.exp(high_X)


def bought(one: Surface) -> dict[str, Any]:
    """The chart of the loss against compute."""
    fit = one.fitted.fit
    runs = _marks(one)
    (low_X, high_X), (run_low_X, run_high_X) = (
        band(drawn_BX, one.loss_X) for drawn_BX in (one.loss_BX, one.run_BX)
    )
    columns = zip(one.flops_X, one.loss_X, low_X, high_X, run_low_X, run_high_X, strict=True)
    frontier = [
        dict(
            zip(
                ("flops", "loss", "low", "high", "run_low", "run_high"),
                map(float, row),
                strict=True,
            )
        )
        | {"i": i, "part": part}
        for i, row in enumerate(columns)
        for part in _parts(float(row[0]), one.largest)
    ]
    flops = log_domain([*one.flops_X, *(run["flops"] for run in runs)], 0.02)
    floor = fit.coefficients.get("E", 0.0)
    known = bool(floor > 0.3 * fit.sample.y_N.min())
    drawn = (
        [row[end] for row in frontier for end in ("run_low", "run_high")]
        + [run["loss"] for run in runs]
        + [floor] * known
    )
    data = {
        "frontier": frontier,
        "runs": runs,
        "floor": [{"flops": end, "loss": floor} for end in flops] if known else [],
        "names": [
            {
                "flops": flops[0] * (flops[1] / flops[0]) ** 0.12,
                "loss": floor,
                "text": f"irreducible: {floor:.4g}",
            }
        ]
        if known
        else [],
    }
    return compute_chart(rounded(data), flops, log_domain(drawn, 0.04), metric_of(fit.law.target))


def _marks(one: Surface) -> list[dict[str, Any]]:
    """The runs, their compute at 6 N D like the frontier's."""
    places = zip(run_marks(one.fitted), (FLOPS * one.params_N * one.tokens_N).tolist(), strict=True)
    return fewer([{**mark, "flops": flops, "compute": compute(flops)} for mark, flops in places])
