"""The variants that the conformance suites run on. A new family goes through all of them by being added here."""

import torch
from torch import Tensor

from scalelab.models import Transformer as TransformerModule
from scalelab.models import build
from scalelab.models.layers.linear import Embedding
from scalelab.models.layers.norm import Gain
from scalelab.spec.ffn import Balance, Moe
from scalelab.spec.model import Ffn, Init, LearnedPositions, Model, NoPositions, Norm, Transformer

VOCAB, CONTEXT, LANES, TARGETS = 23, 20, 3, 7

VARIANTS: dict[str, Model] = {
    "default": Transformer(),
    "one_layer": Transformer(layers=1, heads=1),
    "deep_gqa": Transformer(layers=3, width=24, heads=6, kv_heads=2),
    "mqa": Transformer(heads=4, kv_heads=1),
    "wide_heads": Transformer(width=12, heads=2, head_width=10, ffn=Ffn(width=24)),
    "gelu_layer_learned": Transformer(ffn=Ffn(kind="gelu"), norm=Norm(kind="layer"), position=LearnedPositions()),
    "relu2_post": Transformer(ffn=Ffn(kind="relu2", ratio=2), norm=Norm(place="post")),
    "peri_qk_norm": Transformer(norm=Norm(place="peri"), qk_norm=True),
    "sandwich_layer_qk_norm": Transformer(norm=Norm(kind="layer", place="sandwich"), qk_norm=True, kv_heads=1),
    "no_positions_tied": Transformer(position=NoPositions(), tied=True, init=Init(kind="xavier")),
    "prefix": Transformer(mask="prefix", init=Init(kind="normal", std=0.3, depth_scaled=False)),
    "prefix_learned_gqa": Transformer(mask="prefix", heads=4, kv_heads=2, position=LearnedPositions()),
    "full": Transformer(mask="full", layers=3, kv_heads=1),
    "window": Transformer(layers=2, window=6, kv_heads=1),
    "window_global": Transformer(layers=3, heads=4, kv_heads=2, window=4, global_every=3, position=NoPositions()),
    "value_embeddings": Transformer(layers=3, heads=4, kv_heads=2, value_embeddings=True, tied=True),
    "residual_gains": Transformer(layers=3, residual_gains=True, norm=Norm(place="peri")),
    "softcap_embedding_norm": Transformer(logit_softcap=2.0, embedding_norm=True, position=LearnedPositions()),
    "mup": Transformer(width=32, mup=16, kv_heads=1, init=Init(kind="normal", std=0.2)),
    "mixture": Transformer(layers=2, ffn=Moe(width=8, experts=6, chosen=2, balance=Balance(loss=0.01, z_loss=0.001))),
    "mixture_everything": Transformer(
        layers=3,
        heads=4,
        kv_heads=2,
        ffn=Moe(expert="gelu", gate="softmax", shared=0, width=16, experts=4),
        window=5,
        global_every=2,
        value_embeddings=True,
        residual_gains=True,
        embedding_norm=True,
        logit_softcap=30.0,
        qk_norm=True,
        mup=8,
    ),
    "expert_choice": Transformer(ffn=Moe(width=8, experts=4, chosen=1, renormalise=False, choice="expert")),
}


def sees_the_future(given: Model) -> bool:
    """Whether a position may depend on later ones: such a model does not decode. An expert that chooses its tokens looks at all of them."""
    return given.mask == "full" or (isinstance(given.ffn, Moe) and given.ffn.choice == "expert")


DECODERS = {name: given for name, given in VARIANTS.items() if not sees_the_future(given)}


def made(given: Model) -> TransformerModule:
    """A model in which everything tells: large embeddings, and gains that are not what they begin with."""
    built = build(given.resolved(), VOCAB, CONTEXT).initialise(0)
    generator = torch.Generator().manual_seed(7)
    for module in built.modules():
        if isinstance(module, Embedding):
            torch.nn.init.normal_(module.weight, generator=generator)
        elif isinstance(module, Gain):
            torch.nn.init.normal_(module.weight, mean=0.7, std=0.1, generator=generator)
    return built


def scalar(x: Tensor) -> Tensor:
    """A number that every feature moves (the sum of squares of a normalised vector is constant)."""
    return (x * torch.linspace(-1, 1, x.numel()).sin().view(x.shape).to(x.device)).sum()


def value_and_grads(model: TransformerModule, value: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The value, and the gradients of all weights that move it."""
    model.zero_grad()
    value.backward()
    return value.detach(), [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
