"""Each layer of a pool runs on the tokens that chose it, or on the sequences that did.

B lanes, T positions, S positions looked at, M targets, b lanes and m positions of one layer, D
width, K layers of a unit. A unit is what chooses: a token, or a sequence whose tokens take one
route. U units, R choices (U K), n of one layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scalelab.families.language_model import pick
from scalelab.families.transformer.cost import LayerFlops
from scalelab.families.transformer.layer import AttentionContext, mask_bias
from scalelab.layers.cache import Place

ApplyLayer = Callable[[Tensor, AttentionContext, Place, Tensor | None, Tensor | None], Tensor]
"""Runs the layer of a place on states [B, T, D], at some positions [B, M], of which some are real
[R]: see `Layer.forward`.
"""


@dataclass
class Dispatch:
    """The layers of one pass.

    `flops` counts what they have run for the tokens. The padding of queries is left out: it depends
    on what else is in the batch, and a budget that is spent in FLOPs must not. A lane alone has no
    padding.
    """

    layers: int
    """Layers of the pool, without identity layers."""
    apply: ApplyLayer
    write_cache: Callable[[Tensor, AttentionContext, Place], None]
    """Writes a layer's keys and values in the cache."""
    context: AttentionContext
    """What the queries at all positions see."""
    target_context: AttentionContext
    """What those at the targets see."""
    layer_flops: LayerFlops
    flops: int = 0

    def whole(self, x_BTD: Tensor, place: Place, at_BM: Tensor | None = None) -> Tensor:
        """One layer for all tokens: [B, T, D] -> [B, T, D], or [B, M, D] at the targets."""
        context, queries = (
            (self.context, x_BTD[..., 0].numel())
            if at_BM is None
            else (self.target_context, at_BM.numel())
        )
        self._count(x_BTD, queries, context)
        return self.apply(x_BTD, context, place, at_BM, None)

    def tokens(
        self,
        x_BTD: Tensor,
        chosen_BMK: Tensor,
        weight_BMK: Tensor,
        step: int,
        allowed: tuple[int, ...],
        at_BM: Tensor | None = None,
    ) -> Tensor:
        """Each token through the layers that it chose, mixed by their weights: [B, M, D]. One that
        chose no layer (-1, or an identity layer) stays as it is.

        `chosen_BMK` are of the targets; `allowed` are the layers that the step may choose, whose
        keys are cached.
        """
        lanes, length, mixed = chosen_BMK.shape
        order_R, counts = by_layer(chosen_BMK, self.layers)
        slots = (order_R // mixed).split(counts)
        here_UD = (x_BTD if at_BM is None else pick(x_BTD, at_BM)).flatten(0, 1)
        pieces: list[Tensor] = []
        for index, slot_n in enumerate(slots[:-1]):
            if len(slot_n) == lanes * length:
                pieces.append(self.whole(x_BTD, (index, step), at_BM).flatten(0, 1))
            elif len(slot_n):
                pieces.append(self._some(x_BTD, slot_n, (index, step), at_BM, length))
            elif self.context.cache is not None and index in allowed:
                self._count(x_BTD, 0, self.context)
                self.write_cache(x_BTD, self.context, (index, step))
        if len(slots[-1]):
            pieces.append(here_UD.index_select(0, slots[-1]))
        new_UKD = put_back(pieces, order_R).unflatten(0, (lanes * length, mixed))
        return mix(new_UKD, here_UD, chosen_BMK.flatten(0, 1), weight_BMK.flatten(0, 1)).unflatten(
            0, (lanes, length)
        )

    def sequences(
        self,
        x_BTD: Tensor,
        chosen_BK: Tensor,
        weight_BK: Tensor,
        step: int,
        at_BM: Tensor | None = None,
    ) -> Tensor:
        """Each sequence through the layers that it chose, mixed by their weights: [B, M, D]."""
        lanes, mixed = chosen_BK.shape
        order_R, counts = by_layer(chosen_BK, self.layers)
        slots = (order_R // mixed).split(counts)
        here_BMD = x_BTD if at_BM is None else pick(x_BTD, at_BM)
        pieces: list[Tensor] = []
        parts = take(
            x_BTD, [lane_b if len(lane_b) < lanes else lane_b[:0] for lane_b in slots[:-1]]
        )
        for index, (lane_b, x_bTD) in enumerate(zip(slots[:-1], parts, strict=True)):
            place = index, step
            if len(lane_b) == lanes:
                pieces.append(self.whole(x_BTD, place, at_BM))
            elif len(lane_b):
                at_bM = None if at_BM is None else at_BM.index_select(0, lane_b)
                context = self.context if at_bM is None else self.target_context
                self._count(x_bTD, len(lane_b) * here_BMD.shape[1], context)
                pieces.append(self.apply(x_bTD, context.of_lanes(lane_b), place, at_bM, None))
        if len(slots[-1]):
            pieces.append(here_BMD.index_select(0, slots[-1]))
        return mix(
            put_back(pieces, order_R).unflatten(0, (lanes, mixed)), here_BMD, chosen_BK, weight_BK
        )

    def _some(
        self, x_BTD: Tensor, slot_n: Tensor, place: Place, at_BM: Tensor | None, width: int
    ) -> Tensor:
        """A layer for some tokens, [n, D]: those in these slots (ascending) of [B, M] with M =
        `width`.

        Queries stand lane by lane, filled up with position 0; keys and values are those of every
        position of a lane where somebody chose the layer, and where there is a cache of all lanes,
        which write it.
        """
        lane_n = slot_n // width
        count_B = torch.bincount(lane_n, minlength=len(x_BTD))
        lane_b = (
            count_B.nonzero()[:, 0]
            if self.context.cache is None
            else torch.arange(len(x_BTD), device=x_BTD.device)
        )
        most = int(count_B.max())
        column_n = (
            torch.arange(len(slot_n), device=x_BTD.device) - (count_B.cumsum(0) - count_B)[lane_n]
        )
        row_n = torch.searchsorted(lane_b, lane_n) * most + column_n
        position_n = slot_n % width if at_BM is None else at_BM.flatten().index_select(0, slot_n)
        at_bm = (
            position_n.new_zeros(len(lane_b) * most)
            .scatter_(0, row_n, position_n)
            .view(len(lane_b), most)
        )
        x_bTD = x_BTD if len(lane_b) == len(x_BTD) else x_BTD.index_select(0, lane_b)
        context = self.context.of_queries(lane_b, at_bm, self._bias_BTS)
        self._count(x_bTD, len(slot_n), context)
        return self.apply(x_bTD, context, place, at_bm, row_n)[0]

    @cached_property
    def _bias_BTS(self) -> Tensor:
        """What the queries at all positions see, [B or 1, T, S], said by a bias in any case."""
        context = self.context
        if context.bias is not None:
            return context.bias
        position_T = torch.arange(context.tokens_BS.shape[1], device=context.tokens_BS.device)
        position_1T = position_T[None]
        return mask_bias(position_1T, position_1T, causal=context.causal, window=context.window)

    def _count(self, x_bTD: Tensor, queries: int, context: AttentionContext) -> None:
        """Count a layer in: keys and values of these states, and all else for so many tokens."""
        flops, keys = self.layer_flops, x_bTD[..., 0].numel()
        seen = x_bTD.shape[1] if context.visit is None else context.visit.position_BS.shape[1]
        self.flops += keys * flops.key + queries * (flops.query + seen * flops.seen_key)


def by_layer(chosen: Tensor, layers: int) -> tuple[Tensor, list[int]]:
    """Choices sorted by layer, [R], in order within one; and how many each layer has, what is no
    layer of the pool behind them.
    """
    key_R = torch.where((chosen < 0) | (chosen > layers), layers, chosen).flatten()
    return key_R.argsort(stable=True), torch.bincount(key_R, minlength=layers + 1).tolist()


def take(x: Tensor, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """These rows of x, tensor by tensor."""
    return _Take.apply(x, *rows)


class _Take(Function):
    """Their gradients are added up in one tensor, which indexing one after the other
    does not do.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
        ctx.rows, ctx.shape = rows, x.shape
        return tuple(x.index_select(0, row_n) for row_n in rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        d_x = grads[0].new_zeros(ctx.shape)
        for row_n, grad in zip(ctx.rows, grads, strict=True):
            d_x.index_add_(0, row_n, grad)
        return d_x, *[None] * len(ctx.rows)


def put_back(pieces: list[Tensor], order_R: Tensor) -> Tensor:
    """Undo a sorting: row i of the pieces, one behind the other, becomes row `order_R[i]`, [R,
    ...].
    """
    return (
        pieces[0] if len(pieces) == 1 else _PutBack.apply(order_R, *pieces)
    )  # what is one piece was in order before


class _PutBack(Function):
    """Rows of several tensors in another order, without a copy of all of them in between."""

    @staticmethod
    def forward(ctx: Any, order_R: Tensor, *pieces: Tensor) -> Tensor:
        ctx.order = order_R.split([len(piece) for piece in pieces])
        out = pieces[0].new_empty(len(order_R), *pieces[0].shape[1:])
        for rows, piece in zip(ctx.order, pieces, strict=True):
            out.index_copy_(0, rows, piece)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(grads[0].index_select(0, rows) for rows in ctx.order)


def mix(new: Tensor, x: Tensor, chosen_UK: Tensor, weight_UK: Tensor) -> Tensor:
    """What becomes of states x [U, ...] whose layers gave `new` [U, K, ...]: the sum by their
    weights, which sum to 1. A unit that has halted, whose choices are -1, keeps its bits.

    One layer weighs exactly 1, and the gradient of its weight is that of w f(x) + (1 - w) x: the
    state x is the baseline.
    """
    if chosen_UK.shape[1] == 1:
        return (
            _Applied.apply(new[:, 0], x, weight_UK[:, 0]) if weight_UK.requires_grad else new[:, 0]
        )
    ones = [1] * (x.ndim - 1)
    mixed = (new * weight_UK.unflatten(1, (-1, *ones))).sum(1)
    return torch.where((chosen_UK[:, :1] < 0).unflatten(1, ones), x, mixed)


class _Applied(Function):
    @staticmethod
    def forward(ctx: Any, f: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(f, x)
        return f.view_as(f)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, Tensor]:
        f, x = ctx.saved_tensors
        (grad,) = grads
        return grad, None, (grad * (f - x)).flatten(1).sum(1, dtype=torch.float32)
