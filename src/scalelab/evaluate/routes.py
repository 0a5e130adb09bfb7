"""Which layers a router over layers chose: sums over any number of passes, and the metrics that
follow from them.

B lanes, T positions, K layers that are mixed, N tokens (of B T those that are real), S steps, E
layers of the pool, n real layers among them, k kinds of token. Layers and steps are numbered from 1
in what is told; identity layers stand behind the real ones.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from scalelab.evaluate.token_kinds import KINDS
from scalelab.families.family import LayerPool
from scalelab.families.language_model import RouterOutput

Counts = npt.NDArray[np.int64]


def routes(output: RouterOutput, shape: torch.Size | tuple[int, ...]) -> Counts:
    """The layer that each token of `shape` [B, T] took at each step, [B, T, S], from 0; -1 where it
    had halted.

    Of several layers that are mixed it is the most probable one. A sequence's route is that of each
    of its tokens.
    """
    chosen = [route.chosen_BTK[..., 0].expand(*shape) for route in output.routes]
    return torch.stack(chosen, -1).cpu().numpy()


class Tally:
    """Counts and sums over passes; `values` are ratios of them, the same however the sequences are
    cut into passes.

    What is counted is the most probable of the layers that a token was sent to at a step.
    """

    def __init__(self, pool: LayerPool, kind_V: Counts, exact: torch.dtype = torch.float64) -> None:
        self.pool, self.kind_V, self.exact = pool, kind_V, exact
        steps, size = pool.steps, pool.size
        self.chosen_SE = np.zeros((steps, size), np.int64)
        self.next_EE = np.zeros((size, size), np.int64)
        self.by_kind_k2 = np.zeros((len(KINDS), 2), np.int64)
        """Choices by tokens of each kind: all of them, and those of an identity layer."""
        self.used_S = np.zeros(steps + 1, np.int64)
        """Tokens that used 0, 1, ... steps."""
        longest = max(steps, pool.layers) + 1
        self.edits_LL = np.zeros((longest, longest), np.int64)
        """Tokens whose route is so many edits from the original order, by the length of the longer
        of both.
        """
        self.entropy_S = np.zeros(steps)
        self.sequence_entropy, self.sequences = 0.0, 0
        self.flops, self.positions = 0, 0

    def add(self, output: RouterOutput, tokens_BT: Tensor, real_BT: Tensor | None = None) -> None:
        """Count a pass over these tokens in, of which some may be padding."""
        real_BT = torch.ones_like(tokens_BT, dtype=torch.bool) if real_BT is None else real_BT
        route_BTS, real = routes(output, tokens_BT.shape), real_BT.cpu().numpy()
        route_NS, kind_N = route_BTS[real], self.kind_V[tokens_BT.cpu().numpy()[real]]
        self._count_choices(route_NS, kind_N)
        self._count_sequences(np.where(real[..., None], route_BTS, -1))
        steps_BT = output.steps_BT.expand(*tokens_BT.shape).round().long().cpu().numpy()
        self.used_S += np.bincount(steps_BT[real], minlength=len(self.used_S))
        edits_N, longer_N = distances(route_NS, self.pool.layers)
        np.add.at(self.edits_LL, (edits_N, longer_N), 1)
        self.entropy_S += self._entropies(output, real_BT)
        self.flops += output.flops
        self.positions += tokens_BT.numel()

    def _count_choices(self, route_NS: Counts, kind_N: Counts) -> None:
        went_NS, pool = route_NS >= 0, self.pool.size
        for step, count_E in enumerate(self.chosen_SE):
            count_E += np.bincount(route_NS[went_NS[:, step], step], minlength=pool)
        on_NS = went_NS[:, :-1] & went_NS[:, 1:]
        pair_P = route_NS[:, :-1][on_NS] * pool + route_NS[:, 1:][on_NS]
        self.next_EE += np.bincount(pair_P, minlength=pool * pool).reshape(pool, pool)
        skips_NS = route_NS >= self.pool.layers
        for column, part_NS in enumerate((went_NS, skips_NS)):
            np.add.at(self.by_kind_k2[:, column], kind_N, part_NS.sum(1))

    def _count_sequences(self, route_BTS: Counts) -> None:
        """The entropy of the layers used in each lane."""
        pool, went_BTS = self.pool.size, route_BTS >= 0
        lane_BTS = np.broadcast_to(np.arange(len(route_BTS))[:, None, None], route_BTS.shape)
        count_BE = np.bincount(
            (lane_BTS * pool + route_BTS)[went_BTS], minlength=len(route_BTS) * pool
        ).reshape(-1, pool)
        share_BE = count_BE / np.maximum(count_BE.sum(1, keepdims=True), 1)
        self.sequence_entropy -= float(
            (share_BE * np.log(np.where(count_BE > 0, share_BE, 1.0))).sum()
        )
        self.sequences += int(count_BE.any(1).sum())

    def _entropies(self, output: RouterOutput, real_BT: Tensor) -> npt.NDArray[np.floating]:
        """Of the router's probabilities, step by step: the sum over the tokens that had
        not halted.
        """
        sums = []
        for route in output.routes:
            entropy_BT = (
                torch.special.entr(route.probability_BTE.to(self.exact))
                .sum(-1)
                .expand(*real_BT.shape)
            )
            went_BT = real_BT & (route.chosen_BTK[..., 0] >= 0).expand(*real_BT.shape)
            sums.append(entropy_BT[went_BT].sum())
        return torch.stack(sums).cpu().numpy()

    def values(self) -> dict[str, float]:
        """The metrics; steps and layers from 1.

        `route_{step}_{layer}`: share of the tokens still on their way that this step sent to the
        layer; `order_{step}`: the layer with the largest one. `transition_{layer}_{next}`: share of
        all passages from one step to the next. With identity layers: `identity_share` of all
        choices, `identity_{step}`, and `identity_kind_{kind}` of those by tokens of a kind.
        `route_entropy_{step}`: mean entropy of the router's probabilities, and `sequence_entropy`:
        mean over sequences of the entropy of the layers used in each, in nats. `steps_mean`, and
        with halting `steps_{n}`: steps that a token used, and the share that used n. `order_kept`:
        share of the choices at the steps 1 to n that are layer 1 to n, as in the plain transformer
        of the same layers; `order_distance`: mean over tokens of the edits from a route to 1..n by
        the longer of both, identity layers left out. `flops_per_token`: forward FLOPs that were
        run, by positions.
        """
        reached_S, tokens = self.chosen_SE.sum(1), max(1, int(self.used_S.sum()))
        share_SE = self.chosen_SE / np.maximum(reached_S, 1)[:, None]
        found = {f"route_{step}_{layer}": share for (step, layer), share in _numbered(share_SE)}
        found |= {
            f"order_{step}": layer
            for step, layer in enumerate((self.chosen_SE.argmax(1) + 1).tolist(), 1)
            if reached_S[step - 1]
        }
        if self.pool.steps > 1:
            moved_EE = self.next_EE / max(1, int(self.next_EE.sum()))
            found |= {
                f"transition_{layer}_{after}": share
                for (layer, after), share in _numbered(moved_EE)
            }
        if self.pool.identity:
            found |= self._of_identity()
        if self.pool.halts:
            found |= {
                f"steps_{steps}": int(count) / tokens
                for steps, count in enumerate(self.used_S)
                if steps
            }
        entropy_S = self.entropy_S / np.maximum(reached_S, 1)
        found |= {
            f"route_entropy_{step}": entropy for step, entropy in enumerate(entropy_S.tolist(), 1)
        }
        return {name: float(value) for name, value in (found | self._of_routes(tokens)).items()}

    def _of_routes(self, tokens: int) -> dict[str, float]:
        """What whole routes tell."""
        original_nE, at = self.chosen_SE[: self.pool.layers], np.arange(len(self.edits_LL))
        return {
            "sequence_entropy": self.sequence_entropy / max(1, self.sequences),
            "steps_mean": int(self.used_S @ np.arange(len(self.used_S))) / tokens,
            "order_kept": (
                int(np.trace(original_nE[:, : self.pool.layers])) / max(1, int(original_nE.sum()))
            ),
            "order_distance": (
                float((self.edits_LL * (at[:, None] / np.maximum(at, 1))).sum()) / tokens
            ),
            "flops_per_token": self.flops / max(1, self.positions),
        }

    def _of_identity(self) -> dict[str, float]:
        """How often a token was left as it is."""
        skipped_S, reached_S = self.chosen_SE[:, self.pool.layers :].sum(1), self.chosen_SE.sum(1)
        by_step = {
            f"identity_{step}": share
            for step, share in enumerate((skipped_S / np.maximum(reached_S, 1)).tolist(), 1)
        }
        by_kind = {
            f"identity_kind_{kind}": skipped / went
            for kind, (went, skipped) in zip(KINDS, self.by_kind_k2.tolist(), strict=True)
            if went
        }
        return {
            "identity_share": int(skipped_S.sum()) / max(1, int(reached_S.sum())),
            **by_step,
            **by_kind,
        }


def distances(route_NS: Counts, layers: int) -> tuple[Counts, Counts]:
    """Of each route, its edits (insertions, deletions, substitutions) to the order 0..layers - 1,
    and the length of the longer of both.

    What is no real layer (an identity layer, or a step after halting) is dropped from a route
    before.
    """
    before = np.broadcast_to(np.arange(layers + 1), (len(route_NS), layers + 1)).copy()
    for layer_N in route_NS.T:
        after = np.empty_like(before)
        after[:, 0] = before[:, 0] + 1
        for place in range(layers):
            changed = before[:, place] + (layer_N != place)
            after[:, place + 1] = np.minimum(
                changed, np.minimum(before[:, place + 1], after[:, place]) + 1
            )
        is_real_N1 = ((layer_N >= 0) & (layer_N < layers))[:, None]
        before = np.where(is_real_N1, after, before)
    length_N = ((route_NS >= 0) & (route_NS < layers)).sum(1)
    return before[:, -1], np.maximum(length_N, layers)


def _numbered(table: npt.NDArray[np.floating]) -> list[tuple[tuple[int, int], float]]:
    """The entries of a table by row and column, from 1."""
    return [((row + 1, column + 1), float(value)) for (row, column), value in np.ndenumerate(table)]
