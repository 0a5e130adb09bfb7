"""MDS, the shards of mosaicml-streaming: one place imports the library.

A sample is a block of tokens: `{"tokens": ndarray}`, uint16 or uint32.
"""

import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from scalelab.core.errors import UserError

if TYPE_CHECKING:
    from streaming.base.format.mds.reader import MDSReader

Tokens = npt.NDArray[np.uint16 | np.uint32]

COLUMN = "tokens"
HASH = "sha256"

_SCHEMAS = {"nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"}
_SCHEMAS["qnms"] = _SCHEMAS["nms"]


def dtype_of(vocab: int) -> type[np.uint16] | type[np.uint32]:
    """The type that holds every token of a vocabulary."""
    return np.uint16 if vocab <= 2**16 else np.uint32


def load() -> None:
    """Import the library. Raises UserError where it is not installed."""
    if importlib.util.find_spec("streaming") is None:
        raise UserError(
            "shards of text need mosaicml-streaming, which is not installed",
            cure="pip install 'scalelab[streaming]'",
        )
    _mend_torchvision()
    import streaming  # noqa: F401


def _mend_torchvision() -> None:
    """Let `import torchvision`, which `import streaming` does, succeed beside a torch that it was
    not built for.

    Where torch is a CPU build and torchvision is not (the usual wheels), torchvision's compiled
    part can't be loaded and is left out in silence; but its Python part then registers shapes for
    two of the operators in it, and fails: "operator torchvision::nms does not exist". Their schemas
    alone cure it. No text goes through them. Where the compiled part loads, it brings the operators
    itself, and another schema would be one too many.
    """
    import torch

    found = importlib.util.find_spec("torchvision")
    if (
        found is None
        or not found.submodule_search_locations
        or hasattr(torch.ops.torchvision, "nms")
    ):
        return
    try:
        for compiled in Path(found.submodule_search_locations[0]).glob("_C*.so"):
            torch.ops.load_library(compiled)
    except OSError:
        pass
    if hasattr(torch.ops.torchvision, "nms"):
        return
    for name, schema in _SCHEMAS.items():
        torch.library.define(f"torchvision::{name}", schema)


def write(blocks: list[Tokens], scratch: Path, path: Path) -> tuple[int, str]:
    """Write a shard of these blocks at `path`, whole or not at all; returns its bytes and their
    sha256.

    `scratch` is a folder on the same disk, which is emptied before. Raises OSError where the disk
    has no room.
    """
    load()
    from streaming import MDSWriter

    shutil.rmtree(scratch, ignore_errors=True)
    columns = {COLUMN: _encoding(blocks[0].dtype)}
    writer = MDSWriter(
        columns=columns, out=str(scratch), hashes=[HASH], size_limit=None, max_workers=1
    )
    for block in blocks:
        writer.write({COLUMN: block})
    writer.finish()
    [shard] = writer.shards
    file = shard["raw_data"]
    (scratch / file["basename"]).replace(path)
    shutil.rmtree(scratch)
    return file["bytes"], file["hashes"][HASH]


def entry(name: str, size: int, sha256: str, blocks: int, dtype: npt.DTypeLike) -> dict[str, Any]:
    """What the library's `index.json` says of a shard."""
    return {
        "version": 2,
        "format": "mds",
        "column_names": [COLUMN],
        "column_encodings": [_encoding(dtype)],
        "column_sizes": [None],
        "compression": None,
        "hashes": [HASH],
        "raw_data": {"basename": name, "bytes": size, "hashes": {HASH: sha256}},
        "samples": blocks,
        "size_limit": None,
        "zip_data": None,
    }


def reader(folder: Path, entry: dict[str, Any]) -> "MDSReader":
    """Random access to the blocks of a shard in a folder."""
    load()
    from streaming.base.format.mds.reader import MDSReader

    return MDSReader.from_json(str(folder), None, {**entry})


def _encoding(dtype: npt.DTypeLike) -> str:
    """The library's name of a column of arrays."""
    return f"ndarray:{np.dtype(dtype).name}"


def download(remote: str, local: Path) -> None:
    """Copy a file of a remote (s3://, gs://, oci://, azure://, hf://, sftp://... and file://) here.

    Raises UserError where the library knows no such remote, and what the remote's client raises
    where the copy fails.
    """
    load()
    from streaming.base.storage.download import DOWNLOADER_MAPPINGS, CloudDownloader

    try:
        client = CloudDownloader.get(remote.removeprefix("file://"))
    except ValueError:
        known = ", ".join(sorted(f"{scheme}://" for scheme in DOWNLOADER_MAPPINGS if scheme))
        raise UserError(
            "shards can't be read from this kind of remote",
            cure=f"known are file://, {known}",
            where=remote,
        ) from None
    try:
        client.download(remote.removeprefix("file://"), str(local))
    finally:
        client.clean_up()
