"""Lanes that are decoded together, one token each at a time, with a cache or without.

B lanes, T positions of a call, L slots of a lane's text, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from scalelab.families.language_model import LanguageModel
from scalelab.families.layout import Layout
from scalelab.generate.sampling import Sampling, choose, keys


class Lanes:
    """Texts that grow by a token at a time.

    A lane's tokens depend on its own text and number alone, not on the lanes beside it.

    `begin` and `step` return the token that each lane chose, which is then the last of its text
    unless `put` replaces it. A lane holds at most `room` + 1 tokens, of which the model reads all
    but the last; one that is full writes over its last token.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[Sequence[int]],
        room: int,
        sampling: Sampling,
        *,
        cached: bool = True,
        step: "Step | None" = None,
        device: torch.device | str = "cpu",
    ) -> None:
        assert prompts and all(0 < len(prompt) <= room <= model.context for prompt in prompts)
        self.model, self.sampling, self.room = model, sampling, room
        self.given_B = torch.tensor([len(prompt) for prompt in prompts], device=device)
        self.length_B = self.given_B.clone()
        self.text_BL = torch.zeros(len(prompts), room + 1, dtype=torch.int64)
        for lane, prompt in enumerate(prompts):
            self.text_BL[lane, : len(prompt)] = torch.tensor(prompt)
        self.text_BL = self.text_BL.to(device)
        self.key_B2 = keys(sampling.seed, range(len(prompts))).to(device)
        self.seen_BV: Tensor | None = None
        self.cache = model.new_cache(len(prompts), room) if cached else None
        self._step = step or eager_step

    @property
    def num(self) -> int:
        """How many lanes there are."""
        return len(self.text_BL)

    @torch.inference_mode()
    def begin(self) -> list[int]:
        """Read the prompts."""
        if self.cache is None:
            return self.step()
        prompt_BT = self.text_BL[:, : int(self.given_B.max())]
        layout = Layout(prefix_B=self.given_B, length_B=self.length_B)
        logits_BTV = self.model.decode(prompt_BT, self.cache, layout)
        return self._take(_at(logits_BTV, self.length_B - 1)).tolist()

    @torch.inference_mode()
    def step(self) -> list[int]:
        """Read the last token of each lane; without a cache, all of them."""
        if self.cache is None:
            prompt_BT = self.text_BL[:, : int(self.length_B.max())]
            # Not `trunk`, which a trial may compile anew for every length.
            layout = Layout(targets_BM=self.length_B[:, None] - 1, prefix_B=self.given_B)
            x_B1D, _ = self.model.run(prompt_BT, layout)
            return self._take(self.model.head(x_B1D)[:, 0]).tolist()
        chosen_B = self._step(
            self.model,
            self.sampling,
            self.cache,
            self.text_BL,
            self.length_B,
            self.key_B2,
            self.seen_BV,
        )
        return chosen_B.tolist()

    def put(self, lane: int, token: int) -> None:
        """Let the text of a lane end in this token instead of the one that it chose."""
        with torch.inference_mode():
            self.text_BL[lane, self.length_B[lane] - 1] = token

    @torch.inference_mode()
    def keep(self, lanes: Sequence[int]) -> None:
        """Go on with these lanes alone."""
        chosen = torch.tensor(lanes, device=self.text_BL.device)
        self.given_B, self.length_B, self.key_B2 = (
            self.given_B[chosen],
            self.length_B[chosen],
            self.key_B2[chosen],
        )
        self.text_BL = self.text_BL[chosen]
        self.seen_BV = None if self.seen_BV is None else self.seen_BV[chosen]
        self.cache = None if self.cache is None else self.cache.select(chosen)

    def _take(self, logits_BV: Tensor) -> Tensor:
        if self.sampling.penalises:
            self.seen_BV = _seen(self.text_BL, self.length_B, logits_BV.shape[-1])
        return _taken(
            logits_BV, self.sampling, self.text_BL, self.length_B, self.key_B2, self.seen_BV
        )


def eager_step(
    model: LanguageModel,
    sampling: Sampling,
    cache: Any,
    text_BL: Tensor,
    length_B: Tensor,
    key_B2: Tensor,
    seen_BV: Tensor | None,
) -> Tensor:
    """One more token in every lane, whose shapes stay the same: what `compiled_step` compiles."""
    last_B = length_B - 1
    token_B1 = text_BL.gather(1, last_B[:, None])
    if seen_BV is not None:
        seen_BV.scatter_(1, token_B1, True)
    logits_BV = model.decode(token_B1, cache, Layout(start_B=last_B))[:, 0]
    return _taken(logits_BV, sampling, text_BL, length_B, key_B2, seen_BV)


Step = Callable[..., Tensor]
"""`eager_step`, or what `compiled_step` gives."""


def compiled_step() -> Step:
    """The step of one model in one graph for each number of lanes, each room and each sampling that
    it meets: keep it to use it again.

    Its graphs are its own: a process may decode from many models, and a cache that they shared
    would be full after eight.
    """
    options: dict[str, Any] = {"fullgraph": True, "dynamic": False, "isolate_recompiles": True}
    return torch.compile(eager_step, **options)


def _taken(
    logits_BV: Tensor,
    sampling: Sampling,
    text_BL: Tensor,
    length_B: Tensor,
    key_B2: Tensor,
    seen_BV: Tensor | None,
) -> Tensor:
    """The tokens that follow, which now end their texts."""
    chosen_B = choose(logits_BV, sampling, key_B2, length_B, seen_BV)
    text_BL.scatter_(1, length_B[:, None], chosen_B[:, None])
    length_B.add_(1).clamp_(max=text_BL.shape[1] - 1)
    return chosen_B


def _seen(text_BL: Tensor, length_B: Tensor, vocab: int) -> Tensor:
    """[B, V]: true for the tokens of the texts."""
    inside_BL = torch.arange(text_BL.shape[1], device=text_BL.device) < length_B[:, None]
    seen_BV = torch.zeros(len(text_BL), vocab, dtype=torch.int64, device=text_BL.device)
    return seen_BV.scatter_add_(1, text_BL, inside_BL.long()) > 0


def _at(x_BTV: Tensor, at_B: Tensor) -> Tensor:
    return x_BTV[torch.arange(len(x_BTV), device=x_BTV.device), at_B]
