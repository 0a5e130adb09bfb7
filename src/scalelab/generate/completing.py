"""Whole texts behind many prompts, as an evaluation needs them."""

from collections.abc import Callable, Sequence

import torch

from scalelab.core.events import Interrupted
from scalelab.data.tokens import Tokens
from scalelab.families.language_model import LanguageModel
from scalelab.generate.lanes import Lanes
from scalelab.generate.sampling import GREEDY, Sampling
from scalelab.generate.vocabulary import Tool

_GOING = 0.75
"""Share of a batch's lanes from which on those that have ended are dropped: it must be worth
copying the others.
"""


@torch.inference_mode()
def complete(
    model: LanguageModel,
    prompts: Sequence[Tokens],
    *,
    room: int,
    ends: frozenset[int],
    tool: Tool | None = None,
    sampling: Sampling = GREEDY,
    device: torch.device | str = "cpu",
    lanes: int = 512,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Tokens]:
    """What follows each prompt, the tool's answers included.

    A text ends with one of `ends` that does not call the tool, or when the model has read `room`
    positions; the token predicted at the last is kept. No prompt may be longer than `room`. At most
    `lanes` prompts are decoded together. `stopping` is asked before every token; Interrupted is
    raised where it turns true.
    """
    found: dict[int, Tokens] = {}
    for first in range(0, len(prompts), lanes):
        batch = Lanes(
            model,
            prompts[first : first + lanes],
            room,
            sampling,
            ends=ends,
            tool=tool,
            first=first,
            device=device,
        )
        batch.begin()
        while True:
            for number, text in batch.leave(_GOING).items():
                found[number] = text.astype(prompts[number].dtype)
            if not batch.num:
                break
            if stopping():
                raise Interrupted
            batch.step()
    return [found[number] for number in range(len(prompts))]
