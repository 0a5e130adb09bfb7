"""Recurrent models: a baseline that reads one token after the other."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from scalelab.core.errors import UserError
from scalelab.core.units import Count, Number
from scalelab.families.cost import Bounds
from scalelab.families.family import Family
from scalelab.families.lstm import cost
from scalelab.layers.spec import MOST_LAYERS, Init, Solved


class Lstm(Family):
    """A stack of LSTM layers (Hochreiter and Schmidhuber 1997), with a residual connection around
    each but the first.
    """

    compiles: ClassVar[Literal["model", "layers", "nothing"]] = "nothing"

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

    def check_text(self, objective: str, documents: str) -> None:
        """It reads one token after the other, and never forgets at the end of a document."""
        if objective != "causal":
            raise UserError(
                "an LSTM reads one token after the other, and `task.objective.kind` is"
                f" `{objective}`",
                cure="take the causal objective, or another model",
                paths=["task.objective.kind"],
            )
        if documents == "apart":
            raise UserError(
                "an LSTM's state is not reset between documents, and `task.documents` is `apart`",
                cure="take `joined`, or another model",
                paths=["task.documents"],
            )

    @property
    def sizes(self) -> Mapping[str, Solved | None]:
        """Its width."""
        return {"model.width": self.width}

    def step_of(self, path: str) -> int:
        """Any width will do."""
        return 1

    def scaled(self, factor: float) -> Self:
        """The same with wider states."""
        assert isinstance(self.width, int), "a resolved model is scaled"
        return self.model_copy(update={"width": round(self.width * factor)})

    def parameter_groups(self, vocab: int, context: int) -> dict[str, int]:
        """See `cost.parameter_groups`."""
        return cost.parameter_groups(self, vocab)

    def idle_parameters(self) -> int:
        """None: every token meets all of them."""
        return 0

    def forward_bounds(self, vocab: int, context: int, targets: int) -> Bounds:
        """See `cost.forward_flops`."""
        flops = cost.forward_flops(self, vocab, context, targets)
        return Bounds(flops, flops)
