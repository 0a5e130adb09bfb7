"""What other packages may ask of a model family, by its spec.

A family is a folder:

    families/<kind>/spec.py     its options: a subclass of `Family`, without torch
    families/<kind>/cost.py     its parameters and FLOPs in closed form, without torch
    families/<kind>/model.py    its module: a subclass of `LanguageModel`, built by `build`

and one entry in the union `Model` of `families/__init__.py`.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self, TypeVar

from scalelab.core.spec import Spec
from scalelab.core.units import Count
from scalelab.families.cost import BACKWARD, Bounds
from scalelab.layers.spec import Init, Moe, Solved

S = TypeVar("S", bound=Spec)


@dataclass(frozen=True)
class LayerPool:
    """Layers of which one or some are applied at each step."""

    layers: int
    """Layers with weights."""
    identity: int
    """Layers that leave a token as it is; they are numbered behind the others."""
    steps: int
    """Most layers that are applied one after the other."""
    halts: bool
    """Whether a token may leave before the last step."""
    policy: str
    """The name of what chooses the layers."""
    learned: bool
    """Whether what chooses them is trained."""
    family: str
    """The `kind` of the models whose layers these are, where they are applied in their order."""
    choices: Sequence[Sequence[int]] | None
    """The layers, from 1, that a step may choose, as the spec lists them; None if it does not."""

    @property
    def size(self) -> int:
        """Layers that can be chosen."""
        return self.layers + self.identity


class Difference(NamedTuple):
    """A field in which two specs differ."""

    path: str
    """Spec path, such as `model.ffn.width`."""
    wanted: Any
    found: Any


@dataclass(frozen=True)
class InitialWeights:
    """Weights of another trial that a model begins with."""

    trial: str
    """Digest of that trial, or its first digits."""
    freeze: bool
    """Whether they stay as they are."""
    model: "Family"
    """The resolved model that they were trained in. Its state has names that the state of the model
    which begins with them has too.
    """
    free: frozenset[str] = frozenset()
    """Fields of `model` that may have been others."""

    def difference(self, trained: "Family") -> Difference | None:
        """The first field in which the model of that trial is not the one that is wanted."""
        return _difference("model", self.model, trained, self.free)


class Family(Spec):
    """A model's options, and what follows from them without torch."""

    if TYPE_CHECKING:  # each family declares these fields, in an order and with defaults of its own
        kind: Any
        layers: Count
        width: Solved
        tied: bool
        init: Init

    compiles: ClassVar[Literal["model", "layers", "nothing"]] = "model"
    """What torch.compile is applied to: the whole model, each of its layers (for a model whose
    tokens take different layers), or nothing (for a model that runs in fused kernels anyway).
    """
    compared: ClassVar[tuple[str, ...]] = ("embedding", "attention", "ffn")
    """Names of the submodules whose outputs the muP coordinate check compares: those that see the
    same tokens at every call.
    """

    @property
    def layer_pool(self) -> LayerPool | None:
        """The layers that its module chooses from at each step; None if all tokens go through the
        same ones. With a pool the module implements `run_steps`, which tells each token's route.
        """
        return None

    @property
    def is_autoregressive(self) -> bool:
        """Whether a position predicts the next token from those before it, so that the model
        generates text; else it fills gaps in a text that it sees as a whole.
        """
        return True

    @property
    def uses_mup(self) -> bool:
        """Whether it has the maximal update parametrisation."""
        return False

    @property
    def depth(self) -> int:
        """Layers that a token goes through, by which depth scaling divides."""
        return self.layers

    @property
    def mup_factor(self) -> float:
        """The width of a resolved model by the base width of muP; 1 without muP."""
        return 1.0

    @property
    def mixture(self) -> Moe | None:
        """The mixture of experts in its layers, or None."""
        return None

    @property
    def couples_batch(self) -> bool:
        """Whether the loss of one sequence depends on the others of its micro-batch.

        The micro-batch is then part of the trial's identity.
        """
        return False

    @property
    def leaks_future(self) -> bool:
        """Whether a position under a causal mask depends on later ones, so that the model cannot
        generate text.
        """
        return self.mixture is not None and self.mixture.choice == "expert"

    @property
    def initial_weights(self) -> InitialWeights | None:
        """The weights of another trial that the model begins with, or None."""
        return None

    def check_text(self, objective: str, documents: str) -> None:
        """Raise UserError if it cannot be trained on text with this objective (`causal`, `prefix`
        or `masked`) and these documents (`joined` or `apart`).
        """

    @property
    @abstractmethod
    def sizes(self) -> Mapping[str, Solved | None]:
        """Spec path -> value of each size that may be solved for a budget of parameters."""

    @abstractmethod
    def step_of(self, path: str) -> int:
        """The step in which the size at `path` is solved, all others given. The number of
        parameters grows with the size.
        """

    def with_size(self, path: str, size: int) -> Self:
        """A copy with the size at `path`, such as `model.ffn.width`, replaced."""
        _, *parts = path.split(".")
        return _replaced(self, parts, size)

    @abstractmethod
    def resolved(self) -> Self:
        """A copy with every size that follows from others written down.

        No size may say `solve` any more.
        """

    @abstractmethod
    def scaled(self, factor: float) -> Self:
        """A resolved model made wider or narrower, with as many layers."""

    @abstractmethod
    def parameter_groups(self, vocab: int, context: int) -> dict[str, int]:
        """Parameters of a resolved model by what they are for; they sum to the total.

        Embeddings are called `embedding`, `value_embeddings` and `positions`, the output matrix
        `head`. The store, filters and figures use the names.
        """

    @abstractmethod
    def idle_parameters(self) -> int:
        """Parameters of a resolved model that take no part in the computation of one token."""

    @abstractmethod
    def forward_bounds(self, vocab: int, context: int, targets: int) -> Bounds:
        """FLOPs of a resolved model for one sequence of `context` positions of which `targets` are
        predicted, when it is not trained.
        """

    def train_bounds(self, vocab: int, context: int, targets: int) -> Bounds:
        """FLOPs of the forward and the backward pass of one sequence in training."""
        return self.forward_bounds(vocab, context, targets) * BACKWARD


def _difference(
    path: str, wanted: Any, found: Any, free: frozenset[str] = frozenset()
) -> Difference | None:
    if not isinstance(wanted, Spec) or type(wanted) is not type(found):
        return None if wanted == found else Difference(path, wanted, found)
    for name in type(wanted).model_fields:
        if name not in free:
            below = getattr(wanted, name), getattr(found, name)
            if (difference := _difference(f"{path}.{name}", *below)) is not None:
                return difference
    return None


def _replaced(part: S, path: list[str], value: Any) -> S:
    name, *below = path
    new = _replaced(getattr(part, name), below, value) if below else value
    return part.model_copy(update={name: new})
