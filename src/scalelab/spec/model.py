"""Model families: what a user may say of an architecture.

Each class here has its module in `models/`.
"""

from typing import Annotated

from pydantic import Field

from scalelab.spec.architecture import (
    Architecture,
    Init,
    LearnedPositions,
    NoPositions,
    Norm,
    Rope,
    Transformer,
)
from scalelab.spec.base import default_kind
from scalelab.spec.ffn import Ffn, Moe
from scalelab.spec.recurrent import Lstm
from scalelab.spec.router import LayerRouter

__all__ = [
    "Architecture",
    "Ffn",
    "Init",
    "LayerRouter",
    "LearnedPositions",
    "Lstm",
    "Model",
    "Moe",
    "NoPositions",
    "Norm",
    "Rope",
    "Transformer",
]

Model = Annotated[
    Transformer | LayerRouter | Lstm, Field(discriminator="kind"), default_kind("transformer")
]
"""Every model family, told apart by `kind`."""
