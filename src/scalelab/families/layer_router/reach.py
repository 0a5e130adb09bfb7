"""How many layers of a pool one token can meet.

At each step a token takes some of the layers that the step allows, and a layer that it takes twice
is met once. So what a route can meet are layers that can be assigned to steps that allow them, to
each step as many as it applies: the most of them is a largest matching, found by augmenting paths.
"""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scalelab.families.layer_router.spec import LayerRouter


def mixed(model: "LayerRouter") -> int:
    """Layers that are applied to a token at a step."""
    return 1 if "top" in model.implied() else model.top


def most_layers(model: "LayerRouter") -> int:
    """Different layers, identity layers aside, that one token meets at most."""
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
