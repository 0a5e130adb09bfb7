"""Fits into a store and out of it: the optimum and the draws are kept, the rest follows from them
and the rows at once.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from scalelab.core.errors import UserError
from scalelab.core.jsonable import from_word, with_words
from scalelab.fit.bootstrap import Draws
from scalelab.fit.fit import ENGINE, Fit, complete, fit_key, fit_law
from scalelab.fit.holdout import hold_out
from scalelab.fit.law import Choices, Law, Loss
from scalelab.fit.optimum import Optimum
from scalelab.fit.sample import sample
from scalelab.store.fits import StoredFit


def to_store(fit: Fit, experiment: str, now: float) -> StoredFit:
    """The fit as a store keeps it. `now` is in seconds since the epoch."""
    optimum, draws = vars(fit.optimum), fit.draws
    arrays = {
        name: value.tolist() for name, value in optimum.items() if isinstance(value, np.ndarray)
    }
    result = fit.to_json() | {
        "optimum": {
            **{name: value for name, value in optimum.items() if name not in arrays},
            **arrays,
            "at_bounds": list(fit.optimum.at_bounds),
            "ridges": {name: list(ends) for name, ends in fit.optimum.ridges.items()},
        },
        "draws": None
        if draws is None
        else {"kind": draws.kind, "failed": draws.failed, "stretch": draws.stretch},
    }
    return StoredFit(
        fit.key,
        experiment,
        fit.law.name,
        now,
        fit.record,
        with_words(result),
        {} if draws is None else draws.by_name,
    )


def restore(stored: StoredFit, frame: pl.DataFrame) -> Fit | None:
    """The fit that a store keeps, without fitting again; None where these rows are not the ones
    that it was fitted to, or an older engine made it.
    """
    law, record = law_of(stored.record["law"]), stored.record
    choices, asked = _choices(record), record["bootstrap"]["asked"]
    if record.get("engine", 1) != ENGINE:
        return None
    try:
        rows = sample(frame, law)
    except UserError:
        return None
    if fit_key(law, choices, rows, asked) != stored.key:
        return None
    rollout = _rollout(stored)
    holdout = None if rollout is None else hold_out(frame, law, choices, rows, rollout)
    optimum, draws = _optimum(stored.result["optimum"]), _draws(stored)
    return complete(
        law,
        choices,
        rows,
        optimum,
        draws,
        asked,
        holdout=holdout,
        at=record["at"],
        about=_about(record),
    )


def refit(stored: StoredFit, frame: pl.DataFrame) -> Fit:
    """The fit that a store keeps, made again by the engine of now: the same law, choices and draws.

    Raises UserError where the rows can't be fitted.
    """
    record = stored.record
    return fit_law(
        frame,
        law_of(record["law"]),
        _choices(record),
        bootstrap=record["bootstrap"]["asked"],
        holdout=_rollout(stored),
        at=record["at"],
        about=_about(record),
    )


def _choices(record: Mapping[str, Any]) -> Choices:
    """What was chosen besides the law, which is kept as it was fitted."""
    return Choices(starts=record["starts"], seed=record["seed"])


def _rollout(stored: StoredFit) -> str | None:
    held = stored.result.get("holdout")
    return None if held is None else held["rollout"]


def _about(record: Mapping[str, Any]) -> dict[str, Any]:
    return {"source": record["source"]} if "source" in record else {}


def law_of(plain: Mapping[str, Any]) -> Law:
    """The law of a record, as `Law.to_json` wrote it."""
    read = {
        "loss": Loss.parse(plain["loss"]),
        "real": frozenset(plain["real"]),
        "bounds": {
            name: (from_word(low), from_word(high)) for name, (low, high) in plain["bounds"].items()
        },
    }
    return Law(**{**plain, **read})


def _optimum(plain: Mapping[str, Any]) -> Optimum:
    arrays = {
        name: np.array([from_word(value) for value in plain[name]], np.float64)
        for name in ("objectives_S", "theta_P")
    }
    rivals_KP = np.array(plain["rivals_KP"], dtype=np.float64).reshape(-1, arrays["theta_P"].size)
    ridges = {name: (low, high) for name, (low, high) in plain["ridges"].items()}
    return Optimum(
        **{
            **plain,
            **arrays,
            "rivals_KP": rivals_KP,
            "ridges": ridges,
            "at_bounds": tuple(plain["at_bounds"]),
        }
    )


def _draws(stored: StoredFit) -> Draws | None:
    said = stored.result["draws"]
    if said is None:
        return None
    return Draws(tuple(stored.draws), np.stack(list(stored.draws.values()), axis=1), **said)
