"""Parameters and FLOPs of a model: the closed forms of its family, put together.

FLOPs are those of the matrix products, two for each multiply-add. Attention counts in full, T x T,
as the kernels that a profiler sees do (a causal mask halves the useful part, and a window leaves
less). Norms, softmax, activations, lookups and rotations count as nothing, which is how torch's
FlopCounterMode counts too. If what a model runs depends on the data, there are bounds.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from scalelab.families import Model

Convention = Literal["total", "non_embedding", "active", "used"]
"""How parameters are counted: see `Parameters`."""

BACKWARD = 3
"""Forward and backward over forward: each product has two more of its size in the backward pass.

Frozen layers count alike.
"""

EMBEDDINGS = ("embedding", "value_embeddings", "positions", "head")
"""Groups of parameters that `non_embedding` leaves out."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How many parameters a model has, under every convention."""

    total: int
    """All of them; a tied head counts once."""
    non_embedding: int
    """Without token embedding, learned positions and head (Kaplan et al. 2020)."""
    active: int
    """Those that take part in the computation of one token: of a mixture's routed experts only the
    chosen ones (a mean, where experts choose their tokens), and of a pool of layers as many
    different ones as a token can meet at most.
    """
    groups: dict[str, int]
    """embedding, positions, attention, ffn, norm, head, and where there are any value_embeddings,
    router, gains; of an LSTM embedding, recurrent, head. They sum to the total.
    """
    used: int | None = None
    """Without the embedding's and the head's rows of tokens that never occur (arXiv 2404.05405);
    None where that is not known.
    """

    def by(self, convention: Convention) -> int | None:
        """The count under a convention; None where the task does not tell what it takes."""
        return getattr(self, convention)

    def as_dict(self) -> dict[str, int]:
        """Every known convention and every group by name, as the store keeps them."""
        used = {} if self.used is None else {"used": self.used}
        return {
            "total": self.total,
            "non_embedding": self.non_embedding,
            "active": self.active,
            **used,
            **self.groups,
        }


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the most that may be run; equal where nothing depends on the data."""

    least: int
    most: int

    @property
    def is_exact(self) -> bool:
        """Whether there is one closed form."""
        return self.least == self.most

    def __add__(self, other: "Bounds") -> "Bounds":
        return Bounds(self.least + other.least, self.most + other.most)

    def __mul__(self, factor: int) -> "Bounds":
        return Bounds(factor * self.least, factor * self.most)


def parameters(model: "Model", vocab: int, context: int, used: int | None = None) -> Parameters:
    """Parameters of a resolved model. `context` matters only to learned positions, and `used` (how
    many tokens occur) only to the count of that name.
    """
    assert isinstance(model.width, int), "a resolved model is counted"
    groups = model.parameter_groups(vocab, context)
    total = sum(groups.values())
    unused_rows = 0 if used is None else (vocab - used) * (1 if model.tied else 2)
    return Parameters(
        total=total,
        non_embedding=total - sum(groups.get(name, 0) for name in EMBEDDINGS),
        active=total - model.idle_parameters(),
        groups=groups,
        used=None if used is None else total - unused_rows * model.width,
    )


def forward_flops(model: "Model", vocab: int, context: int, targets: int) -> int:
    """FLOPs of one sequence of `context` positions through a resolved model, of which `targets`
    positions are predicted; if they depend on the data, the most there can be.

    The head, and everything in the last layer except keys and values, is computed only at the
    `targets`.
    """
    return model.forward_bounds(vocab, context, targets).most
