"""Model families: one folder each (see `families.family`), and one entry in `Model`."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import Field, ValidationError

from scalelab.core.spec import default_kind
from scalelab.families.family import Family
from scalelab.families.layer_router.spec import LayerRouter
from scalelab.families.lstm.spec import Lstm
from scalelab.families.transformer.spec import Transformer

if TYPE_CHECKING:
    from scalelab.families.language_model import LanguageModel

__all__ = ["LayerRouter", "Lstm", "Model", "Transformer", "build", "read"]

Model = Annotated[
    Transformer  # the default
    | LayerRouter
    | Lstm,
    Field(discriminator="kind"),
    default_kind("transformer"),
]
"""The spec of a model, told apart by `kind`, which is the name of its family's folder."""


KINDS: dict[str, type[Family]] = {
    spec.model_fields["kind"].default: spec for spec in get_args(get_args(Model)[0])
}
"""Every family's spec by its `kind`."""


def read(fields: Mapping[str, Any]) -> Family | None:
    """The spec of a stored model; None if it is of no family, or of none that could be built, as
    rows of a published table may be. A field that the family does not have is passed over.
    """
    family = KINDS.get(fields.get("kind", ""))
    if family is None:
        return None
    known = {name: value for name, value in fields.items() if name in family.model_fields}
    try:
        return family.model_validate(known)
    except ValidationError:
        return None


def build(model: Family, vocab: int, context: int) -> "LanguageModel":
    """The module of a resolved spec, on the default device.

    Its weights are drawn by `initialise(seed)`.
    """
    # Imported here: specs, plans and reports need no torch.
    module = import_module(f"{__name__}.{model.kind}.model")
    return module.build(model, vocab, context)
