"""One attempt at a trial: model, data, optimizer and position, with what the loop does to them."""

import hashlib
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from scalelab.core.events import Measured, Outcome
from scalelab.core.seeds import derive
from scalelab.data import build as build_data
from scalelab.evaluate import build_test
from scalelab.models import build as build_model
from scalelab.plan.flops import train_flops
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.train import checkpoint, optimizer
from scalelab.train.numerics import pick_device
from scalelab.train.objective import summed_loss
from scalelab.train.source import open_source


class Attempt:
    """Everything that a training run holds. `step` counts the updates done; evaluations raise Interrupted once `stopping()` is true."""

    def __init__(self, trial: Trial, execution: Execution, folder: str | None, stopping: Callable[[], bool]) -> None:
        assert trial.budget.steps is not None, "the plan turns every budget into steps"
        self.trial, self.execution, self.folder = trial, execution, folder
        self.device = pick_device(execution)
        self.steps = trial.budget.steps
        self.evaluated = frozenset(trial.evaluation.steps(self.steps))
        data = build_data(trial.task)
        self.shape = data.shape
        self.source = open_source(trial, data, self.device)
        self.test = build_test(trial, data, self.device, stopping)
        self.loss_of = torch.compile(summed_loss, fullgraph=True, dynamic=False) if execution.compile else summed_loss
        self._begin()
        self._resume()
        self.began, self.began_at = time.perf_counter(), self.step
        self.saved = self.began

    def update(self) -> None:
        """One optimizer update on the next batch; gradients accumulate over its micro-batches."""
        targets, batches = self.source.draw(self.step, self.execution.micro_batch or self.trial.batch)
        for batch in batches:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.trial.precision == "bf16"):
                nats = self.loss_of(self.model, batch)
            (nats / targets).backward()
            self.nats += nats.detach()
        self.targets += targets
        optimizer.update(self.trial.optim, self.optimizer, self.parameters, self.step, self.steps)
        self.step += 1

    def is_finite(self) -> bool:
        """Whether the loss and the weights are still numbers. Waits for the device."""
        return math.isfinite(self.nats.item()) and all(bool(weight.isfinite().all()) for weight in self.parameters)

    @property
    def is_due(self) -> bool:
        """Whether this step is to be evaluated and has not been."""
        return self.step in self.evaluated and not (self.curve and self.curve[-1].step == self.step)

    def measure(self) -> Measured:
        """Metrics at this step; the loss is the mean over the targets since the last measurement, in nats.

        Where the evaluation is interrupted nothing has changed: whoever goes on from here measures this step.
        """
        values = {"loss": (self.nats / self.targets.clamp(min=1)).item(), **self._position(), **self._speed()}
        values |= self.test.quick(self.model)
        self.nats.zero_()
        self.targets.zero_()
        self.curve.append(Measured(self.step, values))
        return self.curve[-1]

    @property
    def has_passed(self) -> bool:
        """Whether the early stop is due: its metric was high enough in several evaluations in a row."""
        stop = self.trial.evaluation.stop
        if stop is None or len(self.curve) < stop.patience:
            return False
        return all(measured.values[stop.metric] >= stop.at_least for measured in self.curve[-stop.patience :])

    def final(self, state: Outcome) -> dict[str, float]:
        """The trial's final metrics, with the loss as it was last measured; a diverged trial has neither loss nor evaluation."""
        values = self._position() | self._speed()
        return values if state == "diverged" else values | {"loss": self.curve[-1].values["loss"]} | self.test.full(self.model)

    def save_when_due(self) -> None:
        """Save a checkpoint where the last one is old enough."""
        if time.perf_counter() - self.saved >= self.execution.checkpoint_every:
            self.save()

    def save(self) -> None:
        """Write everything that the next attempt needs to go on bit for bit."""
        self.saved = time.perf_counter()
        if self.folder is None:
            return
        content = {
            "step": self.step,
            "curve": [(measured.step, measured.values) for measured in self.curve],
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "nats": self.nats,
            "targets": self.targets,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
        }
        checkpoint.save(self.folder, checkpoint.CHECKPOINT, content)

    def keep(self) -> dict[str, str]:
        """The trained model in the folder instead of the checkpoint; returns the artifacts and the weights' digest."""
        artifacts = {"weights_sha256": weights_digest(self.model)}
        if self.folder is not None:
            artifacts["model"] = checkpoint.save(self.folder, checkpoint.MODEL, self.model.state_dict())
            checkpoint.remove(self.folder, checkpoint.CHECKPOINT)
        return artifacts

    def _begin(self) -> None:
        """Stand at step 0."""
        trial, self.step = self.trial, 0
        self.curve: list[Measured] = []
        model = build_model(trial.model, self.shape.vocab, self.shape.context)
        self.model = model.initialise(derive(trial.seed, "weights")).to(self.device)
        self.parameters = list(self.model.parameters())
        self.optimizer = optimizer.build(trial.optim, self.model, self.device)
        exact = torch.float32 if self.device.type == "mps" else torch.float64  # a long sum in fp32 loses digits
        self.nats, self.targets = torch.zeros((), dtype=exact, device=self.device), torch.zeros((), dtype=exact, device=self.device)
        torch.manual_seed(derive(trial.seed, "noise"))

    def _resume(self) -> None:
        """Go on from the checkpoint. One that can't be read, or doesn't fit, is set aside, and the trial begins anew."""
        if self.folder is None:
            return
        try:
            content = checkpoint.load(self.folder, checkpoint.CHECKPOINT, self.device)
            if content is not None:
                self._restore(content)
        except (OSError, MemoryError, torch.OutOfMemoryError):
            raise  # no fault of the checkpoint's: it may do at the next try
        except Exception:
            checkpoint.set_aside(self.folder, checkpoint.CHECKPOINT)
            self._begin()

    def _restore(self, content: dict[str, Any]) -> None:
        self.step, self.curve = content["step"], [Measured(step, values) for step, values in content["curve"]]
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.nats, self.targets = content["nats"], content["targets"]
        torch.set_rng_state(content["rng"].cpu())
        if content["cuda_rng"]:
            torch.cuda.set_rng_state_all([state.cpu() for state in content["cuda_rng"]])

    def _position(self) -> dict[str, float]:
        sequences = self.step * self.trial.batch
        return {
            "tokens": float(sequences * self.shape.context),
            "exposures": sequences / self.shape.sequences,
            "flops": float(sequences * self._sequence_flops()),
        }

    def _speed(self) -> dict[str, float]:
        """Seconds of this attempt, and its throughput with evaluations counted in; none where it only evaluates."""
        seconds = time.perf_counter() - self.began
        if self.step == self.began_at:
            return {"seconds": seconds}
        sequences = (self.step - self.began_at) * self.trial.batch
        return {
            "seconds": seconds,
            "tokens_per_second": sequences * self.shape.context / seconds,
            "flops_per_second": sequences * self._sequence_flops() / seconds,
        }

    def _sequence_flops(self) -> int:
        return train_flops(self.trial.model, self.shape.vocab, self.shape.context, self.shape.targets)


def weights_digest(model: nn.Module) -> str:
    """The sha256 of all weights, in the order of the state dict: equal bits, equal digest."""
    found = hashlib.sha256()
    for name, weight in model.state_dict().items():
        found.update(name.encode())
        found.update(_bytes(weight))
    return found.hexdigest()


def _bytes(weight: Tensor) -> bytes:
    return weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
