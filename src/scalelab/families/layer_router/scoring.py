"""What scores the layers of a pool at a step: a router network, or a learned table.

B lanes, T positions, D width, W hidden width of a router, S steps, E layers of the pool. All in
fp32, also under autocast: in half precision the choice would be noise.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalelab.families.layer_router.drawing import hashed
from scalelab.families.layer_router.spec import LayerRouter
from scalelab.layers.linear import Embedding, Linear
from scalelab.layers.spec import Role

TIE = 1e-6
"""The most that layers with equal learned scores are told apart by: it decides nothing once
anything is learned.
"""


class State(NamedTuple):
    """What a recurrent router remembers of the steps before, for each position alone."""

    hidden_BTW: Tensor
    cell_BTW: Tensor
    """The cell of an LSTM; a GRU leaves it as it is."""


class Router(nn.Module):
    """Scores of the layers from a token's state, normed without a gain, plus a learned vector of
    the step.
    """

    def __init__(self, given: LayerRouter) -> None:
        super().__init__()
        assert isinstance(given.width, int), "a module is built from a resolved spec"
        router, width = given.router, given.width
        self.temperature, self.eps = router.temperature, given.norm.eps
        self.steps = (
            _of_router(Embedding(given.num_steps, width)) if router.step_embedding else None
        )
        self.hidden = None if router.kind == "linear" else _HIDDEN[router.kind](width, router.width)
        self.out = Linear(width if self.hidden is None else router.width, given.pool, role="router")

    def start(self, lanes: int, positions: int, like: Tensor) -> State | None:
        """The state before the first step, or None where nothing is remembered."""
        if not isinstance(self.hidden, Gru | Lstm):
            return None
        zeros_BTW = like.new_zeros(lanes, positions, self.out.weight.shape[1], dtype=torch.float32)
        return State(zeros_BTW, zeros_BTW)

    def forward(self, x_BTD: Tensor, step: int, state: State | None) -> tuple[Tensor, State | None]:
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

    def forward(self, x_BTD: Tensor, state: State) -> State:
        """The state after a step whose input is [B, T, D]."""
        update, reset, new = _times(self.new, x_BTD).chunk(3, dim=-1)
        update_old, reset_old, old = _times(self.old, state.hidden_BTW).chunk(3, dim=-1)
        proposed = torch.tanh(new + (reset + reset_old).sigmoid() * old)
        return State(
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

    def forward(self, x_BTD: Tensor, state: State) -> State:
        """The state after a step whose input is [B, T, D]."""
        gates = _times(self.new, x_BTD) + _times(self.old, state.hidden_BTW)
        take, forget, give, proposed = gates.chunk(4, dim=-1)
        cell_BTW = forget.sigmoid() * state.cell_BTW + take.sigmoid() * proposed.tanh()
        return State(give.sigmoid() * cell_BTW.tanh(), cell_BTW)


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


def _of_router(embedding: Embedding) -> Embedding:
    embedding.role = "router"
    return embedding


def _times(linear: Linear, x: Tensor) -> Tensor:
    return F.linear(x, linear.weight.float())
