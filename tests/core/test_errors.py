"""An error is one line of a bounded length, whatever was typed."""

import pytest

from scalelab.core.errors import LONGEST, LONGEST_WORD, UserError


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


@pytest.mark.parametrize(
    ("sentence", "wanted"),
    [
        ("7.5 is no count; take 8; or 9", ("the width: 7.5 is no count", "take 8; or 9", "a:3")),
        ("7.5 is no count", ("the width: 7.5 is no count", "see the docs", "a:3")),
    ],
)
def test_a_parsers_sentence_becomes_an_error(sentence: str, wanted: tuple[str, str, str]) -> None:
    for raised in (sentence, ValueError(sentence)):
        error = UserError.of(raised, about="the width: ", cure="see the docs", where="a:3")
        assert (error.what, error.cure, error.where) == wanted


def test_control_characters_are_escaped() -> None:
    sentence = str(UserError("`\x1b[31m\x00\n\u202e` is no key", where="a\nb.yaml"))
    assert sentence == r"a\nb.yaml: `\x1b[31m\x00\n\u202e` is no key"
