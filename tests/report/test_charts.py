"""Axes that can be read, themes, and pictures without a network."""

from typing import Any

import altair as alt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.report.charts.axes import (
    PLAIN_LABEL,
    POWER_LABEL,
    SIZE_LABEL,
    log_domain,
    log_ticks,
    log_x,
    log_y,
    thinned,
)
from scalelab.report.charts.marks import finished, layer
from scalelab.report.charts.themes import (
    THEMES,
    to_png,
    to_svg,
)
from scalelab.report.figure import Drawing


def test_ticks_are_one_two_five_or_tens_where_those_are_too_many() -> None:
    assert log_ticks(1900, 31_000) == [2000, 5000, 10_000, 20_000]
    assert log_ticks(2, 5e8) == [10.0**power for power in range(1, 9)]


def test_where_one_two_five_are_too_few_there_are_finer_or_even_ticks() -> None:
    assert log_ticks(2, 4) == [2, 3, 4]
    assert log_ticks(2.01, 2.05) == [2.01, 2.02, 2.03, 2.04]
    assert log_ticks(1e-3, 1e30) == [1e0, 1e4, 1e8, 1e12, 1e16, 1e20, 1e24, 1e28]


@given(st.floats(1e-9, 1e25), st.floats(1.01, 1e12))
def test_ticks_lie_within_and_are_neither_many_nor_too_few(low: float, ratio: float) -> None:
    ticks = log_ticks(low, low * ratio)
    assert all(low <= tick <= low * ratio for tick in ticks)
    assert 2 <= len(ticks) <= 10
    assert ticks == sorted(set(ticks))


@given(st.lists(st.floats(1e-6, 1e24), min_size=1, max_size=9))
def test_a_log_domain_holds_its_values_with_room(values: list[float]) -> None:
    low, high = log_domain([*values, 0.0, -1.0])
    assert 0 < low < min(values)
    assert high > max(values)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=60, unique=True))
def test_thinned_values_keep_the_last_and_are_few(values: list[int]) -> None:
    kept = thinned(values)
    assert set(kept) <= set(values)
    assert len(kept) <= 9
    assert kept[-1] == max(values)


def test_a_chart_names_no_colour_and_each_theme_gives_its_own(drawing: Drawing) -> None:
    chart = drawing.panels[0].chart
    assert "#" not in str({key: value for key, value in chart.items() if key != "$schema"})
    pictures = {theme: to_svg(chart, theme) for theme in THEMES}
    for theme, picture in pictures.items():
        for colour in THEMES[theme]["range"]["category"][:2]:
            assert colour in picture
    assert pictures["light"] != pictures["dark"]


def test_the_picture_has_its_labels(drawing: Drawing) -> None:
    picture = to_svg(drawing.panels[0].chart)
    for label in (
        ">32<",
        ">128<",
        ">1,024<",
        ">5K<",
        ">10K<",
        ">in-weight<",
        ">in-tool<",
        ">published line<",
    ):
        assert label in picture


@pytest.mark.parametrize(
    ("label", "values", "shown"),
    [
        (SIZE_LABEL, (1e3, 1e9), (">10M<", ">1B<")),
        (POWER_LABEL, (1e18, 1e21), (">1e18<", ">1e21<")),
        (PLAIN_LABEL, (0.02, 20.0), (">0.05<", ">20<")),
    ],
)
def test_labels_of_log_axes_can_be_read(
    label: str, values: tuple[float, float], shown: tuple[str, ...]
) -> None:
    rows = [{"x": value, "y": value} for value in values]
    chart = layer(
        "rows", log_x("x:Q", "x", values, label), log_y("y:Q", "y", values, label)
    ).mark_point()
    picture = to_svg(finished(chart, {"rows": rows}))
    for text in shown:
        assert text in picture


def contrast(first: str, second: str) -> float:
    """The ratio of WCAG 2, of two colours `#rrggbb`."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES.values(), ids=list(THEMES))
def test_lines_stand_out_from_the_paper_and_more_stands_out_further(theme: dict[str, Any]) -> None:
    paper = theme["background"]
    assert all(contrast(colour, paper) > 2.3 for colour in theme["range"]["category"])
    steps = [contrast(colour, paper) for colour in theme["range"]["ramp"]]
    assert steps == sorted(steps)
    assert steps[0] > 2.3


def test_png_is_a_picture_at_twice_the_size(drawing: Drawing) -> None:
    png = to_png(drawing.panels[0].chart)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(png[16:20], "big") == pytest.approx(2 * 830, abs=80)


def test_a_gradient_has_the_same_name_in_every_picture_of_a_chart() -> None:
    ramp = alt.Color("value:Q", scale=alt.Scale(range="ramp"))
    chart = finished(layer("rows", ramp).mark_point(), {"rows": [{"value": 1}, {"value": 2}]})
    first = to_svg(chart)
    assert "url(#gradient_" in first
    assert to_svg(chart) == first
