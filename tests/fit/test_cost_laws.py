"""Laws on tables whose truth is known: what is recovered, what intervals cover, what censoring
does, which law is chosen.
"""

import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.stats import linregress
from scipy.stats import t as student

from scalelab.core.errors import UserError
from scalelab.fit.cost import Cost, as_published, crossing
from scalelab.fit.cost_laws import linear, logarithm, plateau
from scalelab.fit.frontier import Answer, Cell

FACTS = [32, 64, 128, 256, 512]


def curve(
    truth: Callable[[float], float],
    replicates: int,
    facts: Sequence[int] = FACTS,
    top: float = np.inf,
    recall: str = "in_weight",
) -> list[Cell]:
    """Cells whose answers come from `truth` (called for each replicate), censored above `top`."""
    found = []
    for count in facts:
        sizes = [truth(count) for _ in range(replicates)]
        answers = [
            Answer(seed, min(size, top), size <= top, f"{count}-{seed}", None, 1)
            for seed, size in enumerate(sizes)
        ]
        found.append(Cell(recall, count, tuple(answers)))
    return found


def noisy_line(seed: int, sigma: float = 600.0) -> Callable[[float], float]:
    rng = np.random.default_rng(seed)
    return lambda facts: 5000 + 12 * facts + rng.normal(0, sigma)


def test_a_line_without_noise_is_found_exactly() -> None:
    law = linear(curve(lambda facts: 5171 + 8 * facts, 2))
    assert law.values == pytest.approx({"intercept": 5171, "slope": 8})
    assert law.r2 == pytest.approx(1)
    assert law.intervals == {"intercept": None, "slope": None}
    assert law.predict(np.array([1000.0])) == pytest.approx([13171])


def test_with_the_origin_it_is_the_published_recipe() -> None:
    cells = curve(noisy_line(0), 4)
    means = [np.mean(cell.passed) for cell in cells]
    slope, intercept = np.polyfit([0, *FACTS], [0, *means], 1)
    assert linear(cells, origin=True).values == pytest.approx(
        {"intercept": intercept, "slope": slope}
    )
    assert as_published(cells)["slope"] == pytest.approx(slope)
    slope, intercept = np.polyfit(FACTS, means, 1)
    assert linear(cells).values == pytest.approx({"intercept": intercept, "slope": slope})


@pytest.mark.parametrize("replicates", [2, 3, 10])
def test_intervals_cover_the_truth(replicates: int) -> None:
    tables = [curve(noisy_line(seed), replicates) for seed in range(150)]
    for name, truth in (("slope", 12.0), ("intercept", 5000.0)):
        found = [linear(cells, draws=200).intervals[name] for cells in tables]
        covered = np.mean(
            [interval is not None and interval[0] <= truth <= interval[1] for interval in found]
        )
        assert 0.88 <= covered <= 0.99


def test_intervals_cover_the_truth_under_censoring() -> None:
    found = [
        linear(curve(noisy_line(seed), 3, top=10_900), draws=200).intervals["slope"]
        for seed in range(150)
    ]
    assert (
        0.88
        <= np.mean(
            [interval is not None and interval[0] <= 12 <= interval[1] for interval in found]
        )
        <= 0.99
    )


def test_censored_answers_keep_the_slope_where_dropping_them_does_not() -> None:
    tables = [curve(noisy_line(seed), 5, top=10_900) for seed in range(80)]
    tables = [cells for cells in tables if 0 < cells[-1].censored < 5]
    assert len(tables) > 40
    kept = np.mean([linear(cells, draws=0).values["slope"] for cells in tables])
    dropped = np.mean(
        [np.polyfit(FACTS, [np.mean(cell.passed) for cell in cells], 1)[0] for cells in tables]
    )
    assert kept == pytest.approx(12, rel=0.03)
    assert dropped < 0.95 * 12


def test_relative_noise_weighs_small_models_as_much_as_large_ones() -> None:
    rng = np.random.default_rng(3)
    tables = [
        curve(
            lambda facts: (2000 + 8 * facts) * np.exp(rng.normal(0, 0.15)),
            3,
            [8, 64, 512, 4096, 32768],
        )
        for _ in range(40)
    ]
    plain = np.std([linear(cells, draws=0).values["intercept"] for cells in tables])
    relative = np.std(
        [linear(cells, noise="relative", draws=0).values["intercept"] for cells in tables]
    )
    assert relative < plain / 5


def test_a_plateau_is_told_from_a_logarithm() -> None:
    rng = np.random.default_rng(0)
    facts = [2**power for power in range(3, 14)]
    level = curve(
        lambda count: min(4000 + 2500 * np.log2(count / 8), 24_000) + rng.normal(0, 1500),
        3,
        facts,
        recall="in_tool",
    )
    flat, rising = plateau(level), logarithm(level)
    assert flat.aicc < rising.aicc - 2
    assert flat.values["value"] == pytest.approx(24_000, rel=0.05)
    assert 1024 <= flat.values["knee"] <= 4096
    low, high = flat.intervals["value"] or (0, 0)
    assert low <= 24_000 <= high
    assert flat.predict(np.array([8.0, 8192.0])) == pytest.approx([4000, 24_000], rel=0.2)


def test_a_logarithm_is_told_from_a_plateau() -> None:
    rng = np.random.default_rng(0)
    cells = curve(
        lambda facts: 3000 + 2000 * np.log2(facts) + rng.normal(0, 500), 3, recall="in_tool"
    )
    rising = logarithm(cells)
    assert rising.aicc < plateau(cells).aicc - 2
    assert rising.values["per_doubling"] == pytest.approx(2000, rel=0.1)


def test_a_level_curve_is_a_plateau_from_the_first_number_of_facts() -> None:
    rng = np.random.default_rng(1)
    law = plateau(curve(lambda _: 20_000 + rng.normal(0, 1000), 3, recall="in_tool"))
    assert law.values["knee"] == FACTS[0]
    assert law.values["per_doubling"] == 0
    assert law.values["value"] == pytest.approx(20_000, rel=0.05)


def test_a_band_holds_the_law_and_widens_away_from_the_data() -> None:
    law = linear(curve(noisy_line(0), 3))
    at = np.array([32.0, 200.0, 5000.0])
    bands = [band or (0.0, 0.0) for band in law.band(at)]
    assert all(
        low <= said <= high for (low, high), said in zip(bands, law.predict(at), strict=True)
    )
    assert bands[2][1] - bands[2][0] > 3 * (bands[1][1] - bands[1][0])


@pytest.mark.parametrize("replicates", [1, 3])
def test_where_replicates_tell_nothing_the_scatter_of_the_cells_does(replicates: int) -> None:
    steps = {32: 6248, 64: 6248, 128: 10908, 256: 10908, 512: 16592}
    cells = curve(lambda facts: steps[round(facts)], replicates)
    known = linregress(FACTS, list(steps.values()))
    half = student.ppf(0.975, 3) * known.stderr
    law = linear(cells)
    assert law.intervals["slope"] == pytest.approx((known.slope - half, known.slope + half))
    [low, high] = law.band(np.array([512.0]))[0] or (0, 0)
    assert low < law.predict(np.array([512.0]))[0] < high
    assert all(interval is not None for interval in logarithm(cells).intervals.values())


def test_fewer_than_three_cells_are_no_law() -> None:
    with pytest.raises(UserError, match="three numbers of facts"):
        linear(curve(noisy_line(0), 5, [32, 64]))


def test_the_same_answers_give_the_same_law() -> None:
    cells = curve(noisy_line(0), 3, top=10_900)
    assert linear(cells).to_json() == linear(cells).to_json()


@pytest.mark.parametrize(
    ("in_weight", "in_tool", "expected"),
    [
        ([1, 2, 9, 9], [5, 5, 5, 5], (64, 128)),
        ([1, 9, 2, 9], [5, 5, 5, 5], (128, 256)),
        ([1, 2, 3, 4], [5, 5, 5, 5], (256, None)),
        ([9, 9, 9, 9], [5, 5, 5, 5], (None, 32)),
    ],
)
def test_where_the_curves_cross(
    in_weight: list[int], in_tool: list[int], expected: tuple[int | None, int | None]
) -> None:
    def cells(sizes: list[int], recall: str) -> list[Cell]:
        return [
            Cell(recall, facts, (Answer(0, size, True, "d", None, 1),))
            for facts, size in zip(FACTS, sizes, strict=False)
        ]

    assert crossing(cells(in_weight, "in_weight"), cells(in_tool, "in_tool")) == expected


def test_a_censored_in_tool_cell_decides_no_crossing() -> None:
    weight = [Cell("in_weight", 32, (Answer(0, 9, True, "d", None, 1),))]
    tool = [Cell("in_tool", 32, (Answer(0, 5, False, "d", None, 1),))]
    assert crossing(weight, tool) == (None, None)


def test_the_cost_says_why_a_law_is_missing_and_is_plain_json() -> None:
    cost = Cost.of(curve(noisy_line(0), 2) + curve(lambda _: 9e9, 2, top=1000, recall="in_tool"))
    assert "three numbers of facts" in cost.why["in_tool"]
    said = json.loads(json.dumps(cost.to_json(), allow_nan=False))
    assert said["in_weight"]["linear"]["slope"] == pytest.approx(12, rel=0.2)
    assert said["in_tool"] == {
        "plateau": None,
        "logarithm": None,
        "better": None,
        "aicc_margin": None,
    }
    assert said["published"] == {"slope": 8.138, "intercept": 5171.0}
