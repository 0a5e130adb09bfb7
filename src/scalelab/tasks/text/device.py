"""From arrays to a device."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from scalelab.families.layout import Layout
from scalelab.families.objective import Batch
from scalelab.tasks.text.objectives import Examples


def put(examples: Examples, device: torch.device) -> Batch:
    """Windows on the device; whole numbers as int64."""
    parts: dict[str, Any] = {
        name: None if array is None else torch.from_numpy(_wide(array)).to(device)
        for name, array in vars(examples).items()
    }
    layout = {name: parts.pop(name) for name in ("targets_BM", "prefix_B", "document_BT")}
    return Batch(**parts, layout=Layout(**layout))


def _wide(array: npt.NDArray[np.number]) -> npt.NDArray[np.number]:
    return array if array.dtype == np.float32 else array.astype(np.int64)
