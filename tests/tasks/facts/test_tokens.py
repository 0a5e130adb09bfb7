"""Text is its bytes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scalelab.tasks.facts.tokens import ASSISTANT, DATABASE, EOD, USER, VOCAB, decode, encode


@given(st.text(st.characters(codec="utf-8")))
def test_text_comes_back(text: str) -> None:
    tokens = encode(text)
    assert tokens.dtype == np.uint16
    assert len(tokens) == len(text.encode())
    assert decode(tokens) == text


@given(st.binary())
def test_any_bytes_have_a_text(data: bytes) -> None:
    assert isinstance(decode(np.frombuffer(data, np.uint8)), str)


def test_turn_tokens_come_after_the_bytes() -> None:
    assert (USER, ASSISTANT, DATABASE, EOD, VOCAB) == (256, 257, 258, 259, 260)
