"""Decoding with a cache is the forward pass, whatever comes in one call.

Variants stand in variants.py.
"""

from typing import Any

import pytest
import torch
from tests.families.variants import CONTEXT, LANES, VOCAB, made
from torch import Tensor

from scalelab.families.language_model import LanguageModel
from scalelab.families.layout import Layout
from scalelab.families.transformer.spec import Transformer as Spec

CLOSE = {"rtol": 1e-4, "atol": 2e-5}
GIVEN_B = torch.tensor([5, 11, 8])


@pytest.fixture(params=[0, 2**24], ids=["fused", "by_hand"], autouse=True)
def _scores_by_hand(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalelab.layers.attention.DENSE", request.param)


def read_prompts(model: LanguageModel, tokens_BT: Tensor, cache: Any, expected: Tensor) -> None:
    """Prompts of different lengths, with padding behind them that must do no harm."""
    prompt = torch.where(torch.arange(11) < GIVEN_B[:, None], tokens_BT[:, :11], 0)
    first = model.decode(prompt, cache, Layout(prefix_B=GIVEN_B, length_B=GIVEN_B))
    for lane, length in enumerate(GIVEN_B.tolist()):
        torch.testing.assert_close(first[lane, :length], expected[lane, :length], **CLOSE)


def test_lanes_of_different_lengths(decoder: LanguageModel, tokens_BT: Tensor):
    """Prompts that are longer than the window in one call, then one token a call, and a lane that
    pauses.
    """
    expected = decoder(tokens_BT, Layout(prefix_B=GIVEN_B))
    with torch.inference_mode():
        cache = decoder.new_cache(LANES, CONTEXT)
        read_prompts(decoder, tokens_BT, cache, expected)
        at_B = GIVEN_B.clone()
        for step in range(CONTEXT - 11):
            length_B = torch.tensor([1, 1, step % 2])
            token_B1, layout = (
                tokens_BT.gather(1, at_B[:, None]),
                Layout(length_B=length_B, start_B=at_B),
            )
            found = decoder.decode(token_B1, cache, layout)
            going = length_B > 0
            torch.testing.assert_close(
                found[going, 0], expected[torch.arange(LANES), at_B][going], **CLOSE
            )
            at_B = at_B + length_B


def test_chunks_of_any_size(decoder: LanguageModel, tokens_BT: Tensor):
    """Chunks that go around a ring, one of them longer than it, each lane with its own share of
    padding.
    """
    prefix_B = torch.tensor([4, 2, 3])
    expected = decoder(tokens_BT, Layout(prefix_B=prefix_B))
    generator = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        cache, at_B = decoder.new_cache(LANES, CONTEXT), torch.zeros(LANES, dtype=torch.long)
        for size in (4, 3, 9, 1, 4, 9, 9):
            length_B = (
                torch.randint(size // 2, size + 1, (LANES,), generator=generator)
                if at_B.any()
                else prefix_B
            )
            length_B = length_B.minimum(CONTEXT - at_B)
            place_BT = (at_B[:, None] + torch.arange(size)).clamp(max=CONTEXT - 1)
            chunk_BT = torch.where(
                torch.arange(size) < length_B[:, None], tokens_BT.gather(1, place_BT), VOCAB - 1
            )
            given_B = None if at_B.any() else prefix_B
            layout = Layout(prefix_B=given_B, length_B=length_B, start_B=at_B)
            found = decoder.decode(chunk_BT, cache, layout)
            for lane, length in enumerate(length_B.tolist()):
                begin = int(at_B[lane])
                torch.testing.assert_close(
                    found[lane, :length], expected[lane, begin : begin + length], **CLOSE
                )
            at_B = at_B + length_B
    assert at_B.tolist() == [CONTEXT] * LANES


def test_lanes_leave_the_cache(decoder: LanguageModel, tokens_BT: Tensor):
    kept = torch.tensor([2, 0])
    with torch.inference_mode():
        cache = decoder.new_cache(LANES, CONTEXT)
        decoder.decode(tokens_BT[:, :6], cache)
        layout = Layout(start_B=torch.full((2,), 6))
        found = decoder.decode(tokens_BT[kept, 6:8], cache.select(kept), layout)
    torch.testing.assert_close(found, decoder(tokens_BT)[kept, 6:8], **CLOSE)


@pytest.mark.parametrize(
    ("given", "slots"),
    [
        (Spec(layers=3), 3 * 16),
        (Spec(layers=3, window=4), 3 * 4),
        (Spec(layers=3, window=4, global_every=2), 4 + 16 + 4),
        (Spec(window=99), 2 * 16),
    ],
    ids=["global", "window", "both", "wide_window"],
)
def test_bytes_of_a_cache(given: Spec, slots: int):
    """Keys and values, 2 heads of width 8, 4 bytes; a ring has as many slots as its window."""
    assert made(given).new_cache(5, 16).nbytes == 5 * slots * 2 * 2 * 8 * 4
    with torch.autocast("cpu", torch.bfloat16):
        assert made(given).new_cache(5, 16).nbytes == 5 * slots * 2 * 2 * 8 * 2


def test_padding_is_not_written():
    model = made(Spec(window=4, layers=1))
    tokens_BT = torch.arange(8)[None] % VOCAB
    with torch.inference_mode():
        cache = model.new_cache(1, CONTEXT)
        model.decode(tokens_BT[:, :6], cache)
        before = [x[:, :, :-1].clone() for x in cache.buffers[0, 0]], cache.position_BL[4].clone()
        layout = Layout(length_B=torch.tensor([0]), start_B=torch.tensor([6]))
        model.decode(tokens_BT[:, :3], cache, layout)
        after = [x[:, :, :-1] for x in cache.buffers[0, 0]], cache.position_BL[4]
    torch.testing.assert_close(after, before, rtol=0, atol=0)
