"""How many of the 7,800 runs of the published facts grid does the frontier search ask for, and how
often is it right?

    python benchmarks/search_replay.py            # 20 generated tables
    python benchmarks/search_replay.py --tables 5

The published table (arXiv 2508.20755: 15 numbers of people x 26 widths x 2 modes x 10 seeds) may
not be copied, so tables like it are generated: their curves go through its published mean answers,
and their noise puts about as many of the 300 rows out of order (25), by as many sizes (one to three
above the first passing one fail). `even` spreads that noise evenly; `lumpy` makes it of rare bad
runs, as the in-tool half of the published table has them. `plain` gallops in doubled steps from the
answer before, which on the published table itself asks 755 runs and is right in 286 of 300 cells.
"""

import argparse
import statistics
from dataclasses import dataclass
from itertools import product

import numpy as np

from scalelab.plan.counts import Parameters
from scalelab.plan.plan import PlannedTrial
from scalelab.run.search.frontier import FrontierSearch, chains
from scalelab.spec.budget import Budget
from scalelab.spec.experiment import Trial
from scalelab.spec.search import Frontier

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


@dataclass(frozen=True)
class Noise:
    """Spread of one mode, in units of log parameters, but for the share of bad runs."""

    curve: float
    """Between the curves of two seeds."""
    run: float
    """Between two runs, normal."""
    bad_runs: float = 0.0
    """Share of the runs that fall short of their size."""
    shortfall: float = 0.4
    """Mean of how far they fall short, exponential."""


NOISES = {
    "lumpy": {"in_weight": Noise(0.02, 0.10, 0.02), "in_tool": Noise(0.03, 0.10, 0.18)},
    "even": {"in_weight": Noise(0.03, 0.12), "in_tool": Noise(0.10, 0.30)},
}


@dataclass(frozen=True)
class Table:
    """A full grid: its trials, and the recall of each by digest."""

    trials: list[PlannedTrial]
    recall: dict[str, float]

    def rows(self) -> list[list[list[bool]]]:
        """For every chain and cell whether each size passes."""
        ordered = chains(SPEC, self.trials)
        return [
            [[self.recall[planned.digest] >= SPEC.at_least for planned in cell] for cell in chain]
            for chain in ordered
        ]


@dataclass(frozen=True)
class Replay:
    """What a search did on one table."""

    runs: int
    right: int
    """Cells with the answer of the full grid."""


def generate(noise: dict[str, Noise], seed: int) -> Table:
    """A table whose curves go through the published ones."""
    rng, table = np.random.default_rng(seed), Table([], {})
    for mode, curve in CURVES.items():
        spread, facts, answers = noise[mode], np.log(list(curve)), np.log(list(curve.values()))
        for replicate, people in product(range(SEEDS), PEOPLE):
            middle = (
                np.interp(np.log(4 * people), facts, answers) - 0.1 + rng.normal(0, spread.curve)
            )
            excess = np.log(PARAMS) - middle + rng.normal(0, spread.run, len(WIDTHS))
            excess -= (rng.random(len(WIDTHS)) < spread.bad_runs) * rng.exponential(
                spread.shortfall, len(WIDTHS)
            )
            recalls = 0.04 + 0.96 / (1 + np.exp(-14 * excess - 3.2))
            for width, size, recall in zip(WIDTHS, PARAMS, recalls.tolist(), strict=True):
                digest = f"{mode}/{replicate}/{people}/{width}"
                axes = {"task.recall": mode, "task.people": people, "model.width": width}
                params = Parameters(size, size - 520 * width, size, {})
                table.trials.append(
                    PlannedTrial(
                        TRIAL, digest, axes, replicate, params, 100_000, 0, 0.0, size, size
                    )
                )
                table.recall[digest] = recall
    return table


def out_of_order(table: Table) -> int:
    """Rows where a size above the first passing one fails."""
    return sum(
        True in row and not all(row[row.index(True) :]) for chain in table.rows() for row in chain
    )


def judged(table: Table, answers: list[int], runs: int) -> Replay:
    """The answers (index of the smallest passing size, in the order of the rows) against those of
    the full grid.
    """
    truth = [
        row.index(True) if True in row else len(row) for chain in table.rows() for row in chain
    ]
    return Replay(runs, sum(found == true for found, true in zip(answers, truth, strict=True)))


def replay(table: Table) -> Replay:
    """The search that scalelab uses."""
    search, runs = FrontierSearch(SPEC, table.trials), 0
    while (planned := search.ask()) is not None:
        runs += 1
        search.tell(planned.digest, "done", {SPEC.metric: table.recall[planned.digest]})
    assert search.finished
    return judged(
        table,
        [PARAMS.index(found.params.total) if found else len(PARAMS) for found in search.answers()],
        runs,
    )


def replay_plain(table: Table) -> Replay:
    """The simplest search that gallops and bisects."""
    runs, answers = 0, []
    for chain in table.rows():
        answer = 0
        for row in chain:
            answer, tried = plain_answer(row, min(answer, len(row) - 1))
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
    parser.add_argument("--tables", type=int, default=20)
    tables = parser.parse_args().tables
    print(
        "noise  search    runs of 7,800   right of 300   rows out of order   (means; least and most"
        " in brackets)"
    )
    for kind, noise in NOISES.items():
        generated = [generate(noise, seed) for seed in range(tables)]
        disorder = statistics.mean(map(out_of_order, generated))
        for name, search in (("frontier", replay), ("plain", replay_plain)):
            found = [search(table) for table in generated]
            runs, right = [one.runs for one in found], [one.right for one in found]
            print(
                f"{kind:<6} {name:<9} {statistics.mean(runs):.0f} [{min(runs)}, {max(runs)}]  "
                f"{statistics.mean(right):.1f} [{min(right)}, {max(right)}]  {disorder:.1f}"
            )


if __name__ == "__main__":
    main()
