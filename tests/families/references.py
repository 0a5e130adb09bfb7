"""Models of the transformers library and the same models in our specs.

Each row names the library's model and its configuration, our spec, and the map between the weights.
A feature that we lack is turned off in their configuration, and a comment says so.
"""

from typing import Any, NamedTuple

from tests.families.reference_weights import (
    DEEPSEEK_V3,
    GEMMA2,
    GPT2,
    LLAMA,
    MIXTRAL,
    NEMOTRON,
    OLMOE,
    QUERY_SCALAR,
    QWEN3,
    WIDE_HEAD,
    WIDTH,
    Map,
    inside,
)

from scalelab.families.transformer.layer import MUP_SCALE
from scalelab.families.transformer.spec import Transformer
from scalelab.layers.spec import Balance, Ffn, LearnedPositions, Moe, Norm, Rope

VOCAB, CONTEXT, HIDDEN, HEAD = 61, 80, 40, 8


class Reference(NamedTuple):
    """A causal language model of theirs."""

    family: str
    """Their `model_type`."""
    config: dict[str, Any]
    given: Transformer
    weights: Map


def common(**options: Any) -> dict[str, Any]:
    """A configuration of theirs."""
    return {
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": False,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
        "use_cache": False,
        **options,
    }


def given(**options: Any) -> Transformer:
    """Our spec of it."""
    sizes = {"layers": 3, "width": WIDTH, "heads": 4, "kv_heads": 2, "ffn": Ffn(width=HIDDEN)}
    return Transformer.model_validate(sizes | options)


MODELS = {
    "llama": Reference("llama", common(), given(), LLAMA),
    "llama_tied_mqa": Reference(
        "llama",
        common(
            num_key_value_heads=1,
            head_dim=WIDE_HEAD,
            rope_theta=500_000.0,
            rms_norm_eps=1e-6,
            tie_word_embeddings=True,
        ),
        given(
            kv_heads=1,
            head_width=WIDE_HEAD,
            position=Rope(theta=500_000),
            norm=Norm(eps=1e-6),
            tied=True,
        ),
        LLAMA,
    ),
    "qwen3": Reference(
        "qwen3",
        common(head_dim=WIDE_HEAD, rope_theta=1_000_000.0, tie_word_embeddings=True),
        given(head_width=WIDE_HEAD, position=Rope(theta=1_000_000), qk_norm=True, tied=True),
        QWEN3,
    ),
    "mistral": Reference("mistral", common(sliding_window=5), given(window=5), LLAMA),
    # Without the soft-cap of attention scores, and with SiLU in place of GELU in the gate: we have
    # neither.
    "gemma2": Reference(
        "gemma2",
        common(
            head_dim=WIDE_HEAD,
            query_pre_attn_scalar=QUERY_SCALAR,
            attn_logit_softcapping=None,
            final_logit_softcapping=2.0,
            sliding_window=5,
            hidden_activation="silu",
            tie_word_embeddings=True,
        ),
        given(
            head_width=WIDE_HEAD,
            norm=Norm(place="peri"),
            logit_softcap=2,
            window=5,
            global_every=2,
            tied=True,
        ),
        GEMMA2,
    ),
    # With the exact GELU in place of its tanh approximation. The matrices' biases are zero.
    "gpt2": Reference(
        "gpt2",
        common(
            n_inner=HIDDEN,
            activation_function="gelu",
            layer_norm_epsilon=1e-5,
            tie_word_embeddings=True,
        ),
        given(
            kv_heads=4,
            ffn=Ffn(kind="gelu", width=HIDDEN),
            norm=Norm(kind="layer"),
            position=LearnedPositions(),
            tied=True,
        ),
        GPT2,
    ),
    # Granite's multipliers of scores and logits, set to those of muP.
    "granite_mup": Reference(
        "granite",
        common(attention_multiplier=MUP_SCALE / HEAD, logits_scaling=WIDTH / 16),
        given(mup=16),
        LLAMA,
    ),
    "nemotron": Reference(
        "nemotron",
        common(norm_eps=1e-5, partial_rotary_factor=1.0),
        given(ffn=Ffn(kind="relu2", width=HIDDEN), norm=Norm(kind="layer")),
        NEMOTRON,
    ),
    "mixtral": Reference(
        "mixtral",
        common(num_local_experts=5, num_experts_per_tok=2, sliding_window=5),
        given(
            ffn=Moe(experts=5, chosen=2, shared=0, width=HIDDEN, gate="softmax"),
            window=5,
        ),
        {**LLAMA, **inside(MIXTRAL, "block_sparse_moe")},
    ),
    # One layer, because their auxiliary loss averages loads and gates over all layers before it
    # multiplies them. It is `chosen` times ours.
    "mixtral_auxiliary_loss": Reference(
        "mixtral",
        common(
            num_hidden_layers=1,
            num_local_experts=5,
            num_experts_per_tok=2,
            output_router_logits=True,
            router_aux_loss_coef=0.5,
        ),
        given(
            layers=1,
            ffn=Moe(
                experts=5,
                chosen=2,
                shared=0,
                width=HIDDEN,
                gate="softmax",
                balance=Balance(loss=2 * 0.5),
            ),
        ),
        {**LLAMA, **inside(MIXTRAL, "block_sparse_moe")},
    ),
    # One head, because they normalise queries and keys over all heads together.
    "olmoe": Reference(
        "olmoe",
        common(
            num_attention_heads=1,
            num_key_value_heads=1,
            num_experts=6,
            num_experts_per_tok=3,
            norm_topk_prob=False,
        ),
        given(
            heads=1,
            kv_heads=1,
            qk_norm=True,
            ffn=Moe(experts=6, chosen=3, shared=0, width=HIDDEN, gate="softmax", renormalise=False),
        ),
        {**QWEN3, **inside(OLMOE, "mlp")},
    ),
}


class Mixture(NamedTuple):
    """A mixture block of theirs."""

    family: str
    block: str
    config: dict[str, Any]
    given: Moe
    weights: Map


def deepseek(**options: Any) -> dict[str, Any]:
    """A configuration of DeepSeek-V3's mixture, without groups of experts: we have none."""
    sizes = {"hidden_size": WIDTH, "moe_intermediate_size": HIDDEN, "n_routed_experts": 6}
    return {**sizes, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, **options}


MIXTURES = {
    "mixtral": Mixture(
        "mixtral",
        "MixtralSparseMoeBlock",
        common(num_local_experts=5, num_experts_per_tok=2),
        Moe(experts=5, chosen=2, shared=0, width=HIDDEN, gate="softmax"),
        MIXTRAL,
    ),
    "olmoe": Mixture(
        "olmoe",
        "OlmoeSparseMoeBlock",
        common(num_experts=6, num_experts_per_tok=3, norm_topk_prob=False),
        Moe(experts=6, chosen=3, shared=0, width=HIDDEN, gate="softmax", renormalise=False),
        OLMOE,
    ),
    "olmoe_renormalised": Mixture(
        "olmoe",
        "OlmoeSparseMoeBlock",
        common(num_experts=6, num_experts_per_tok=3, norm_topk_prob=True),
        Moe(experts=6, chosen=3, shared=0, width=HIDDEN, gate="softmax"),
        OLMOE,
    ),
    "deepseek_v3": Mixture(
        "deepseek_v3",
        "DeepseekV3MoE",
        deepseek(n_shared_experts=1, routed_scaling_factor=2.5, norm_topk_prob=True),
        Moe(experts=6, chosen=2, shared=1, width=HIDDEN, scale=2.5),
        DEEPSEEK_V3,
    ),
    "deepseek_v3_plain_gates": Mixture(
        "deepseek_v3",
        "DeepseekV3MoE",
        deepseek(n_shared_experts=2, routed_scaling_factor=1.0, norm_topk_prob=False),
        Moe(experts=6, chosen=2, shared=2, width=HIDDEN, renormalise=False),
        DEEPSEEK_V3,
    ),
}
