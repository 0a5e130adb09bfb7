"""Who decides which layers of a pool are applied at a step, and what the router learns from.

B lanes, T positions (one of a sequence, where its tokens take one route), D width, S steps, E
layers of the pool, K of them that are applied.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from scalelab.families.layer_router.drawing import Draws, hashed
from scalelab.families.layer_router.reading import Route
from scalelab.families.layer_router.scoring import Learned, Router, State
from scalelab.families.layer_router.spec import LayerRouter
from scalelab.layers import balance
from scalelab.layers.moe import Routing
from scalelab.layers.router import Scores


class Choice(NamedTuple):
    """The layers of one step."""

    chosen_BTK: Tensor
    """int64, from 0, the best first.

    Under a `soft` selection all that the step may choose, while training.
    """
    weight_BTK: Tensor
    """Weights of their outputs, fp32, which sum to 1, with the gradient that the router learns by.

    One layer weighs exactly 1, and its gradient is that of its probability; several weigh their
    probabilities, renormalised.
    """
    probability_BTE: Tensor
    """What the router gives each layer of the pool, fp32, before bias, noise and dropout; 0 for one
    that the step may not choose.
    """
    log_prob_BT: Tensor
    """ln of the probability by which REINFORCE drew its layer, with its gradient; zeros
    elsewhere.
    """
    logits_BTE: Tensor
    """Scores over the temperature, whose softmax `probability_BTE` is."""
    step: int
    """The step, from 0."""


class Chooser(nn.Module):
    """Chooses layers by a `random`, `learned`, `closed` or `open` policy; a `fixed` one has none.

    The choice falls by a score: the logit, a bias that evens the load and, while training,
    exploration noise, Gumbel noise where layers are drawn, and layers that are dropped. While
    training means that gradients are wanted too; otherwise the best logits plus biases win, and
    nothing is drawn. Of equal scores the first wins.
    """

    bias_SE: Tensor
    barred_SE: Tensor
    balanced_SE: Tensor

    def __init__(self, given: LayerRouter) -> None:
        super().__init__()
        assert given.policy != "fixed", "a fixed order needs no choice"
        self.given = given
        self.router = Router(given) if given.policy in ("closed", "open") else None
        self.learned = Learned(given.num_steps, given.pool) if given.policy == "learned" else None
        barred_SE = torch.tensor(
            [[layer not in allowed for layer in range(given.pool)] for allowed in given.allowed]
        )
        balanced_SE = torch.zeros(given.num_steps, given.pool)
        for step in range(given.num_steps):
            balanced_SE[step, _balanced(given, step)] = 1
        self.register_buffer("bias_SE", torch.zeros(given.num_steps, given.pool))
        self.register_buffer("barred_SE", barred_SE, persistent=False)
        self.register_buffer("balanced_SE", balanced_SE, persistent=False)

    def start(self, lanes: int, positions: int, like: Tensor) -> State | None:
        """What a router that remembers its steps begins with, or None."""
        return None if self.router is None else self.router.start(lanes, positions, like)

    def forward(
        self,
        x_BTD: Tensor,
        step: int,
        state: State | None,
        draws: Draws | None = None,
        position_BT: Tensor | None = None,
    ) -> tuple[Choice, State | None]:
        """The choice at a step (from 0) for tokens in the states [B, T, D], or for sequences that
        are summed up by [B, 1, D].

        `draws` are needed while training alone, and only where `draw` gives some. `position_BT` are
        the tokens' positions, 0 to T - 1 where it is None: the `random` policy, when nothing is
        trained, goes by them.
        """
        with torch.autocast(x_BTD.device.type, enabled=False):
            if self.router is not None:
                logits_BTE, state = self.router(x_BTD, step, state)
            elif self.learned is not None:
                logits_BTE = self.learned(x_BTD, step)
            else:
                logits_BTE = x_BTD.new_zeros(*x_BTD.shape[:2], self.given.pool, dtype=torch.float32)
            logits_BTE = logits_BTE.masked_fill(self.barred_SE[step], -torch.inf)
            if self.training and torch.is_grad_enabled():
                return self._explore(logits_BTE, step, draws), state
            return self._exploit(logits_BTE, step, position_BT), state

    def _exploit(self, logits_BTE: Tensor, step: int, position_BT: Tensor | None) -> Choice:
        random = self.given.policy == "random"
        score_BTE = (
            self._habit(logits_BTE, step, position_BT)
            if random
            else logits_BTE + self.bias_SE[step]
        )
        chosen_BTK = best(score_BTE, self.given.top)
        probability_BTE = logits_BTE.softmax(-1)
        return Choice(
            chosen_BTK,
            _shares(logits_BTE, chosen_BTK),
            probability_BTE,
            _zeros(logits_BTE),
            logits_BTE,
            step,
        )

    def _habit(self, logits_BTE: Tensor, step: int, position_BT: Tensor | None) -> Tensor:
        """What a random policy goes by where nothing is drawn: a token is sent the same way alone,
        in a batch and from a cache.
        """
        if position_BT is None or self.given.granularity == "sequence":
            position_BT = torch.arange(logits_BTE.shape[1], device=logits_BTE.device).expand(
                logits_BTE.shape[:2]
            )
        return hashed(
            position_BT[..., None], step, torch.arange(self.given.pool, device=logits_BTE.device)
        )

    def _explore(self, logits_BTE: Tensor, step: int, draws: Draws | None) -> Choice:
        kind, given = self._selection, self.given
        noisy_BTE = self._disturbed(logits_BTE, step, draws)
        score_BTE = noisy_BTE + self.bias_SE[step]
        drawn_BTE = (
            score_BTE + _needed(draws).gumbel(step)
            if kind in ("gumbel", "reinforce", "random")
            else score_BTE
        )
        chosen_BTK = (
            self._all_allowed(drawn_BTE, step) if kind == "soft" else best(drawn_BTE, given.top)
        )
        probability_BTE = logits_BTE.softmax(-1)
        if kind == "soft":
            weight_BTK = noisy_BTE.softmax(-1).gather(-1, chosen_BTK)
        elif given.top > 1:
            weight_BTK = _shares(logits_BTE, chosen_BTK)
        elif kind in ("straight_through", "gumbel"):
            weight_BTK = _straight(
                drawn_BTE.softmax(-1) if kind == "gumbel" else probability_BTE, chosen_BTK
            )
        else:
            weight_BTK = torch.ones_like(chosen_BTK, dtype=torch.float32)
        log_prob_BT = (
            score_BTE.log_softmax(-1).gather(-1, chosen_BTK)[..., 0]
            if kind == "reinforce"
            else _zeros(logits_BTE)
        )
        return Choice(chosen_BTK, weight_BTK, probability_BTE, log_prob_BT, logits_BTE, step)

    def _all_allowed(self, score_BTE: Tensor, step: int) -> Tensor:
        """The layers that the step may choose, the best first.

        Dropped ones are as bad as barred ones, which must not be among them.
        """
        allowed_A = torch.tensor(self.given.allowed[step], device=score_BTE.device)
        return allowed_A[best(score_BTE.index_select(-1, allowed_A), len(allowed_A))]

    @property
    def _selection(self) -> str:
        """A random policy draws, and learns nothing."""
        return "random" if self.given.policy == "random" else self.given.selection.kind

    def _disturbed(self, logits_BTE: Tensor, step: int, draws: Draws | None) -> Tensor:
        """With exploration noise, and without the layers that are dropped."""
        given = self.given
        if given.selection.noise:
            logits_BTE = logits_BTE + given.selection.noise * _needed(draws).normal(step)
        if given.layer_dropout:
            dropped_B1E = _needed(draws).dropped(
                step, given.layer_dropout, self.barred_SE[step], given.top
            )
            logits_BTE = logits_BTE.masked_fill(dropped_B1E, -torch.inf)
        return logits_BTE

    @torch.no_grad()
    def rebalance(self, load_SE: Tensor) -> None:
        """Loss-free balancing after an update (arXiv 2408.15664), of the tokens [S, E] of all its
        micro-batches.

        A bias moves by the sign of what its layer has too little of. Moves of a step are centred,
        so that layers that are not counted (identity layers, those that the step may not choose)
        neither gain nor lose by them.
        """
        if not self.given.balance.bias:
            return
        count_S1 = self.balanced_SE.sum(1, keepdim=True).clamp(min=1)
        mean_S1 = (load_SE * self.balanced_SE).sum(1, keepdim=True) / count_S1
        move_SE = torch.sign(mean_S1 - load_SE) * self.balanced_SE
        self.bias_SE += self.given.balance.bias * (
            move_SE - self.balanced_SE * move_SE.sum(1, keepdim=True) / count_S1
        )


def best(score_BTE: Tensor, count: int) -> Tensor:
    """The layers [B, T, count] with the highest scores, the highest first; of equal
    ones the first.
    """
    score_BTE = score_BTE.detach()
    if count == 1:
        return score_BTE.argmax(-1, keepdim=True)
    return torch.sort(score_BTE, stable=True, descending=True).indices[..., :count]


def to_route(given: LayerRouter, choice: Choice, alive_BT: Tensor) -> Route:
    """What a step's choice tells, of the tokens that have not halted (bool).

    A choice for whole sequences, [B, 1], holds for all their tokens.

    The load counts the best layers, `top` of a token: under a `soft` selection the one that is
    applied when nothing is trained. With one route for a sequence its load alone is one layer, so
    `per: sequence` counts it over the sequences of the micro-batch too.
    """
    choice = _of_tokens(choice, alive_BT)
    alive_BT1 = alive_BT[..., None]
    best_BTK = choice.chosen_BTK[..., : given.top]
    took_BTK = alive_BT1.to(torch.float32).expand(best_BTK.shape)
    load_BE = took_BTK.new_zeros(len(alive_BT), given.pool).scatter_add_(
        1, best_BTK.flatten(1), took_BTK.flatten(1)
    )
    tokens = alive_BT.sum(dtype=torch.float32)
    entropy_BT = torch.special.entr(choice.probability_BTE.detach()).sum(-1)
    routing = Routing(
        penalty=_penalty(given, choice, load_BE, alive_BT),
        load_E=load_BE.sum(0),
        entropy=(entropy_BT * alive_BT).sum() / tokens.clamp(min=1),
        dropped=tokens.new_zeros(()),
        tokens=tokens,
    )
    chosen_BTK = choice.chosen_BTK.masked_fill(~alive_BT1, -1)
    return Route(chosen_BTK, choice.probability_BTE, choice.log_prob_BT * alive_BT, routing)


def _of_tokens(choice: Choice, alive_BT: Tensor) -> Choice:
    """One choice for each token; nothing is copied."""
    tokens = (*alive_BT.shape, -1)
    return choice._replace(
        chosen_BTK=choice.chosen_BTK.expand(tokens),
        weight_BTK=choice.weight_BTK.expand(tokens),
        probability_BTE=choice.probability_BTE.expand(tokens),
        log_prob_BT=choice.log_prob_BT.expand_as(alive_BT),
        logits_BTE=choice.logits_BTE.expand(tokens),
    )


def _penalty(given: LayerRouter, choice: Choice, load_BE: Tensor, alive_BT: Tensor) -> Tensor:
    """Over the layers that are balanced and that the step may choose, made to sum to 1 among
    themselves: how often the others are chosen costs nothing. The z-loss is of all.
    """
    even, counted, total = given.balance, _balanced(given, choice.step), load_BE.new_zeros(())
    if counted and (even.loss or even.entropy):
        logits_BTE = choice.logits_BTE[..., counted]
        share_BTE = logits_BTE.softmax(-1)
        wide = even.model_copy(update={"per": "batch"}) if given.granularity == "sequence" else even
        total = total + balance.unevenness(
            wide, Scores(logits_BTE, share_BTE, share_BTE), load_BE[:, counted], alive_BT
        )
    if even.z_loss:
        total = total + even.z_loss * balance.size(choice.logits_BTE, alive_BT)
    return total


def _balanced(given: LayerRouter, step: int) -> list[int]:
    """The layers whose use is kept even at a step."""
    return [
        layer for layer in given.allowed[step] if given.balance.identity or layer < given.layers
    ]


def _shares(logits_BTE: Tensor, chosen_BTK: Tensor) -> Tensor:
    """The probabilities of the chosen layers, renormalised: exactly 1 of one."""
    return logits_BTE.gather(-1, chosen_BTK).softmax(-1)


def _straight(probability_BTE: Tensor, chosen_BTK: Tensor) -> Tensor:
    """Exactly 1, with the gradient of the probability (arXiv 1308.3432)."""
    soft_BTK = probability_BTE.gather(-1, chosen_BTK)
    return 1 + (soft_BTK - soft_BTK.detach())


def _zeros(logits_BTE: Tensor) -> Tensor:
    return logits_BTE.new_zeros(logits_BTE.shape[:2])


def _needed(draws: Draws | None) -> Draws:
    assert draws is not None, "while training this spec needs random numbers: see `draw`"
    return draws
