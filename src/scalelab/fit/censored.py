"""Least squares where some values are only known to be greater than a bound (Tobin 1958), for many
reweightings at once.

The model is y = X @ coefficients + sigma * noise, with standard normal noise; a censored y says
"greater than this". Written in theta = 1 / sigma and delta = coefficients / sigma, the
log-likelihood is concave (Olsen 1978, Econometrica 46:1211), so Newton's method finds the one
optimum. Without censored values the coefficients are those of weighted least squares.

Shape letters: B reweightings (bootstrap draws), N observations, M censored ones, P columns of the
design, V = P + 1 (delta, then theta).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

Floats = NDArray[np.float64]

FLOOR = 1e-2
"""Smallest noise that the fit believes in, as a share of the mean: sizes come from a grid, so none
is exact.
"""

_ROUNDS = 60
_DAMPINGS = 0.5 ** np.arange(12)


@dataclass(frozen=True)
class Fitted:
    """Optima, one for each reweighting; NaN where the uncensored observations do not identify the
    coefficients.
    """

    coefficients_BP: Floats
    sigma_B: Floats
    log_likelihood_B: Floats


def fit_censored(
    design_NP: Floats,
    y_N: Floats,
    censored_N: NDArray[np.bool_],
    weight_BN: Floats,
    noise_N: Floats | None = None,
) -> Fitted:
    """Maximum likelihood for every row of weights.

    `noise_N`: sizes of the noise relative to each other, with mean 1.
    """
    noise_N = np.ones_like(y_N) if noise_N is None else noise_N
    scale, column_P = float(np.average(np.abs(y_N))), np.abs(design_NP).max(axis=0)
    # A row of v times (delta, theta) is the standardised residual; scaled so that the columns are
    # of size one.
    v_NV = np.column_stack([-design_NP / column_P, y_N / scale]) / noise_N[:, None]
    state_BV = np.full((len(weight_BN), v_NV.shape[1]), np.nan)
    # The uncensored rows of a draw must tell every coefficient.
    x_NP, known_BN = v_NV[:, :-1], weight_BN * ~censored_N
    gram_BPP = np.einsum("bn,np,nq->bpq", known_BN, x_NP, x_NP)
    good_B = np.linalg.eigvalsh(gram_BPP)[:, 0] > 1e-9 * known_BN.sum(axis=1)
    state_BV[good_B] = _newton(v_NV, censored_N, weight_BN[good_B])
    log_unit_B = known_BN @ (np.log(noise_N * scale) + 0.5 * np.log(2 * np.pi))
    delta_BP, theta_B = state_BV[:, :-1], state_BV[:, -1]
    coefficients_BP = delta_BP / theta_B[:, None] * scale / column_P
    return Fitted(
        coefficients_BP, scale / theta_B, -_loss(state_BV, v_NV, censored_N, weight_BN) - log_unit_B
    )


def _newton(v_NV: Floats, censored_N: NDArray[np.bool_], weight_BN: Floats) -> Floats:
    """Damped Newton from least squares over all observations, censored ones taken at
    their bounds.
    """
    state_BV = _least_squares(v_NV, weight_BN)
    loss_B = _loss(state_BV, v_NV, censored_N, weight_BN)
    for _ in range(_ROUNDS):
        step_BV, promised_B = _newton_step(state_BV, v_NV, censored_N, weight_BN)
        settled_B = promised_B < 1e-12 * (1 + np.abs(loss_B))
        for damping in _DAMPINGS:
            if settled_B.all():
                break
            tried_BV = state_BV - damping * step_BV
            tried_B = _loss(tried_BV, v_NV, censored_N, weight_BN)
            taken_B = (tried_B < loss_B) & ~settled_B
            state_BV = np.where(taken_B[:, None], tried_BV, state_BV)
            loss_B = np.where(taken_B, tried_B, loss_B)
            settled_B |= taken_B
        if (promised_B < 1e-12 * (1 + np.abs(loss_B))).all():
            break
    return state_BV


def _least_squares(v_NV: Floats, weight_BN: Floats) -> Floats:
    x_NP, y_N = -v_NV[:, :-1], v_NV[:, -1]
    gram_BPP = np.einsum("bn,np,nq->bpq", weight_BN, x_NP, x_NP)
    beta_BP = np.linalg.solve(gram_BPP, ((weight_BN * y_N) @ x_NP)[:, :, None])[:, :, 0]
    square_B = (weight_BN * (y_N - beta_BP @ x_NP.T) ** 2).sum(axis=1) / weight_BN.sum(axis=1)
    theta_B = 1 / np.sqrt(square_B + FLOOR**2)
    return np.column_stack([beta_BP * theta_B[:, None], theta_B])


def _loss(
    state_BV: Floats, v_NV: Floats, censored_N: NDArray[np.bool_], weight_BN: Floats
) -> Floats:
    """Negative log-likelihood, less its constant; NaN where theta is not positive.

    The last term keeps sigma above FLOOR.
    """
    u_BN, theta_B = state_BV @ v_NV.T, state_BV[:, -1]
    with np.errstate(invalid="ignore"):
        each_BN = 0.5 * u_BN**2 - np.log(theta_B)[:, None]
    each_BN[:, censored_N] = -log_ndtr(-u_BN[:, censored_N])
    return (weight_BN * each_BN).sum(axis=1) + 0.5 * weight_BN.sum(axis=1) * (FLOOR * theta_B) ** 2


def _newton_step(
    state_BV: Floats, v_NV: Floats, censored_N: NDArray[np.bool_], weight_BN: Floats
) -> tuple[Floats, Floats]:
    """The full step, to be subtracted, and the gain in likelihood that it promises, twice over."""
    slope_BN, theta_B = state_BV @ v_NV.T, state_BV[:, -1]
    curve_BN = np.ones_like(slope_BN)
    u_BM = slope_BN[:, censored_N]
    hazard_BM = np.exp(-0.5 * u_BM**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(-u_BM))
    slope_BN[:, censored_N], curve_BN[:, censored_N] = hazard_BM, hazard_BM * (hazard_BM - u_BM)
    uncensored_B, floor_B = (weight_BN * ~censored_N).sum(axis=1), weight_BN.sum(axis=1) * FLOOR**2
    gradient_BV = (weight_BN * slope_BN) @ v_NV
    gradient_BV[:, -1] += floor_B * theta_B - uncensored_B / theta_B
    hessian_BVV = np.einsum("bn,nv,nw->bvw", weight_BN * curve_BN, v_NV, v_NV)
    hessian_BVV[:, -1, -1] += floor_B + uncensored_B / theta_B**2
    step_BV = np.linalg.solve(hessian_BVV, gradient_BV[:, :, None])[:, :, 0]
    return step_BV, (gradient_BV * step_BV).sum(axis=1)
