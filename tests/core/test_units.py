import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.core.units import (
    format_count,
    format_seconds,
    parse_count,
    parse_number,
    parse_seconds,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10M", 10_000_000),
        ("1e6", 1_000_000),
        (1e6, 1_000_000),
        ("1_000", 1000),
        ("2.5k", 2500),
        (7, 7),
        ("3B", 3_000_000_000),
    ],
)
def test_counts_are_read_as_people_write_them(text: object, value: int) -> None:
    assert parse_count(text) == value


@pytest.mark.parametrize(
    "text",
    ["ten", "", "1.5", 1.5, True, None, 0, -3, "10X", "nan", "inf", float("nan"), [1], "1e400"],
)
def test_what_is_no_count_is_refused_with_a_cure(text: object) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse_count(text)


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 1e-3), ("0.01", 0.01), (5, 5.0), ("-2", -2.0), (".5", 0.5)]
)
def test_numbers_that_yaml_takes_for_text(text: object, value: float) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90), ("90s", 90), ("15m", 900), ("15min", 900), ("2h", 7200), ("1d", 86400), (3, 3)],
)
def test_durations(text: object, value: float) -> None:
    assert parse_seconds(text) == value


@pytest.mark.parametrize("text", ["soon", "2 weeks", "-1h", 0, True])
def test_what_is_no_duration_is_refused_with_a_cure(text: object) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse_seconds(text)


@given(st.integers(1, 10**18))
def test_a_count_survives_any_of_its_forms(count: int) -> None:
    assert parse_count(count) == parse_count(str(count)) == parse_count(f"{count:_}") == count


@given(st.floats(1, 1e17))
def test_a_formatted_count_is_within_its_digits(value: float) -> None:
    text = format_count(value)
    suffix = {"k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
    shown = float(text.rstrip("kMBTPE")) * suffix.get(text[-1], 1.0)
    assert math.isclose(shown, value, rel_tol=6e-3)


def test_formatted_seconds() -> None:
    assert [format_seconds(value) for value in (0.25, 59, 61, 7321, 90061)] == [
        "0.2s",
        "59s",
        "1m 1s",
        "2h 2m",
        "1d 1h",
    ]
