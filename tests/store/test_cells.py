"""Numbers as people write them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.store.cells import (
    DecimalMark,
    decimal_mark,
    is_missing,
    is_not_finite,
    mark_of,
    number,
    typed,
    with_unit,
)


@pytest.mark.parametrize(
    ("text", "mark", "value"),
    [
        ("13.70", ".", "13.7"),
        ("10,000,000", ".", "10000000"),
        ("1,234.5", ".", "1234.5"),
        ("10.000.000", ",", "10000000"),
        ("1.234,56", ",", "1234.56"),
        ("6,4324", ",", "6.4324"),
        ("1,5E+09", ",", "1.5e9"),
        ("1.5E+009", ".", "1.5e9"),
        ("10 000 000", ".", "10000000"),
        ("10\u00a0000\u00a0000,5", ",", "10000000.5"),
        ("10\u202f000", ",", "10000"),
        ("10'000'000", ".", "10000000"),
        ("10\u2019000.5", ".", "10000.5"),
        ("1_000", ".", "1000"),
        ("\u22122.5", ".", "-2.5"),
        ("+3", ".", "3"),
        (".5", ".", "0.5"),
        ("5.", ".", "5"),
        ("13.7M", ".", "13.7e6"),
        ("1,13 B", ",", "1.13e9"),
        ("95.3%", ".", "0.953"),
        ("95,3\u00a0%", ",", "0.953"),
        ("1.5P", ".", "1.5e15"),
        ("2 E", ".", "2e18"),
        ("1.234e+18", ".", "1.234e18"),
        ("1,234E+09", ",", "1.234e9"),
    ],
)
def test_a_number_is_read_exactly(text: str, mark: DecimalMark, value: str) -> None:
    found = number(text, mark)
    assert found is not None
    assert with_unit(*found) == Decimal(value)


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("high", "."),
        ("1,5", "."),
        ("1.5", ","),
        ("1,00,000", "."),
        ("1.2.3", "."),
        ("10,000 000", "."),
        ("$5", "."),
        ("5 kg", "."),
        ("12e", "."),
        ("0x10", "."),
        ("2024-11-03", "."),
        ("1" * 300, "."),
        ("\u0661\u0662", "."),
        ("1.5p", "."),
        ("1.234e+18", ","),
        ("1,234E+09", "."),
    ],
)
def test_what_is_no_number_is_none(text: str, mark: DecimalMark) -> None:
    assert number(text, mark) is None


@pytest.mark.parametrize("text", ["1e999999999999999999", "1e-99999999", "1e401", "1e-400"])
def test_an_absurd_exponent_is_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError, match="out of range"):
        number(text, ".")


@pytest.mark.parametrize(
    ("cells", "delimiter", "mark"),
    [
        (["6,4324", "10000000"], ";", ","),
        (["6.4324", "10000000"], ";", "."),
        (["6,4324", "1,234"], ",", ","),
        (["6.4324", "1,234"], ",", "."),
        (["10,000,000", "1,234"], ",", "."),
        (["10.000.000", "1.234"], ";", ","),
        (["1.234,5", "1.234"], "\t", ","),
        (["0,123"], ";", ","),
        (["1 234,567"], ";", ","),
        (["1.234", "2.345"], ",", "."),
        (["7", "8"], ";", "."),
        (["1.234e+18"], ";", "."),
        (["1,234E+09", "1.234"], ",", ","),
        (["high", "1.2.3", ""], ";", "."),
    ],
)
def test_the_decimal_mark_is_that_of_all_numbers(
    cells: list[str], delimiter: str, mark: str
) -> None:
    assert decimal_mark([("row", cell) for cell in cells], delimiter) == mark


@pytest.mark.parametrize(
    ("cells", "delimiter", "says"),
    [
        (["1,234"], ",", "decimal"),
        (["1,234", "7"], ";", "decimal"),
        (["1.234"], ";", "decimal"),
        (["1.234"], "\t", "decimal"),
        (["1.5", "2,5"], ";", "one way"),
        (["1.234e+18", "2,5"], ";", "one way"),
        (["0.5", "1,234E+09"], ",", "one way"),
    ],
)
def test_what_could_be_both_is_refused(cells: list[str], delimiter: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        decimal_mark([("row 1", cell) for cell in cells], delimiter)


@given(value=st.decimals(-(10**12), 10**12, places=4))
def test_a_number_is_the_same_in_every_country(value: Decimal) -> None:
    english, plain = f"{value:,}", f"{value:f}"
    german = english.translate(str.maketrans(",.", ".,"))
    french = german.replace(".", "\u202f")
    readings = [(plain, "."), (english, "."), (german, ","), (french, ",")]
    for text, mark in readings:
        assert number(text, "." if mark == "." else ",") == (value, "")
    assert mark_of(english)[0] == "."
    assert mark_of(german)[0] == ","


@pytest.mark.parametrize("text", ["", "NaN", "nan", "N/A", "None", "NULL", "-", "#DIV/0!", "#N/A"])
def test_words_for_a_missing_value(text: str) -> None:
    assert is_missing(text)


def test_words_for_infinity() -> None:
    assert all(map(is_not_finite, ["NaN", "inf", "-inf", "Infinity", "-Infinity", "\u221e"]))
    assert not any(map(is_not_finite, ["1e999", "info", ""]))


def test_a_column_is_numbers_where_every_cell_is_one() -> None:
    assert typed(["1", "", "3"], ".") == [1, None, 3]
    assert typed(["1", "nan", "2.5"], ".") == [1.0, None, 2.5]
    assert typed(["1,5", "2"], ",") == [1.5, 2.0]
    assert typed(["1,000", "2"], ".") == [1000, 2]
    assert typed(["1", "N/A", "x"], ".") == ["1", "N/A", "x"]
    assert typed(["5M"], ".") == ["5M"]
    assert typed(["9" * 5000, "1e999"], ".") == ["9" * 5000, "1e999"]
