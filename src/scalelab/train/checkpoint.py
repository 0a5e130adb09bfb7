"""Checkpoints: written beside, then moved into place, so that a reader sees a whole one or none;
and digests of weights.

A folder is a local path or any fsspec URL. It holds `checkpoint.pt` while the trial runs and
`model.pt` once it ended.
"""

import hashlib
import io
import os
from typing import Any

import fsspec
import torch
from fsspec.implementations.local import LocalFileSystem
from torch import Tensor, nn

CHECKPOINT, MODEL, BROKEN = "checkpoint.pt", "model.pt", ".broken"


def save(folder: str, name: str, content: dict[str, Any]) -> str:
    """Write `content` (tensors and plain values) as `folder/name`; returns where it lies."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    files, path = fsspec.url_to_fs(folder)
    files.makedirs(path, exist_ok=True)
    half, whole = f"{path}/{name}.part", f"{path}/{name}"
    with files.open(half, "wb") as file:
        file.write(buffer.getvalue())
        if isinstance(
            files, LocalFileSystem
        ):  # else a power cut could leave the new name on an empty file
            file.flush()
            os.fsync(file.fileno())
    files.mv(half, whole)
    return f"{folder}/{name}"


def load(folder: str, name: str, device: torch.device) -> dict[str, Any] | None:
    """The content of `folder/name`, or None where there is none.

    Only tensors and plain values are read.
    """
    if not exists(folder, name):
        return None
    files, path = fsspec.url_to_fs(folder)
    with files.open(f"{path}/{name}", "rb") as file:
        return torch.load(io.BytesIO(file.read()), map_location=device, weights_only=True)


def exists(folder: str, name: str) -> bool:
    """Whether there is a `folder/name`."""
    files, path = fsspec.url_to_fs(folder)
    return files.exists(f"{path}/{name}")


def set_aside(folder: str, name: str) -> None:
    """Give `folder/name` another name, under which nothing looks for it."""
    files, path = fsspec.url_to_fs(folder)
    files.mv(f"{path}/{name}", f"{path}/{name}{BROKEN}")


def remove(folder: str, name: str) -> None:
    """Remove `folder/name` where it exists."""
    files, path = fsspec.url_to_fs(folder)
    if files.exists(f"{path}/{name}"):
        files.rm_file(f"{path}/{name}")


def weights_digest(model: nn.Module) -> str:
    """The sha256 of all weights, in the order of the state dict: equal bits, equal digest."""
    found = hashlib.sha256()
    for name, weight in model.state_dict().items():
        found.update(name.encode())
        found.update(_bytes(weight))
    return found.hexdigest()


def _bytes(weight: Tensor) -> bytes:
    return weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
