"""Recurrent models: a baseline that reads one token after the other."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from scalelab.core.units import Count, Number
from scalelab.spec.architecture import MOST_LAYERS, Init
from scalelab.spec.base import Spec
from scalelab.spec.ffn import Solved


class Lstm(Spec):
    """A stack of LSTM layers (Hochreiter and Schmidhuber 1997), with a residual connection around
    each but the first.
    """

    mask: ClassVar[Literal["causal"]] = "causal"
    mixture: ClassVar[None] = None
    couples_batch: ClassVar[bool] = False
    mup: ClassVar[None] = None

    kind: Literal["lstm"] = "lstm"
    layers: Annotated[Count, Field(le=MOST_LAYERS)] = 2
    """Number of layers."""
    width: Solved = 16
    """Width of the embedding, the states and the cells; `solve` finds it for `budget.params`."""
    tied: bool = False
    """Use the embedding as the output head."""
    forget: Number = 1.0
    """Where the forget gates' biases begin: at 1 memories last from the start (Jozefowicz et al.
    2015).
    """
    embedding_dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """Share of the embedding's features that are dropped while training."""
    init: Init = Init()
    """How weights begin. There is nothing that `depth_scaled` would make smaller."""

    def resolved(self) -> Self:
        """The same model: no size follows from another; with what has no meaning at its default."""
        assert isinstance(self.width, int), "solve the width first"
        return self.model_copy(
            update={"init": self.init.model_copy(update={"depth_scaled": Init().depth_scaled})}
        )
