import pytest

from scalelab.core.errors import UserError
from scalelab.core.filter import compile_filter

ROW = {
    "task.people": 64,
    "task.recall": "in_tool",
    "model.width": 16,
    "metrics.recall": None,
    "model.tied": False,
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
        ("metrics.recall >= 0.5", False),
        ("metrics.recall == null", True),
        ("model.tied == false", True),
        ("model.width == '16'", True),
        ("task.people > -1", True),
    ],
)
def test_filters(text: str, wanted: bool) -> None:
    assert compile_filter(text)(ROW) is wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "task.people <",
        "__import__('os')",
        "f(1) == 2",
        "task.people == f(2)",
        "1 < task.people",
        "a < b < c",
        "task",
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is no filter"):
        compile_filter(text)(ROW)


@pytest.mark.parametrize(
    "text", ["task.people == many", "task.recall <= 3", "model.width in 4", "task.people > null"]
)
def test_what_does_not_compare_is_a_sentence(text: str) -> None:
    with pytest.raises(UserError, match=r"does not compare with .*; compare numbers with numbers"):
        compile_filter(text)(ROW)


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"did you mean `task\.people`"):
        compile_filter("task.peeple < 3")(ROW)
