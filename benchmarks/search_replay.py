"""How many of the 7,800 runs of the published facts grid does the frontier search ask for, and how
often is it right?

    python benchmarks/search_replay.py            # 20 generated tables of each kind
    python benchmarks/search_replay.py --tables 5

The published table (arXiv 2508.20755: 15 numbers of people x 26 widths x 2 modes x 10 seeds) may
not be copied, so tables like it are generated. Their curves go through its published mean answers,
and about as many of the 300 rows are out of order, 20 in-tool and 5 in-weight: one to three sizes
above the smallest passing one fail. `even` spreads the noise of each mode evenly over runs, `lumpy`
adds rare bad runs to it; `placed` makes rows in order first and then puts exactly these numbers of
them out of order, a quarter by a single small run that passes, the others by larger runs that fail.

`plain` gallops in doubled steps from the answer before.
"""

import argparse
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scalelab.families.cost import Parameters
from scalelab.plan.plan import PlannedTrial
from scalelab.search import Frontier
from scalelab.search.frontier import FrontierSearch
from scalelab.spec.budget import Budget
from scalelab.spec.experiment import Trial

TOY = "SCALELAB_TOY" in os.environ
WIDTHS = [*range(4, 84, 4), *range(88, 136, 8)]
PARAMS = [32 * width * width + 525 * width for width in WIDTHS]
PEOPLE = [2**power for power in range(1, 16)]
SEEDS = 10
SPEC = Frontier()
TRIAL = Trial(budget=Budget(steps=100_000))

# Facts -> mean parameters of the smallest passing model, as published; the last in-weight value
# stands for "none passes".
IN_WEIGHT = {
    8: 2612,
    32: 6248,
    128: 10908,
    512: 16592,
    1024: 27166,
    2048: 37161,
    4096: 45656,
    8192: 69834,
}
IN_WEIGHT |= {16384: 115420, 32768: 220626, 65536: 568925, 131072: 1.2e6}
IN_TOOL = {
    8: 6248,
    32: 6248,
    128: 10908,
    512: 23300,
    1024: 27939,
    2048: 32215,
    4096: 28349,
    8192: 22163,
}
IN_TOOL |= {16384: 23710, 32768: 22061, 65536: 29224, 131072: 24176}
CURVES = {"in_weight": IN_WEIGHT, "in_tool": IN_TOOL}
OUT_OF_ORDER = {"in_weight": 5, "in_tool": 20}
"""Rows of the published table by mode."""

Rows = np.ndarray
"""[SEEDS, PEOPLE, WIDTHS] whether a run passes."""


@dataclass(frozen=True)
class Noise:
    """Spread of one mode, in units of log parameters, but for the share of bad runs."""

    curve: float
    """Between the curves of two seeds."""
    run: float
    """Between two runs, normal."""
    bad_runs: float = 0.0
    """Share of the runs that fall short of their size."""
    shortfall: float = 0.25
    """Mean of how far they fall short, exponential."""


EVEN = {"in_weight": Noise(0.03, 0.105), "in_tool": Noise(0.05, 0.30)}
LUMPY = {"in_weight": Noise(0.02, 0.09, 0.02), "in_tool": Noise(0.03, 0.25, 0.15)}
IN_ORDER = {"in_weight": Noise(0.06, 0.0), "in_tool": Noise(0.2, 0.0)}


@dataclass(frozen=True)
class Table:
    """A full grid: its trials in the order of the rows, and by digest whether each passes."""

    rows: dict[str, Rows]
    """By mode."""
    trials: list[PlannedTrial]
    passes: dict[str, bool]

    def listed(self) -> list[list[bool]]:
        """Every row, in the order in which the search gives answers."""
        return [row for rows in self.rows.values() for row in listed(rows)]


@dataclass(frozen=True)
class Replay:
    """What a search did on one table."""

    runs: int
    right: int
    """Cells with the answer of the full grid."""


def noisy(mode: str, noise: Noise, rng: np.random.Generator) -> Rows:
    """Runs of one mode, scattered about the published curve."""
    shape = (SEEDS, len(PEOPLE), len(WIDTHS))
    facts, answers = np.log(list(CURVES[mode])), np.log(list(CURVES[mode].values()))
    # An answer is the first of the widths above the middle, about half a step above it.
    middle = np.interp(np.log(4 * np.array(PEOPLE)), facts, answers)[:, None] - 0.12
    excess = np.log(PARAMS) - middle - rng.normal(0, noise.curve, (SEEDS, len(PEOPLE), 1))
    excess += rng.normal(0, noise.run, shape)
    excess -= (rng.random(shape) < noise.bad_runs) * rng.exponential(noise.shortfall, shape)
    return excess >= 0


def placed(mode: str, noise: Noise, rng: np.random.Generator) -> Rows:
    """Runs of one mode in order, but for the published number of rows."""
    rows, left = noisy(mode, noise, rng), OUT_OF_ORDER[mode]
    flat_RW = rows.reshape(-1, len(WIDTHS))
    for row_W in rng.permutation(flat_RW.shape[0]):
        first, gap = first_passing(flat_RW[row_W].tolist()), int(rng.integers(1, 4))
        if left % 4 and first + gap + 1 < len(WIDTHS):
            flat_RW[row_W, first + 1 : first + 1 + gap] = False
        elif not left % 4 and len(WIDTHS) > first > gap:
            flat_RW[row_W, first - gap - 1] = True
        else:
            continue
        left -= 1
        if not left:
            break
    return rows


KINDS: dict[str, Callable[[str, np.random.Generator], Rows]] = {
    "even": lambda mode, rng: noisy(mode, EVEN[mode], rng),
    "lumpy": lambda mode, rng: noisy(mode, LUMPY[mode], rng),
    "placed": lambda mode, rng: placed(mode, IN_ORDER[mode], rng),
}


def generate(kind: str, seed: int) -> Table:
    """A table whose curves go through the published ones."""
    rng = np.random.default_rng(seed)
    table = Table({mode: KINDS[kind](mode, rng) for mode in CURVES}, [], {})
    for mode, rows in table.rows.items():
        for (replicate, place, size), passes in np.ndenumerate(rows):
            planned = trial(mode, replicate, PEOPLE[place], size)
            table.trials.append(planned)
            table.passes[planned.digest] = bool(passes)
    return table


def trial(mode: str, replicate: int, people: int, size: int) -> PlannedTrial:
    """A run of the grid; `size` counts widths."""
    width, total = WIDTHS[size], PARAMS[size]
    return PlannedTrial(
        TRIAL,
        f"{mode}/{replicate}/{people}/{width}",
        {"task.recall": mode, "task.people": people, "model.width": width},
        replicate,
        Parameters(total, total - 520 * width, total, {}),
        100_000,
        0,
        0.0,
        total,
        total,
    )


def listed(rows: Rows) -> list[list[bool]]:
    """One row for each replicate and number of people."""
    return rows.reshape(-1, len(WIDTHS)).tolist()


def first_passing(row: list[bool]) -> int:
    """The index of the smallest passing size; the number of sizes where none passes."""
    return row.index(True) if True in row else len(row)


def out_of_order(rows: Rows) -> int:
    """Rows where a size above the first passing one fails."""
    return sum(not all(row[first_passing(row) :]) for row in listed(rows))


def judged(table: Table, answers: list[int], runs: int) -> Replay:
    """The answers (index of the smallest passing size, in the order of the rows) against those of
    the full grid.
    """
    truth = [first_passing(row) for row in table.listed()]
    return Replay(runs, sum(found == true for found, true in zip(answers, truth, strict=True)))


def replay(table: Table) -> Replay:
    """The search that scalelab uses."""
    search, runs = FrontierSearch(SPEC, table.trials), 0
    while (planned := search.ask()) is not None:
        runs += 1
        recall = float(table.passes[planned.digest])
        search.tell(planned.digest, "done", {SPEC.metric: recall})
    assert search.finished
    return judged(
        table,
        [PARAMS.index(found.params.total) if found else len(PARAMS) for found in search.answers()],
        runs,
    )


def replay_plain(table: Table) -> Replay:
    """The simplest search that gallops and bisects."""
    runs, answers = 0, []
    for place, row in enumerate(table.listed()):
        start = answers[-1] if place % len(PEOPLE) else 0
        answer, tried = plain_answer(row, min(start, len(row) - 1))
        runs += tried
        answers.append(answer)
    return judged(table, answers, runs)


def plain_answer(row: list[bool], start: int) -> tuple[int, int]:
    """The found index in a row, and how many sizes were tried."""
    fails, passes, step, tried, index = -1, len(row), 1, 0, start
    while passes - fails > 1:
        tried += 1
        fails, passes = (fails, index) if row[index] else (index, passes)
        if passes == len(row):
            index = min(index + step, len(row) - 1)
        elif fails == -1:
            index = max(index - step, 0)
        else:
            index = (fails + passes) // 2
        step *= 2
    return passes, tried


def main() -> None:
    """Prints the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=int, default=1 if TOY else 20)
    tables = parser.parse_args().tables
    print("medians; least and most in brackets")
    print(f"{'tables':<8}{'search':<10}{'runs of 7,800':>16}{'right of 300':>16}")
    for kind in KINDS:
        generated = [generate(kind, seed) for seed in range(tables)]
        for name, search in (("frontier", replay), ("plain", replay_plain)):
            found = [search(table) for table in generated]
            runs, right = [one.runs for one in found], [one.right for one in found]
            print(f"{kind:<8}{name:<10}{spread(runs):>16}{spread(right):>16}")
        disorder = ", ".join(
            f"{statistics.mean(out_of_order(table.rows[mode]) for table in generated):.1f} {mode}"
            for mode in CURVES
        )
        print(f"{kind:<8}rows out of order, in the mean: {disorder}")


def spread(counts: list[int]) -> str:
    """`730 [723, 738]`: the median, the least and the most."""
    return f"{statistics.median(counts):.0f} [{min(counts)}, {max(counts)}]"


if __name__ == "__main__":
    main()
