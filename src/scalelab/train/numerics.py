"""What can move the last bits of a trial besides its identity: recorded with every attempt, matched
by `verify`.
"""

import platform
from typing import Any

import numpy as np
import torch

from scalelab.spec.execution import Execution


def pick_device(execution: Execution) -> torch.device:
    """The device that an execution asks for; `auto` takes a GPU where there is one."""
    if execution.device != "auto":
        return torch.device(execution.device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def numerics(execution: Execution, device: torch.device) -> dict[str, Any]:
    """Device, threads, compile, recompute, micro-batch and library versions of an attempt."""
    return {
        "device": device.type,
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": execution.threads,
        "compile": execution.compile,
        "recompute": execution.recompute,
        "micro_batch": execution.micro_batch,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a kernel file, not a path of ours
            names = [
                line.partition(":")[2].strip() for line in file if line.startswith("model name")
            ]
        return names[0] if names else platform.machine()
    except OSError:
        return platform.processor() or platform.machine()
