"""FLOPs of a model, in closed form: the matrix products, two FLOPs for each multiply-add.

Attention counts in full, T x T, as the kernels that a profiler sees do (a causal mask halves the useful part). Norms, softmax,
activations, lookups and rotations count as nothing, which is how torch's FlopCounterMode counts too.
"""

from scalelab.plan.counts import attention_matrices, ffn_matrices
from scalelab.spec.model import Transformer


def forward_flops(model: Transformer, vocab: int, context: int, targets: int) -> int:
    """FLOPs of one sequence of `context` positions through a resolved model; the head runs at `targets` positions only."""
    assert isinstance(model.width, int) and model.head_width is not None
    matrices = 2 * context * (attention_matrices(model) + ffn_matrices(model))
    scores_and_mix = 2 * 2 * model.heads * context * context * model.head_width
    return model.layers * (matrices + scores_and_mix) + 2 * targets * model.width * vocab


def train_flops(model: Transformer, vocab: int, context: int, targets: int) -> int:
    """FLOPs of one sequence forward and backward: each product has two more of its size in the backward pass."""
    return 3 * forward_flops(model, vocab, context, targets)
