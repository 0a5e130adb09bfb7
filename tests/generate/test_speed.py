"""Decoding speed: the names are a contract, what is timed is timed in turns, and a cache that is
larger takes more bytes.
"""

import time

import pytest
import torch

from scalelab.core.metrics import is_known, is_speed
from scalelab.families import build
from scalelab.families.transformer.spec import Transformer
from scalelab.generate import decoding_speed
from scalelab.generate.speed import _medians

CONTEXT = 24


def speeds(**given: int) -> dict[str, float]:
    model = (
        build(Transformer.model_validate({"heads": 4, **given}).resolved(), 30, CONTEXT)
        .initialise(0)
        .eval()
    )
    return decoding_speed(model, 30, [8, CONTEXT, 10 * CONTEXT], [1, 3], seconds=0.001)


def test_every_case_has_its_rates_and_a_context_beyond_the_models_is_cut() -> None:
    found = speeds()
    assert set(found) == {"cache_bytes_per_token"} | {
        f"{what}_tokens_per_second_b{num}_t{context}"
        for what in ("decode", "uncached", "prefill")
        for num in (1, 3)
        for context in (8, CONTEXT)
    }
    assert all(rate > 0 for rate in found.values())
    assert all(map(is_known, found))
    assert {name for name in found if not is_speed(name)} == {"cache_bytes_per_token"}


@pytest.mark.parametrize(
    ("given", "floats"),
    [({}, 2 * 2 * 16), ({"kv_heads": 2}, 2 * 2 * 8), ({"kv_heads": 1}, 2 * 2 * 4)],
    ids=str,
)
def test_bytes_of_a_token_are_the_keys_and_values_of_every_layer(
    given: dict[str, int], floats: int
) -> None:
    assert speeds(**given)["cache_bytes_per_token"] == 4 * floats


def test_a_window_caps_what_a_cache_takes() -> None:
    assert speeds(window=6)["cache_bytes_per_token"] == 4 * 2 * 2 * 16 * 6 / CONTEXT


def test_acts_are_timed_in_turns() -> None:
    calls: list[str] = []
    one, other = _medians(
        [lambda: calls.append("a"), lambda: calls.append("b")], torch.device("cpu"), 0.009
    )
    turns = [call for at, call in enumerate(calls) if at == 0 or calls[at - 1] != call]
    assert turns == ["a", "b"] * (len(turns) // 2)
    assert len(turns) // 2 >= 4  # one round warms up
    assert 0 < one < 0.001 > other > 0


def test_on_one_thread_waiting_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)

    def work() -> None:
        time.sleep(0.003)
        sum(range(20_000))

    clock = time.perf_counter()
    (found,) = _medians([work], torch.device("cpu"), 0.001)
    assert 0 < found < (time.perf_counter() - clock) / 8  # it slept four times at least
