"""Model families: each is built from its spec."""

from scalelab.models.transformer import Transformer
from scalelab.spec import model as spec

__all__ = ["Transformer", "build"]


def build(given: spec.Transformer, vocab: int, context: int) -> Transformer:
    """The module of a resolved spec, on the default device. Its weights are drawn by `initialise(seed)`."""
    return Transformer(given, vocab, context)
