"""Which fit a figure draws: the newest that the store keeps of the very rows, made again where an
older engine made it; else Chinchilla's law, fitted to them here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import polars as pl

from scalelab.core.canon import sha256
from scalelab.core.errors import UserError
from scalelab.fit.censored import Floats
from scalelab.fit.columns import usual_target
from scalelab.fit.compute import FLOPS, split_compute, symbols_of
from scalelab.fit.fit import Fit, fit_law
from scalelab.fit.kept import law_of, refit, restore
from scalelab.fit.law import Law
from scalelab.fit.laws import find
from scalelab.fit.sample import Sample, run_table, sample
from scalelab.report.figure import Rows
from scalelab.report.runs import arm_names, free, varying
from scalelab.store.fits import StoredFit

DRAWS = 1000
"""Bootstrap draws of a fit that is made for a figure."""
_WORDS = 12
"""A column of more different words than this names the runs and does not sort them."""
DEFAULT = "chinchilla"
"""The law that is fitted where the store keeps no fit."""


@dataclass(frozen=True)
class Fitted:
    """The fit of one experiment's rows."""

    experiment: str
    fit: Fit
    is_stored: bool
    """Whether the store keeps it; else it was fitted for the figure."""
    is_refitted: bool
    """Whether the store keeps it as an older engine made it, and it was fitted again."""
    flops_N: Floats
    """FLOPs of the fit's rows, NaN where nobody knows them."""
    mixed: tuple[str, ...]
    """Columns that differ among runs of the same size and length, and that the law does
    not know.
    """
    unlike: StoredFit | None = None
    """The newest fit that the store keeps of other rows of the experiment."""
    filter: str | None = None
    """What the rows were chosen by."""

    @property
    def axes(self) -> tuple[str, str]:
        """The law's symbols for parameters and tokens; the law must be a surface over the two."""
        found = symbols_of(self.fit.law)
        assert found is not None, "a law of parameters and tokens"
        return found

    @property
    def places(self) -> dict[str, Floats]:
        """`params`, `tokens` and `flops` [N] of the fit's rows, as far as the law or the table has
        them; FLOPs else at 6 N D.
        """
        named = {
            "params" if column.startswith("params.") else column.removeprefix("budget."): symbol
            for symbol, column in self.fit.law.columns.items()
        }
        found = {
            place: self.fit.sample.columns[named[place]]
            for place in ("params", "tokens", "flops")
            if place in named
        }
        if np.isfinite(self.flops_N).all():
            found["flops"] = self.flops_N
        elif {"params", "tokens"} <= found.keys():
            found["flops"] = FLOPS * found["params"] * found["tokens"]
        return found

    @property
    def others(self) -> dict[str, Floats]:
        """The law's other columns [N], by symbol."""
        named = {"params": "params.", "tokens": "budget.tokens", "flops": "budget.flops"}
        plain = {
            symbol
            for symbol, column in self.fit.law.columns.items()
            if not column.startswith(tuple(named.values()))
        }
        return {
            symbol: column for symbol, column in self.fit.sample.columns.items() if symbol in plain
        }

    def best_params(self, flops_X: Floats) -> tuple[Floats, Floats]:
        """[X] the size of least loss at each compute 6 N D, and [B, X] in every draw; NaN where
        there is none.
        """
        split = split_compute(self.fit.law, self.fit.sets(), flops_X)
        assert split is not None, "a law of parameters and tokens"
        return split.params_SX[0], split.params_SX[1:]


def is_surface(law: Law) -> bool:
    """Whether the law is one over parameters and tokens."""
    return symbols_of(law) is not None


def any_law(law: Law) -> bool:
    """Every law suits."""
    return True


def names(rows: Rows) -> list[str]:
    """What has a law of its own: the experiments among the rows, in their order; of one with
    several arms, each arm.
    """
    return list(_parts(rows))


def of(rows: Rows, name: str) -> pl.DataFrame:
    """The rows of one of `names`."""
    experiment, arm = _parts(rows)[name]
    frame = rows.trials.filter(pl.col("experiment") == experiment)
    return frame if arm is None else frame.filter(pl.col("arm") == arm)


def _parts(rows: Rows) -> dict[str, tuple[str, str | None]]:
    """Name -> experiment and arm. An experiment whose arms one kept law joins is one part."""
    found: dict[str, tuple[str, str | None]] = {}
    for name in (
        dict.fromkeys(rows.trials["experiment"].to_list())
        if "experiment" in rows.trials.columns
        else ()
    ):
        frame = rows.trials.filter(pl.col("experiment") == name)
        arms = arm_names(frame, rows.specs)
        joined = len(arms) < 2 or _kept(rows, name, frame, any_law) is not None
        found |= {name: (name, None)} if joined else {f"{name}, {arm}": (name, arm) for arm in arms}
    return found


def can_fit(rows: Rows, name: str, suits: Callable[[Law], bool], target: str | None = None) -> bool:
    """Whether the store keeps a fit of these rows, or they can be fitted: one task, and what the
    law needs.
    """
    return not _unfitted(rows, name, suits, target)


def unfitted(rows: Rows, suits: Callable[[Law], bool], target: str | None = None) -> str:
    """Why none of `names` has a fit: see `first_reason`."""
    return first_reason([_unfitted(rows, name, suits, target) for name in names(rows)])


def first_reason(reasons: Sequence[str]) -> str:
    """The first of the reasons why something can't be drawn; empty where one of them is."""
    if not reasons:
        return "no trial has finished"
    return "" if "" in reasons else reasons[0]


def _unfitted(
    rows: Rows, name: str, suits: Callable[[Law], bool], target: str | None = None
) -> str:
    """Why one of `names` has no fit; empty where it has one."""
    frame = of(rows, name)
    if _stored(rows, name, frame, _that(suits, target)) is not None:
        return ""
    if several := several_tasks(frame):
        return several
    law = _default(frame, target)
    try:
        sample(frame, law)
    except UserError as fault:
        return fault.what
    return ""


def several_tasks(frame: pl.DataFrame) -> str:
    """That the rows are of several tasks, whose losses don't compare; empty where they are of
    one.
    """
    paths = [f"`{path}`" for path in varying(frame, []) if path.startswith("task.")]
    return f"the task varies ({', '.join(paths)}), and one law is of one task" if paths else ""


def _default(frame: pl.DataFrame, target: str | None) -> Law:
    return replace(find(DEFAULT), target=target or usual_target(frame, find(DEFAULT).target))


def _that(suits: Callable[[Law], bool], target: str | None) -> Callable[[Law], bool]:
    return suits if target is None else lambda law: suits(law) and law.target == target


def fits(rows: Rows, suits: Callable[[Law], bool], target: str | None = None) -> list[Fitted]:
    """The fit of every one of `names` that has one."""
    chosen = [name for name in names(rows) if can_fit(rows, name, suits, target)]
    return [fitted(rows, name, suits, target) for name in chosen]


def fitted(
    rows: Rows, experiment: str, suits: Callable[[Law], bool], target: str | None = None
) -> Fitted:
    """The fit of one of `names`. Raises UserError where it can't be fitted."""
    frame, law, suits = (
        of(rows, experiment),
        _default(of(rows, experiment), target),
        _that(suits, target),
    )
    kept = _stored(rows, experiment, frame, suits)
    known = (
        sha256([dict(kept.record), dict(kept.result)]) if kept else sample(frame, law).fingerprint()
    )
    fit = _made(_Asked(known, law.target, frame, kept))
    is_stored = kept is not None and fit.key == kept.key
    unlike = _unlike(rows, experiment, frame, suits)
    return Fitted(
        experiment,
        fit,
        is_stored,
        kept is not None and not is_stored,
        _flops(frame, fit.law.target, fit.sample),
        _mixed(frame, fit),
        unlike,
        rows.filter,
    )


def _mixed(frame: pl.DataFrame, fit: Fit) -> tuple[str, ...]:
    """Spec paths that do not follow from size and length; of an imported table's own columns those
    with a few words.
    """
    rows = frame.filter(pl.col("digest").is_in(fit.sample.digests))
    known = list(dict.fromkeys([*fit.law.columns.values(), "params.total", "tokens", "flops"]))
    paths = [
        path
        for path in free(rows, known)
        if path not in fit.law.columns.values() and not path.startswith(("budget.", "evaluation."))
    ]
    words = [
        name
        for name in rows.columns
        if name.startswith("extra.") and rows[name].dtype == pl.String and name not in known
    ]
    return (*paths, *(name for name in words if 1 < rows[name].drop_nulls().n_unique() <= _WORDS))


def _stored(
    rows: Rows, experiment: str, frame: pl.DataFrame, suits: Callable[[Law], bool]
) -> StoredFit | None:
    """The newest fit that the store keeps of these very rows."""
    return _kept(rows, _parts(rows)[experiment][0], frame, suits)


def _kept(
    rows: Rows, experiment: str, frame: pl.DataFrame, suits: Callable[[Law], bool]
) -> StoredFit | None:
    mine = (stored for stored in reversed(rows.fits) if stored.experiment == experiment)
    return next(
        (
            stored
            for stored in mine
            if suits(law := law_of(stored.record["law"])) and _is_of(stored, law, frame)
        ),
        None,
    )


def _unlike(
    rows: Rows, experiment: str, frame: pl.DataFrame, suits: Callable[[Law], bool]
) -> StoredFit | None:
    """The newest fit that the store keeps of other rows of this experiment, and of no other
    experiment's.
    """
    experiment = _parts(rows)[experiment][0]
    mine = [
        stored
        for stored in reversed(rows.fits)
        if stored.experiment == experiment and _experiments(stored) == {experiment}
    ]
    return next(
        (
            stored
            for stored in mine
            if suits(law := law_of(stored.record["law"])) and not _is_of(stored, law, frame)
        ),
        None,
    )


def _experiments(stored: StoredFit) -> set[str]:
    return set(stored.record.get("source", {}).get("experiments", [stored.experiment]))


def _is_of(stored: StoredFit, law: Law, frame: pl.DataFrame) -> bool:
    try:
        return sample(frame, law).fingerprint() == stored.record["rows"]["fingerprint"]
    except UserError:
        return False


@dataclass(frozen=True)
class _Asked:
    """Rows to fit, known by their values, or a fit to take back: three figures draw one, which
    takes seconds.
    """

    known: str
    target: str
    frame: pl.DataFrame = field(compare=False)
    kept: StoredFit | None = field(compare=False)


@lru_cache(maxsize=32)
def _made(asked: _Asked) -> Fit:
    if asked.kept is not None:
        return restore(asked.kept, asked.frame) or refit(asked.kept, asked.frame)
    return fit_law(asked.frame, replace(find(DEFAULT), target=asked.target), bootstrap=DRAWS)


def measured(frame: pl.DataFrame, target: str) -> Sample | None:
    """Parameters, tokens, FLOPs and the target (`N`, `D`, `C`) of the rows that have
    all of them.
    """
    try:
        return run_table(frame, target)
    except UserError:
        return None


def unmeasured(frame: pl.DataFrame, target: str) -> str:
    """Why no row has all of them; empty where some have."""
    try:
        run_table(frame, target)
    except UserError as fault:
        return fault.what
    return ""


def _flops(frame: pl.DataFrame, target: str, fitted_to: Sample) -> Floats:
    read = measured(frame, target)
    known = dict(zip(read.digests, read.columns["C"].tolist(), strict=True)) if read else {}
    return np.array([known.get(digest, np.nan) for digest in fitted_to.digests])
