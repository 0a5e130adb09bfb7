"""How much each searched setting matters for being among the best: PED-ANOVA (arXiv 2304.10255), as
Optuna computes it.
"""

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

FEWEST = 10
"""Trials below which an importance would be chance."""


def importances(
    settings: Sequence[Mapping[str, Any]],
    values: Sequence[Sequence[float]],
    lower: Sequence[bool],
    on_log: Collection[str] = (),
) -> dict[str, float]:
    """Path -> share of the importance, the greatest first; empty with fewer than `FEWEST` trials.

    `settings` are the trials' searched paths with numbers or names, a conditional one where it
    applies; `values` their objectives, of which `lower` says whether less is better. Ratios count
    of the numbers `on_log`. With several objectives: importance for coming near the front.
    """
    import optuna

    spaces = _spaces(settings, on_log)
    if len(settings) < FEWEST or not spaces:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=[optuna.study.StudyDirection.MINIMIZE for _ in lower])
    for setting, found in zip(settings, values, strict=True):
        known = {path: value for path, value in setting.items() if path in spaces}
        losses = [value if less else -value for value, less in zip(found, lower, strict=True)]
        distributions = {path: spaces[path] for path in known}
        study.add_trial(
            optuna.trial.create_trial(params=known, distributions=distributions, values=losses)
        )
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # it warns of few trials, which the caller says in its own words
        return optuna.importance.get_param_importances(study)


def _spaces(settings: Sequence[Mapping[str, Any]], on_log: Collection[str]) -> dict[str, Any]:
    """The distribution of each path that has several values: the range that was tried, or the
    values.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    found: dict[str, Any] = {}
    for path in dict.fromkeys(path for setting in settings for path in setting):
        seen = list(dict.fromkeys(setting[path] for setting in settings if path in setting))
        if len(seen) < 2:
            continue
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in seen):
            low, high = float(min(seen)), float(max(seen))
            found[path] = FloatDistribution(low, high, log=path in on_log)
        else:
            found[path] = CategoricalDistribution(seen)
    return found
