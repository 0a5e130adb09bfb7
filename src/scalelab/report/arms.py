"""Arms: the alternatives of an experiment, each with its replicates, and what all of them have in
common.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any

import polars as pl

from scalelab.core.events import State
from scalelab.families import read
from scalelab.families.family import Family
from scalelab.fit.estimate import Estimate
from scalelab.fit.replicates import BySeed, difference, mean, ratio
from scalelab.report.figure import Rows
from scalelab.report.runs import cell, names_of, told_apart, word_order
from scalelab.store.frames import part_of

_SETTING = ("task.", "budget.", "experiment")
"""Columns that say under what circumstances arms are compared; where arms have names, so does every
other axis.
"""


@dataclass(frozen=True)
class Arm:
    """One alternative in one setting: trials that differ in their seeds alone."""

    name: str
    setting: str
    """What else tells it apart, such as a size or a length; empty where nothing does."""
    values: Mapping[str, Any]
    """Axis -> value."""
    trials: pl.DataFrame
    """In the order of the seeds, each once."""

    @property
    def label(self) -> str:
        """The name with the setting."""
        return ", ".join(filter(None, (self.name, self.setting)))

    @property
    def digests(self) -> list[str]:
        """Of its trials."""
        return self.trials["digest"].to_list()

    @cached_property
    def model(self) -> Family | None:
        """The spec of its model; None for rows of a published table."""
        return read(part_of(self.trials.row(0, named=True), "model"))

    def by_seed(self, column: str) -> BySeed:
        """The finite values of a column."""
        if column not in self.trials.columns:
            return {}
        pairs = self.trials.select("seed", column).iter_rows()
        return {
            seed: float(value) for seed, value in pairs if value is not None and isfinite(value)
        }

    def mean(self, column: str) -> Estimate | None:
        """The mean of a column over the replicates, with its interval."""
        return mean(list(self.by_seed(column).values()))

    def first(self, column: str) -> Any:
        """The value of a column that does not change with the seed."""
        return self.trials[column].drop_nulls().first() if column in self.trials.columns else None


@dataclass(frozen=True)
class Arms:
    """Every arm in every setting, by setting, in the order of the spec."""

    found: Sequence[Arm]
    axes: Sequence[str]
    """What tells arms and settings apart."""

    @classmethod
    def of(
        cls,
        rows: Rows,
        needs: Sequence[str],
        states: Collection[State] | None = ("done", "stopped"),
    ) -> "Arms":
        """The arms of trials in these states (all, for None) that have a finite value in each of
        these columns.
        """
        if not {"digest", "state", "seed", *needs} <= set(rows.trials.columns):
            return cls((), ())
        known = rows.trials.filter(*(pl.col(column).is_finite() for column in needs))
        known = known if states is None else known.filter(pl.col("state").is_in(list(states)))
        axes = told_apart(known, rows.specs) if len(known) else []
        alone = (
            ["arm"] if "arm" in axes else [axis for axis in axes if not axis.startswith(_SETTING)]
        )
        settings = [axis for axis in axes if axis not in alone]
        order = {axis: word_order(rows, axis) for axis in axes if known[axis].dtype == pl.String}

        def place(arm: Arm) -> list[Any]:
            values = [(axis, arm.values[axis]) for axis in (*settings, *alone)]
            return [
                (value is None, order[axis].get(value, 0) if axis in order else value or 0)
                for axis, value in values
            ]

        groups = (
            known.group_by(axes, maintain_order=True)
            if axes
            else [((), known)]
            if len(known)
            else []
        )
        found = [
            _arm(dict(zip(axes, key, strict=True)), alone, settings, part) for key, part in groups
        ]
        return cls(sorted(found, key=place), axes)

    @property
    def names(self) -> list[str]:
        """The names of the arms, each once."""
        return list(dict.fromkeys(arm.name for arm in self.found))

    @property
    def settings(self) -> list[str]:
        """The settings, each once."""
        return list(dict.fromkeys(arm.setting for arm in self.found))

    def of_setting(self, setting: str) -> list[Arm]:
        """The arms of one setting."""
        return [arm for arm in self.found if arm.setting == setting]

    def base(self, arm: Arm) -> Arm | None:
        """What an arm is compared to: the first arm in the same setting; None for that one itself,
        and where it is missing.
        """
        found = next(
            (other for other in self.of_setting(arm.setting) if other.name == self.names[0]), None
        )
        return None if found is arm else found

    def difference(self, arm: Arm, column: str) -> Estimate | None:
        """How much more the arm has than its base, paired by seed."""
        base = self.base(arm)
        return None if base is None else difference(arm.by_seed(column), base.by_seed(column))

    def ratio(self, arm: Arm, column: str) -> Estimate | None:
        """How many times the base's value the arm has, paired by seed."""
        base = self.base(arm)
        return None if base is None else ratio(arm.by_seed(column), base.by_seed(column))


def _arm(
    values: dict[str, Any], alone: Sequence[str], settings: Sequence[str], part: pl.DataFrame
) -> Arm:
    names = names_of(list(values))
    trials = part.unique("digest", maintain_order=True).sort("seed", "digest")
    return Arm(
        _said(values, names, alone) or "all trials", _said(values, names, settings), values, trials
    )


def _said(values: Mapping[str, Any], names: Mapping[str, str], axes: Sequence[str]) -> str:
    plain = ("arm", "experiment")
    told = [
        cell(values[axis]) if axis in plain else f"{names[axis]} {cell(values[axis]) or 'none'}"
        for axis in axes
    ]
    return ", ".join(filter(None, told))
