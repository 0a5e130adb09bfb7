"""How fast a model decodes: with its cache and without, and reading a prompt apart.

B lanes, T positions.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from scalelab.families.language_model import LanguageModel
from scalelab.generate.lanes import Lanes, Step
from scalelab.generate.sampling import GREEDY

SECONDS = 0.3
"""About how long each rate is measured; a large model takes longer."""

_ROUNDS, _LEAST = 9, 3
"""Rounds that share the time, and how many there are at least of passes that take longer than their
share.
"""

Act = Callable[[], object]
"""What is timed."""


def decoding_speed(
    model: LanguageModel,
    vocab: int,
    contexts: Sequence[int],
    lanes: Sequence[int],
    device: torch.device | str = "cpu",
    *,
    seconds: float = SECONDS,
    step: Step | None = None,
) -> dict[str, float]:
    """Tokens a second of greedy decoding, all lanes together, for each context T and number of
    lanes B.

    `decode_tokens_per_second_b{B}_t{T}`: the token at position T, with all before it in the cache;
    `uncached_...`: the same without a cache, the whole text being read; `prefill_...`: reading a
    prompt of T positions. `cache_bytes_per_token`: what a lane's cache for the longest context
    takes, by its positions. A context beyond the model's is cut.

    The three are measured in turns, so that what disturbs one disturbs all, and a rate is from the
    median over the rounds. On a CPU where torch has one thread a second is one of processor time of
    this process: waiting for a core is not counted, but others on the machine still slow it,
    through the caches and memory that they share. With more threads, and on other devices, a second
    is one of the clock, the device's work waited for. Without a `step` (see `compiled_step`), as at
    a trial's end, nothing is compiled on any side, whatever the trial's execution says.
    """
    found: dict[str, float] = {}
    device, fitting = (
        torch.device(device),
        sorted({min(context, model.context) for context in contexts}),
    )
    for context in fitting:
        for num in lanes:
            prompts = torch.randint(
                vocab, (num, context), generator=torch.Generator().manual_seed(0)
            ).tolist()
            # A lane that is full may read its prompt, and its last position, as often as wanted.
            cached = Lanes(model, prompts, context, GREEDY, step=step, device=device)
            uncached = Lanes(model, prompts, context, GREEDY, cached=False, device=device)
            prefill, decode, whole = _medians(
                (cached.begin, cached.step, uncached.begin), device, seconds
            )
            case = f"tokens_per_second_b{num}_t{context}"
            found |= {
                f"prefill_{case}": num * context / prefill,
                f"decode_{case}": num / decode,
                f"uncached_{case}": num / whole,
            }
    return {**found, "cache_bytes_per_token": model.new_cache(1, fitting[-1]).nbytes / fitting[-1]}


def _medians(acts: Sequence[Act], device: torch.device, seconds: float) -> list[float]:
    """Median seconds of each act, about `seconds` being spent on each: in turns, after one of each
    that warms up.
    """
    for act in acts:
        act()
    rounds: list[list[float]] = []
    began = time.perf_counter()
    while len(rounds) < _LEAST or (
        len(rounds) < _ROUNDS and time.perf_counter() - began < len(acts) * seconds
    ):
        rounds.append([_turn(act, device, seconds / _ROUNDS) for act in acts])
    return [statistics.median(taken) for taken in zip(*rounds, strict=True)]


def _turn(act: Act, device: torch.device, seconds: float) -> float:
    """Seconds of an act that is repeated for so long."""
    clock = (
        time.process_time
        if device.type == "cpu" and torch.get_num_threads() == 1
        else time.perf_counter
    )
    times, taken = 0, 0.0
    _wait(device)
    began = clock()
    while not times or taken < seconds:
        act()
        _wait(device)
        times, taken = times + 1, clock() - began
    return taken / times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
