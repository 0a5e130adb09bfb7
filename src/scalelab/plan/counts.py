"""Parameters of a model, in closed form.

D width, H query heads, K key heads, W width of a head, F hidden width, V vocabulary, U tokens of it
that occur, T context, L layers, E routed experts, of which a token is sent to C, and S shared ones.
Of a router over layers: N steps, P layers of the pool, R hidden width.
"""

from dataclasses import dataclass

from scalelab.plan.reach import most_layers
from scalelab.spec.budget import Convention
from scalelab.spec.ffn import Moe
from scalelab.spec.model import LayerRouter, Lstm, Model, Transformer


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


def parameters(model: Model, vocab: int, context: int, used: int | None = None) -> Parameters:
    """Parameters of a resolved model; `context` matters to learned positions alone, `used` (tokens
    that occur) to that count alone.
    """
    assert isinstance(model.width, int), "a resolved model is counted"
    groups = (
        _recurrent(model, vocab) if isinstance(model, Lstm) else _attentive(model, vocab, context)
    )
    total = sum(groups.values())
    embeddings = sum(
        groups.get(name, 0) for name in ("embedding", "value_embeddings", "positions", "head")
    )
    unused_rows = 0 if used is None else (vocab - used) * (1 if model.tied else 2)
    return Parameters(
        total=total,
        non_embedding=total - embeddings,
        active=total - _idle(model),
        groups=groups,
        used=None if used is None else total - unused_rows * model.width,
    )


def _recurrent(model: Lstm, vocab: int) -> dict[str, int]:
    """Each layer has four gates, which read the input and the last output: 4 D (D + D), and two
    biases of 4 D.
    """
    assert isinstance(model.width, int)
    layer = 8 * model.width**2 + 8 * model.width
    return {
        "embedding": vocab * model.width,
        "recurrent": model.layers * layer,
        "head": 0 if model.tied else vocab * model.width,
    }


def _attentive(model: Transformer | LayerRouter, vocab: int, context: int) -> dict[str, int]:
    assert isinstance(model.width, int)
    plain = model.plain() if isinstance(model, LayerRouter) else model
    extras = _extras(plain, vocab)
    router = extras["router"] + (over_layers(model) if isinstance(model, LayerRouter) else 0)
    return {
        "embedding": vocab * model.width,
        "positions": context * model.width if model.position.kind == "learned" else 0,
        "attention": model.layers * _attention_matrices(plain),
        "ffn": model.layers * _ffn_matrices(plain),
        "norm": _norms(plain),
        "head": 0 if model.tied else vocab * model.width,
        **{name: count for name, count in (extras | {"router": router}).items() if count},
    }


def _idle(model: Model) -> int:
    """Parameters that one token does not meet."""
    if isinstance(model, Lstm):
        return 0
    if isinstance(model, LayerRouter):
        return (model.layers - most_layers(model)) * _layer(model.plain())
    return model.layers * (_ffn_matrices(model) - active_ffn_matrices(model))


def _layer(model: Transformer) -> int:
    """Parameters of one layer of a pool."""
    assert isinstance(model.width, int)
    return _attention_matrices(model) + _ffn_matrices(model) + _layer_norms(model)


def _attention_matrices(model: Transformer) -> int:
    """Parameters of one layer's query, key, value and output matrices: D (2 H + 2 K) W."""
    assert isinstance(model.width, int) and isinstance(model.heads, int)
    assert model.kv_heads is not None and model.head_width is not None
    return model.width * 2 * (model.heads + model.kv_heads) * model.head_width


def _ffn_matrices(model: Transformer) -> int:
    """Parameters of one layer's feed-forward matrices: those of one network, or of all S + E
    experts.
    """
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
    """What only some models have: value embeddings with a gain each, routers, and two residual
    gains for each layer.
    """
    assert model.kv_heads is not None and model.head_width is not None
    with_values = (model.layers + 1) // 2 if model.value_embeddings else 0
    return {
        "value_embeddings": with_values * vocab * model.kv_heads * model.head_width,
        "router": model.layers * router_matrix(model),
        "gains": with_values + (2 * model.layers if model.residual_gains else 0),
    }


def _norms(model: Transformer) -> int:
    assert isinstance(model.width, int)
    final = 1 if model.norm.place in ("pre", "peri") else 0
    first = 1 if model.embedding_norm else 0
    return model.layers * _layer_norms(model) + (first + final) * _norm(model) * model.width


def _layer_norms(model: Transformer) -> int:
    """Parameters of one layer's norms: around its sublayers, and of its queries and keys."""
    assert isinstance(model.width, int) and model.head_width is not None
    around_sublayer = 2 if model.norm.place in ("peri", "sandwich") else 1
    heads = 2 * model.head_width if model.qk_norm else 0
    return _norm(model) * (2 * around_sublayer * model.width + heads)


def _norm(model: Transformer) -> int:
    """Parameters of a norm for each feature."""
    return 1 if model.norm.kind == "rms" else 2  # layer norm has a bias beside its gain


def over_layers(model: LayerRouter) -> int:
    """Parameters of what decides over layers: matrices, a learned score for each step and layer,
    and what is added to products.
    """
    assert isinstance(model.width, int)
    scores = model.num_steps * model.pool if model.policy == "learned" else 0
    steps = (
        model.num_steps * model.width if _has_network(model) and model.router.step_embedding else 0
    )
    return decision_matrices(model) + scores + steps + (0 if model.halting.kind == "none" else 1)


def decision_matrices(model: LayerRouter) -> int:
    """Parameters that a decision multiplies by: the router's matrices, and the D weights of the
    unit that halts.

    A linear router is D P; a hidden width R costs D R + R P, or with gates, three of a GRU and four
    of an LSTM, each (D + R) R.
    """
    assert isinstance(model.width, int)
    halting = 0 if model.halting.kind == "none" else model.width
    if not _has_network(model):
        return halting
    if model.router.kind == "linear":
        return halting + model.width * model.pool
    hidden = model.router.width
    inner = {
        "mlp": model.width,
        "gru": 3 * (model.width + hidden),
        "lstm": 4 * (model.width + hidden),
    }[model.router.kind]
    return halting + (inner + model.pool) * hidden


def _has_network(model: LayerRouter) -> bool:
    return model.policy in ("closed", "open")
