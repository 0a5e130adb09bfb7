"""The LSTM family, one to one with `spec.Lstm`.

B lanes, T positions of this call, M positions asked for, D width, V vocabulary, E experts, L
layers, G four gates (4 D).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from scalelab.families.language_model import LanguageModel, pick
from scalelab.families.layout import PLAIN, Layout
from scalelab.families.lstm import spec
from scalelab.layers.moe import Routing
from scalelab.layers.parameters import Embedding, Linear
from scalelab.layers.spec import Role


@dataclass
class LstmCache:
    """What each layer remembers of the tokens read so far, in fp32 and written in place: as much
    for a long text as for a short one.
    """

    length: int
    """Positions that a lane has room for."""
    output_LBD: Tensor
    cell_LBD: Tensor

    @property
    def lanes(self) -> int:
        """How many lanes there are."""
        return self.cell_LBD.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of all lanes."""
        return sum(
            state.numel() * state.element_size() for state in (self.output_LBD, self.cell_LBD)
        )

    def select(self, lanes: Tensor) -> "LstmCache":
        """A cache of these lanes only (int64 indices), in their order."""
        return LstmCache(self.length, self.output_LBD[:, lanes], self.cell_LBD[:, lanes])


class Bias(nn.Module):
    """What is added to the gates before their nonlinearities; `forget` is where those of the forget
    gate begin.
    """

    role: Role = "gain"

    def __init__(self, width: int, forget: float) -> None:
        super().__init__()
        begin_GD = torch.zeros(4, width)
        begin_GD[1] = forget
        self.weight = nn.Parameter(begin_GD.flatten())


class LstmLayer(nn.Module):
    """One LSTM (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    The gates stand in torch's order: input, forget, cell, output. The two biases are torch's too;
    their sum alone tells.
    """

    def __init__(self, width: int, forget: float) -> None:
        super().__init__()
        gates = (width,) * 4
        self.input, self.recurrent = Linear(width, *gates), Linear(width, *gates)
        self.input_bias, self.recurrent_bias = Bias(width, forget), Bias(width, 0.0)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """All positions from an empty state, [B, T, D] -> [B, T, D], by torch's fused kernels in
        the precision of autocast.
        """
        device = "cpu" if x_BTD.is_meta else x_BTD.device.type
        dtype = (
            torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_BTD.dtype
        )
        with torch.autocast(device, enabled=False):
            start_1BD = x_BTD.new_zeros(1, len(x_BTD), x_BTD.shape[-1], dtype=dtype)
            # One layer, with biases, no dropout, with a backward pass where one may come, in one
            # direction, the lanes first.
            options = True, 1, 0.0, torch.is_grad_enabled(), False, True
            y_BTD, _, _ = torch.lstm(
                x_BTD.to(dtype), (start_1BD, start_1BD), self._weights(dtype), *options
            )
        return y_BTD

    def step(self, gates_BG: Tensor, output_BD: Tensor, cell_BD: Tensor) -> tuple[Tensor, Tensor]:
        """The next output and cell, from what `read` says of a token and from the last ones."""
        both_BG = gates_BG + F.linear(output_BD, self.recurrent.weight, self.recurrent_bias.weight)
        enter_BD, forget_BD, new_BD, leave_BD = both_BG.chunk(4, dim=-1)
        cell_BD = forget_BD.sigmoid() * cell_BD + enter_BD.sigmoid() * new_BD.tanh()
        return leave_BD.sigmoid() * cell_BD.tanh(), cell_BD

    def _weights(self, dtype: torch.dtype) -> list[Tensor]:
        """Matrices and biases in the kernels' order; for a GPU in one block, in which cuDNN wants
        them.
        """
        weights = [
            part.weight.to(dtype)
            for part in (self.input, self.recurrent, self.input_bias, self.recurrent_bias)
        ]
        if not weights[0].is_cuda:
            return weights
        block = torch.cat([weight.flatten() for weight in weights])
        pieces = block.split([weight.numel() for weight in weights])
        return [piece.view_as(weight) for piece, weight in zip(pieces, weights, strict=True)]

    def read(self, x_BTD: Tensor) -> Tensor:
        """What the tokens say to the gates, [B, T, D] -> [B, T, G]: one product for all
        positions.
        """
        return F.linear(x_BTD, self.input.weight, self.input_bias.weight)


def build(config: spec.Lstm, vocab: int, context: int) -> "Lstm":
    """The module of a resolved spec."""
    return Lstm(config, vocab, context)


class Lstm(LanguageModel[spec.Lstm]):
    """A stack of LSTMs over at most `context` positions. The weights are drawn by `initialise`."""

    def __init__(self, config: spec.Lstm, vocab: int, context: int) -> None:
        super().__init__()
        assert isinstance(config.width, int), "a module is built from a resolved spec"
        self.config, self.context, self.recompute = config, context, False
        self.embedding = Embedding(vocab, config.width)
        self.layers = nn.ModuleList(
            LstmLayer(config.width, config.forget) for _ in range(config.layers)
        )
        self.output = None if config.tied else Linear(config.width, vocab, role="head")

    def run(self, tokens_BT: Tensor, layout: Layout = PLAIN) -> tuple[Tensor, list[Routing]]:
        """tokens [B, T] -> features [B, T, D], to which `head` may be applied; and no routings.

        The features are computed at all positions, whatever the targets.
        """
        length = tokens_BT.shape[1]
        assert length <= self.context, f"{length} positions exceed the context of {self.context}"
        assert layout.document_BT is None, "a state is not reset between documents"
        x_BTD = self._embed(tokens_BT)
        recomputed = self.recompute and self.training and torch.is_grad_enabled()
        for index, layer in enumerate(self.layers):
            y_BTD = (
                checkpoint(layer, x_BTD, use_reentrant=False, preserve_rng_state=False)
                if recomputed
                else layer(x_BTD)
            )
            x_BTD = y_BTD if index == 0 else x_BTD + y_BTD
        return (x_BTD if layout.targets_BM is None else pick(x_BTD, layout.targets_BM)), []

    def new_cache(self, lanes: int, length: int) -> LstmCache:
        """An empty cache for `lanes` sequences of at most `length` positions."""
        assert length <= self.context
        shape = (self.config.layers, lanes, self.embedding.weight.shape[1])
        weight = self.embedding.weight.detach()
        return LstmCache(length, weight.new_zeros(shape), weight.new_zeros(shape))

    def decode(self, tokens_BT: Tensor, cache: LstmCache, layout: Layout = PLAIN) -> Tensor:
        """Logits [B, T, V] of tokens that follow those in the cache; writes it.

        The cache has every token before them, so `start_B` says nothing new.
        """
        x_BTD = self._embed(tokens_BT)
        real_BT = layout.real(tokens_BT.shape[1])
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, LstmLayer)
            y_BTD = _follow(layer, x_BTD, cache.output_LBD[index], cache.cell_LBD[index], real_BT)
            x_BTD = y_BTD if index == 0 else x_BTD + y_BTD
        return self.head(x_BTD)

    def _embed(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.embedding(tokens_BT)
        # An evaluation has no gradients: nothing is dropped there, whatever mode the model is in.
        drops = self.config.embedding_dropout > 0 and self.training and torch.is_grad_enabled()
        return F.dropout(x_BTD, self.config.embedding_dropout) if drops else x_BTD


def _follow(
    layer: LstmLayer, x_BTD: Tensor, output_BD: Tensor, cell_BD: Tensor, real_BT: Tensor | None
) -> Tensor:
    """Token after token from a state, which is written; a fused kernel knows no padding behind some
    lanes.
    """
    gates_BTG, before, found = layer.read(x_BTD), (output_BD, cell_BD), list[Tensor]()
    for place in range(x_BTD.shape[1]):
        after = layer.step(gates_BTG[:, place], *before)
        found.append(after[0])
        if real_BT is not None:
            real_B1 = real_BT[:, place, None]
            after = (
                torch.where(real_B1, after[0], before[0]),
                torch.where(real_B1, after[1], before[1]),
            )
        before = after
    output_BD.copy_(before[0])
    cell_BD.copy_(before[1])
    return torch.stack(found, dim=1)
