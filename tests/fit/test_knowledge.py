"""Capacity: points by size, the law recovered from bits made by it, intervals that hold the truth,
and the bound that nothing passes.
"""

import numpy as np
import polars as pl
import pytest

from scalelab.core.errors import UserError
from scalelab.fit.knowledge import Point, above_limit, capacity, points


def point(
    params: float,
    data: float,
    per_param: float,
    *,
    m: float = 4.0,
    noise: tuple[float, ...] = (0.0,),
) -> Point:
    limit = per_param * (params - 2000)
    bits = data / (1 + (data / limit) ** m) ** (1 / m)
    found = tuple(min(data, bits * (1 + part)) for part in noise)
    return Point(
        100,
        1000.0,
        params,
        data,
        found,
        (0.5,) * len(found),
        tuple(f"{params}/{data}/{part}" for part in noise),
    )


def grid(per_param: float = 1.9, noise: float = 0.0, seed: int = 0) -> list[Point]:
    rng = np.random.default_rng(seed)
    sizes, data = (4e3, 8e3, 16e3, 32e3, 64e3), (2e4, 4e4, 8e4)
    return [
        point(size, bits, per_param, noise=tuple(noise * rng.normal(size=3)))
        for size in sizes
        for bits in data
    ]


def test_the_law_is_recovered_from_exact_bits() -> None:
    law = capacity(grid(), draws=10)
    assert law.per_param == pytest.approx(1.9, rel=1e-4)
    assert law.overhead == pytest.approx(2000, rel=1e-3)
    assert law.sharpness == pytest.approx(4, rel=1e-3)
    assert law.limit(np.array([12e3]))[0] == pytest.approx(19e3, rel=1e-4)
    assert law.predict(np.array([16e3]), np.array([4e4]))[0] == pytest.approx(
        point(16e3, 4e4, 1.9).mean, rel=1e-4
    )


def test_sizes_that_know_all_there_is_do_not_pull_the_line_down() -> None:
    fewer = [one for one in grid() if one.bits_max > 3e4]
    assert capacity(grid(), draws=10).per_param == pytest.approx(
        capacity(fewer, draws=10).per_param, rel=1e-3
    )


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    hits = 0
    for seed in range(40):
        interval = capacity(grid(noise=0.03, seed=seed), draws=200, seed=seed).per_param_interval
        assert interval is not None
        hits += interval[0] <= 1.9 <= interval[1]
    assert hits >= 34


def test_without_replicates_the_interval_comes_from_the_scatter_about_the_law() -> None:
    single = [
        Point(
            one.people,
            one.exposures,
            one.params,
            one.bits_max,
            one.bits[:1],
            (1.0,),
            one.digests[:1],
        )
        for one in grid(noise=0.02)
    ]
    interval = capacity(single, draws=50).per_param_interval
    assert interval is not None
    assert interval[0] < 1.9 < interval[1]
    assert interval[1] - interval[0] < 0.4


def test_the_same_points_give_the_same_law() -> None:
    first, again = capacity(grid(noise=0.03), draws=50), capacity(grid(noise=0.03), draws=50)
    assert first.to_json() == again.to_json()
    band = first.band(np.array([8e3, 64e3]))
    assert all(
        one is not None and one[0] < limit < one[1]
        for one, limit in zip(band, first.limit(np.array([8e3, 64e3])), strict=True)
    )


def test_too_few_sizes_that_are_full_are_refused() -> None:
    full = [point(size, 1e3, 1.9) for size in (4e3, 8e3, 16e3, 32e3)]
    with pytest.raises(UserError, match="three sizes that have not learned all there is"):
        capacity(full)


def test_nothing_learns_more_than_there_is() -> None:
    wrong = Point(100, 1000.0, 8e3, 1e4, (9e3, 1.01e4), (1.0, 1.0), ("a", "b"))
    assert above_limit([*grid(), wrong]) == [wrong]


def row(digest: str, **changed: object) -> dict[str, object]:
    plain = {
        "digest": digest,
        "state": "done",
        "task.people": 100,
        "exposures": 100.0,
        "params.used": 5000,
        "metrics.bits": 4000.0,
        "metrics.bits_max": 6000.0,
        "metrics.recall": 0.5,
    }
    return {**plain, **changed}


def test_points_gather_replicates_and_leave_out_what_has_no_result() -> None:
    table = [
        row("a"),
        row("b", **{"metrics.bits": 4400.0}),
        row("a"),
        row("c", state="diverged"),
        row("d", **{"metrics.bits": None}),
        row("e", exposures=1000.4),
        row("f", **{"params.used": 9000}),
    ]
    found = points(pl.DataFrame(table))
    assert [(one.exposures, one.params, len(one.bits)) for one in found] == [
        (100, 5000, 2),
        (100, 9000, 1),
        (1000, 5000, 1),
    ]
    assert found[0].digests == ("a", "b")
    assert found[0].per_param == pytest.approx(0.84)
    assert found[0].demanded == pytest.approx(1.2)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(UserError, match=r"params\.used"):
        points(pl.DataFrame([row("a")]).drop("params.used"))
