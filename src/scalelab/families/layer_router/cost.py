"""Parameters and FLOPs of a router over layers, in closed form or between bounds.

D width, N steps, P layers of the pool, R hidden width of the router.
"""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from scalelab.families.cost import BACKWARD, Bounds
from scalelab.families.transformer.cost import (
    key_value_flops,
    layer_flops,
    layer_parameters,
    query_flops,
)

if TYPE_CHECKING:
    from scalelab.families.layer_router.spec import LayerRouter
    from scalelab.families.transformer.spec import Transformer


def parameter_groups(model: "LayerRouter", vocab: int, context: int) -> dict[str, int]:
    """Those of its plain transformer, and in the group `router` what decides over layers."""
    deciding = _deciding(model)
    plain = model.plain().parameter_groups(vocab, context)
    return plain | ({"router": deciding} if deciding else {})


def idle_parameters(model: "LayerRouter") -> int:
    """Those of the layers that a token cannot meet, however it is routed."""
    return (model.layers - most_layers(model)) * layer_parameters(model.plain())


def forward_bounds(model: "LayerRouter", vocab: int, context: int, targets: int) -> Bounds:
    """FLOPs of one sequence when the model is not trained."""
    model = model.meant()
    head = 2 * targets * _width(model) * vocab
    return _steps(model, context, targets, training=False) + Bounds(head, head)


def train_bounds(model: "LayerRouter", vocab: int, context: int, targets: int) -> Bounds:
    """FLOPs of one sequence forward and backward, all its roll-outs counted."""
    model = model.meant()
    head = losses(model) * 2 * targets * _width(model) * vocab
    return (_steps(model, context, targets, training=True) + Bounds(head, head)) * (
        BACKWARD * model.num_rollouts
    )


def losses(model: "LayerRouter") -> int:
    """Predictions that bear a loss: one, or one after each step."""
    return model.num_steps if model.loss == "mean" or model.halting.kind == "ponder" else 1


def _steps(model: "LayerRouter", context: int, targets: int, *, training: bool) -> Bounds:
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
        * _decision_matrices(model)
        * model.num_steps
        * (1 if model.granularity == "sequence" else context)
    )
    least, most = (
        sum(step.least for step in (steps[:1] if may_halt else steps)),
        sum(step.most for step in steps),
    )
    return Bounds(least + decisions, most + decisions)


def _step(
    model: "LayerRouter",
    plain: "Transformer",
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
        fewest * layer_flops(plain, context, queries),
        keyed * key_value_flops(plain, context) + many * queries * query_flops(plain, context),
    )


def _agree(model: "LayerRouter", *, training: bool) -> bool:
    """Whether all tokens of a sequence take the same layers."""
    drawn = training and (
        model.selection.kind in ("gumbel", "reinforce") or model.selection.noise > 0
    )
    return model.granularity == "sequence" or (model.policy == "learned" and not drawn)


def _deciding(model: "LayerRouter") -> int:
    """Parameters of what decides over layers: matrices, a learned score for each step and layer,
    and what is added to products.
    """
    assert isinstance(model.width, int)
    scores = model.num_steps * model.pool if model.policy == "learned" else 0
    steps = (
        model.num_steps * model.width if _has_network(model) and model.router.step_embedding else 0
    )
    return _decision_matrices(model) + scores + steps + (0 if model.halting.kind == "none" else 1)


def _decision_matrices(model: "LayerRouter") -> int:
    """Parameters that a decision multiplies by: the router's matrices, and the D weights of the
    unit that halts.

    A linear router is D P; a hidden width R costs D R + R P, or with gates, three of a GRU and four
    of an LSTM, each (D + R) R.
    """
    assert isinstance(model.width, int)
    halting = 0 if model.halting.kind == "none" else model.width
    if not _has_network(model):
        return halting
    if model.router.kind == "linear":
        return halting + model.width * model.pool
    hidden = model.router.width
    inner = {
        "mlp": model.width,
        "gru": 3 * (model.width + hidden),
        "lstm": 4 * (model.width + hidden),
    }[model.router.kind]
    return halting + (inner + model.pool) * hidden


def _has_network(model: "LayerRouter") -> bool:
    return model.policy in ("closed", "open")


def _width(model: "LayerRouter") -> int:
    assert isinstance(model.width, int), "a resolved model is counted"
    return model.width


def mixed(model: "LayerRouter") -> int:
    """Layers that are applied to a token at a step."""
    return 1 if "top" in model.implied() else model.top


def most_layers(model: "LayerRouter") -> int:
    """Different layers, identity layers aside, that one token meets at most.

    At each step a token takes some of the layers that the step allows, and a layer that it takes
    twice is met once. So what a route can meet are layers that can be assigned to steps that allow
    them, to each step as many as it applies: the most of them is a largest matching, found by
    augmenting paths.
    """
    if model.policy not in ("fixed", "closed"):  # every step allows every layer
        return min(model.layers, mixed(model) * model.num_steps)
    return _most(model.allowed, model.layers, mixed(model))


@lru_cache(maxsize=64)
def _most(allowed: tuple[tuple[int, ...], ...], layers: int, each: int) -> int:
    steps_of = defaultdict[int, list[int]](list)
    for step, choice in enumerate(allowed):
        for layer in choice:
            steps_of[layer].append(step)
    at: dict[int, int] = {}
    """Layer -> the step that it is assigned to."""
    for layer in range(layers):
        at |= _moves(layer, steps_of, at, each)
    return len(at)


def _moves(
    layer: int, steps_of: Mapping[int, Sequence[int]], at: Mapping[int, int], each: int
) -> dict[int, int]:
    """Where this layer and others go so that all of them have a step; nothing where that can't
    be.
    """
    taken = defaultdict[int, list[int]](list)
    for other, step in at.items():
        taken[step].append(other)
    asked_by: dict[int, int] = {}
    """Step -> the layer that was the first to ask for it."""
    asking = deque([layer])
    while asking:
        one = asking.popleft()
        for step in steps_of.get(one, ()):
            if step in asked_by:
                continue
            asked_by[step] = one
            if len(taken[step]) < each:
                moves = {one: step}
                while one != layer:
                    left = at[one]
                    one = asked_by[left]
                    moves[one] = left
                return moves
            asking.extend(taken[step])
    return {}
