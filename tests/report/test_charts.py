"""Axes that can be read, themes, and pictures without a network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.report.charts import THEMES, log_ticks, thinned, to_png, to_svg
from scalelab.report.figure import Drawing


def test_ticks_are_one_two_five_or_tens_where_those_are_too_many() -> None:
    assert log_ticks(1900, 31_000) == [2000, 5000, 10_000, 20_000]
    assert log_ticks(2, 5e8) == [10.0**power for power in range(1, 9)]


@given(st.floats(1, 1e9), st.floats(1.5, 1e6))
def test_ticks_lie_within_and_are_few(low: float, ratio: float) -> None:
    ticks = log_ticks(low, low * ratio)
    assert all(low <= tick <= low * ratio for tick in ticks)
    assert len(ticks) <= 10


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=60, unique=True))
def test_thinned_values_keep_the_last_and_are_few(values: list[int]) -> None:
    kept = thinned(values)
    assert set(kept) <= set(values)
    assert len(kept) <= 9
    assert kept[-1] == max(values)


def test_a_chart_names_no_colour_and_each_theme_gives_its_own(drawing: Drawing) -> None:
    chart = drawing.chart
    assert "#" not in str({key: value for key, value in chart.items() if key != "$schema"})
    pictures = {theme: to_svg(chart, theme) for theme in THEMES}
    for theme, picture in pictures.items():
        for colour in THEMES[theme]["range"]["category"][:2]:
            assert colour in picture
    assert pictures["light"] != pictures["dark"]


def test_the_picture_has_its_labels(drawing: Drawing) -> None:
    picture = to_svg(drawing.chart)
    for label in (">32<", ">128<", ">1,024<", ">5K<", ">10K<", ">in-weight<", ">in-tool<", ">published line<"):
        assert label in picture


def test_png_is_a_picture_at_twice_the_size(drawing: Drawing) -> None:
    png = to_png(drawing.chart)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(png[16:20], "big") == pytest.approx(2 * 830, abs=80)
