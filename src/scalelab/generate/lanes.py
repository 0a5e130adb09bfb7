"""The decoding engine: lanes of text that grow by a token at each step, with a cache or without.

B lanes, T positions of a call, L tokens of a lane's text, E tokens that end a text, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from scalelab.families.language_model import LanguageModel
from scalelab.families.layout import Layout
from scalelab.generate.sampling import Sampling, choose, keys
from scalelab.generate.vocabulary import Tool

Prompt = Sequence[int] | npt.NDArray[np.integer]


@dataclass
class Texts:
    """The state of each lane. A step updates the tensors in place."""

    number_B: Tensor
    """The index of the lane's prompt."""
    text_BL: Tensor
    """The prompt and what follows it."""
    given_B: Tensor
    """Tokens of the prompt."""
    full_B: Tensor
    """Tokens that the model reads at most."""
    read_B: Tensor
    """Tokens that the model has read."""
    known_B: Tensor
    """Tokens that have been chosen or fed, the prompt included: more than one of them is unread
    while a tool's answer is being read.
    """
    open_B: Tensor
    """Whether the lane goes on."""
    ended_B: Tensor
    """Whether the model chose a token that ends a text."""
    key_B2: Tensor | None
    """See `sampling.keys`; None if nothing is drawn."""
    seen_BV: Tensor | None = None
    """Which tokens the model has read; None if the choice does not depend on them."""

    def select(self, lanes: Tensor) -> "Texts":
        """These lanes only (int64 indices), in their order."""
        kept: dict[str, Any] = {
            name: None if of is None else of[lanes] for name, of in vars(self).items()
        }
        return Texts(**kept)


class Lanes:
    """Texts that are decoded together.

    `begin` reads the prompts, and `step` one more token of each lane. Both return the token that
    now follows what was read, [B]: the model's choice, or the next token of a tool's answer.

    A lane ends when the model chooses one of `ends`, after `limit` tokens, or when the model has
    read `room` positions; the token chosen at the last position is kept. A token that calls `tool`
    ends no text. Lanes that have ended stay, and read a token again at each step, until `leave`
    drops them. What a lane says depends on its own text and number only; `first` is the number of
    the first prompt.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[Prompt],
        room: int,
        sampling: Sampling,
        *,
        limit: int | None = None,
        ends: frozenset[int] = frozenset(),
        tool: Tool | None = None,
        first: int = 0,
        cached: bool = True,
        step: "Step | None" = None,
        device: torch.device | str = "cpu",
    ) -> None:
        assert prompts and all(0 < len(prompt) <= room for prompt in prompts)
        self.model, self.sampling, self.tool = model, sampling, tool
        numbers = range(first, first + len(prompts))
        # Padding is never looked at; a mixture of experts routes it all the same.
        text_BL = np.full((len(prompts), room + 1), max(ends, default=0), np.int64)
        for lane, prompt in enumerate(prompts):
            text_BL[lane, : len(prompt)] = prompt
        given_B = torch.tensor([len(prompt) for prompt in prompts], device=device)
        most_B = torch.full_like(given_B, room)
        self.texts = Texts(
            number_B=torch.tensor(numbers, device=device),
            text_BL=torch.from_numpy(text_BL).to(device),
            given_B=given_B,
            full_B=most_B if limit is None else most_B.minimum(given_B + limit - 1),
            read_B=given_B.clone(),
            known_B=given_B.clone(),
            open_B=torch.ones_like(given_B, dtype=torch.bool),
            ended_B=torch.zeros_like(given_B, dtype=torch.bool),
            key_B2=keys(sampling.seed, numbers).to(device) if sampling.draws else None,
        )
        ends -= set() if tool is None else {tool.call}
        self._end_E = torch.tensor(sorted(ends), dtype=torch.int64, device=device)
        self.cache = model.new_cache(len(prompts), room) if cached else None
        self._step = step or eager_step

    @property
    def num(self) -> int:
        """How many lanes there are."""
        return len(self.texts.text_BL)

    @torch.inference_mode()
    def begin(self) -> Tensor:
        """Read the prompts."""
        texts = self.texts
        if self.cache is None:
            logits_BV = self._read_all()
        else:
            prompt_BT = texts.text_BL[:, : int(texts.given_B.max())]
            layout = Layout(prefix_B=texts.given_B, length_B=texts.given_B)
            logits_BTV = self.model.decode(prompt_BT, self.cache, layout)
            lane_B = torch.arange(self.num, device=prompt_BT.device)
            logits_BV = logits_BTV[lane_B, texts.given_B - 1]
        token_B = self._take(logits_BV)
        self._answer(token_B)
        return token_B

    @torch.inference_mode()
    def step(self) -> Tensor:
        """Read one more token of each lane; without a cache, its whole text again."""
        if self.cache is None:
            self.texts.read_B.add_(self.texts.open_B)
            token_B = self._take(self._read_all())
        else:
            token_B = self._step(self.model, self.sampling, self.cache, self.texts, self._end_E)
        self._answer(token_B)
        return token_B

    @torch.inference_mode()
    def close(self, lane: int) -> None:
        """End a lane."""
        self.texts.open_B[lane] = False

    @torch.inference_mode()
    def leave(self, share: float = 1.0) -> dict[int, npt.NDArray[np.int64]]:
        """Drop the lanes that have ended, once at most this share of all lanes goes on.

        Returns what follows the prompts of those that leave, by their numbers. Copying the cache of
        the others takes time: a smaller share copies it less often.
        """
        texts = self.texts
        going = int(texts.open_B.sum())
        if going == self.num or going > share * self.num:
            return {}
        ended, going_on = (~texts.open_B).nonzero()[:, 0], texts.open_B.nonzero()[:, 0]
        self.texts = texts.select(going_on)
        self.cache = None if self.cache is None else self.cache.select(going_on)
        columns = (texts.number_B, texts.text_BL, texts.given_B, texts.read_B)
        rows = zip(*(column[ended].cpu().numpy() for column in columns), strict=True)
        return {int(number): text_L[given : read + 1] for number, text_L, given, read in rows}

    def _read_all(self) -> Tensor:
        """Logits behind what is read, [B, V], without a cache."""
        texts = self.texts
        read_BT = texts.text_BL[:, : int(texts.read_B.max())]
        # Not `trunk`, which a trial may compile anew for every length.
        layout = Layout(targets_BM=texts.read_B[:, None] - 1, prefix_B=texts.given_B)
        x_B1D, _ = self.model.run(read_BT, layout)
        return self.model.head(x_B1D)[:, 0]

    def _take(self, logits_BV: Tensor) -> Tensor:
        if self.sampling.penalises:
            self.texts.seen_BV = _seen(self.texts, logits_BV.shape[-1])
        return _take(self.texts, logits_BV, self.sampling, self._end_E)

    def _answer(self, token_B: Tensor) -> None:
        """Feed the tool's answers to the lanes whose texts end in a call."""
        texts, tool = self.texts, self.tool
        if tool is None:
            return
        calls_B = texts.open_B & (token_B == tool.call) & (texts.known_B == texts.read_B + 1)
        if not bool(calls_B.any()):
            return
        lanes = calls_B.nonzero()[:, 0]
        text_BL, known_B = (of[lanes].cpu().numpy() for of in (texts.text_BL, texts.known_B))
        calls = [text_L[:known] for text_L, known in zip(text_BL, known_B, strict=True)]
        for lane, answer in enumerate(tool.answer(calls, texts.number_B[lanes].tolist())):
            fed = answer[: text_BL.shape[1] - known_B[lane]]
            text_BL[lane, known_B[lane] : known_B[lane] + len(fed)] = fed
            known_B[lane] += len(fed)
        texts.text_BL[lanes] = torch.from_numpy(text_BL).to(lanes.device)
        texts.known_B[lanes] = torch.from_numpy(known_B).to(lanes.device)


def eager_step(
    model: LanguageModel, sampling: Sampling, cache: Any, texts: Texts, end_E: Tensor
) -> Tensor:
    """One more token of every lane, in tensors whose shapes stay the same: what `compiled_step`
    compiles.
    """
    at_B = texts.read_B.clamp(max=texts.text_BL.shape[1] - 2)
    token_B1 = texts.text_BL.gather(1, at_B[:, None])
    if texts.seen_BV is not None:
        texts.seen_BV.scatter_(1, token_B1, True)
    logits_BV = model.decode(token_B1, cache, Layout(start_B=at_B))[:, 0]
    texts.read_B.add_(texts.open_B)
    return _take(texts, logits_BV, sampling, end_E)


Step = Callable[[LanguageModel, Sampling, Any, Texts, Tensor], Tensor]
"""`eager_step`, or what `compiled_step` gives."""


def compiled_step() -> Step:
    """The step of one model in one graph for each number of lanes, each room and each sampling that
    it meets: keep it to use it again.

    Its graphs are its own: a process may decode from many models, and a cache that they shared
    would be full after eight.
    """
    options: dict[str, Any] = {"fullgraph": True, "dynamic": False, "isolate_recompiles": True}
    return torch.compile(eager_step, **options)


def _take(texts: Texts, logits_BV: Tensor, sampling: Sampling, end_E: Tensor) -> Tensor:
    """The tokens that follow what was read: those known, elsewhere the model's choice."""
    slot_B1 = texts.read_B[:, None]
    chooses_B = texts.open_B & (texts.read_B == texts.known_B)
    chosen_B = choose(logits_BV, sampling, texts.key_B2, texts.read_B, texts.seen_BV)
    token_B = torch.where(chooses_B, chosen_B, texts.text_BL.gather(1, slot_B1)[:, 0])
    texts.text_BL.scatter_(1, slot_B1, token_B[:, None])
    texts.known_B.add_(chooses_B)
    texts.ended_B.logical_or_(chooses_B & (token_B[:, None] == end_E).any(1))
    texts.open_B.logical_and_(~texts.ended_B & (texts.read_B < texts.full_B))
    return token_B


def _seen(texts: Texts, vocab: int) -> Tensor:
    """[B, V]: true for the tokens that were read."""
    text_BL = texts.text_BL
    inside_BL = torch.arange(text_BL.shape[1], device=text_BL.device) < texts.read_B[:, None]
    seen_BV = torch.zeros(len(text_BL), vocab, dtype=torch.int64, device=text_BL.device)
    return seen_BV.scatter_add_(1, text_BL, inside_BL.long()) > 0
