"""Greedy decoding in lanes, with a key-value cache and tool calls.

B lanes, T positions of a call, L tokens of a lane's text.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from scalelab.core.events import Interrupted
from scalelab.data.tokens import Tokens
from scalelab.families.language_model import LanguageModel
from scalelab.families.layout import Layout
from scalelab.tasks.facts.tokens import ASSISTANT, DATABASE, EOD, USER, decode, encode

Reply = Callable[[list[str], list[int]], list[str]]
"""The texts of turns that call the tool, and to which prompts they belong -> what the tool answers
each.
"""

LANES = 512
"""Lanes of a batch: at width 16, what stays in a processor's cache."""


@torch.inference_mode()
def greedy(
    model: LanguageModel,
    prompts: Sequence[Tokens],
    *,
    limit: int,
    reply: Reply | None = None,
    device: torch.device | str = "cpu",
    lanes: int = LANES,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Tokens]:
    """The likeliest next token after each prompt, again and again; returns what follows each
    prompt, the tool's answers included.

    A turn that ends in DATABASE calls the tool: its text goes to `reply`, whose answer is fed to
    the lane and an ASSISTANT token after it. A lane ends with any other turn token, or when the
    model has read `limit` positions; the token predicted at the last is kept. No prompt may be
    longer than `limit`. Under a prefix mask the model sees a whole prompt at once. `stopping` is
    asked at every token; Interrupted is raised where it turns true.
    """
    assert all(len(prompt) <= limit for prompt in prompts), "a prompt fills all positions"
    texts: list[Tokens] = []
    for start in range(0, len(prompts), lanes):
        batch = _Batch(
            model, prompts[start : start + lanes], limit, reply, torch.device(device), start
        )
        while batch.is_open():
            if stopping():
                raise Interrupted
            batch.step()
        texts += batch.texts
    return texts


class _Batch:
    """Lanes that go on together.

    Of a lane's text `known_B` tokens are known, and the model has read `read_B` of them. The first
    lane's prompt is number `first`.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[Tokens],
        limit: int,
        reply: Reply | None,
        device: torch.device,
        first: int,
    ) -> None:
        self.model, self.limit, self.reply, self.first = model, limit, reply, first
        self.texts: list[Tokens] = [np.empty(0, np.uint16)] * len(prompts)
        lengths = np.array([len(prompt) for prompt in prompts])
        text_BL = np.full((len(prompts), limit + 1), EOD, np.int64)
        for lane, prompt in enumerate(prompts):
            text_BL[lane, : len(prompt)] = prompt
        self.lane_B = torch.arange(len(prompts), device=device)
        self.text_BL = torch.from_numpy(text_BL).to(device)
        self.given_B = torch.from_numpy(lengths).to(device)
        self.read_B, self.known_B = self.given_B.clone(), self.given_B.clone()
        self.open_B = torch.ones_like(self.given_B, dtype=torch.bool)
        self.cache = model.new_cache(len(prompts), limit)
        # Shorter prompts are read with padding behind them.
        prompt_BT = self.text_BL[:, : lengths.max()]
        layout = Layout(prefix_B=self.given_B, length_B=self.given_B)
        logits_BTV = model.decode(prompt_BT, self.cache, layout)
        self._take(logits_BTV[self.lane_B, self.given_B - 1])

    def step(self) -> None:
        """Read one more token in every lane.

        A lane that has ended reads some token again, which changes nothing.
        """
        at_B = self.read_B.clamp(max=self.limit - 1)
        token_B1, layout = self.text_BL.gather(1, at_B[:, None]), Layout(start_B=at_B)
        logits_BTV = self.model.decode(token_B1, self.cache, layout)
        self.read_B = self.read_B + self.open_B
        self._take(logits_BTV[:, 0])

    def is_open(self) -> bool:
        """Whether some lane goes on.

        Lanes that have ended leave when they are enough to be worth the copy.
        """
        going = int(self.open_B.sum())
        if going <= 0.75 * len(self.open_B):
            self._leave()
        return going > 0

    def _take(self, logits_BV: Tensor) -> None:
        """Write the likeliest token where the known text is read to its end."""
        writes_B = self.open_B & (self.read_B == self.known_B)
        slot_B1 = self.known_B.clamp(max=self.limit)[:, None]
        token_B = torch.where(writes_B, logits_BV.argmax(-1), self.text_BL.gather(1, slot_B1)[:, 0])
        self.text_BL.scatter_(1, slot_B1, token_B[:, None])
        self.known_B = self.known_B + writes_B
        turns_B = writes_B & (token_B >= USER)
        calls_B = turns_B & (token_B == DATABASE) & (self.reply is not None)
        self.open_B = self.open_B & (self.read_B < self.limit) & (calls_B | ~turns_B)
        if self.reply is not None and bool(calls_B.any()):
            self._call(self.reply, calls_B.nonzero()[:, 0])

    def _call(self, reply: Reply, lanes: Tensor) -> None:
        """Ask the tool for these lanes, and feed each its answer and the token that opens the next
        turn.
        """
        text_BL, known_B = self.text_BL[lanes].cpu().numpy(), self.known_B[lanes].cpu().numpy()
        answers = reply(
            [_turn(text_L[: known - 1]) for text_L, known in zip(text_BL, known_B, strict=True)],
            (self.first + self.lane_B[lanes]).tolist(),
        )
        for lane, answer in enumerate(answers):
            fed = np.append(encode(answer), ASSISTANT)
            text_BL[lane, known_B[lane] : known_B[lane] + len(fed)] = fed[
                : self.limit + 1 - known_B[lane]
            ]
            known_B[lane] += len(fed)
        self.text_BL[lanes] = torch.from_numpy(text_BL).to(lanes.device)
        self.known_B[lanes] = torch.from_numpy(known_B).to(lanes.device)

    def _leave(self) -> None:
        """Keep the texts of the lanes that have ended, and go on with the others."""
        ended, going = (~self.open_B).nonzero()[:, 0], self.open_B.nonzero()[:, 0]
        columns = (self.lane_B, self.given_B, self.known_B, self.text_BL)
        for lane, given, known, text_L in zip(
            *(column[ended].cpu().numpy() for column in columns), strict=True
        ):
            self.texts[lane] = text_L[given:known].astype(np.uint16)
        self.lane_B, self.given_B, self.known_B, self.text_BL = (
            column[going] for column in columns
        )
        self.read_B, self.open_B = self.read_B[going], self.open_B[going]
        self.cache = self.cache.select(going)


def _turn(text: Tokens) -> str:
    """The text of the assistant's turn that ends here."""
    return decode(text[np.flatnonzero(text == ASSISTANT)[-1] + 1 :])
