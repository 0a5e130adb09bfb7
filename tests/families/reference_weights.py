"""How our weights are made of those of the transformers library's models, family by family."""

import math
import re
from collections.abc import Callable, Mapping
from itertools import count, takewhile
from typing import NamedTuple

import torch
from torch import Tensor, nn

WIDTH = 32
WIDE_HEAD = 16
"""Width of a head in the models whose heads together are wider than the model."""
QUERY_SCALAR = 24
"""Gemma-2 divides scores by the root of this, and we by the root of the head's width."""


class Weights(NamedTuple):
    """Their weights by name, for one of our layers."""

    by_name: Mapping[str, Tensor]
    layer: str
    prefix: str = ""
    """Stands before every name."""

    def __call__(self, *names: str) -> Tensor:
        """The weights of these names, the rows of the second below those of the first.

        `*` is the number of the layer. `#` stands for every expert: their weights are stacked along
        a new first dimension. The suffix `.weight` is left out.
        """
        parts = [self._one((self.prefix + name).replace("*", self.layer)) for name in names]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-2)

    def _one(self, name: str) -> Tensor:
        name = name if name.endswith(".bias") else f"{name}.weight"
        if "#" not in name:
            return self.by_name[name]
        experts = (name.replace("#", str(expert)) for expert in count())
        present = takewhile(lambda expert: expert in self.by_name, experts)
        return torch.stack([self.by_name[expert] for expert in present])


Map = Mapping[str, Callable[[Weights], Tensor]]
"""The name of our weight, with `*` and without `.weight` as above -> how it is made of theirs.

These are differentiable functions, so a gradient of ours can be pulled back to their parameters.
"""


def made_of(theirs: nn.Module, ours: nn.Module, weights: Map) -> dict[str, Tensor]:
    """All weights of our module, made of their parameters."""
    by_name = dict(theirs.named_parameters())
    made: dict[str, Tensor] = {}
    for name, _ in ours.named_parameters():
        layer = re.match(r"layers\.(\d+)\.", name)
        pattern = re.sub(r"^layers\.\d+\.", "layers.*.", name).removesuffix(".weight")
        made[name] = weights[pattern](Weights(by_name, layer[1] if layer else ""))
    return made


def inside(mixture: Map, at: str) -> Map:
    """The map of a mixture that is the feed-forward network of a layer, which they call `at`."""

    def below(read: Callable[[Weights], Tensor]) -> Callable[[Weights], Tensor]:
        return lambda w: read(w._replace(prefix=f"model.layers.*.{at}."))

    return {f"layers.*.ffn.{name}": below(read) for name, read in mixture.items()}


LLAMA: Map = {
    "embedding": lambda w: w("model.embed_tokens"),
    "layers.*.attention_norm.before": lambda w: w("model.layers.*.input_layernorm"),
    "layers.*.attention.query": lambda w: w("model.layers.*.self_attn.q_proj"),
    "layers.*.attention.key_value": lambda w: w(
        "model.layers.*.self_attn.k_proj", "model.layers.*.self_attn.v_proj"
    ),
    "layers.*.attention.out": lambda w: w("model.layers.*.self_attn.o_proj"),
    "layers.*.ffn_norm.before": lambda w: w("model.layers.*.post_attention_layernorm"),
    "layers.*.ffn.gate_up": lambda w: w(
        "model.layers.*.mlp.gate_proj", "model.layers.*.mlp.up_proj"
    ),
    "layers.*.ffn.down": lambda w: w("model.layers.*.mlp.down_proj"),
    "norm": lambda w: w("model.norm"),
    "output": lambda w: w("lm_head"),
}
QWEN3: Map = {
    **LLAMA,
    "layers.*.attention.query_norm": lambda w: w("model.layers.*.self_attn.q_norm"),
    "layers.*.attention.key_norm": lambda w: w("model.layers.*.self_attn.k_norm"),
}
# Gemma-2's gains are 1 + w. It multiplies the embedding by sqrt(D), but not where the embedding is
# the head: our last gain makes up for that.
GEMMA2: Map = {
    **LLAMA,
    "embedding": lambda w: math.sqrt(WIDTH) * w("model.embed_tokens"),
    "layers.*.attention_norm.before": lambda w: 1 + w("model.layers.*.input_layernorm"),
    "layers.*.attention_norm.after": lambda w: 1 + w("model.layers.*.post_attention_layernorm"),
    "layers.*.attention.query": lambda w: (
        math.sqrt(WIDE_HEAD / QUERY_SCALAR) * w("model.layers.*.self_attn.q_proj")
    ),
    "layers.*.ffn_norm.before": lambda w: 1 + w("model.layers.*.pre_feedforward_layernorm"),
    "layers.*.ffn_norm.after": lambda w: 1 + w("model.layers.*.post_feedforward_layernorm"),
    "norm": lambda w: (1 + w("model.norm")) / math.sqrt(WIDTH),
}
# GPT-2's matrices are [inputs, outputs], queries, keys and values side by side in one of them.
GPT2: Map = {
    "embedding": lambda w: w("transformer.wte"),
    "positions": lambda w: w("transformer.wpe"),
    "layers.*.attention_norm.before": lambda w: w("transformer.h.*.ln_1"),
    "layers.*.attention_norm.before.bias": lambda w: w("transformer.h.*.ln_1.bias"),
    "layers.*.attention.query": lambda w: w("transformer.h.*.attn.c_attn").t()[:WIDTH],
    "layers.*.attention.key_value": lambda w: w("transformer.h.*.attn.c_attn").t()[WIDTH:],
    "layers.*.attention.out": lambda w: w("transformer.h.*.attn.c_proj").t(),
    "layers.*.ffn_norm.before": lambda w: w("transformer.h.*.ln_2"),
    "layers.*.ffn_norm.before.bias": lambda w: w("transformer.h.*.ln_2.bias"),
    "layers.*.ffn.up": lambda w: w("transformer.h.*.mlp.c_fc").t(),
    "layers.*.ffn.down": lambda w: w("transformer.h.*.mlp.c_proj").t(),
    "norm": lambda w: w("transformer.ln_f"),
    "norm.bias": lambda w: w("transformer.ln_f.bias"),
}
# Nemotron's gains are 1 + w.
NEMOTRON: Map = {
    **LLAMA,
    "layers.*.attention_norm.before": lambda w: 1 + w("model.layers.*.input_layernorm"),
    "layers.*.attention_norm.before.bias": lambda w: w("model.layers.*.input_layernorm.bias"),
    "layers.*.ffn_norm.before": lambda w: 1 + w("model.layers.*.post_attention_layernorm"),
    "layers.*.ffn_norm.before.bias": lambda w: w("model.layers.*.post_attention_layernorm.bias"),
    "layers.*.ffn.up": lambda w: w("model.layers.*.mlp.up_proj"),
    "norm": lambda w: 1 + w("model.norm"),
    "norm.bias": lambda w: w("model.norm.bias"),
}
# Names inside a mixture.
MIXTRAL: Map = {
    "router.linear": lambda w: w("gate"),
    "experts.up": lambda w: w("experts.#.w1", "experts.#.w3"),
    "experts.down": lambda w: w("experts.#.w2"),
}
OLMOE: Map = {
    "router.linear": lambda w: w("gate"),
    "experts.up": lambda w: w("experts.#.gate_proj", "experts.#.up_proj"),
    "experts.down": lambda w: w("experts.#.down_proj"),
}
DEEPSEEK_V3: Map = {
    **OLMOE,
    "shared.gate_up": lambda w: w("shared_experts.gate_proj", "shared_experts.up_proj"),
    "shared.down": lambda w: w("shared_experts.down_proj"),
}
