"""The networks of all experts, one after the other, each on its own rows: the fastest exact way on
a CPU.

N tokens, D width, E experts, F hidden width, G hidden rows of the first matrix (2 F with a gate,
else F), R rows (pairs of a token and an expert that takes it, expert by expert), n rows of one
expert.

Slices of a sorted list need next to no padding, an expert's rows stay in the cache from the first
matrix to the last, and nothing of size R D is ever written. How long a slice is depends on the
data, so under torch.compile the loop is one opaque operator with fixed shapes (F.grouped_mm there
takes bf16 alone, and in fp32 on a CPU it is a third slower).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

STEP = 32
"""In half precision the rows of an expert are filled up to a multiple of this: a product of a shape
that was not seen before takes four times as long as one that was, since oneDNN compiles it, and
loads are never the same twice. In fp32 shapes cost nothing.
"""


class Slice(NamedTuple):
    """The rows of one expert, n of them with those that fill it up, which have gate 0."""

    expert: int
    rows: slice
    token_n: Tensor
    gate_n: Tensor
    hidden_Gn: Tensor
    """Features first, so that it is one block."""


@torch.library.custom_op("scalelab::expert_loop", mutates_args=())
def expert_loop(
    x_ND: Tensor,
    up_EGD: Tensor,
    down_EDF: Tensor,
    gate_R: Tensor,
    token_R: Tensor,
    ends_E: Tensor,
    kind: str,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """sum over the rows of a token of gate * down(f(up x)), [N, D] in fp32, and the hidden rows [G
    R] for the backward pass.

    Products are computed in `dtype` and summed in fp32.
    """
    x_ND = x_ND.to(dtype)
    out_ND = x_ND.new_zeros(x_ND.shape, dtype=_wide(dtype))
    hidden = x_ND.new_empty(_most_rows(token_R, ends_E, dtype) * up_EGD.shape[1])
    for expert, _, token_n, gate_n, hidden_Gn in _slices(
        token_R, gate_R.to(dtype), ends_E, hidden, up_EGD.shape[1]
    ):
        if not len(token_n):
            continue
        torch.mm(up_EGD[expert].to(dtype), x_ND.index_select(0, token_n).t(), out=hidden_Gn)
        weighted_Fn = _activation(hidden_Gn, kind).mul_(gate_n)
        out_ND.index_add_(
            0, token_n, torch.mm(weighted_Fn.t(), down_EDF[expert].to(dtype).t()).to(out_ND.dtype)
        )
    return out_ND, hidden


@torch.library.custom_op("scalelab::expert_loop_backward", mutates_args=())
def expert_loop_backward(
    grad_ND: Tensor,
    x_ND: Tensor,
    up_EGD: Tensor,
    down_EDF: Tensor,
    gate_R: Tensor,
    token_R: Tensor,
    ends_E: Tensor,
    hidden: Tensor,
    kind: str,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of tokens, both stacks and gates."""
    given_dtype, grad_ND, x_ND = x_ND.dtype, grad_ND.to(dtype), x_ND.to(dtype)
    d_x_ND = x_ND.new_zeros(x_ND.shape, dtype=_wide(dtype))
    d_up_EGD, d_down_EDF, d_gate_R = (
        torch.empty_like(up_EGD),
        torch.empty_like(down_EDF),
        torch.empty_like(gate_R),
    )
    for expert, rows, token_n, gate_n, hidden_Gn in _slices(
        token_R, gate_R.to(dtype), ends_E, hidden, up_EGD.shape[1]
    ):
        grad_nD = grad_ND.index_select(0, token_n)
        d_weighted_Fn = torch.mm(down_EDF[expert].to(dtype).t(), grad_nD.t())
        activated_Fn, d_hidden_Gn, d_gate_n = _activation_backward(
            hidden_Gn, d_weighted_Fn, gate_n, kind
        )
        d_gate_R[rows] = d_gate_n[: rows.stop - rows.start]
        _product(grad_nD.t(), activated_Fn.mul_(gate_n).t(), d_down_EDF[expert])
        _product(d_hidden_Gn, x_ND.index_select(0, token_n), d_up_EGD[expert])
        d_x_ND.index_add_(
            0, token_n, torch.mm(d_hidden_Gn.t(), up_EGD[expert].to(dtype)).to(d_x_ND.dtype)
        )
    return d_x_ND.to(given_dtype), d_up_EGD, d_down_EDF, d_gate_R


def _wide(dtype: torch.dtype) -> torch.dtype:
    """What products of this precision are summed in: at least fp32."""
    return torch.promote_types(dtype, torch.float32)


def _most_rows(token_R: Tensor, ends_E: Tensor, dtype: torch.dtype) -> int:
    """Room for the rows, however they fall on the experts."""
    return len(token_R) + (STEP * len(ends_E) if dtype.itemsize < 4 else 0)


def _slices(
    token_R: Tensor, gate_R: Tensor, ends_E: Tensor, hidden: Tensor, height: int
) -> Iterator[Slice]:
    """Every expert, its rows, and their part of the hidden rows."""
    start = at = 0
    for expert, end in enumerate(ends_E.tolist()):
        fill = -(end - start) % STEP if gate_R.dtype.itemsize < 4 and end - start > STEP else 0
        rows, num = slice(start, end), end - start + fill
        hidden_Gn = hidden[height * at : height * (at + num)].view(height, num)
        yield Slice(
            expert, rows, F.pad(token_R[rows], (0, fill)), F.pad(gate_R[rows], (0, fill)), hidden_Gn
        )
        start, at = end, at + num


def _product(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Write a product, zero where there is nothing to sum over: an expert without rows."""
    if out.dtype == left.dtype:
        torch.mm(left, right, out=out)
    else:
        out.copy_(torch.mm(left, right))


def _activation(hidden_Gn: Tensor, kind: str) -> Tensor:
    if kind == "swiglu":
        gate_Fn, up_Fn = hidden_Gn.chunk(2)
        return (gate_Fn * gate_Fn.sigmoid()).mul_(up_Fn)
    if kind == "gelu":
        return F.gelu(hidden_Gn)
    assert kind == "relu2", kind
    return hidden_Gn.relu().square_()


def _activation_backward(
    hidden_Gn: Tensor, d_weighted_Fn: Tensor, gate_n: Tensor, kind: str
) -> tuple[Tensor, Tensor, Tensor]:
    """The activation, its gradient with respect to the hidden rows, and that of the gates.

    Overwrites `d_weighted_Fn`.
    """
    if kind == "swiglu":
        return _gated_backward(hidden_Gn, d_weighted_Fn, gate_n)
    activated_Fn = _activation(hidden_Gn, kind)
    d_gate_n = _sum(d_weighted_Fn, activated_Fn)
    d_weighted_Fn.mul_(gate_n)
    if kind == "gelu":
        return activated_Fn, torch.ops.aten.gelu_backward(d_weighted_Fn, hidden_Gn), d_gate_n
    return activated_Fn, d_weighted_Fn.mul_(hidden_Gn.relu()).mul_(2), d_gate_n


def _gated_backward(
    hidden_Gn: Tensor, d_weighted_Fn: Tensor, gate_n: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    first_Fn, up_Fn = hidden_Gn.chunk(2)
    sigmoid_Fn = first_Fn.sigmoid()
    silu_Fn = first_Fn * sigmoid_Fn
    activated_Fn = silu_Fn * up_Fn
    d_gate_n = _sum(d_weighted_Fn, activated_Fn)
    d_weighted_Fn.mul_(gate_n)
    d_hidden_Gn = torch.empty_like(hidden_Gn)
    d_first_Fn, d_up_Fn = d_hidden_Gn.chunk(2)
    torch.mul(silu_Fn, d_weighted_Fn, out=d_up_Fn)
    torch.addcmul(
        silu_Fn, silu_Fn, sigmoid_Fn, value=-1, out=d_first_Fn
    )  # silu'(x) = s + x s (1 - s)
    d_first_Fn.add_(sigmoid_Fn).mul_(up_Fn).mul_(d_weighted_Fn)
    return activated_Fn, d_hidden_Gn, d_gate_n


def _sum(d_weighted_Fn: Tensor, activated_Fn: Tensor) -> Tensor:
    """What the weight of a row moves: the product of its features, summed."""
    return (d_weighted_Fn * activated_Fn).sum(0, dtype=_wide(activated_Fn.dtype))


@expert_loop.register_fake
def _(
    x_ND: Tensor,
    up_EGD: Tensor,
    down_EDF: Tensor,
    gate_R: Tensor,
    token_R: Tensor,
    ends_E: Tensor,
    kind: str,
    dtype: torch.dtype,
) -> Any:
    return x_ND.new_empty(x_ND.shape, dtype=_wide(dtype)), x_ND.new_empty(
        _most_rows(token_R, ends_E, dtype) * up_EGD.shape[1], dtype=dtype
    )


@expert_loop_backward.register_fake
def _(
    grad_ND: Tensor,
    x_ND: Tensor,
    up_EGD: Tensor,
    down_EDF: Tensor,
    gate_R: Tensor,
    token_R: Tensor,
    ends_E: Tensor,
    hidden: Tensor,
    kind: str,
    dtype: torch.dtype,
) -> Any:
    return (
        torch.empty_like(x_ND),
        torch.empty_like(up_EGD),
        torch.empty_like(down_EDF),
        torch.empty_like(gate_R),
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.kind, ctx.dtype = inputs
    ctx.save_for_backward(*tensors, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(
        False
    )  # the hidden rows have none: zeros of their size would be filled for nothing


def _backward(
    ctx: Any, grad_ND: Tensor | None, _hidden_grad: Tensor | None
) -> tuple[Tensor | None, ...]:
    if grad_ND is None:
        return (None,) * 8
    return (
        *expert_loop_backward(grad_ND, *ctx.saved_tensors, ctx.kind, ctx.dtype),
        None,
        None,
        None,
        None,
    )


expert_loop.register_autograd(_backward, setup_context=_keep)
