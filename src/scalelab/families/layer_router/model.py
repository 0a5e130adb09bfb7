"""The family of routers over layers, one to one with `spec.LayerRouter`.

B lanes, T positions of this call, M positions asked for, D width, V vocabulary, S steps, E layers
of the pool, K of them that are applied at a step.
"""

from typing import cast

import torch
from torch import Tensor

from scalelab.families.layer_router import spec
from scalelab.families.layer_router.choosing import Chooser, to_route
from scalelab.families.layer_router.dispatch import Dispatch
from scalelab.families.layer_router.drawing import draw
from scalelab.families.layer_router.halting import Halting
from scalelab.families.layer_router.objective import routed_loss
from scalelab.families.layer_router.outlook import Outlook
from scalelab.families.layer_router.reading import Reading, Route
from scalelab.families.layer_router.similarity import similarity
from scalelab.families.layer_router.walk import Walk
from scalelab.families.layout import PLAIN, Layout
from scalelab.families.objective import Batch, Loss
from scalelab.families.transformer.architecture import Architecture
from scalelab.families.transformer.layer import Layer
from scalelab.families.transformer.sight import Sight, reach
from scalelab.layers.cache import Place, RoutedCache
from scalelab.layers.linear import Linear
from scalelab.layers.moe import Routing


def build(given: spec.LayerRouter, vocab: int, context: int) -> "LayerRouter":
    """The module of a resolved spec."""
    return LayerRouter(given, vocab, context)


class LayerRouter(Architecture[spec.LayerRouter]):
    """A pool of a transformer's layers, of which a policy applies one or some at each step.

    The weights are drawn by `initialise`.

    Its layers, embedding, norm and head have the names that they have in a `Transformer`. Identity
    layers stand behind them in the pool and have no weights. Set `recompute` to keep the inputs of
    layers alone while training.

    At each step the layers look at the states that all tokens have by then, those too that chose
    another layer or have halted.
    """

    def __init__(self, given: spec.LayerRouter, vocab: int, context: int) -> None:
        super().__init__(given, given.plain(), given.num_steps, vocab, context)
        # What the policy leaves without a meaning must not have one.
        self.meant = given.meant()
        self.chooser = None if given.policy == "fixed" else Chooser(self.meant)
        self.halting = None if given.halting.kind == "none" else Halting(self.meant)

    def run(self, tokens_BT: Tensor, layout: Layout = PLAIN) -> tuple[Tensor, list[Routing]]:
        """The features that the model predicts from, and how its steps routed the tokens: a layer
        of the pool is an expert.
        """
        reading = self.run_steps(tokens_BT, layout)
        return reading.final_BMD, [route.routing for route in reading.routes]

    def run_steps(
        self, tokens_BT: Tensor, layout: Layout = PLAIN, *, each_step: bool = False
    ) -> Reading:
        """tokens [B, T] -> the features [B, T, D] that it predicts from, or [B, M, D] at the
        layout's targets, and the routes that led there; with `each_step` also what it would predict
        from after each step. Padding is computed like the rest, and counts in no penalty, load or
        entropy; its routes are -1.

        While training (gradients are wanted) the routes are drawn as the spec says, REINFORCE has
        several roll-outs of each sequence, and the random numbers come from the CPU's global
        generator. Else the likeliest layers are taken. A sequence's one route goes by its first
        position, or under a prefix mask by all of its given text, and under a full mask by
        everything: where a window holds several documents, the first one decides for all.
        """
        assert tokens_BT.shape[1] <= self.context, (
            f"{tokens_BT.shape[1]} positions exceed the context of {self.context}"
        )
        trains = self.training and torch.is_grad_enabled()
        walk = self._begun(tokens_BT, layout, trains)
        outlook = Outlook(self.meant, self.norm, trains, each_step)
        routes: list[Route] = []
        lanes, length, _ = walk.x_BTD.shape
        everybody_BT = torch.ones(lanes, length, dtype=torch.bool, device=tokens_BT.device)
        if (real_BT := layout.real(length)) is not None:
            everybody_BT = real_BT.repeat(lanes // len(tokens_BT), 1)
        for step in range(self.given.num_steps):
            alive_BT = everybody_BT if walk.alive_BU is None else everybody_BT & walk.alive_BU
            choice = walk.step(step)
            routes.append(to_route(self.meant, choice, alive_BT))
            outlook.add(*walk.asked(step))
        final_BMD = outlook.final()
        cost_BT = (
            None
            if walk.halt is None or self.halting is None
            else self.halting.cost(walk.halt).expand(lanes, length)
        )
        steps_BU = (
            torch.full((lanes, 1), float(self.given.num_steps), device=tokens_BT.device)
            if walk.halt is None
            else walk.halt.steps_BT
        )
        return Reading(
            final_BMD=final_BMD,
            each_step=outlook.each,
            weights=outlook.weights,
            routes=routes,
            steps_BT=steps_BU.expand(lanes, length),
            cost_BT=cost_BT,
            penalty=self._penalty(cost_BT, everybody_BT, trains),
            flops=walk.dispatch.flops
            + self._other_flops(lanes, length, final_BMD, max(1, len(outlook.weights))),
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
        steps = range(self.given.num_steps)
        places = [
            (layer, step)
            for step in steps
            for layer in self.given.allowed[step]
            if layer < self.given.layers
        ]
        return RoutedCache(self.empty(lanes, length, places or [(0, 0)]), self.given.num_steps)

    def decode(self, tokens_BT: Tensor, cache: RoutedCache, layout: Layout = PLAIN) -> Tensor:
        """Logits [B, T, V] of tokens that follow those in the cache; writes it.

        A sequence's one route is settled by the call that brings its first token.
        """
        x_BTD, sights = self.visit(tokens_BT, cache.keys, layout)
        (sight,) = sights.values()
        position_BT = self.positions_of(tokens_BT, layout)
        begins_B = position_BT[:, 0] == 0
        if layout.length_B is not None:
            begins_B = begins_B & (layout.length_B > 0)
        walk = Walk(
            self.meant,
            self.chooser,
            self.halting,
            self._dispatch(sight, sight),
            x_BTD,
            prefix_B=self.prefix(layout),
            position_BT=position_BT,
            cache=cache,
            begins_B=begins_B,
        )
        outlook = Outlook(self.meant, self.norm)
        for step in range(self.given.num_steps):
            walk.step(step)
            outlook.add(*walk.asked(step))
        return self.head(outlook.final())

    def _begun(self, tokens_BT: Tensor, layout: Layout, trains: bool) -> Walk:
        """Before the first step, in as many lanes as there are sequences or roll-outs."""
        x_BTD = self.embed(
            tokens_BT, torch.arange(tokens_BT.shape[1], device=tokens_BT.device)[None]
        )
        times = self.meant.num_rollouts if trains else 1
        if times > 1:
            # The embedding's dropout is that of the sequence: its roll-outs begin alike.
            x_BTD, tokens_BT = x_BTD.repeat(times, 1, 1), tokens_BT.repeat(times, 1)
            layout = layout.repeated(times)
        draws = (
            draw(self.meant, len(x_BTD), x_BTD.shape[1], x_BTD.device)
            if trains and self.chooser is not None
            else None
        )
        at_BM, window = layout.targets_BM, reach(self.plain, 0, x_BTD.shape[1])
        sight = self.sight(tokens_BT, window, layout, None)
        asked = sight if at_BM is None else self.sight(tokens_BT, window, layout, at_BM)
        return Walk(
            self.meant,
            self.chooser,
            self.halting,
            self._dispatch(sight, asked),
            x_BTD,
            at_BM,
            self.prefix(layout),
            draws,
        )

    def _dispatch(self, sight: Sight, asked: Sight) -> Dispatch:
        """The layers, each with `recompute` if that is on; and what queries see, at all positions
        and at those asked for.
        """

        def layer(
            x_BTD: Tensor, sight: Sight, place: Place, at_BM: Tensor | None, real_R: Tensor | None
        ) -> Tensor:
            return self.pass_through(
                self.layers[place[0]], x_BTD, x_BTD, sight, place, at_BM, real_R
            )[0]

        def remember(x_BTD: Tensor, sight: Sight, place: Place) -> None:
            cast(Layer, self.layers[place[0]]).remember(x_BTD, sight, place)

        return Dispatch(self.plain, layer, remember, sight, asked)

    def _penalty(self, cost_BT: Tensor | None, real_BT: Tensor, trains: bool) -> Tensor:
        """What halting costs, a mean over all positions of which padding costs nothing, and how
        alike the layers are.
        """
        penalty = (
            self.embedding.weight.new_zeros(())
            if cost_BT is None
            else cost_BT.where(real_BT, 0.0).mean()
        )
        if trains and self.given.similarity:
            penalty = penalty + self.given.similarity * similarity(list(self.layers))
        return penalty

    def _other_flops(self, lanes: int, length: int, final_BMD: Tensor, heads: int) -> int:
        """Of what decides and halts, at every position or once for a sequence, and of the head, at
        each of so many predictions.
        """
        deciding = sum(
            part.weight.numel()
            for part in self.modules()
            if isinstance(part, Linear) and part.role == "router"
        )
        deciding += 0 if self.halting is None else self.halting.weight.numel()
        units = lanes * (1 if self.meant.granularity == "sequence" else length)
        head = heads * final_BMD[..., 0].numel() * self.head_weight.numel()
        return 2 * (self.given.num_steps * units * deciding + head)
