"""The peak of a device: the fastest that it multiplies matrices at a trial's precision,
measured.
"""

import time
from functools import cache

import torch
from torch import Tensor

from scalelab.spec.experiment import Trial

SIZES = {"cuda": (4096, 8192), "cpu": (256, 512)}
"""Rows and columns of the matrices: large enough to be bound by arithmetic, small enough to be
quick.
"""

SECONDS = 0.03
"""How long each size is tried."""


def matmul_peak(trial: Trial, device: torch.device) -> float:
    """FLOP/s of the fastest square product in the trial's precision on this device, with the
    threads that torch has now.

    Measured once in a process, in less than a tenth of a second on a CPU.
    """
    return _measured(
        device.type,
        torch.bfloat16 if trial.precision == "bf16" else torch.float32,
        torch.get_num_threads(),
    )


@cache
def _measured(device: str, dtype: torch.dtype, threads: int) -> float:
    rates: list[float] = []
    for size in SIZES.get(device, SIZES["cpu"]):
        # Random numbers: a GPU is faster on zeros than on any weights.
        generator = torch.Generator().manual_seed(0)
        rates.append(_rate(torch.randn(size, size, generator=generator).to(device, dtype)))
    return max(rates)


def _rate(x_NN: Tensor) -> float:
    """FLOP/s of the fastest of the products that fit into SECONDS; two before that warm up."""
    seconds = [_seconds(x_NN) for _ in range(2)][1:]
    while sum(seconds) < SECONDS:
        seconds.append(_seconds(x_NN))
    return 2 * len(x_NN) ** 3 / min(seconds)


def _seconds(x_NN: Tensor) -> float:
    _wait(x_NN.device)
    began = time.perf_counter()
    torch.mm(x_NN, x_NN)
    _wait(x_NN.device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
