"""Which layers of a pool are applied at a step: what scores them, and how a score becomes a choice.

B lanes, T positions (one of a sequence, where its tokens take one route), D width, W hidden width
of a router, S steps, E layers of the pool, K of them that are applied. All in fp32, also under
autocast: in half precision the choice would be noise.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalelab.families.layer_router.routing_noise import RoutingNoise, hashed
from scalelab.families.layer_router.spec import LayerRouter
from scalelab.layers.parameters import Embedding, Linear
from scalelab.layers.spec import Role

TIE = 1e-6
"""The most that layers with equal learned scores are told apart by: it decides nothing once
anything is learned.
"""


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


class RouterState(NamedTuple):
    """What a recurrent router remembers of the steps before, for each position alone."""

    hidden_BTW: Tensor
    cell_BTW: Tensor
    """The cell of an LSTM; a GRU leaves it as it is."""


class Chooser(nn.Module):
    """Chooses layers by a `random`, `learned`, `closed` or `open` policy; a `fixed` one has none.

    The layers with the highest scores are chosen; of equal scores the first. A score is the logit,
    a bias that evens the load and, while training, exploration noise and Gumbel noise where layers
    are drawn; layers that are dropped cannot be chosen. Noise is added only where gradients are
    wanted too.
    """

    bias_SE: Tensor
    barred_SE: Tensor
    balanced_SE: Tensor

    def __init__(self, config: LayerRouter) -> None:
        super().__init__()
        assert config.policy != "fixed", "a fixed order needs no choice"
        self.config, self.allowed, self.pool = config, config.allowed, config.pool
        # A random policy draws, and learns nothing.
        self.selection = "random" if config.policy == "random" else config.selection.kind
        self.router = Router(config) if config.policy in ("closed", "open") else None
        self.learned = (
            Learned(config.num_steps, config.pool) if config.policy == "learned" else None
        )
        barred_SE = torch.tensor(
            [[layer not in allowed for layer in range(self.pool)] for allowed in self.allowed]
        )
        balanced_SE = torch.zeros(config.num_steps, self.pool)
        for step in range(config.num_steps):
            balanced_SE[step, config.balanced(step)] = 1
        self.register_buffer("bias_SE", torch.zeros(config.num_steps, self.pool))
        self.register_buffer("barred_SE", barred_SE, persistent=False)
        self.register_buffer("balanced_SE", balanced_SE, persistent=False)

    def start(self, lanes: int, positions: int, like: Tensor) -> RouterState | None:
        """What a router that remembers its steps begins with, or None."""
        return None if self.router is None else self.router.start(lanes, positions, like)

    def forward(
        self,
        x_BTD: Tensor,
        step: int,
        state: RouterState | None,
        noise: RoutingNoise | None = None,
        position_BT: Tensor | None = None,
    ) -> tuple[Choice, RouterState | None]:
        """The choice at a step (from 0) for tokens in the states [B, T, D], or for sequences that
        are summed up by [B, 1, D].

        `noise` is needed only while training, where `draw` gives some. `position_BT` are the
        tokens' positions, 0 to T - 1 where it is None: the `random` policy, when nothing is
        trained, goes by them.
        """
        with torch.autocast(x_BTD.device.type, enabled=False):
            if self.router is not None:
                logits_BTE, state = self.router(x_BTD, step, state)
            elif self.learned is not None:
                logits_BTE = self.learned(x_BTD, step)
            else:
                logits_BTE = x_BTD.new_zeros(*x_BTD.shape[:2], self.pool, dtype=torch.float32)
            logits_BTE = logits_BTE.masked_fill(self.barred_SE[step], -torch.inf)
            if self.training and torch.is_grad_enabled():
                return self._explore(logits_BTE, step, noise), state
            return self._exploit(logits_BTE, step, position_BT), state

    def _exploit(self, logits_BTE: Tensor, step: int, position_BT: Tensor | None) -> Choice:
        """The best layers; nothing is drawn."""
        if self.config.policy == "random":
            # By a hash of the position: a token takes the same layer alone, in a batch and from a
            # cache.
            if position_BT is None or self.config.granularity == "sequence":
                position_T = torch.arange(logits_BTE.shape[1], device=logits_BTE.device)
                position_BT = position_T.expand(logits_BTE.shape[:2])
            layer_E = torch.arange(self.pool, device=logits_BTE.device)
            score_BTE = hashed(position_BT[..., None], step, layer_E)
        else:
            score_BTE = logits_BTE + self.bias_SE[step]
        chosen_BTK = best(score_BTE, self.config.top)
        return Choice(
            chosen_BTK,
            _renormalised(logits_BTE, chosen_BTK),
            logits_BTE.softmax(-1),
            logits_BTE.new_zeros(logits_BTE.shape[:2]),
            logits_BTE,
            step,
        )

    def _explore(self, logits_BTE: Tensor, step: int, noise: RoutingNoise | None) -> Choice:
        """With noise and dropout, and with the gradients of the selection."""
        kind, config = self.selection, self.config
        noisy_BTE = logits_BTE
        if config.selection.noise:
            normal_BTE = _needed(noise).normal(step)
            noisy_BTE = noisy_BTE + config.selection.noise * normal_BTE
        if config.layer_dropout:
            barred_E = self.barred_SE[step]
            dropped_B1E = _needed(noise).dropped(step, config.layer_dropout, barred_E, config.top)
            noisy_BTE = noisy_BTE.masked_fill(dropped_B1E, -torch.inf)
        score_BTE = noisy_BTE + self.bias_SE[step]
        drawn_BTE = score_BTE
        if kind in ("gumbel", "reinforce", "random"):
            drawn_BTE = score_BTE + _needed(noise).gumbel(step)
        probability_BTE = logits_BTE.softmax(-1)
        if kind == "soft":
            # Dropped layers are as bad as barred ones, which must not be among them.
            allowed_A = torch.tensor(self.allowed[step], device=score_BTE.device)
            order_BTA = best(drawn_BTE.index_select(-1, allowed_A), len(allowed_A))
            chosen_BTK = allowed_A[order_BTA]
            weight_BTK = noisy_BTE.softmax(-1).gather(-1, chosen_BTK)
        else:
            chosen_BTK = best(drawn_BTE, config.top)
            if config.top > 1:
                weight_BTK = _renormalised(logits_BTE, chosen_BTK)
            elif kind == "straight_through":
                weight_BTK = _straight_through(probability_BTE, chosen_BTK)
            elif kind == "gumbel":
                weight_BTK = _straight_through(drawn_BTE.softmax(-1), chosen_BTK)
            else:
                weight_BTK = torch.ones_like(chosen_BTK, dtype=torch.float32)
        log_prob_BT = (
            score_BTE.log_softmax(-1).gather(-1, chosen_BTK)[..., 0]
            if kind == "reinforce"
            else logits_BTE.new_zeros(logits_BTE.shape[:2])
        )
        return Choice(chosen_BTK, weight_BTK, probability_BTE, log_prob_BT, logits_BTE, step)

    @torch.no_grad()
    def rebalance(self, load_SE: Tensor) -> None:
        """Loss-free balancing after an update (arXiv 2408.15664), of the tokens [S, E] of all its
        micro-batches.

        A bias moves by the sign of what its layer has too little of. Moves of a step are centred,
        so that layers that are not counted (identity layers, those that the step may not choose)
        neither gain nor lose by them.
        """
        rate = self.config.balance.bias
        if not rate:
            return
        count_S1 = self.balanced_SE.sum(1, keepdim=True).clamp(min=1)
        mean_S1 = (load_SE * self.balanced_SE).sum(1, keepdim=True) / count_S1
        move_SE = torch.sign(mean_S1 - load_SE) * self.balanced_SE
        self.bias_SE += rate * (
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


def _renormalised(logits_BTE: Tensor, chosen_BTK: Tensor) -> Tensor:
    """The probabilities of the chosen layers, renormalised: exactly 1 of one."""
    return logits_BTE.gather(-1, chosen_BTK).softmax(-1)


def _straight_through(probability_BTE: Tensor, chosen_BTK: Tensor) -> Tensor:
    """Exactly 1, with the gradient of the probability (arXiv 1308.3432)."""
    soft_BTK = probability_BTE.gather(-1, chosen_BTK)
    return 1 + (soft_BTK - soft_BTK.detach())


def _needed(noise: RoutingNoise | None) -> RoutingNoise:
    assert noise is not None, "while training this spec needs random numbers: see `draw`"
    return noise


class Router(nn.Module):
    """Scores of the layers from a token's state, normed without a gain, plus a learned vector of
    the step.
    """

    def __init__(self, config: LayerRouter) -> None:
        super().__init__()
        assert isinstance(config.width, int), "a module is built from a resolved spec"
        router, width = config.router, config.width
        self.temperature, self.eps = router.temperature, config.norm.eps
        self.steps = Embedding(config.num_steps, width) if router.step_embedding else None
        if self.steps is not None:
            self.steps.role = "router"
        self.hidden = None if router.kind == "linear" else _HIDDEN[router.kind](width, router.width)
        self.out = Linear(
            width if self.hidden is None else router.width, config.pool, role="router"
        )

    def start(self, lanes: int, positions: int, like: Tensor) -> RouterState | None:
        """The state before the first step, or None where nothing is remembered."""
        if not isinstance(self.hidden, Gru | Lstm):
            return None
        zeros_BTW = like.new_zeros(lanes, positions, self.out.weight.shape[1], dtype=torch.float32)
        return RouterState(zeros_BTW, zeros_BTW)

    def forward(
        self, x_BTD: Tensor, step: int, state: RouterState | None
    ) -> tuple[Tensor, RouterState | None]:
        """[B, T, D] -> scores [B, T, E] over the temperature, and the state after this step."""
        x_BTD = F.rms_norm(x_BTD.float(), x_BTD.shape[-1:], eps=self.eps)
        if self.steps is not None:
            x_BTD = x_BTD + self.steps.weight[step].float()
        if isinstance(self.hidden, Gru | Lstm):
            assert state is not None, "a recurrent router begins with `start`"
            state = after = self.hidden(x_BTD, state)
            x_BTD = after.hidden_BTW
        elif self.hidden is not None:
            x_BTD = self.hidden(x_BTD)
        return _times(self.out, x_BTD) / self.temperature, state


class Mlp(nn.Module):
    """One hidden layer with GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = Linear(width, hidden, role="router")

    def forward(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, W]."""
        return F.gelu(_times(self.up, x_BTD))


class Gru(nn.Module):
    """A gated recurrent unit over the steps (Cho et al. 2014), without biases; the reset gate
    scales the product, as in cuDNN.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.new, self.old = (
            Linear(inputs, hidden, hidden, hidden, role="router") for inputs in (width, hidden)
        )

    def forward(self, x_BTD: Tensor, state: RouterState) -> RouterState:
        """The state after a step whose input is [B, T, D]."""
        update, reset, new = _times(self.new, x_BTD).chunk(3, dim=-1)
        update_old, reset_old, old = _times(self.old, state.hidden_BTW).chunk(3, dim=-1)
        proposed = torch.tanh(new + (reset + reset_old).sigmoid() * old)
        return RouterState(
            torch.lerp(proposed, state.hidden_BTW, (update + update_old).sigmoid()), state.cell_BTW
        )


class Lstm(nn.Module):
    """Long short-term memory over the steps (Hochreiter and Schmidhuber 1997), without biases."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.new, self.old = (
            Linear(inputs, hidden, hidden, hidden, hidden, role="router")
            for inputs in (width, hidden)
        )

    def forward(self, x_BTD: Tensor, state: RouterState) -> RouterState:
        """The state after a step whose input is [B, T, D]."""
        gates = _times(self.new, x_BTD) + _times(self.old, state.hidden_BTW)
        take, forget, give, proposed = gates.chunk(4, dim=-1)
        cell_BTW = forget.sigmoid() * state.cell_BTW + take.sigmoid() * proposed.tanh()
        return RouterState(give.sigmoid() * cell_BTW.tanh(), cell_BTW)


class Learned(nn.Module):
    """Scores of each step that depend on nothing; zeros at the start, when fixed numbers settle the
    tie without a liking for any order.
    """

    role: Role = "router"
    tie_SE: Tensor

    def __init__(self, steps: int, pool: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(steps, pool))
        tie_SE = torch.stack(
            [
                hashed(torch.zeros(pool, dtype=torch.int64), step, torch.arange(pool))
                for step in range(steps)
            ]
        )
        self.register_buffer("tie_SE", TIE * tie_SE, persistent=False)

    def forward(self, x_BTD: Tensor, step: int) -> Tensor:
        """The step's scores, for every token of [B, T, D]: [B, T, E]."""
        return (self.weight[step].float() + self.tie_SE[step]).expand(*x_BTD.shape[:2], -1)


_HIDDEN: dict[str, type[Mlp] | type[Gru] | type[Lstm]] = {"mlp": Mlp, "gru": Gru, "lstm": Lstm}


def _times(linear: Linear, x: Tensor) -> Tensor:
    return F.linear(x, linear.weight.float())
