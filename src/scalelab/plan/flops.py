"""FLOPs of a model, in closed form: the matrix products, two FLOPs for each multiply-add.

Attention counts in full, T x T, as the kernels that a profiler sees do (a causal mask halves the
useful part, and a window leaves less). Norms, softmax, activations, lookups and rotations count as
nothing, which is how torch's FlopCounterMode counts too.

What a router over layers runs depends on what it chooses, and on when tokens halt: of it there are
bounds.
"""

from dataclasses import dataclass

from scalelab.plan.counts import active_ffn_matrices, decision_matrices, router_matrix
from scalelab.plan.reach import mixed
from scalelab.spec.model import LayerRouter, Lstm, Model, Transformer

BACKWARD = 3
"""Forward and backward over forward: each product has two more of its size in the backward pass.

Frozen layers count alike.
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the most that may be run; equal where nothing depends on the data."""

    least: int
    most: int

    @property
    def is_exact(self) -> bool:
        """Whether there is one closed form."""
        return self.least == self.most

    def __add__(self, other: "Bounds") -> "Bounds":
        return Bounds(self.least + other.least, self.most + other.most)

    def __mul__(self, factor: int) -> "Bounds":
        return Bounds(factor * self.least, factor * self.most)


def forward_flops(model: Model, vocab: int, context: int, targets: int) -> int:
    """FLOPs of one sequence of `context` positions through a resolved model of which `targets`
    positions are asked for; of a router over layers the most there can be.

    The head runs at these alone, and the last layer computes keys and values everywhere, but all
    else at these alone.
    """
    return forward_bounds(model, vocab, context, targets).most


def forward_bounds(model: Model, vocab: int, context: int, targets: int) -> Bounds:
    """The same between bounds, where nothing is trained."""
    head = 2 * targets * _width(model) * vocab
    if isinstance(model, LayerRouter):
        return _steps(model.meant(), context, targets, training=False) + Bounds(head, head)
    body = _gates(model, context) if isinstance(model, Lstm) else _layers(model, context, targets)
    return Bounds(body + head, body + head)


def train_bounds(model: Model, vocab: int, context: int, targets: int) -> Bounds:
    """FLOPs of one sequence forward and backward, all its roll-outs counted."""
    if not isinstance(model, LayerRouter):
        return forward_bounds(model, vocab, context, targets) * BACKWARD
    model = model.meant()
    head = losses(model) * 2 * targets * _width(model) * vocab
    return (_steps(model, context, targets, training=True) + Bounds(head, head)) * (
        BACKWARD * model.num_rollouts
    )


def losses(model: LayerRouter) -> int:
    """Predictions that bear a loss: one, or one after each step."""
    return model.num_steps if model.loss == "mean" or model.halting.kind == "ponder" else 1


def _gates(model: Lstm, context: int) -> int:
    """FLOPs of the gates of every layer at every position."""
    return 2 * context * model.layers * 8 * _width(model) ** 2


def _layers(model: Transformer, context: int, targets: int) -> int:
    return (model.layers - 1) * _layer(model, context, context) + _layer(model, context, targets)


def _layer(model: Transformer, context: int, queries: int) -> int:
    """FLOPs of a layer that computes keys and values at every position, and all else at `queries`
    of them.
    """
    return _keys_and_values(model, context) + queries * _query(model, context)


def _keys_and_values(model: Transformer, context: int) -> int:
    assert model.kv_heads is not None and model.head_width is not None
    return 2 * context * 2 * _width(model) * model.kv_heads * model.head_width


def _query(model: Transformer, context: int) -> int:
    """FLOPs of a layer at one position, without its key and value."""
    assert isinstance(model.heads, int) and model.head_width is not None
    query_and_out = 2 * 2 * _width(model) * model.heads * model.head_width
    scores_and_mix = 2 * 2 * model.heads * context * model.head_width
    return query_and_out + scores_and_mix + 2 * (active_ffn_matrices(model) + router_matrix(model))


def _steps(model: LayerRouter, context: int, targets: int, *, training: bool) -> Bounds:
    """FLOPs of all steps.

    The least: every token takes identity layers where it may, and halts after the first step where
    it may.

    Decisions are made everywhere: one for all tokens where a sequence has one route.
    """
    queries = [context] * (model.num_steps - 1) + [targets]
    plain = model.plain()
    steps = [
        _step(model, plain, allowed, context, asked, training=training)
        for allowed, asked in zip(model.allowed, queries, strict=True)
    ]
    may_halt = model.halting.kind in ("act", "threshold") or (
        model.halting.kind == "ponder" and not training
    )
    decisions = (
        2
        * decision_matrices(model)
        * model.num_steps
        * (1 if model.granularity == "sequence" else context)
    )
    least, most = (
        sum(step.least for step in (steps[:1] if may_halt else steps)),
        sum(step.most for step in steps),
    )
    return Bounds(least + decisions, most + decisions)


def _step(
    model: LayerRouter,
    plain: Transformer,
    allowed: tuple[int, ...],
    context: int,
    queries: int,
    *,
    training: bool,
) -> Bounds:
    """FLOPs of one step's layers, of which some are allowed, at `queries` positions."""
    layers = sum(layer < model.layers for layer in allowed)
    fewest, many = max(0, mixed(model) - (len(allowed) - layers)), min(mixed(model), layers)
    if training and model.selection.kind == "soft":
        fewest = many = layers
    # Whoever takes a layer looks at the keys and values of all positions, and each layer may have
    # somebody who takes it.
    keyed = many if _agree(model, training=training) else min(layers, many * queries)
    return Bounds(
        fewest * _layer(plain, context, queries),
        keyed * _keys_and_values(plain, context) + many * queries * _query(plain, context),
    )


def _agree(model: LayerRouter, *, training: bool) -> bool:
    """Whether all tokens of a sequence take the same layers."""
    drawn = training and (
        model.selection.kind in ("gumbel", "reinforce") or model.selection.noise > 0
    )
    return model.granularity == "sequence" or (model.policy == "learned" and not drawn)


def _width(model: Model) -> int:
    assert isinstance(model.width, int), "a resolved model is counted"
    return model.width
