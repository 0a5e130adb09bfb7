"""torch.compile: what of a trial is compiled, and how.

Of a router over layers its layers are: which tokens go where is no matter for a graph, and their
numbers change with every batch. An LSTM runs in torch's own fused kernels, and is not. Else all of
the loss is one graph, and all that an evaluation runs.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import torch

from scalelab.models import Family, LayerRouter
from scalelab.models.layers.layer import Layer
from scalelab.spec import model as spec
from scalelab.spec.execution import Execution
from scalelab.train.objective import Loss, summed_loss

F = TypeVar("F", bound=Callable[..., Any])


def is_compiled(model: spec.Model, execution: Execution) -> bool:
    """Whether anything of the model is compiled under this execution."""
    return execution.compile and not isinstance(model, spec.Lstm)


def compiled(function: F, **options: Any) -> F:
    """The function in one graph for each shape that it meets.

    Its graphs are its own: a process runs many trials, and a cache that they shared would be full
    after eight models.
    """
    return cast(
        F,
        torch.compile(
            function, **{"fullgraph": True, "dynamic": False, "isolate_recompiles": True, **options}
        ),
    )


def compiled_loss(model: Family, **options: Any) -> Callable[..., Loss]:
    """The loss of a model's training, compiled unless the model's layers are."""
    return summed_loss if isinstance(model, LayerRouter) else compiled(summed_loss, **options)


def compile_evaluation(model: Family, **options: Any) -> None:
    """Compile what evaluations run of a model, or its layers.

    Weights, their names and the training of others stay as they are.
    """
    if isinstance(model, LayerRouter):
        # One for all layers, which differ in their weights alone; beyond torch's limit of variants
        # it runs as it is.
        forward = compiled(Layer.forward, **{**options, "fullgraph": False, "dynamic": True})
        for layer in model.layers:
            layer.forward = partial(forward, cast(Layer, layer))
    else:
        model.trunk = compiled(type(model).trunk.__get__(model), **options)
