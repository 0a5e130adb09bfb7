"""From logits to the next token. Pure functions: no state, no generator.

What is done to the logits, in this order: repetition penalty, temperature, top-k, top-p, min-p, a
draw. Each filter sees what those before it left, renormalised. B lanes, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scalelab.core.errors import UserError
from scalelab.core.seeds import derive

_MASK = 2**32 - 1


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen. Raises UserError for a value out of range."""

    temperature: float = 1.0
    """Logits are divided by it; 0 takes the likeliest token (greedy)."""
    top_k: int | None = None
    """Only the k likeliest tokens, and those as likely as the k-th."""
    top_p: float | None = None
    """Only the smallest set of likeliest tokens whose probability reaches p (nucleus sampling,
    arXiv 1904.09751).
    """
    min_p: float | None = None
    """Only tokens at least this many times as likely as the likeliest (arXiv 2407.01082)."""
    repetition_penalty: float = 1.0
    """Logits of tokens that the text already holds are divided by it where positive, multiplied
    where negative (CTRL, arXiv 1909.05858).
    """
    seed: int = 0
    """Seed of the draws.

    Lane i draws from a stream of its own, a function of the seed, i and the position alone.
    """

    def __post_init__(self) -> None:
        for name, holds, says in (
            ("temperature", 0 <= self.temperature < math.inf, "0 (greedy) or more"),
            ("top_k", self.top_k is None or self.top_k >= 1, "1 or more"),
            ("top_p", self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", self.min_p is None or 0 <= self.min_p <= 1, "between 0 and 1"),
            (
                "repetition_penalty",
                0 < self.repetition_penalty < math.inf,
                "above 0; 1 does nothing",
            ),
        ):
            if not holds:
                raise UserError(f"{name} is {getattr(self, name)}", cure=f"it must be {says}")

    @property
    def draws(self) -> bool:
        """Whether the choice is random."""
        return self.temperature > 0

    @property
    def penalises(self) -> bool:
        """Whether the choice depends on which tokens the text already holds."""
        return self.repetition_penalty != 1


GREEDY = Sampling(temperature=0)
"""The likeliest token, always."""


def choose(
    logits_BV: Tensor,
    sampling: Sampling,
    key_B2: Tensor | None,
    position_B: Tensor,
    seen_BV: Tensor | None = None,
) -> Tensor:
    """The next token of each lane, int64 [B].

    `key_B2` are the lanes' `keys`, needed where `sampling.draws`; `position_B` is where the token
    will stand; `seen_BV` is true for tokens that the text already holds, and needed where
    `sampling.penalises`.
    """
    logits_BV = logits_BV.float()
    if sampling.penalises:
        assert seen_BV is not None
        logits_BV = penalised(logits_BV, seen_BV, sampling.repetition_penalty)
    if not sampling.draws:
        return logits_BV.argmax(-1)
    assert key_B2 is not None
    kept_BV = filtered(logits_BV / sampling.temperature, sampling)
    return (kept_BV + gumbel(key_B2, position_B, kept_BV.shape[-1])).argmax(-1)


def filtered(logits_BV: Tensor, sampling: Sampling) -> Tensor:
    """The logits, -inf where a token can't be drawn."""
    if sampling.top_k is not None:
        logits_BV = top_k(logits_BV, sampling.top_k)
    if sampling.top_p is not None:
        logits_BV = top_p(logits_BV, sampling.top_p)
    return logits_BV if sampling.min_p is None else min_p(logits_BV, sampling.min_p)


def penalised(logits_BV: Tensor, seen_BV: Tensor, penalty: float) -> Tensor:
    """Tokens that were seen, made less likely (by a penalty above 1)."""
    return torch.where(
        seen_BV, torch.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty), logits_BV
    )


def top_k(logits_BV: Tensor, k: int) -> Tensor:
    """-inf for all but the k largest logits, and those equal to the k-th."""
    least_B1 = logits_BV.topk(min(k, logits_BV.shape[-1])).values[:, -1:]
    return logits_BV.masked_fill(logits_BV < least_B1, -math.inf)


def top_p(logits_BV: Tensor, p: float) -> Tensor:
    """-inf for all but the smallest set of likeliest tokens whose probability reaches p; of equal
    ones the first ids.
    """
    sorted_BV, order_BV = logits_BV.sort(descending=True, stable=True)
    share_BV = sorted_BV.softmax(-1)
    before_BV = share_BV.cumsum(-1) - share_BV
    out_BV = (before_BV >= p).scatter(1, order_BV, before_BV >= p)
    out_BV = out_BV.scatter(1, order_BV[:, :1], False)  # the likeliest stays, whatever was rounded
    return logits_BV.masked_fill(out_BV, -math.inf)


def min_p(logits_BV: Tensor, p: float) -> Tensor:
    """-inf for tokens less than p times as likely as the likeliest."""
    if p == 0:
        return logits_BV
    return logits_BV.masked_fill(
        logits_BV < logits_BV.amax(-1, keepdim=True) + math.log(p), -math.inf
    )


def keys(seed: int, lanes: Sequence[int]) -> Tensor:
    """What the streams of these lanes are drawn from: two 32-bit words each, int64 [B, 2]."""
    drawn = [derive(seed, "sampling", lane) for lane in lanes]
    return torch.tensor([[key & _MASK, key >> 32] for key in drawn], dtype=torch.int64).reshape(
        -1, 2
    )


def gumbel(key_B2: Tensor, position_B: Tensor, vocab: int) -> Tensor:
    """Gumbel noise for each token, fp32 [B, V]: the largest sum of logit and noise is a draw from
    the softmax (Gumbel 1954).

    Hashed from key, position and token, so that a draw is the same in every lane order, batch and
    run, and compiles.
    """
    first_B, second_B = key_B2.unbind(1)
    row_B = _mix(_mix(first_B ^ position_B) ^ second_B)
    other_B = _mix(row_B ^ first_B)
    token_1V = torch.arange(vocab, device=key_B2.device)[None]
    word_BV = _mix(_mix(token_1V ^ row_B[:, None]) ^ other_B[:, None])
    # Close to 0, where the largest noise comes from, fp32 tells all words apart; it must not round
    # up to 1, whose noise is -inf.
    uniform_BV = ((word_BV.float() + 0.5) * 2.0**-32).clamp(max=1 - 2.0**-24)
    return -(-torch.log1p(-uniform_BV)).log()


def _mix(word: Tensor) -> Tensor:
    """A bijection on 32-bit words, which stand in int64 (lowbias32 of Wellons' hash prospector,
    2018).

    The second factor is written as a negative number, equal modulo 2^32, so that no product leaves
    int64.
    """
    word = word ^ (word >> 16)
    word = (word * 0x7FEB352D) & _MASK
    word = word ^ (word >> 15)
    word = (word * (0x846CA68B - 2**32)) & _MASK
    return word ^ (word >> 16)
