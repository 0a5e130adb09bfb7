"""Parameters of a model, in closed form.

D width, H query heads, K key heads, W width of a head, F hidden width, V vocabulary, U tokens of it that occur, T context, L layers.
"""

from dataclasses import dataclass

from scalelab.spec.budget import Convention
from scalelab.spec.model import Transformer


@dataclass(frozen=True, slots=True)
class Parameters:
    """How many parameters a model has, under every convention."""

    total: int
    """All of them; a tied head counts once."""
    non_embedding: int
    """Without token embedding, learned positions and head (Kaplan et al. 2020)."""
    active: int
    """Those that take part in the computation of one token."""
    groups: dict[str, int]
    """embedding, positions, attention, ffn, norm, head: they sum to the total."""
    used: int | None = None
    """Without the embedding's and the head's rows of tokens that never occur (arXiv 2404.05405); None where that is not known."""

    def by(self, convention: Convention) -> int | None:
        """The count under a convention; None where the task does not tell what it takes."""
        return getattr(self, convention)

    def as_dict(self) -> dict[str, int]:
        """Every known convention and every group by name, as the store keeps them."""
        used = {} if self.used is None else {"used": self.used}
        return {"total": self.total, "non_embedding": self.non_embedding, "active": self.active, **used, **self.groups}


def parameters(model: Transformer, vocab: int, context: int, used: int | None = None) -> Parameters:
    """Parameters of a resolved model; `context` matters to learned positions alone, `used` (tokens that occur) to that count alone."""
    assert isinstance(model.width, int), "a resolved model is counted"
    groups = {
        "embedding": vocab * model.width,
        "positions": context * model.width if model.position.kind == "learned" else 0,
        "attention": model.layers * _attention_matrices(model),
        "ffn": model.layers * ffn_matrices(model),
        "norm": _norms(model),
        "head": 0 if model.tied else vocab * model.width,
    }
    total = sum(groups.values())
    non_embedding = total - groups["embedding"] - groups["positions"] - groups["head"]
    unused_rows = 0 if used is None else (vocab - used) * (1 if model.tied else 2)
    return Parameters(
        total=total,
        non_embedding=non_embedding,
        active=total,
        groups=groups,
        used=None if used is None else total - unused_rows * model.width,
    )


def _attention_matrices(model: Transformer) -> int:
    """Parameters of one layer's query, key, value and output matrices: D (2 H + 2 K) W."""
    assert isinstance(model.width, int) and model.kv_heads is not None and model.head_width is not None
    return model.width * 2 * (model.heads + model.kv_heads) * model.head_width


def ffn_matrices(model: Transformer) -> int:
    """Parameters of one layer's feed-forward matrices: 3 D F with a gate, else 2 D F."""
    assert isinstance(model.width, int) and isinstance(model.ffn.width, int)
    return (3 if model.ffn.kind == "swiglu" else 2) * model.width * model.ffn.width


def _norms(model: Transformer) -> int:
    assert isinstance(model.width, int) and model.head_width is not None
    each = 1 if model.norm.kind == "rms" else 2  # layer norm has a bias beside its gain
    around_sublayer = 2 if model.norm.place in ("peri", "sandwich") else 1
    final = 1 if model.norm.place in ("pre", "peri") else 0
    features = (2 * model.layers * around_sublayer + final) * model.width
    if model.qk_norm:
        features += model.layers * 2 * model.head_width
    return each * features
