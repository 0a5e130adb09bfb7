"""How many sequences run at once.

It moves no number but the last bits, unless the loss couples the sequences: then it is the trial's.
"""

import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from scalelab.core.errors import UserError
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial

FREE = 0.9
"""Share of a trial's part of a GPU's memory that a micro-batch may fill: evaluations and fragments
need some.
"""

HALF = 0.5
"""Share of a trial's part of a computer's free memory that the activations may fill: gradients pass
through as much again.
"""


def settled(trial: Trial, execution: Execution) -> int | None:
    """The micro-batch that the trial or the execution settles; None where it is to be found for the
    device.

    Raises UserError where the execution would change the numbers of a trial whose loss couples a
    micro-batch.
    """
    asked = execution.micro_batch
    if trial.model.couples_batch:
        own = trial.micro_batch or trial.batch
        if asked not in (None, "auto", own):
            what = (
                f"`execution.micro_batch: {asked}` would change this trial's numbers, since its"
                " experts are balanced over a micro-batch"
            )
            raise UserError(
                what, cure="leave it out, and write `micro_batch` as a field of the trial"
            )
        return own
    if asked == "auto":
        return None
    return even(trial.batch, min(asked or trial.batch, trial.batch), execution)


def even(batch: int, size: int, execution: Execution) -> int:
    """The size, or under `compile` the next smaller divisor of the batch: a smaller last
    micro-batch would be compiled for itself.
    """
    return (
        next(part for part in range(size, 0, -1) if batch % part == 0)
        if execution.compile
        else size
    )


def memory_share(execution: Execution, device: torch.device) -> float:
    """A trial's part of the memory, for trials run beside each other.

    Of a GPU it has `execution.gpus`; all of it where that is several, or where nothing (or 0) is
    said. Elsewhere it has an even part, were there a trial for every `execution.threads` cores: how
    many there are is not known here, and this is cautious where fewer run.
    """
    if device.type == "cuda":
        return min(1.0, execution.gpus or 1.0)
    return 1 / max(1, (os.cpu_count() or 1) // execution.threads)


def find(
    most: int,
    run: Callable[[int], Tensor],
    weights: Iterable[Tensor],
    device: torch.device,
    share: float = 1.0,
) -> int:
    """The largest micro-batch, from `most` down by halves, that the device has memory for.

    `run` is the loss of a micro-batch of that size, ready for its backward pass. On a GPU each size
    is tried; elsewhere one sequence is, and what it keeps for its backward pass is held against the
    memory that is free. `share` is this trial's part of the memory. Gradients are gone afterwards,
    and the random numbers are where they were.
    """
    weights = list(weights)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        fits = (
            _fits_gpu(run, weights, device, share)
            if device.type == "cuda"
            else _fits_memory(run, weights, share)
        )
        size = most
        while size > 1 and not fits(size):
            size = math.ceil(size / 2)
    return size


def _fits_gpu(
    run: Callable[[int], Tensor], weights: list[Tensor], device: torch.device, share: float
) -> Callable[[int], bool]:
    most = FREE * share * torch.cuda.get_device_properties(device).total_memory

    def fits(size: int) -> bool:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        try:
            moments = [
                torch.empty_like(weight) for weight in weights for _ in range(2)
            ]  # the optimizer's, which come later
            run(size).backward()
            del moments
        except torch.OutOfMemoryError:
            return False
        finally:
            _forget(weights)
        return torch.cuda.max_memory_allocated(device) <= most

    return fits


def _fits_memory(
    run: Callable[[int], Tensor], weights: list[Tensor], share: float
) -> Callable[[int], bool]:
    kept = _kept_bytes(lambda: run(1), weights)
    lasting = 3 * sum(weight.nbytes for weight in weights)  # a gradient and two moments
    free = share * available_bytes() - lasting
    return lambda size: size * kept <= HALF * free


def _kept_bytes(run: Callable[[], Tensor], weights: list[Tensor]) -> int:
    """Bytes that a forward pass keeps for its backward pass, weights not counted."""
    own = {weight.untyped_storage().data_ptr() for weight in weights}
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(size for pointer, size in storages.items() if pointer not in own)


def available_bytes(
    memory: Path = Path("/proc/meminfo"), group: Path = Path("/sys/fs/cgroup")
) -> int:
    """Memory that is free: the system's, or what a container leaves of it; 4 GB where the system
    tells neither.
    """
    found = [4 << 30]
    if memory.exists():
        lines = dict(line.split(":", 1) for line in memory.read_text().splitlines())
        found = [int(lines["MemAvailable"].split()[0]) << 10]
    limit, used = group / "memory.max", group / "memory.current"
    if limit.exists() and used.exists() and limit.read_text().strip() != "max":
        found.append(int(limit.read_text()) - int(used.read_text()))
    return max(0, min(found))


def _forget(weights: list[Tensor]) -> None:
    for weight in weights:
        weight.grad = None
