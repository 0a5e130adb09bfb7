"""Parameters of a model, in closed form.

D width, H query heads, K key heads, W width of a head, F hidden width, V vocabulary, U tokens of it that occur, T context, L layers,
E routed experts, of which a token is sent to C, and S shared ones.
"""

from dataclasses import dataclass

from scalelab.spec.budget import Convention
from scalelab.spec.ffn import Moe
from scalelab.spec.model import Transformer


@dataclass(frozen=True, slots=True)
class Parameters:
    """How many parameters a model has, under every convention."""

    total: int
    """All of them; a tied head counts once."""
    non_embedding: int
    """Without token embedding, learned positions and head (Kaplan et al. 2020)."""
    active: int
    """Those that take part in the computation of one token: of a mixture's routed experts only the chosen ones."""
    groups: dict[str, int]
    """embedding, positions, attention, ffn, norm, head, and where there are any value_embeddings, router, gains: they sum to the total."""
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
        "ffn": model.layers * _ffn_matrices(model),
        "norm": _norms(model),
        "head": 0 if model.tied else vocab * model.width,
        **{name: count for name, count in _extras(model, vocab).items() if count},
    }
    total = sum(groups.values())
    idle = model.layers * (_ffn_matrices(model) - active_ffn_matrices(model))
    embeddings = sum(groups.get(name, 0) for name in ("embedding", "value_embeddings", "positions", "head"))
    unused_rows = 0 if used is None else (vocab - used) * (1 if model.tied else 2)
    return Parameters(
        total=total,
        non_embedding=total - embeddings,
        active=total - idle,
        groups=groups,
        used=None if used is None else total - unused_rows * model.width,
    )


def _attention_matrices(model: Transformer) -> int:
    """Parameters of one layer's query, key, value and output matrices: D (2 H + 2 K) W."""
    assert isinstance(model.width, int) and isinstance(model.heads, int)
    assert model.kv_heads is not None and model.head_width is not None
    return model.width * 2 * (model.heads + model.kv_heads) * model.head_width


def _ffn_matrices(model: Transformer) -> int:
    """Parameters of one layer's feed-forward matrices: those of one network, or of all S + E experts."""
    ffn = model.ffn
    return _network(model) * (ffn.shared + ffn.experts if isinstance(ffn, Moe) else 1)


def active_ffn_matrices(model: Transformer) -> int:
    """Of `_ffn_matrices` those that a token meets: S + C experts."""
    ffn = model.ffn
    return _network(model) * (ffn.shared + ffn.chosen if isinstance(ffn, Moe) else 1)


def router_matrix(model: Transformer) -> int:
    """Parameters of one layer's router, D E; none without a mixture."""
    assert isinstance(model.width, int)
    return model.width * model.ffn.experts if isinstance(model.ffn, Moe) else 0


def _network(model: Transformer) -> int:
    """Parameters of one feed-forward network: 3 D F with a gate, else 2 D F."""
    assert isinstance(model.width, int) and isinstance(model.ffn.width, int)
    activation = model.ffn.expert if isinstance(model.ffn, Moe) else model.ffn.kind
    return (3 if activation == "swiglu" else 2) * model.width * model.ffn.width


def _extras(model: Transformer, vocab: int) -> dict[str, int]:
    """What only some models have: value embeddings with a gain each, routers, and two residual gains for each layer."""
    assert model.kv_heads is not None and model.head_width is not None
    with_values = (model.layers + 1) // 2 if model.value_embeddings else 0
    return {
        "value_embeddings": with_values * vocab * model.kv_heads * model.head_width,
        "router": model.layers * router_matrix(model),
        "gains": with_values + (2 * model.layers if model.residual_gains else 0),
    }


def _norms(model: Transformer) -> int:
    assert isinstance(model.width, int) and model.head_width is not None
    each = 1 if model.norm.kind == "rms" else 2  # layer norm has a bias beside its gain
    around_sublayer = 2 if model.norm.place in ("peri", "sandwich") else 1
    final = 1 if model.norm.place in ("pre", "peri") else 0
    first = 1 if model.embedding_norm else 0
    features = (first + 2 * model.layers * around_sublayer + final) * model.width
    if model.qk_norm:
        features += model.layers * 2 * model.head_width
    return each * features
