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
    [
        "ten",
        "",
        "1.5",
        1.5,
        True,
        None,
        0,
        -3,
        "10X",
        "1e",
        "1p",
        "nan",
        "inf",
        float("nan"),
        float("inf"),
        [1],
        "1e400",
        10**400,
        "1e99999999999999999999",
        "1e-99999999999999999999",
        "1e999999999999999999k",
        "9" * 10_000 + "!",
    ],
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
    [
        ("90", 90),
        ("90s", 90),
        ("15m", 900),
        ("15min", 900),
        ("2h", 7200),
        ("1d", 86400),
        (3, 3),
        ("1.5h", 5400),
        ("2h30m", 9000),
        ("1d 2h", 93_600),
        ("1h 30m 5s", 5405),
        ("1:30", 90),
        ("90:00", 5400),
        ("1:30:00", 5400),
        ("2-6", 2 * 86400 + 6 * 3600),
        ("1-02:30", 86400 + 9000),
        ("1-02:03:04", 93_784),
    ],
)
def test_durations(text: object, value: float) -> None:
    assert parse_seconds(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "soon",
        "2 weeks",
        "-1h",
        0,
        True,
        None,
        "",
        "0s",
        "2h30",
        "30m 2h",
        "1h -3m",
        "1:75",
        "1-25:00",
        "1:2:3:4",
        "1e999s",
        "1e99999999999999999999",
        "9" * 10_000,
        float("nan"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_cure(text: object) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse_seconds(text)


def test_a_formatted_count_is_read_back() -> None:
    assert parse_count("9.22E") == 9_220_000_000_000_000_000
    assert (parse_count("1.5P"), parse_number("1e+03E")) == (15 * 10**14, 1e21)


@given(st.floats(1e-6, 1e24))
def test_a_formatted_number_is_read_back_within_its_digits(value: float) -> None:
    assert math.isclose(parse_number(format_count(value)), value, rel_tol=6e-3)


@given(st.integers(1, 9 * 10**18))
def test_a_formatted_count_is_whole_again(count: int) -> None:
    assert math.isclose(parse_count(format_count(count)), count, rel_tol=6e-3)


@given(st.floats(0, 0.1, exclude_min=True))
def test_formatted_fractions_of_a_second_are_read_back_within_two_digits(seconds: float) -> None:
    # The digits of numbers below the least normal one are fewer.
    assert math.isclose(
        parse_seconds(format_seconds(seconds)), seconds, rel_tol=0.051, abs_tol=1e-322
    )


@given(st.floats(0.1, 1e9))
def test_formatted_seconds_are_read_back_within_their_second_unit(seconds: float) -> None:
    smaller = next(
        (size for unit, size in ((86400, 3600), (3600, 60), (60, 1)) if seconds >= unit - 0.5), 0.51
    )
    smaller = 0.06 if seconds < 9 else smaller
    assert abs(parse_seconds(format_seconds(seconds)) - seconds) <= smaller


@given(st.integers(1, 10**9))
def test_durations_as_slurm_writes_them(seconds: int) -> None:
    minutes, s = divmod(seconds, 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    for text in (f"{minutes}:{s:02}", f"{hours}:{m:02}:{s:02}", f"{days}-{h:02}:{m:02}:{s:02}"):
        assert parse_seconds(text) == seconds


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
    assert [format_seconds(value) for value in (0.0312, 0.25, 59, 61, 7321, 90061)] == [
        "0.031s",
        "0.2s",
        "59s",
        "1m 1s",
        "2h 2m",
        "1d 1h",
    ]


@pytest.mark.parametrize("text", ["\u0663", "\uff19\uff15", "1.\u0665", "1e\u0663", "\u0661k"])
def test_digits_are_ascii(text: str) -> None:
    for parse in (parse_number, parse_count, parse_seconds):
        with pytest.raises(ValueError, match="is not a"):
            parse(text)
