"""Streamed text is what the whole text is, cut before the first stop string, and never
taken back.
"""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelab.data.text.tokenizers import Bytes
from scalelab.generate.writing import Writer

BYTES = Bytes()


class Spaced:
    """Words; a space stands before every word but the first, as SentencePiece has it."""

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join("abcdefghij"[token] for token in ids)


def written(writer: Writer, tokens: Sequence[int]) -> list[str]:
    pieces: list[str] = []
    for token in tokens:
        pieces.append(writer.push(token))
        if writer.stopped:
            return pieces
    return [*pieces, writer.close()]


def cut(text: str, stops: Sequence[str]) -> str:
    """Character by character, until a stop string is complete."""
    for end in range(len(text) + 1):
        complete = [len(stop) for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(complete)]
    return text


@given(st.text("aé€😀", max_size=12), st.binary(max_size=40))
@settings(max_examples=300)
def test_pieces_add_up_to_the_text(prompt: str, more: bytes) -> None:
    assert "".join(written(Writer(BYTES, list(prompt.encode())), more)) == more.decode(
        errors="replace"
    )


@given(
    st.text("ab😀\n", max_size=30), st.lists(st.text("ab😀\n", min_size=1, max_size=4), max_size=3)
)
@settings(max_examples=300)
def test_text_ends_before_the_first_stop_string(text: str, stops: list[str]) -> None:
    writer = Writer(BYTES, [65], stops)
    assert "".join(written(writer, list(text.encode()))) == cut(text, stops)
    assert writer.stopped == any(stop in text for stop in stops)


@given(
    st.text("ab😀", max_size=20),
    st.lists(st.text("ab😀", min_size=1, max_size=3), min_size=1, max_size=3),
)
def test_a_stop_string_ends_the_text_with_the_token_that_completes_it(
    text: str, stops: list[str]
) -> None:
    tokens = list(text.encode())
    needed = [
        count
        for count in range(len(tokens) + 1)
        if any(stop in bytes(tokens[:count]).decode(errors="ignore") for stop in stops)
    ]
    pieces = written(Writer(BYTES, [65], stops), tokens)
    assert len(pieces) == (needed[0] if needed else len(tokens) + 1)


def test_a_character_appears_with_its_last_byte_and_plain_text_at_once() -> None:
    writer = Writer(BYTES, [])
    assert [writer.push(token) for token in "a😀b".encode()] == ["a", "", "", "", "😀", "b"]


def test_what_may_begin_a_stop_string_is_held_back_until_it_is_decided() -> None:
    writer = Writer(BYTES, [], ["\n\nX"])
    assert [writer.push(token) for token in b"a\n\n\nb"] == ["a", "", "", "\n", "\n\nb"]


def test_bytes_that_begin_nothing_are_shown_and_an_unfinished_character_is_shown_at_the_end() -> (
    None
):
    writer = Writer(BYTES, [])
    assert writer.push(0xF0) == ""
    assert writer.push(0x41) == "\ufffdA"
    assert writer.push(0xE2) == ""
    assert writer.close() == "\ufffd"


@pytest.mark.parametrize("count", [1, 7, 8, 9, 40, 100])
def test_spaces_between_words_are_kept_across_windows_and_behind_the_prompt(count: int) -> None:
    tokens = [at % 10 for at in range(count)]
    assert "".join(written(Writer(Spaced(), [3, 4]), tokens)) == " " + Spaced().decode(tokens)
