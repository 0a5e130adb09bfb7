"""Checkpoints and models as files, and digests of weights.

A folder is a local path or any fsspec URL. While a trial runs it holds the last two checkpoints,
and once the trial has ended its `model.pt`. A file is written beside and then moved into place, so
that a reader sees a whole one or none.

A checkpoint begins with a line that names its format, its trial and the SHA-256 of what follows.
The digest of the trial covers everything that can change its numbers, the recipes of its parts too.
Nothing of a file is used unless the whole line is as it should be. A model is a plain file of
torch's, and the store knows its SHA-256.
"""

import hashlib
import io
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

import torch
from fsspec.implementations.local import LocalFileSystem
from torch import Tensor, nn

from scalelab.core.errors import reason
from scalelab.core.events import Fenced, Unwritable
from scalelab.core.locations import access, file_system

CHECKPOINT, PREVIOUS, MODEL = "checkpoint.pt", "checkpoint.previous.pt", "model.pt"
ATTEMPT = "attempt"
"""The file that names the attempt which may write in the folder: the one that began last."""

CHECKPOINTS = (CHECKPOINT, PREVIOUS)
"""Names of a trial's checkpoints, the newest first."""

BROKEN, PART = ".broken", ".part"

FORMAT = "scalelab-checkpoint 2"
"""How the first line begins. Format 1 had none, and proved nothing."""


class Unusable(Exception):
    """A checkpoint that is damaged, of another format or of another trial; the message says
    which.
    """


def enter(folder: str) -> str:
    """Begin an attempt in a trial's folder; returns its name, with which it may write there until
    another one begins. What killed attempts left half written goes. Raises Unwritable.
    """
    attempt = uuid4().hex
    _write(folder, ATTEMPT, attempt, attempt.encode())
    files, path = file_system(folder)
    for half in files.glob(f"{path}/*{PART}"):
        with suppress(FileNotFoundError):
            files.rm_file(half)
    return attempt


def leave(folder: str, attempt: str) -> None:
    """End an attempt: its name is no longer needed."""
    if _read(folder, ATTEMPT) == attempt.encode():
        remove(folder, ATTEMPT)


def save(folder: str, trial: str, attempt: str, content: dict[str, Any]) -> None:
    """Write `content` (tensors and plain values) as the newest checkpoint of a trial, given by its
    digest; the one before is kept too.

    Raises Fenced where another attempt has begun, and Unwritable.
    """
    check_attempt(folder, attempt)
    payload = _packed(content)
    _write(folder, CHECKPOINT, attempt, _head(trial, payload), payload)


def load(folder: str, name: str, trial: str, device: torch.device) -> dict[str, Any] | None:
    """The content of the checkpoint `folder/name` of a trial, or None where there is none.

    Raises Unusable where it is not what `save` wrote for this trial.
    """
    content = _read(folder, name)
    if content is None:
        return None
    head, _, payload = content.partition(b"\n")
    head = head + b"\n"
    if not head.startswith(FORMAT.encode() + b" "):
        raise Unusable("it is of another format, or damaged")
    if head != _head(trial, payload):
        same = head.split()[2:3] == [trial.encode()]
        raise Unusable("it is damaged" if same else "it is of another trial, or damaged")
    return _unpacked(payload, device)


def check_attempt(folder: str, attempt: str) -> None:
    """Raises Fenced where another attempt has begun, or has ended the trial, and Unwritable where
    the folder is gone.
    """
    newest = _read(folder, ATTEMPT)
    if newest == attempt.encode():
        return
    if newest is None and not exists(folder, MODEL):
        raise Unwritable(folder, "what this attempt wrote there is gone")
    raise Fenced


def save_model(folder: str, attempt: str, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Write the weights of a trained model; returns where they lie and the SHA-256 of the file, as
    artifacts. Raises Fenced and Unwritable, as `save` does.
    """
    check_attempt(folder, attempt)
    payload = _packed(weights)
    _write(folder, MODEL, attempt, payload)
    return {"model": f"{folder}/{MODEL}", "model_sha256": hashlib.sha256(payload).hexdigest()}


def load_model(
    folder: str, name: str, device: torch.device, sha256: str | None = None
) -> dict[str, Tensor] | None:
    """The weights in `folder/name`, or None where there is no such file.

    Raises Unusable where it can't be read, or is not the file of this SHA-256.
    """
    content = _read(folder, name)
    if content is None:
        return None
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise Unusable("it is not the file that was written")
    try:
        return _unpacked(content, device)
    except Exception as fault:  # a damaged file makes torch raise nearly anything
        raise Unusable("it can't be read") from fault


def _packed(content: Mapping[str, Any]) -> memoryview:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def _unpacked(payload: bytes, device: torch.device) -> dict[str, Any]:
    """Only tensors and plain values are read."""
    return torch.load(io.BytesIO(payload), map_location=device, weights_only=True)


def _head(trial: str, payload: bytes | memoryview) -> bytes:
    return f"{FORMAT} {trial} {hashlib.sha256(payload).hexdigest()}\n".encode()


def _write(folder: str, name: str, attempt: str, *parts: bytes | memoryview) -> None:
    """Write the parts as `folder/name`, which has only then its name: no two attempts write into
    one file.

    Raises Unwritable where the disk is full, or the folder can't be written.
    """
    files, path = file_system(folder)
    half = f"{path}/{name}.{attempt}{PART}"
    try:
        files.makedirs(path, exist_ok=True)
        with files.open(half, "wb") as file:
            for part in parts:
                file.write(part)
            if isinstance(files, LocalFileSystem):
                # Else a power cut could leave the new name on an empty file.
                file.flush()
                os.fsync(file.fileno())
        if name != ATTEMPT:
            check_attempt(folder, attempt)  # writing may have taken long
        if name == CHECKPOINT and files.exists(f"{path}/{CHECKPOINT}"):
            files.mv(f"{path}/{CHECKPOINT}", f"{path}/{PREVIOUS}")
        files.mv(half, f"{path}/{name}")
    except Fenced:
        with suppress(Exception):
            files.rm_file(half)
        raise
    except OSError as error:
        with suppress(Exception):
            files.rm_file(half)
        if isinstance(error, ConnectionError | TimeoutError):
            raise  # it may do at the next try
        if name != ATTEMPT:
            check_attempt(folder, attempt)  # whoever has overtaken this one removes its files
        raise Unwritable(folder, reason(error)) from error


def _read(folder: str, name: str) -> bytes | None:
    files, path = file_system(folder)
    with access(folder):
        if not files.exists(f"{path}/{name}"):
            return None
        with files.open(f"{path}/{name}", "rb") as file:
            return file.read()


def exists(folder: str, name: str) -> bool:
    """Whether there is a `folder/name`."""
    files, path = file_system(folder)
    return files.exists(f"{path}/{name}")


def set_aside(folder: str, name: str) -> str:
    """Give `folder/name` another name, under which nothing looks for it; returns where it lies."""
    files, path = file_system(folder)
    files.mv(f"{path}/{name}", f"{path}/{name}{BROKEN}")
    return f"{folder}/{name}{BROKEN}"


def remove(folder: str, name: str) -> None:
    """Remove `folder/name` where it exists."""
    files, path = file_system(folder)
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
