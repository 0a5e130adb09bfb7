"""One attempt at a trial: model, data, optimizer and position, with what the loop does to them."""

import time
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from scalelab.core.errors import reason
from scalelab.core.events import Measured, Outcome, Unwritable
from scalelab.core.seeds import derive
from scalelab.families import build as build_model
from scalelab.families.objective import Batch, Loss, mean_loss
from scalelab.plan.plan import num_steps
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.spec.reported import EXPERTS
from scalelab.tasks import build as build_data
from scalelab.tasks import open_batches, open_test
from scalelab.train import checkpoint, compiling, micro_batch, pretrained
from scalelab.train.meters import Meters
from scalelab.train.numerics import pick_device
from scalelab.train.optimizer import Optimizer
from scalelab.train.pace import Pace, Position


class Attempt:
    """Everything that a training run holds.

    `step` counts the updates done, `flops` what they have run, and `steps` is how many there may
    be; evaluations raise Interrupted once `stopping()` is true. `notes` is what a user should know
    of how it began.

    Raises UserError where the execution and the trial do not go together.
    """

    def __init__(
        self,
        trial: Trial,
        execution: Execution,
        folder: str | None,
        stopping: Callable[[], bool],
        layers_sha256: str | None = None,
    ) -> None:
        self.trial, self.execution, self.folder = trial, execution, folder
        self.layers_sha256 = layers_sha256
        self.size = micro_batch.settled(trial, execution)
        self.device = pick_device(execution)
        data = build_data(trial.task, execution.data)
        self.shape = shape = data.shape
        self.each = trial.model.train_bounds(shape.vocab, shape.context, shape.targets)
        self.steps = num_steps(trial.budget, shape, trial.batch, self.each)
        self.evaluated = frozenset(trial.evaluation.steps(self.steps))
        self.source = open_batches(trial, data, self.device)
        self.test = open_test(trial, data, self.device, stopping)
        self.notes: list[str] = []
        self.name = "" if folder is None else checkpoint.enter(folder)
        self._begin()
        self._resume()
        self.loss_of = (
            compiling.compiled_loss(self.model)
            if compiling.is_compiled(trial.model, execution)
            else type(self.model).loss
        )
        if self.size is None:
            self.size = self._found_size()
        if execution.micro_batch is not None:  # what was used, for the numerics
            self.execution = execution.model_copy(update={"micro_batch": self.size})
        self.pace = Pace(trial, shape, self.device, self.position)
        self.saved = time.perf_counter()

    def update(self) -> None:
        """One optimizer update on the next batch; gradients, FLOPs and the experts' loads
        accumulate over its micro-batches.
        """
        assert self.size is not None
        self.pace.updating(self.position)
        expected = self.expected
        targets, batches = self.source.draw(self.step, self.size)
        loads: list[Tensor] = []
        for batch in batches:
            loss = self._loss(self.loss_of, batch)
            self._mean(loss, batch, targets).backward()
            self.meters.add(loss)
            self.flops += loss.flops or len(batch.tokens_BT) * self.each.most
            if loss.routings:
                loads.append(torch.stack([routing.load_E.detach() for routing in loss.routings]))
        self.meters.end_update(targets)
        self.optimizer.update(self.step, expected)
        if loads:
            self.model.rebalance(torch.stack(loads).sum(0))
        self.step += 1

    def is_finite(self) -> bool:
        """Whether the loss, the routers and the weights are still numbers. Waits for the device."""
        kept = (
            part
            for part in chain(self.model.parameters(), self.model.buffers())
            if part.is_floating_point()
        )
        return bool(
            torch.stack([self.meters.are_finite(), *(part.isfinite().all() for part in kept)]).all()
        )

    @property
    def position(self) -> Position:
        """How far the trial has come."""
        return Position(self.step, self.flops)

    @property
    def expected(self) -> float:
        """Updates of the whole trial, for its schedule; under a budget of FLOPs as many as it would
        have if all cost what those until now did. With equal costs this is no other number than
        `steps`.
        """
        asked = self.trial.budget.flops
        return self.steps if asked is None or not self.flops else self.step * asked / self.flops

    @property
    def share(self) -> float:
        """Which share of the budget is spent."""
        asked = self.trial.budget.flops
        return min(1.0, self.step / self.steps if asked is None else self.flops / asked)

    @property
    def is_over(self) -> bool:
        """Whether the budget is spent."""
        asked = self.trial.budget.flops
        return self.step == self.steps or (asked is not None and self.flops >= asked)

    @property
    def is_due(self) -> bool:
        """Whether this step is to be evaluated and has not been."""
        return (self.step in self.evaluated or self.is_over) and not (
            self.curve and self.curve[-1].step == self.step
        )

    def measure(self) -> Measured:
        """Metrics at this step; the loss is the mean over the targets since the last measurement,
        in nats.

        Where the evaluation is interrupted nothing has changed: whoever goes on from here measures
        this step.
        """
        values = {
            **self.meters.values(),
            **self.pace.position(self.position),
            **self.pace.speed(self.position),
        }
        values |= self.test.quick(self.model)
        self.meters.clear()
        self.curve.append(Measured(self.step, values))
        return self.curve[-1]

    @property
    def has_passed(self) -> bool:
        """Whether the early stop is due: its metric was high enough in several evaluations in a
        row.
        """
        stop = self.trial.evaluation.stop
        if stop is None or len(self.curve) < stop.patience:
            return False
        return all(
            stop.is_met(measured.values[stop.metric]) for measured in self.curve[-stop.patience :]
        )

    def final(self, state: Outcome) -> dict[str, float]:
        """The trial's final metrics, with the loss and the experts' use as last measured; a
        diverged trial has only position and speed.
        """
        values = self.pace.position(self.position) | self.pace.speed(self.position)
        if state == "diverged":
            return values
        last = self.curve[-1].values
        return (
            values
            | {name: last[name] for name in ("loss", *EXPERTS) if name in last}
            | self.test.full(self.model)
        )

    def save_when_due(self) -> bool:
        """Save a checkpoint where the last one is old enough; returns whether it did."""
        is_due = time.perf_counter() - self.saved >= self.execution.checkpoint_every
        if is_due:
            self.save()
        return is_due

    def save(self) -> None:
        """Write everything that the next attempt needs to go on bit for bit."""
        self.saved = time.perf_counter()
        if self.folder is None:
            return
        self.pace.pausing(self.position)
        content = {
            "step": self.step,
            "flops": self.flops,
            "curve": [(measured.step, measured.values) for measured in self.curve],
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "meters": self.meters.state_dict(),
            "micro_batch": self.size,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
        }
        checkpoint.save(self.folder, self.trial.digest(), self.name, content)

    def keep(self) -> dict[str, str]:
        """The trained model in the folder instead of the checkpoint; returns the artifacts, notes
        among them, and the weights' digest.
        """
        artifacts = {
            "weights_sha256": checkpoint.weights_digest(self.model),
            **self.test.notes(self.model),
        }
        if self.folder is not None:
            artifacts |= checkpoint.save_model(self.folder, self.name, self.model.state_dict())
            checkpoint.check_attempt(self.folder, self.name)
            for name in checkpoint.CHECKPOINTS:
                checkpoint.remove(self.folder, name)
            checkpoint.leave(self.folder, self.name)
        return artifacts

    def _loss(self, loss_of: Callable[..., Loss], batch: Batch) -> Loss:
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.trial.precision == "bf16"
        ):
            return loss_of(self.model, batch, z_loss=self.trial.optim.z_loss > 0)

    def _mean(self, loss: Loss, batch: Batch, targets: Tensor) -> Tensor:
        return mean_loss(
            loss, targets, len(batch.tokens_BT) / self.trial.batch, self.trial.optim.z_loss
        )

    def _found_size(self) -> int:
        """The micro-batch that this device has memory for; found on the first update's sequences,
        uncompiled.
        """

        def run(size: int) -> Tensor:
            targets, batches = self.source.draw(0, size)
            batch = next(iter(batches))
            return self._mean(self._loss(type(self.model).loss, batch), batch, targets)

        share = micro_batch.memory_share(self.execution, self.device)
        found = micro_batch.find(self.trial.batch, run, self.model.parameters(), self.device, share)
        return micro_batch.even(self.trial.batch, found, self.execution)

    def _begin(self) -> None:
        """Stand at step 0."""
        trial, self.step, self.flops = self.trial, 0, 0
        self.curve: list[Measured] = []
        model = build_model(trial.model, self.shape.vocab, self.shape.context)
        self.model = model.initialise(derive(trial.seed, "weights")).to(self.device)
        pretrained.take(self.model, trial, self.folder, self.layers_sha256)
        self.model.recompute = self.execution.recompute
        if compiling.is_compiled(trial.model, self.execution):
            compiling.compile_evaluation(self.model)
        self.optimizer = Optimizer(trial.optim, self.model, self.device, trial.precision)
        self.meters = Meters(self.device)
        torch.manual_seed(derive(trial.seed, "noise"))

    def _resume(self) -> None:
        """Go on from the last checkpoint that is sound.

        One that is not, or doesn't fit, is set aside, with a note; the trial goes on from the one
        before, or begins anew.
        """
        if self.folder is None:
            return
        for name in checkpoint.CHECKPOINTS:
            try:
                content = checkpoint.load(self.folder, name, self.trial.digest(), self.device)
                if content is not None:
                    self._restore(content)
                    return
            except PermissionError as fault:
                raise Unwritable(self.folder, reason(fault)) from fault
            except Exception as fault:
                if isinstance(
                    fault, OSError | MemoryError | torch.OutOfMemoryError
                ) and not isinstance(fault, IsADirectoryError):
                    raise  # no fault of the checkpoint's: it may do at the next try
                aside = checkpoint.set_aside(self.folder, name)
                why = str(fault) if isinstance(fault, checkpoint.Unusable) else "it does not fit"
                self.notes.append(f"a checkpoint is set aside as {aside}: {why}")
                self._begin()

    def _restore(self, content: dict[str, Any]) -> None:
        self.step, self.flops = content["step"], content["flops"]
        self.curve = [Measured(step, values) for step, values in content["curve"]]
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.meters.load_state_dict(content["meters"])
        self.size = (
            self.size or content["micro_batch"]
        )  # found by the attempt before: other sizes move the last bits
        torch.set_rng_state(content["rng"].cpu())
        if content["cuda_rng"]:
            torch.cuda.set_rng_state_all([state.cpu() for state in content["cuda_rng"]])
