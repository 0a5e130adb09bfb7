import time

import pytest
from hypothesis import given
from hypothesis import strategies as some

from scalelab.core.canon import sha256
from scalelab.core.errors import UserError
from scalelab.core.filter import compile_filter

ROW = {
    "task.people": 64,
    "task.recall": "in_tool",
    "model.width": 16,
    "model.widths": [8, 16],
    "metrics.recall": None,
    "metrics.loss": 3.25,
    "model.tied": False,
    "params.total": 30_000_000,
    "budget.tokens": 2.0e9,
    "seconds": 7200.0,
    "digest": "1234567",
    "experiment": "facts-vs-params",
    "val loss": 2.5,
}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("task.people <= 64", True),
        ("task.people > 64", False),
        ("task.recall == in_tool", True),
        ("task.recall == 'in_weight'", False),
        ("task.recall != in_weight and model.width in [8, 16]", True),
        ("not task.people == 64 or model.width not in (16, 24)", False),
        ("not not (task.people == 64)", True),
        ("metrics.recall >= 0.5", False),
        ("metrics.recall == null", True),
        ("metrics.recall != in_tool", True),
        ("model.tied == false", True),
        ("model.width == '16'", True),
        ("model.widths == [8, 16]", True),
        ("task.people > -1", True),
        ("experiment == facts-vs-params", True),
        ('task.recall == "in_tool" and digest == 1234567', True),
        ("'val loss' < 3", True),
        (r"task.recall == 'in\'tool'", False),
    ],
)
def test_filters(text: str, wanted: bool) -> None:
    assert compile_filter(text)(ROW) is wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("params.total >= 30M", True),
        ("params.total > 30M", False),
        ("params.total >= 30 M and model.width == 16", True),
        ("params.total in [10M, 3e7]", True),
        ("params.total not in [10M, 30M]", False),
        ("params.total == '30M'", True),
        ("budget.tokens == 2B and budget.tokens < 0.01T", True),
        ("params.total == 30_000_000", True),
        ("metrics.loss < 325e-2", False),
        ("seconds <= 2h and seconds > 90m", True),
        ("seconds >= 7_200", True),
        ("task.recall == 30M", False),
        ("task.recall == '30M'", False),
        ("30M <= params.total", True),
        ("30M < params.total", False),
        ("1M <= params.total < 30M", False),
        ("1M <= params.total <= 30M and 8 < model.width <= 1k", True),
        ("64 == task.people", True),
        ("model.width > 010", True),
        ("model.width == 0016", True),
        ("model.width in [010, 16]", True),
        ("digest == 01234567", False),
    ],
)
def test_quantities_are_read_as_in_specs(text: str, wanted: bool) -> None:
    assert compile_filter(text)(ROW) is wanted


def test_text_that_looks_like_a_quantity_stays_text() -> None:
    assert compile_filter("size == 30M")({"size": "30M"})
    assert compile_filter("size in ['30M', 1e6]")({"size": "1e6"})
    assert not compile_filter("size == 30M")({"size": "30000000"})


def test_whole_numbers_are_exact() -> None:
    assert not compile_filter("seed == 9007199254740993")({"seed": 9007199254740992})


@given(some.integers(-(10**18), 10**18), some.integers(-(10**18), 10**18))
def test_both_ways_to_write_a_comparison_agree(one: int, other: int) -> None:
    row = {"x": one}
    for sign, flipped in {"<": ">", "<=": ">=", "==": "==", "!=": "!="}.items():
        below, above = f"x {sign} {other}", f"{other} {flipped} x"
        assert compile_filter(below)(row) is compile_filter(above)(row)
    chain = f"{other} <= x < {other + 2}"
    assert compile_filter(chain)(row) is (other <= one < other + 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "task.people <",
        "__import__('os')",
        "f(1) == 2",
        "task.people == f(2)",
        "1 < 2",
        "a < b < c",
        "task",
        "9**9**9 > task.people",
        "task.people == 'open",
        "(task.people == 1",
        "task.people == 1)",
        "task.people in [8, 16",
        "task.people == 1 task.recall == 2",
        "params.total >= 30,000,000",
        "params.total in [30,000]",
        "task.people not 3",
        "\0",
        "task.people == \udcff",
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is no filter"):
        compile_filter(text)(ROW)


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("task.people = 3", "`==`"),
        ("task.people == 3 && model.width == 1", "`and`"),
        ("task.people == 3 AND model.width == 1", "`and`"),
        ("task.people == 3 || model.width == 1", "`or`"),
        ("!(task.people == 3)", "`not`"),
        ("task.people <> 3", "`!=`"),
        ("task.people \N{GREATER-THAN OR EQUAL TO} 3", "`>=`"),
        ("task.people is 3", "`==`"),
        ("task.people => 3", "`>=`"),
        ("task.people between 1 and 2", "compare by"),
        ("params.total >= 30,000,000", "30M"),
    ],
)
def test_what_other_languages_write_has_a_cure(text: str, cure: str) -> None:
    with pytest.raises(UserError) as raised:
        compile_filter(text)
    assert cure in raised.value.cure


@pytest.mark.parametrize(
    "text",
    [
        "(" * 500 + "task.people == 1" + ")" * 500,
        "task.people in " + "[" * 500 + "1" + "]" * 500,
        "task.people == " + "9" * 100_000,
        "task.people == " + "9" * 5_000,
        "task.people == " + "x" * 200_000,
        "(" * 90_000,
        "'" + "\\'" * 45_000,
        "task.people == 1" + " " * 90_000 + "(",
        "not " * 20_000,
        "+" * 90_000,
        "1e" * 40_000,
        "x" * 90_000 + " == 1",
    ],
)
def test_too_much_is_refused_at_once(text: str) -> None:
    began = time.perf_counter()
    with pytest.raises(UserError) as raised:
        compile_filter(text)(ROW)
    assert time.perf_counter() - began < 5  # a machine may be busy; what is quadratic takes minutes
    assert len(str(raised.value)) < 1000


def test_much_is_not_too_much() -> None:
    digests = [sha256(number) for number in range(1000)]
    keep = compile_filter(f"digest in [{', '.join(digests)}]")
    assert keep({"digest": digests[-1]})
    assert not keep({"digest": "f" * 64})
    assert compile_filter(" or ".join(["task.people == 64"] * 2000))(ROW)
    assert compile_filter("(" * 40 + "task.people == 64" + ")" * 40)(ROW)


@pytest.mark.parametrize(
    "text",
    [
        "task.people == many",
        "task.recall <= 3",
        "model.width in 4",
        "task.people > null",
        "task.people == 1e99999999999999999999",
    ],
)
def test_what_does_not_compare_is_a_sentence(text: str) -> None:
    with pytest.raises(UserError, match=r"does not compare with .*; compare numbers with numbers"):
        compile_filter(text)(ROW)


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"did you mean `task\.people`"):
        compile_filter("task.peeple < 3")(ROW)


@given(some.text(alphabet="abc.<>=!()[]'\"\\, \t09eM-+_&|\udcff\0", max_size=60))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        compile_filter(text)(ROW)
    except UserError as error:
        str(error).encode()
