"""How fast a model decodes: with its cache and without, and reading a prompt apart. B lanes, T positions."""

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from scalelab.generate.lanes import Lanes, Model, Step
from scalelab.generate.sampling import GREEDY

SECONDS = 0.3
"""About how long a measurement takes; a large model takes longer."""

_LEAST = 3
"""Times that something is timed at least."""


def decoding_speed(
    model: Model,
    vocab: int,
    contexts: Sequence[int],
    lanes: Sequence[int],
    device: torch.device | str = "cpu",
    *,
    seconds: float = SECONDS,
    step: Step | None = None,
) -> dict[str, float]:
    """Tokens a second of greedy decoding, all lanes together, for each context T and number of lanes B.

    `decode_tokens_per_second_b{B}_t{T}`: the token at position T, with all before it in the cache; `uncached_...`: the same without a
    cache, the whole text being read; `prefill_...`: reading a prompt of T positions. `cache_bytes_per_token`: what a lane's cache for
    the longest context takes, by its positions. Each rate is from the median of several passes. A context beyond the model's is cut.
    """
    found: dict[str, float] = {}
    device, fitting = torch.device(device), sorted({min(context, model.context) for context in contexts})
    for context in fitting:
        for num in lanes:
            prompts = torch.randint(vocab, (num, context), generator=torch.Generator().manual_seed(0)).tolist()
            # A lane that is full reads its last position again at every step: the work of that position, as often as wanted.
            cached = Lanes(model, prompts, context, GREEDY, step=step, device=device)
            uncached = Lanes(model, prompts, context, GREEDY, cached=False, device=device)
            case = f"tokens_per_second_b{num}_t{context}"
            found[f"prefill_{case}"] = num * context / _median(cached.begin, device, seconds)
            found[f"decode_{case}"] = num / _median(cached.step, device, seconds)
            found[f"uncached_{case}"] = num / _median(uncached.step, device, seconds)
    return {**found, "cache_bytes_per_token": model.new_cache(1, fitting[-1]).nbytes / fitting[-1]}


def _median(act: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Median seconds of an act, after one that warms up."""
    act()
    taken: list[float] = []
    while len(taken) < _LEAST or sum(taken) < seconds:
        _wait(device)
        began = time.perf_counter()
        act()
        _wait(device)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
