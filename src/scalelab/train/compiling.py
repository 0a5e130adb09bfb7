"""torch.compile: what of a trial is compiled, and how."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

from scalelab.models import Transformer

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F, **options: Any) -> F:
    """The function in one graph for each shape that it meets.

    Its graphs are its own: a process runs many trials, and a cache that they shared would be full after eight models.
    """
    return cast(F, torch.compile(function, **{"fullgraph": True, "dynamic": False, "isolate_recompiles": True, **options}))


def compile_evaluation(model: Transformer, **options: Any) -> None:
    """Compile what evaluations run of a model. Weights, their names and training stay as they are."""
    model.trunk = compiled(model.trunk, **options)
