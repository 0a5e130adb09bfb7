"""Model families: each is built from its spec."""

from scalelab.models.layer_router import LayerRouter
from scalelab.models.lstm import Lstm
from scalelab.models.transformer import Transformer
from scalelab.spec import model as spec

__all__ = ["Family", "LayerRouter", "Lstm", "Transformer", "build"]

Family = Transformer | LayerRouter | Lstm
"""Every family's module. All of them have what `Transformer` has: other rooms ask for no more."""


def build(given: spec.Model, vocab: int, context: int) -> Family:
    """The module of a resolved spec, on the default device.

    Its weights are drawn by `initialise(seed)`.
    """
    if isinstance(given, spec.Lstm):
        return Lstm(given, vocab, context)
    if isinstance(given, spec.LayerRouter):
        return LayerRouter(given, vocab, context)
    return Transformer(given, vocab, context)
