"""From arrays to a device."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from scalelab.tasks.text.objectives import Examples


def put(seen: Examples, device: torch.device) -> dict[str, Any]:
    """The fields of windows on the device, a tensor or None by name; whole numbers as int64."""
    return {
        name: None if array is None else torch.from_numpy(_wide(array)).to(device)
        for name, array in vars(seen).items()
    }


def _wide(array: npt.NDArray[np.number]) -> npt.NDArray[np.number]:
    return array if array.dtype == np.float32 else array.astype(np.int64)
