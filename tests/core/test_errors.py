"""An error is one line of a bounded length, whatever was typed."""

import copy
import pickle  # noqa: TID251 (what is read was written here)
from typing import Any

import pytest
from pydantic import Field, ValidationError, field_validator

from scalelab.core.errors import LONGEST, LONGEST_WORD, Unreadable, UserError
from scalelab.core.spec import Spec, fault_of
from scalelab.core.units import Count


@pytest.mark.parametrize("text", ["x" * 10**6, "[ " * 10**5, "ab c " * 10**4])
def test_input_is_not_echoed_whole(text: str) -> None:
    sentence = str(UserError(f"{text!r} is no count", cure=f"not {text}", where=f"--set {text}"))
    assert len(sentence) < sum(LONGEST.values()) + 10
    assert sentence.startswith(f"--set {text[:50]}")
    assert "is no count; " in sentence
    assert sentence.count(" characters) ... ") == 3
    assert max(map(len, sentence.split(" "))) <= LONGEST_WORD


def test_what_is_short_stays_as_it_is() -> None:
    path = "/".join(["folder"] * 30)
    error = UserError("the width is 7.5, no whole number", cure="take 8", where=f"{path}/a.yaml:3")
    assert str(error) == f"{path}/a.yaml:3: the width is 7.5, no whole number; take 8"


def test_an_error_gets_its_place_and_what_it_is_about() -> None:
    error = UserError("7.5; is no count", cure="take 8; or 9")
    placed = error.at("a:3", about="the width: ", cure="see the docs")
    assert (placed.what, placed.cure, placed.where) == (
        "the width: 7.5; is no count",
        "take 8; or 9",
        "a:3",
    )
    assert UserError("no count").at("a:3", cure="see the docs").cure == "see the docs"
    assert placed.at("b:4").where == "a:3"
    assert (error.what, error.where) == ("7.5; is no count", "")


class Missing(Unreadable):
    """Its arguments are not those of a UserError."""

    def __init__(self, path: str, size: int) -> None:
        super().__init__(f"`{path}` is missing", cure="make it", home=path)
        self.size = size


@pytest.mark.parametrize("error", [UserError("x", cure="y", where="z"), Missing("a", 3)])
def test_errors_are_copied_and_pickled_with_all_that_they_hold(error: UserError) -> None:
    for same in (copy.copy(error), pickle.loads(pickle.dumps(error)), error.at(error.where)):
        assert type(same) is type(error)
        assert vars(same) == vars(error)
        assert str(same) == str(error)


class Part(Spec):
    count: Count
    ratio: float = Field(default=0.5, lt=1)

    @field_validator("ratio")
    @classmethod
    def _is_odd(cls, ratio: float) -> float:
        if ratio == 0:
            raise ValueError("Zero; of all numbers")
        if ratio < 0:
            raise UserError("Below zero", cure="take more", paths=["model.width"])
        return ratio


@pytest.mark.parametrize(
    ("data", "what", "cure", "paths"),
    [
        ({"count": "a; b"}, "'a; b' is not a number", "write it like 16, 10k or 1e6", ()),
        ({"count": 1, "ratio": 2}, "input should be less than 1", "", ()),
        ({"count": 1, "ratio": 0}, "zero; of all numbers", "", ()),
        ({"count": 1, "ratio": -1}, "below zero", "take more", ("model.width",)),
    ],
)
def test_what_a_validator_says_keeps_its_fields(
    data: dict[str, Any], what: str, cure: str, paths: tuple[str, ...]
) -> None:
    with pytest.raises(ValidationError) as raised:
        Part.model_validate(data)
    fault = fault_of(raised.value.errors()[0])
    assert (fault.what, fault.cure, fault.paths) == (what, cure, paths)


def test_control_characters_are_escaped() -> None:
    sentence = str(UserError("`\x1b[31m\x00\n\u202e` is no key", where="a\nb.yaml"))
    assert sentence == r"a\nb.yaml: `\x1b[31m\x00\n\u202e` is no key"
