"""The variants that the conformance suites run on.

A new family goes through all of them by being added here.
"""

import torch
from torch import Tensor

from scalelab.families import Model, build
from scalelab.families.language_model import LanguageModel
from scalelab.families.layer_router.chooser import Learned
from scalelab.families.layer_router.halting import Halting
from scalelab.families.layer_router.spec import (
    Act,
    Gumbel,
    LayerRouter,
    Ponder,
    Reinforce,
    Router,
    Soft,
    Threshold,
)
from scalelab.families.lstm.model import Bias
from scalelab.families.lstm.spec import Lstm
from scalelab.families.transformer.spec import Transformer
from scalelab.layers.parameters import Embedding, Gain
from scalelab.layers.spec import Balance, Ffn, Init, LearnedPositions, Moe, NoPositions, Norm

VOCAB, CONTEXT, LANES, TARGETS = 23, 20, 3, 7

VARIANTS: dict[str, Model] = {
    "default": Transformer(),
    "one_layer": Transformer(layers=1, heads=1),
    "deep_gqa": Transformer(layers=3, width=24, heads=6, kv_heads=2),
    "mqa": Transformer(heads=4, kv_heads=1),
    "wide_heads": Transformer(width=12, heads=2, head_width=10, ffn=Ffn(width=24)),
    "gelu_layer_learned": Transformer(
        ffn=Ffn(kind="gelu"), norm=Norm(kind="layer"), position=LearnedPositions()
    ),
    "relu2_post": Transformer(ffn=Ffn(kind="relu2", ratio=2), norm=Norm(place="post")),
    "peri_qk_norm": Transformer(norm=Norm(place="peri"), qk_norm=True),
    "sandwich_layer_qk_norm": Transformer(
        norm=Norm(kind="layer", place="sandwich"), qk_norm=True, kv_heads=1
    ),
    "no_positions_tied": Transformer(position=NoPositions(), tied=True, init=Init(kind="xavier")),
    "prefix": Transformer(mask="prefix", init=Init(kind="normal", std=0.3, depth_scaled=False)),
    "prefix_learned_gqa": Transformer(
        mask="prefix", heads=4, kv_heads=2, position=LearnedPositions()
    ),
    "full": Transformer(mask="full", layers=3, kv_heads=1),
    "window": Transformer(layers=2, window=6, kv_heads=1),
    "window_global": Transformer(
        layers=3, heads=4, kv_heads=2, window=4, global_every=3, position=NoPositions()
    ),
    "value_embeddings": Transformer(
        layers=3, heads=4, kv_heads=2, value_embeddings=True, tied=True
    ),
    "residual_gains": Transformer(layers=3, residual_gains=True, norm=Norm(place="peri")),
    "softcap_embedding_norm": Transformer(
        logit_softcap=2.0, embedding_norm=True, position=LearnedPositions()
    ),
    "mup": Transformer(width=32, mup=16, kv_heads=1, init=Init(kind="normal", std=0.2)),
    "mixture": Transformer(
        layers=2, ffn=Moe(width=8, experts=6, chosen=2, balance=Balance(loss=0.01, z_loss=0.001))
    ),
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
    "expert_choice": Transformer(
        ffn=Moe(width=8, experts=4, chosen=1, renormalise=False, choice="expert")
    ),
    "fixed": LayerRouter(policy="fixed", layers=3, norm=Norm(place="peri"), qk_norm=True),
    "fixed_order": LayerRouter(
        policy="fixed",
        layers=3,
        identity=1,
        steps=5,
        order=(2, 1, 4, 3, 2),
        heads=4,
        kv_heads=2,
        tied=True,
    ),
    "looped_window": LayerRouter(
        policy="fixed", layers=2, steps=3, window=4, position=NoPositions()
    ),
    "random": LayerRouter(policy="random", layers=3, identity=1, steps=4, embedding_norm=True),
    "learned_sequences": LayerRouter(
        policy="learned", layers=3, granularity="sequence", ffn=Ffn(kind="gelu"), logit_softcap=2.0
    ),
    "closed": LayerRouter(
        policy="closed",
        layers=3,
        identity=1,
        router=Router(kind="mlp", width=8),
        norm=Norm(kind="layer"),
    ),
    "open": LayerRouter(
        layers=3,
        steps=4,
        identity=1,
        heads=4,
        kv_heads=2,
        qk_norm=True,
        norm=Norm(place="sandwich"),
    ),
    "open_window": LayerRouter(
        layers=3,
        window=6,
        router=Router(kind="gru", width=8),
        loss="cumulated",
        norm=Norm(place="post"),
    ),
    "open_sequences_act": LayerRouter(
        layers=3,
        steps=4,
        granularity="sequence",
        router=Router(kind="lstm", width=8),
        halting=Act(),
        position=LearnedPositions(),
    ),
    "open_prefix_act": LayerRouter(
        layers=2, steps=5, identity=1, mask="prefix", top=2, halting=Act(epsilon=0.3)
    ),
    "open_prefix_sequences": LayerRouter(
        layers=3, mask="prefix", granularity="sequence", selection=Reinforce(rollouts=2), top=1
    ),
    "open_full": LayerRouter(layers=3, mask="full", identity=1, halting=Threshold(threshold=0.5)),
    "open_full_sequences": LayerRouter(layers=3, mask="full", granularity="sequence", top=2),
    "soft_ponder": LayerRouter(layers=2, steps=4, selection=Soft(), halting=Ponder()),
    "gumbel_mean": LayerRouter(
        layers=3, selection=Gumbel(noise=0.5), loss="mean", layer_dropout=0.3
    ),
    "lstm": Lstm(),
    "lstm_deep_tied": Lstm(layers=3, width=24, tied=True, forget=0.5, init=Init(kind="xavier")),
}


def sees_the_future(given: Model) -> bool:
    """Whether a position may depend on later ones: such a model does not decode.

    An expert that chooses its tokens looks at all of them.
    """
    return not given.is_autoregressive or (
        given.mixture is not None and given.mixture.choice == "expert"
    )


def explores(given: Model) -> bool:
    """Whether a router over layers does not do the same while training: what it does then has tests
    of its own.
    """
    if not isinstance(given, LayerRouter) or given.policy == "fixed":
        return False
    return (
        given.policy == "random"
        or given.selection.kind != "straight_through"
        or given.halting.kind == "ponder"
    )


DECODERS = {name: given for name, given in VARIANTS.items() if not sees_the_future(given)}


def made(given: Model) -> LanguageModel:
    """A model in which everything tells: large embeddings, and gains and biases that are not what
    they begin with.
    """
    built = build(given.resolved(), VOCAB, CONTEXT).initialise(0)
    generator = torch.Generator().manual_seed(7)
    for module in built.modules():
        if isinstance(module, Embedding):
            torch.nn.init.normal_(module.weight, generator=generator)
        elif isinstance(module, Gain):
            torch.nn.init.normal_(module.weight, mean=0.7, std=0.1, generator=generator)
        elif isinstance(module, Bias):
            torch.nn.init.normal_(module.weight, generator=generator)
        elif isinstance(module, Halting | Learned):
            torch.nn.init.normal_(module.weight, std=2.0, generator=generator)
    return built.train(not explores(given))


def scalar(x: Tensor) -> Tensor:
    """A number that every feature moves (the sum of squares of a normalised vector is constant)."""
    return (x * torch.linspace(-1, 1, x.numel()).sin().view(x.shape).to(x.device)).sum()


def value_and_grads(model: LanguageModel, value: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The value, and the gradients of all weights that move it."""
    model.zero_grad()
    value.backward()
    return value.detach(), [
        weight.grad.clone() for weight in model.parameters() if weight.grad is not None
    ]
