"""Passes written by hand against torch's own: values and gradients."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scalelab.layers import cross_entropy as module
from scalelab.layers.attention import Rope, attend, rotate
from scalelab.layers.cross_entropy import cross_entropy, summed_cross_entropy
from scalelab.layers.ffn import Swiglu
from scalelab.layers.parameters import Embedding, RmsNorm


def drawn(*shape: int, scale: float = 1.0, seed: int = 0) -> Tensor:
    return (
        scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    ).requires_grad_()


def compare(found: Callable[..., Tensor], expected: Callable[..., Tensor], *inputs: Tensor) -> None:
    """The same values, and the same gradients under random weights of the outputs."""
    ours, theirs = found(*inputs), expected(*inputs)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    weights = drawn(*ours.shape, seed=99).detach()
    ours_grads, theirs_grads = (
        torch.autograd.grad((x * weights).sum(), inputs) for x in (ours, theirs)
    )
    torch.testing.assert_close(ours_grads, theirs_grads, rtol=1e-3, atol=1e-5)


def test_rms_norm():
    norm = RmsNorm(6, eps=1e-3)
    norm.weight.data = drawn(6, seed=1).detach()

    def ours(x: Tensor, gain: Tensor) -> Tensor:
        return torch.func.functional_call(norm, {"weight": gain}, (x,))

    compare(ours, lambda x, gain: F.rms_norm(x, (6,), gain, 1e-3), drawn(4, 5, 6), drawn(6, seed=1))


def test_swiglu():
    layer = Swiglu(5, 8)
    names = ("gate_up.weight", "down.weight")

    def ours(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        return torch.func.functional_call(
            layer, dict(zip(names, (gate_up, down), strict=True)), (x,)
        )

    def theirs(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2)
        return (F.silu(x @ gate.t()) * (x @ up.t())) @ down.t()

    compare(ours, theirs, drawn(2, 3, 5), drawn(16, 5, seed=1), drawn(5, 8, seed=2))


def test_embedding():
    layer, index = Embedding(7, 3), torch.tensor([[1, 1, 6], [0, 1, 2]])

    def ours(weight: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight}, (index,))

    compare(ours, lambda weight: F.embedding(index, weight), drawn(7, 3))


@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_cross_entropy(scale: float):
    """Far-off logits too: no overflow, and no infinite loss where a probability rounds to zero."""
    label = torch.tensor([0, 3, 3, 10])
    compare(
        lambda z: cross_entropy(z, label),
        lambda z: F.cross_entropy(z, label, reduction="none"),
        drawn(4, 11, scale=scale),
    )


@pytest.mark.parametrize("scale", [1.0, 200.0])
@pytest.mark.parametrize("rows", [1, 2, 256])
def test_summed_cross_entropy_in_blocks(scale: float, rows: int, monkeypatch: pytest.MonkeyPatch):
    """Blocks of one prediction, of two with one left over, and all at once."""
    monkeypatch.setattr(module, "_rows", lambda weight: rows)
    label = torch.tensor([0, 3, 3, 10, 7])
    compare(
        lambda x, weight: summed_cross_entropy(x, weight, label).view(1),
        lambda x, weight: F.cross_entropy(x @ weight.t(), label, reduction="sum").view(1),
        drawn(5, 6, scale=scale),
        drawn(11, 6, seed=1),
    )


@pytest.mark.parametrize(
    ("vocab", "rows"), [(260, 1008), (2500, 104), (4096, 64), (4097, 256), (50257, 256)]
)
def test_blocks_fill_the_cache_and_are_never_small(vocab: int, rows: int):
    """Those of small vocabularies are what results that are out there were summed with: another
    size moves their last bits.
    """
    assert module._rows(torch.empty(vocab, 1, device="meta")) == rows


def test_blocks_are_one_product_when_compiled(monkeypatch: pytest.MonkeyPatch):
    """However many blocks there are, torch.compile writes down the same products."""
    products: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]):
        products.append(graph.print_readable(print_output=False).count("mm"))
        return graph

    x, weight, label = drawn(9, 6), drawn(11, 6, seed=1), torch.arange(9)
    for rows in (9, 2):
        monkeypatch.setattr(module, "_rows", lambda weight, rows=rows: rows)
        compiled = torch.compile(
            summed_cross_entropy, backend=backend, fullgraph=True, dynamic=False
        )
        torch.testing.assert_close(
            compiled(x, weight, label), summed_cross_entropy(x, weight, label)
        )
        torch.compiler.reset()
    assert products[0] == products[1] > 0


@pytest.mark.parametrize("length", [1, 31, 32, 33, 77])
@pytest.mark.parametrize(("heads", "kv_heads"), [(2, 2), (4, 2), (4, 1)])
def test_causal_attention(length: int, heads: int, kv_heads: int):
    inputs = (
        drawn(3, heads, 8, length),
        drawn(3, kv_heads, 8, length, seed=1),
        drawn(3, kv_heads, 8, length, seed=2),
    )

    def theirs(*qkv: Tensor) -> Tensor:
        q, k, v = (x.transpose(2, 3) for x in qkv)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(
            2, 3
        )

    compare(lambda q, k, v: attend(q, k, v, None), theirs, *inputs)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_masked_attention(scale: float):
    """A mask for each lane; scores of thousands."""
    hidden = torch.rand(3, 5, 9, generator=torch.Generator().manual_seed(5)) < 0.5
    hidden[..., 0] = False
    bias = torch.zeros(3, 5, 9).masked_fill(hidden, -math.inf)
    inputs = (
        drawn(3, 4, 8, 5, scale=scale),
        drawn(3, 2, 8, 9, seed=1, scale=scale),
        drawn(3, 2, 8, 9, seed=2),
    )

    def theirs(*qkv: Tensor) -> Tensor:
        q, k, v = (x.transpose(2, 3) for x in qkv)
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias[:, None], enable_gqa=True
        ).transpose(2, 3)

    ours = attend(*inputs, bias)
    torch.testing.assert_close(ours, theirs(*inputs), rtol=1e-3, atol=1e-3)
    if scale == 1.0:
        compare(lambda q, k, v: attend(q, k, v, bias), theirs, *inputs)


def test_rope_turns_pairs_by_the_published_angles():
    position = torch.tensor([[0, 1, 5]])
    angles = Rope(head_width=4, context=6, theta=100.0).angles(position)

    def theirs(x_HWBT: Tensor) -> Tensor:
        pairs = torch.complex(*(half.double() for half in x_HWBT.chunk(2, dim=1)))
        angle = position[0].double() * torch.tensor([1.0, 0.1], dtype=torch.float64)[:, None]
        turned = pairs * torch.polar(torch.ones_like(angle), angle)[:, None]
        return torch.cat([turned.real, turned.imag], dim=1).float()

    compare(lambda x: rotate(x, angles), theirs, drawn(2, 4, 3, 3))


def test_rope_scores_depend_on_the_distance_alone():
    rope = Rope(head_width=8, context=50, theta=10_000.0)
    q, k = drawn(1, 8, 1, 1), drawn(1, 8, 1, 1, seed=1)

    def score(query: int, key: int) -> Tensor:
        turned_q, turned_k = (
            rotate(x, rope.angles(torch.tensor([[at]]))) for x, at in ((q, query), (k, key))
        )
        return (turned_q * turned_k).sum()

    torch.testing.assert_close(score(40, 33), score(9, 2))
    assert abs(float(score(40, 33).detach() - score(40, 34).detach())) > 1e-4
