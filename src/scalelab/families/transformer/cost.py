"""Parameters and FLOPs of a transformer, in closed form.

D width, H query heads, K key heads, W width of a head, F hidden width, V vocabulary, T context, L
layers, E routed experts, of which a token is sent to C, and S shared ones.
"""

from typing import TYPE_CHECKING, NamedTuple

from scalelab.layers.spec import Moe

if TYPE_CHECKING:
    from scalelab.families.transformer.spec import Transformer


def parameter_groups(model: "Transformer", vocab: int, context: int) -> dict[str, int]:
    """Parameters by what they are for; value embeddings, routers and gains only if there are
    any.
    """
    width = width_of(model)
    extras = _extras(model, vocab)
    return {
        "embedding": vocab * width,
        "positions": context * width if model.position.kind == "learned" else 0,
        "attention": model.layers * _attention_matrices(model),
        "ffn": model.layers * _ffn_matrices(model),
        "norm": _norms(model),
        "head": 0 if model.tied else vocab * width,
        **{name: count for name, count in extras.items() if count},
    }


def idle_parameters(model: "Transformer") -> int:
    """Those of the routed experts that a token is not sent to."""
    return model.layers * (_ffn_matrices(model) - _active_ffn_matrices(model))


def forward_flops(model: "Transformer", vocab: int, context: int, targets: int) -> int:
    """Every layer at all positions, but of the last one only keys and values; all else of it, and
    the head, at the targets.
    """
    all_but_last = (model.layers - 1) * layer_flops(model, context, context)
    last = layer_flops(model, context, targets)
    return all_but_last + last + 2 * targets * width_of(model) * vocab


def layer_flops(model: "Transformer", context: int, queries: int) -> int:
    """FLOPs of a layer that computes keys and values at every position, and all else at `queries`
    of them.
    """
    return key_value_flops(model, context) + queries * query_flops(model, context)


def key_value_flops(model: "Transformer", context: int) -> int:
    """FLOPs of a layer's keys and values at `context` positions."""
    assert model.kv_heads is not None and model.head_width is not None
    return 2 * context * 2 * width_of(model) * model.kv_heads * model.head_width


def query_flops(model: "Transformer", context: int) -> int:
    """FLOPs of a layer at one position, without its key and value."""
    assert isinstance(model.heads, int) and model.head_width is not None
    query_and_out = 2 * 2 * width_of(model) * model.heads * model.head_width
    scores_and_mix = 2 * 2 * model.heads * context * model.head_width
    return query_and_out + scores_and_mix + 2 * (_active_ffn_matrices(model) + _router(model))


def layer_parameters(model: "Transformer") -> int:
    """Parameters of one layer, without a router, gains and value embeddings."""
    return _attention_matrices(model) + _ffn_matrices(model) + _layer_norms(model)


class LayerFlops(NamedTuple):
    """FLOPs of a layer, by what they are counted by."""

    key: int
    """Of the key and value of a position."""
    query: int
    """Of all else at a position, but for what grows with the keys that it sees."""
    seen_key: int
    """Of a key that a query sees."""


def layer_flops_by_part(model: "Transformer") -> LayerFlops:
    """FLOPs of one layer."""
    query, with_a_key = query_flops(model, 0), query_flops(model, 1)
    return LayerFlops(key_value_flops(model, 1), query, with_a_key - query)


def _attention_matrices(model: "Transformer") -> int:
    """Parameters of one layer's query, key, value and output matrices: D (2 H + 2 K) W."""
    assert isinstance(model.width, int) and isinstance(model.heads, int)
    assert model.kv_heads is not None and model.head_width is not None
    return model.width * 2 * (model.heads + model.kv_heads) * model.head_width


def _ffn_matrices(model: "Transformer") -> int:
    """Parameters of one layer's feed-forward matrices: those of one network, or of all S + E
    experts.
    """
    ffn = model.ffn
    return _network(model) * (ffn.shared + ffn.experts if isinstance(ffn, Moe) else 1)


def _active_ffn_matrices(model: "Transformer") -> int:
    """Of `_ffn_matrices` those that a token meets: S + C experts."""
    ffn = model.ffn
    return _network(model) * (ffn.shared + ffn.chosen if isinstance(ffn, Moe) else 1)


def _router(model: "Transformer") -> int:
    """Parameters of one layer's router, D E; none without a mixture."""
    assert isinstance(model.width, int)
    return model.width * model.ffn.experts if isinstance(model.ffn, Moe) else 0


def _network(model: "Transformer") -> int:
    """Parameters of one feed-forward network: 3 D F with a gate, else 2 D F."""
    assert isinstance(model.width, int) and isinstance(model.ffn.width, int)
    activation = model.ffn.expert if isinstance(model.ffn, Moe) else model.ffn.kind
    return (3 if activation == "swiglu" else 2) * model.width * model.ffn.width


def _extras(model: "Transformer", vocab: int) -> dict[str, int]:
    """What only some models have: value embeddings with a gain each, routers, and two residual
    gains for each layer.
    """
    assert model.kv_heads is not None and model.head_width is not None
    with_values = (model.layers + 1) // 2 if model.value_embeddings else 0
    return {
        "value_embeddings": with_values * vocab * model.kv_heads * model.head_width,
        "router": model.layers * _router(model),
        "gains": with_values + (2 * model.layers if model.residual_gains else 0),
    }


def _norms(model: "Transformer") -> int:
    assert isinstance(model.width, int)
    final = 1 if model.norm.place in ("pre", "peri") else 0
    first = 1 if model.embedding_norm else 0
    return model.layers * _layer_norms(model) + (first + final) * _norm(model) * model.width


def _layer_norms(model: "Transformer") -> int:
    """Parameters of one layer's norms: around its sublayers, and of its queries and keys."""
    assert isinstance(model.width, int) and model.head_width is not None
    around_sublayer = 2 if model.norm.place in ("peri", "sandwich") else 1
    heads = 2 * model.head_width if model.qk_norm else 0
    return _norm(model) * (2 * around_sublayer * model.width + heads)


def _norm(model: "Transformer") -> int:
    """Parameters of a norm for each feature."""
    return 1 if model.norm.kind == "rms" else 2  # layer norm has a bias beside its gain


def width_of(model: "Transformer") -> int:
    """The width of a resolved model."""
    assert isinstance(model.width, int), "a resolved model is counted"
    return model.width
