"""Model families: one folder each (see `families.family`), and one entry in `Model`."""

from importlib import import_module
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from scalelab.core.spec import default_kind
from scalelab.families.family import Family
from scalelab.families.layer_router.spec import LayerRouter
from scalelab.families.lstm.spec import Lstm
from scalelab.families.transformer.spec import Transformer

if TYPE_CHECKING:
    from scalelab.families.language_model import LanguageModel

__all__ = ["LayerRouter", "Lstm", "Model", "Transformer", "build"]

Model = Annotated[
    Transformer  # the default
    | LayerRouter
    | Lstm,
    Field(discriminator="kind"),
    default_kind("transformer"),
]
"""The spec of a model, told apart by `kind`, which is the name of its family's folder."""


def build(model: Family, vocab: int, context: int) -> "LanguageModel":
    """The module of a resolved spec, on the default device.

    Its weights are drawn by `initialise(seed)`.
    """
    # Imported here: specs, plans and reports need no torch.
    module = import_module(f"{__name__}.{model.kind}.model")
    return module.build(model, vocab, context)
