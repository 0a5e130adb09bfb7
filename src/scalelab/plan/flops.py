"""FLOPs of a model, in closed form: the matrix products, two FLOPs for each multiply-add.

Attention counts in full, T x T, as the kernels that a profiler sees do (a causal mask halves the useful part, and a window leaves
less). Norms, softmax, activations, lookups and rotations count as nothing, which is how torch's FlopCounterMode counts too.
"""

from scalelab.plan.counts import active_ffn_matrices, router_matrix
from scalelab.spec.model import Transformer


def forward_flops(model: Transformer, vocab: int, context: int, targets: int) -> int:
    """FLOPs of one sequence of `context` positions through a resolved model of which `targets` positions are asked for.

    The head runs at these alone, and the last layer computes keys and values everywhere, but all else at these alone.
    """
    return (model.layers - 1) * _layer(model, context, context) + _layer(model, context, targets) + 2 * targets * _width(model) * vocab


def train_flops(model: Transformer, vocab: int, context: int, targets: int) -> int:
    """FLOPs of one sequence forward and backward: each product has two more of its size in the backward pass."""
    return 3 * forward_flops(model, vocab, context, targets)


def _layer(model: Transformer, context: int, queries: int) -> int:
    """FLOPs of a layer that computes keys and values at every position, and all else at `queries` of them."""
    assert isinstance(model.heads, int) and model.kv_heads is not None and model.head_width is not None
    keys_and_values = 2 * context * 2 * _width(model) * model.kv_heads * model.head_width
    query_and_out = 2 * queries * 2 * _width(model) * model.heads * model.head_width
    scores_and_mix = 2 * 2 * model.heads * queries * context * model.head_width
    return keys_and_values + query_and_out + scores_and_mix + 2 * queries * (active_ffn_matrices(model) + router_matrix(model))


def _width(model: Transformer) -> int:
    assert isinstance(model.width, int), "a resolved model is counted"
    return model.width
