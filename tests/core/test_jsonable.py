"""NaN and infinity have a form in JSON, and come back from it."""

import json
from math import inf, isnan, nan

import pytest

from scalelab.core.jsonable import compact_json, from_word, mapped, with_nulls, with_words

VALUE = {"a": (1, nan, [inf, {"b": -inf}]), "c": 2.5, "d": "nan", "e": None, "f": True}


def test_what_is_no_number_is_null() -> None:
    assert with_nulls(VALUE) == {
        "a": [1, None, [None, {"b": None}]],
        "c": 2.5,
        "d": "nan",
        "e": None,
        "f": True,
    }
    assert with_nulls(nan) is None


def test_what_is_no_number_is_a_word_that_can_be_read_back() -> None:
    words = with_words(VALUE)
    assert words["a"] == [1, "nan", ["inf", {"b": "-inf"}]]
    assert isnan(from_word("nan"))
    assert [from_word(value) for value in ("inf", "-inf", 2.5)] == [inf, -inf, 2.5]
    with pytest.raises(KeyError):
        from_word("1.5")


def test_every_float_and_nothing_else_is_mapped() -> None:
    assert mapped({"a": [1.0, 2, "3.0", (4.0,)]}, lambda number: -number) == {
        "a": [-1.0, 2, "3.0", [-4.0]]
    }


def test_the_compact_form_is_json() -> None:
    assert compact_json({"b": [1, "é"], "a": None}) == '{"b":[1,"\\u00e9"],"a":null}'
    assert json.loads(compact_json(with_nulls(VALUE)))["c"] == 2.5
    with pytest.raises(ValueError, match="not JSON compliant"):
        compact_json([nan])
