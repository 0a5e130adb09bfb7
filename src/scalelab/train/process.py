"""What a process that trains sets once. None of it changes a bit of what is computed."""

import ctypes
import sys
from functools import cache

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt (malloc.h)."""


def prepare(threads: int) -> None:
    """Threads of torch's operators, and what makes small models fast."""
    torch.set_num_threads(threads)
    _keep_memory()


@cache
def _keep_memory() -> None:
    """Let glibc keep freed memory: giving it back and faulting it in again takes a tenth of a small
    model's update.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # not on musl
            libc.mallopt(M_TRIM_THRESHOLD, 1 << 30)
            libc.mallopt(M_MMAP_THRESHOLD, 1 << 25)
