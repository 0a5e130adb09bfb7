"""What the updates since the last evaluation have seen: the loss, how the experts were used, and
how long tokens thought.

Shapes: L layers with experts, E experts of a layer. Of a router over layers its steps are the
layers, its layers the experts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from scalelab.families.objective import Loss
from scalelab.layers.moe import Routing


class Meters:
    """Sums on the device, in fp64 where it has it (a long sum in fp32 loses digits).

    Reading them waits for the device.
    """

    def __init__(self, device: torch.device) -> None:
        self._exact, self._device = torch.float32 if device.type == "mps" else torch.float64, device
        self.clear()

    def clear(self) -> None:
        """Begin anew, as after an evaluation."""
        self.nats, self.targets = (
            torch.zeros((), dtype=self._exact, device=self._device) for _ in range(2)
        )
        self.experts: dict[str, Tensor] = {}
        self.thought: dict[str, Tensor] = {}
        self._load_LE: Tensor | None = None

    def add(self, loss: Loss) -> None:
        """Count a micro-batch in."""
        self.nats += loss.nats.detach()
        if loss.steps_N is not None:
            steps = loss.steps_N.sum(dtype=self._exact)
            _add(
                self.thought,
                {"steps": steps, "thinkers": torch.full_like(steps, loss.steps_N.numel())},
            )
        if loss.routings:
            seen = self._seen(loss.routings)
            _add(self.experts, seen)
            self._load_LE = seen["load"] if self._load_LE is None else self._load_LE + seen["load"]

    def end_update(self, targets: Tensor | float) -> None:
        """Count an update's targets in, and how uneven the load of all its micro-batches was.

        Checkpoints lie between updates.
        """
        self.targets += targets
        if self._load_LE is not None:
            one = torch.ones((), dtype=self._exact, device=self._device)
            _add(self.experts, {"max_vio": _max_vio(self._load_LE), "updates": one})
            self._load_LE = None

    def values(self) -> dict[str, float]:
        """`loss`: nats of a target; and of the experts, layer by layer and as a mean over layers:

        `load_{layer}_{expert}`: share of the layer's assignments; `max_vio`: by how much the
        busiest expert of an update exceeds an even load, as a mean over the updates (MaxVio_batch,
        arXiv 2408.15664), which unlike that of summed loads does not fall with their number;
        `router_entropy`: mean entropy of a token's gates, in nats; `dropped`: share of tokens that
        no expert took. Where tokens may halt, `steps_mean`: steps that a token went through.
        """
        steps = (
            {"steps_mean": (self.thought["steps"] / self.thought["thinkers"]).item()}
            if self.thought
            else {}
        )
        return {
            "loss": (self.nats / self.targets.clamp(min=1)).item(),
            **steps,
            **self._of_experts(),
        }

    def are_finite(self) -> Tensor:
        """Whether all sums are numbers, as a tensor on the device."""
        return torch.stack(
            [
                part.isfinite().all()
                for part in (self.nats, *self.experts.values(), *self.thought.values())
            ]
        ).all()

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint holds."""
        return {"nats": self.nats, "targets": self.targets, **self.thought, **self.experts}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        self.nats, self.targets = state["nats"], state["targets"]
        self.thought = {name: part for name, part in state.items() if name in ("steps", "thinkers")}
        self.experts = {
            name: part
            for name, part in state.items()
            if name not in ("nats", "targets", *self.thought)
        }

    def _seen(self, routings: Sequence[Routing]) -> dict[str, Tensor]:
        sums = {
            name: torch.stack([getattr(routing, name).detach() for routing in routings]).to(
                self._exact
            )
            for name in _READ
        }
        return {
            "load": sums["load_E"],
            "dropped": sums["dropped"],
            "entropy": sums["entropy"] * sums["tokens"],
            "tokens": sums["tokens"],
        }

    def _of_experts(self) -> dict[str, float]:
        if not self.experts:
            return {}
        load_LE, tokens_L1 = self.experts["load"].cpu(), self.experts["tokens"].cpu().clamp(min=1)
        share_LE = load_LE / load_LE.sum(1, keepdim=True).clamp(min=1)
        by_layer = {
            "max_vio": self.experts["max_vio"].cpu() / self.experts["updates"].cpu(),
            "router_entropy": self.experts["entropy"].cpu() / tokens_L1,
            "dropped": self.experts["dropped"].cpu() / tokens_L1,
        }
        values = {name: value_L.mean().item() for name, value_L in by_layer.items()}
        for layer, share_E in enumerate(share_LE.tolist()):
            values |= {
                f"{name}_{layer}": value_L[layer].item() for name, value_L in by_layer.items()
            }
            values |= {f"load_{layer}_{expert}": share for expert, share in enumerate(share_E)}
        return values


def _add(sums: dict[str, Tensor], seen: dict[str, Tensor]) -> None:
    for name, part in seen.items():
        sums[name] = sums.get(name, torch.zeros_like(part)) + part


def _max_vio(load_LE: Tensor) -> Tensor:
    """(max - mean) / mean of each layer's loads, [L]; zero of a step that all tokens had halted
    before.
    """
    return (load_LE.amax(1) * load_LE.shape[1] / load_LE.sum(1).clamp(min=1) - 1).clamp(min=0)


_READ = ("load_E", "entropy", "dropped", "tokens")
