"""The family of routers over layers, one to one with `spec.LayerRouter`.

B lanes, T positions of this call, M targets, D width, V vocabulary, S steps, E layers of the pool.
"""

from typing import cast

import torch
from torch import Tensor

from scalelab.families.language_model import RouterOutput
from scalelab.families.layer_router import spec
from scalelab.families.layer_router.chooser import Chooser
from scalelab.families.layer_router.dispatch import Dispatch
from scalelab.families.layer_router.halting import Halting
from scalelab.families.layer_router.objective import routed_loss, similarity
from scalelab.families.layer_router.routed_forward import RoutedForward, StepOutputs, to_route
from scalelab.families.layer_router.routing_noise import draw
from scalelab.families.layout import PLAIN, Layout
from scalelab.families.objective import Batch, Loss
from scalelab.families.transformer.cost import layer_flops_by_part
from scalelab.families.transformer.layer import AttentionContext, Layer
from scalelab.families.transformer.model import Architecture, window_size
from scalelab.layers.cache import Place, RoutedCache
from scalelab.layers.moe import Routing
from scalelab.layers.parameters import Linear


def build(config: spec.LayerRouter, vocab: int, context: int) -> "LayerRouter":
    """The module of a resolved spec."""
    return LayerRouter(config, vocab, context)


class LayerRouter(Architecture[spec.LayerRouter]):
    """A pool of a transformer's layers, of which a policy applies one or some at each step.

    Its layers, embedding, norm and head have the names that they have in a `Transformer`. Identity
    layers stand behind them in the pool and have no weights.

    At each step the layers look at the states that all tokens have by then, those too that chose
    another layer or have halted.
    """

    def __init__(self, config: spec.LayerRouter, vocab: int, context: int) -> None:
        super().__init__(config, config.plain(), vocab, context)
        # What the policy leaves without a meaning must not have one.
        self.active = config.meant()
        self.allowed, self.num_rollouts = config.allowed, config.num_rollouts
        self.chooser = None if config.policy == "fixed" else Chooser(self.active)
        self.halting = None if config.halting.kind == "none" else Halting(self.active)
        self.draws = self.chooser is not None and self.active.draws
        self.layer_flops = layer_flops_by_part(self.plain)
        self.deciding_weights = sum(
            part.weight.numel()
            for part in self.modules()
            if isinstance(part, Halting) or (isinstance(part, Linear) and part.role == "router")
        )
        """Of the matrices by which a token is routed and halted."""

    def run(self, tokens_BT: Tensor, layout: Layout = PLAIN) -> tuple[Tensor, list[Routing]]:
        """The features that the model predicts from, and how its steps routed the tokens: a layer
        of the pool is an expert.
        """
        output = self.run_steps(tokens_BT, layout)
        return output.final_BMD, [route.routing for route in output.routes]

    def run_steps(
        self, tokens_BT: Tensor, layout: Layout = PLAIN, *, each_step: bool = False
    ) -> RouterOutput:
        """See `LanguageModel.run_steps`.

        While training (gradients are wanted) the routes are drawn as the spec says, REINFORCE has
        several roll-outs of each sequence, and the random numbers come from the CPU's global
        generator. Else the likeliest layers are taken. A sequence's one route goes by its first
        position, or under a prefix mask by all of its prefix, and under a full mask by everything:
        where a window holds several documents, the first one decides for all.
        """
        sequences, length = tokens_BT.shape
        assert length <= self.context, f"{length} positions exceed the context of {self.context}"
        trains = self.training and torch.is_grad_enabled()
        routed = self.begin(tokens_BT, layout, trains)
        outputs = StepOutputs(self.active, len(self.allowed), self.norm, trains, each_step)
        lanes = len(routed.x_BTD)
        real_BT = torch.ones(lanes, length, dtype=torch.bool, device=tokens_BT.device)
        if layout.length_B is not None:
            position_T = torch.arange(length, device=tokens_BT.device)
            real_BT = (position_T < layout.length_B[:, None]).repeat(lanes // sequences, 1)
        routes = []
        for step in range(len(self.allowed)):
            alive_BT = real_BT if routed.alive_BU is None else real_BT & routed.alive_BU
            choice = routed.step(step)
            routes.append(to_route(self.active, choice, alive_BT))
            outputs.add(*routed.at_targets(step))
        final_BMD, halt = outputs.final(), routed.halt
        # What halting costs is a mean over all positions, of which padding costs nothing.
        cost_BT, penalty = None, self.embedding.weight.new_zeros(())
        steps_BU = real_BT.new_full((lanes, 1), len(self.allowed), dtype=torch.float32)
        if halt is not None and self.halting is not None:
            cost_BT, steps_BU = self.halting.cost(halt).expand(lanes, length), halt.steps_BT
            penalty = cost_BT.where(real_BT, 0.0).mean()
        if trains and self.config.similarity:
            penalty = penalty + self.config.similarity * similarity(list(self.layers))
        return RouterOutput(
            final_BMD=final_BMD,
            each_step=outputs.each,
            weights=outputs.weights,
            routes=routes,
            steps_BT=steps_BU.expand(lanes, length),
            cost_BT=cost_BT,
            penalty=penalty,
            flops=routed.dispatch.flops
            + self._other_flops(lanes, length, final_BMD, max(1, len(outputs.weights))),
        )

    def begin(self, tokens_BT: Tensor, layout: Layout, trains: bool = False) -> RoutedForward:
        """A pass before its first step; of training in as many lanes as there are roll-outs."""
        length, rollouts = tokens_BT.shape[1], self.num_rollouts if trains else 1
        x_BTD = self.embed(tokens_BT, torch.arange(length, device=tokens_BT.device)[None])
        if rollouts > 1:
            # The embedding comes first: what it drops is the same in all roll-outs.
            x_BTD, tokens_BT = x_BTD.repeat(rollouts, 1, 1), tokens_BT.repeat(rollouts, 1)
            layout = layout.repeated(rollouts)
        noise = None
        if trains and self.draws:
            noise = draw(self.active, len(x_BTD), length, x_BTD.device)
        targets_BM, window = layout.targets_BM, window_size(self.plain, 0, length)
        context = target_context = self.attention_context(tokens_BT, window, layout, None)
        if targets_BM is not None:
            target_context = self.attention_context(tokens_BT, window, layout, targets_BM)
        return RoutedForward(
            self.active,
            self.allowed,
            self.chooser,
            self.halting,
            self._dispatch(context, target_context),
            x_BTD,
            targets_BM,
            self.prefix(layout),
            noise,
        )

    def loss(self, batch: Batch, z_loss: bool = False) -> Loss:
        """See `objective.routed_loss`."""
        return routed_loss(self, batch, z_loss)

    def rebalance(self, load_LE: Tensor) -> None:
        """Loss-free balancing after an update, of the tokens [S, E] that each step sent to each
        layer in it.
        """
        if self.chooser is not None:
            self.chooser.rebalance(load_LE)

    def new_cache(self, lanes: int, length: int) -> RoutedCache:
        """An empty cache for `lanes` sequences of at most `length` positions: keys and values of
        every layer that each step may choose, since a later token may choose any of them.
        """
        places = [
            (layer, step)
            for step, allowed in enumerate(self.allowed)
            for layer in allowed
            if layer < self.config.layers
        ]
        return RoutedCache(self.new_kv_cache(lanes, length, places or [(0, 0)]), len(self.allowed))

    def decode(self, tokens_BT: Tensor, cache: RoutedCache, layout: Layout = PLAIN) -> Tensor:
        """See `LanguageModel.decode`. A sequence's one route is settled by the call that brings its
        first token.
        """
        position_BT, x_BTD, contexts = self.prepare_decode(tokens_BT, cache.keys, layout)
        (context,) = contexts.values()
        begins_B = position_BT[:, 0] == 0
        if layout.length_B is not None:
            begins_B = begins_B & (layout.length_B > 0)
        routed = RoutedForward(
            self.active,
            self.allowed,
            self.chooser,
            self.halting,
            self._dispatch(context, context),
            x_BTD,
            prefix_B=self.prefix(layout),
            position_BT=position_BT,
            cache=cache,
            begins_B=begins_B,
        )
        outputs = StepOutputs(self.active, len(self.allowed), self.norm)
        for step in range(len(self.allowed)):
            routed.step(step)
            outputs.add(*routed.at_targets(step))
        return self.head(outputs.final())

    def _dispatch(self, context: AttentionContext, target_context: AttentionContext) -> Dispatch:
        def apply(
            x_BTD: Tensor,
            context: AttentionContext,
            place: Place,
            at_BM: Tensor | None,
            real_R: Tensor | None,
        ) -> Tensor:
            layer = self.layers[place[0]]
            return self.apply_layer(layer, x_BTD, x_BTD, context, place, at_BM, real_R)[0]

        def write_cache(x_BTD: Tensor, context: AttentionContext, place: Place) -> None:
            cast(Layer, self.layers[place[0]]).write_cache(x_BTD, context, place)

        return Dispatch(
            self.config.layers, apply, write_cache, context, target_context, self.layer_flops
        )

    def _other_flops(self, lanes: int, length: int, final_BMD: Tensor, heads: int) -> int:
        """Of what decides and halts, at every position or once for a sequence, and of the head, at
        each of so many predictions.
        """
        units = lanes * (1 if self.active.granularity == "sequence" else length)
        head = heads * final_BMD[..., 0].numel() * self.head_weight.numel()
        return 2 * (len(self.allowed) * units * self.deciding_weights + head)
