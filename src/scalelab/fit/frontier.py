"""The frontier: for each number of facts, the smallest model that passes, replicate by replicate.

A search runs only part of a grid. The answer of a replicate is the smallest passing size among
those that were run; a replicate in which no size passes is censored at the largest size tried: its
answer is known to be greater.
"""

from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import polars as pl

from scalelab.core.errors import UserError, nearest
from scalelab.core.events import FINISHED

ATTRIBUTES = 4
"""Facts about one person."""


@dataclass(frozen=True)
class Answer:
    """One replicate's answer.

    Censored (`passed` false): `size` is the largest size tried, and the answer is greater.

    `digest` names the trial that decides it; `below` is the largest size under `size` that was run,
    and failed, so the answer lies in (below, size]. None: nothing smaller was run.
    """

    seed: int
    size: float
    passed: bool
    digest: str
    below: float | None
    tried: int


@dataclass(frozen=True)
class Cell:
    """One number of facts under one recall mode, with the answer of each replicate, ordered by
    seed.
    """

    recall: str
    facts: int
    answers: tuple[Answer, ...]

    @property
    def passed(self) -> list[float]:
        """Sizes of the replicates that passed."""
        return [answer.size for answer in self.answers if answer.passed]

    @property
    def censored(self) -> int:
        """Replicates that pass at no size tried."""
        return len(self.answers) - len(self.passed)

    @property
    def largest_tried(self) -> float:
        """Where a cell with censored replicates is drawn: the largest size at which one of them was
        tried.
        """
        return max(answer.size for answer in self.answers if answer.passed == (self.censored == 0))

    def point(self) -> dict[str, Any]:
        """The cell as figures publish it.

        `params_std` is over the replicates that passed, with n - 1; null below two.
        """
        mean = fmean(self.passed) if self.passed else None
        return {
            "facts": self.facts,
            "params_mean": None if self.censored else mean,
            "params_mean_passed": mean,
            "params_std": stdev(self.passed) if len(self.passed) > 1 else None,
            "replicates": len(self.answers),
            "censored": self.censored,
        }


def cells(
    trials: pl.DataFrame,
    metric: str = "metrics.recall",
    at_least: float = 0.95,
    size: str = "params.total",
) -> list[Cell]:
    """The frontier of a frame of trials, ordered by recall mode and facts.

    A trial is a result if it is done, stopped or diverged; a diverged one does not pass, whatever
    its last metric. Others (queued, running, failed, missing) say nothing about a size and are left
    out. A trial that belongs to several experiments counts once, and experiments that share a trial
    are one source; equal seeds of two sources are two replicates. Where several trials of a source
    share a size and a seed, the size passes if one of them does. Raises UserError where a column is
    missing.
    """
    results = _results(trials, metric, at_least, size)
    found: dict[tuple[str, int], list[Answer]] = {}
    for (recall, people, _, seed), tried in results.group_by(
        "task.recall", "task.people", "source", "seed", maintain_order=True
    ):
        key = (str(recall), ATTRIBUTES * int(str(people)))
        found.setdefault(key, []).append(_answer(int(str(seed)), tried))
    return [
        Cell(recall, facts, tuple(sorted(found[recall, facts], key=lambda answer: answer.seed)))
        for recall, facts in sorted(found)
    ]


def _results(trials: pl.DataFrame, metric: str, at_least: float, size: str) -> pl.DataFrame:
    """One row for each size tried: keys, `size`, `passes`, and the digest of the trial that speaks
    for the size.
    """
    for column in ("digest", "state", "task.recall", "task.people", "seed", size, metric):
        if column not in trials.columns:
            raise UserError(
                f"the table has no column `{column}`", cure=nearest(column, trials.columns)
            )
    value = pl.col(metric).fill_nan(None)
    passes = (value >= at_least).fill_null(False) & (pl.col("state") != "diverged")
    keys = ["task.recall", "task.people", "source", "seed", "size"]
    return (
        trials.filter(
            pl.col("state").is_in(list(FINISHED)),
            value.is_not_null() | (pl.col("state") == "diverged"),
        )
        .with_columns(pl.col(size).alias("size"), passes.alias("passes"), _source(trials))
        .drop_nulls(keys)
        .select(*keys, "passes", "digest", value.alias("value"))
        .sort(
            *keys,
            "passes",
            "value",
            "digest",
            descending=[False] * 5 + [True, True, False],
            nulls_last=True,
        )
        .unique(keys, keep="first", maintain_order=True)
    )


def _source(trials: pl.DataFrame) -> pl.Expr:
    """The first of the experiments that hang together by trials that they share; one for all where
    the table names none.
    """
    if "experiment" not in trials.columns:
        return pl.lit("").alias("source")
    first = {name: name for name in trials["experiment"].to_list()}
    for names in (
        trials.group_by("digest", maintain_order=True)
        .agg(pl.col("experiment"))["experiment"]
        .to_list()
    ):
        joined = {first[name] for name in names}
        if len(joined) > 1:
            first = {
                name: min(joined) if source in joined else source for name, source in first.items()
            }
    return pl.col("experiment").replace_strict(first, return_dtype=pl.String).alias("source")


def _answer(seed: int, tried: pl.DataFrame) -> Answer:
    """Of the sizes that one replicate tried, ascending, the first that passes."""
    sizes, passes, digests = (
        tried["size"].to_list(),
        tried["passes"].to_list(),
        tried["digest"].to_list(),
    )
    first = passes.index(True) if any(passes) else len(sizes) - 1
    return Answer(
        seed,
        sizes[first],
        passes[first],
        digests[first],
        sizes[first - 1] if first else None,
        len(sizes),
    )
