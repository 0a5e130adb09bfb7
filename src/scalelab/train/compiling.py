"""torch.compile: what of a trial is compiled, and how.

Of a router over layers its layers are: which tokens go where is no matter for a graph, and their
numbers change with every batch. An LSTM runs in torch's own fused kernels, and is not. Else all of
the loss is one graph, and all that an evaluation runs.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import torch

from scalelab.families import Model
from scalelab.families.language_model import LanguageModel
from scalelab.families.objective import Loss
from scalelab.spec.execution import Execution

F = TypeVar("F", bound=Callable[..., Any])


def is_compiled(model: Model, execution: Execution) -> bool:
    """Whether anything of the model is compiled under this execution."""
    return execution.compile and model.compiles != "nothing"


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


def compiled_loss(model: LanguageModel, **options: Any) -> Callable[..., Loss]:
    """The loss of a model's training, compiled unless the model's layers are."""
    loss = type(model).loss
    return loss if model.config.compiles == "layers" else compiled(loss, **options)


def compile_evaluation(model: LanguageModel, **options: Any) -> None:
    """Compile what evaluations run of a model, or its layers.

    Weights, their names and the training of others stay as they are.
    """
    if model.config.compiles == "layers":
        # One graph for all layers, which differ only in their weights; beyond torch's limit of
        # variants it runs as it is.
        layer_class = type(model.layers[0])
        forward = compiled(layer_class.forward, **{**options, "fullgraph": False, "dynamic": True})
        for layer in model.layers:
            layer.forward = partial(forward, layer)
    else:
        model.trunk = compiled(type(model).trunk.__get__(model), **options)
