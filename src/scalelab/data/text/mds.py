"""MDS, the shards of mosaicml-streaming. Local ones are read and written here; for remotes, and
for them alone, one place imports the library.

A sample is a block of tokens: `{"tokens": ndarray}`, uint16 or uint32.
"""

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scalelab.core.errors import UserError
from scalelab.core.files import replacing
from scalelab.core.locations import local_path

Tokens = npt.NDArray[np.uint16 | np.uint32]

COLUMN = "tokens"
HASH = "sha256"

_OF_A_FILE = {"raw_data", "samples", "zip_data"}
"""What the index says of one shard, beside the configuration that all have."""

_SCHEMAS = {"nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"}
_SCHEMAS["qnms"] = _SCHEMAS["nms"]


def dtype_of(vocab: int) -> type[np.uint16] | type[np.uint32]:
    """The type that holds every token of a vocabulary."""
    return np.uint16 if vocab <= 2**16 else np.uint32


def load() -> None:
    """Import the library. Raises UserError where it is not installed."""
    if importlib.util.find_spec("streaming") is None:
        raise UserError(
            "shards of a remote need mosaicml-streaming, which is not installed",
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


def write(blocks: list[Tokens], path: Path) -> tuple[int, str]:
    """Write a shard of these blocks at `path`, whole or not at all; returns its bytes and their
    sha256.

    A shard has the number of its samples, the places where they begin, its configuration and the
    samples, each with its size in front: what the library's `MDSWriter` writes. Raises OSError
    where the disk has no room.
    """
    every = entry("", 0, "", 0, blocks[0].dtype)
    config = {name: every[name] for name in every.keys() - _OF_A_FILE}
    text = json.dumps(config, sort_keys=True).encode()
    samples = [_sample(block) for block in blocks]
    places = np.cumsum([0, *map(len, samples)]) + 4 + 4 * (len(samples) + 1) + len(text)
    head = np.array([len(samples), *places], np.uint32).tobytes() + text
    content = b"".join([head, *samples])
    with replacing(path) as part:
        part.write_bytes(content)
    return len(content), hashlib.sha256(content).hexdigest()


def _sample(block: Tokens) -> bytes:
    """The size of a column, one dimension with the width of its length, the length, the tokens."""
    width = next(width for width in range(3) if len(block) < 1 << (8 << width))
    length = len(block).to_bytes(1 << width, "little")
    column = bytes([1 << 2 | width]) + length + block.tobytes()
    return len(column).to_bytes(4, "little") + column


def read(path: Path, number: int, dtype: npt.DTypeLike) -> Tokens:
    """The tokens of a block of a shard, by its number."""
    with path.open("rb", 0) as file:
        file.seek(4 * (1 + number))
        begin, end = np.frombuffer(file.read(8), np.uint32)
        file.seek(begin)
        sample = file.read(int(end - begin))
    width = 1 << (sample[4] & 3)
    return np.frombuffer(sample, dtype, offset=5 + width)


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

    source = local_path(remote) or remote
    try:
        client = CloudDownloader.get(source)
    except ValueError:
        known = ", ".join(sorted(f"{scheme}://" for scheme in DOWNLOADER_MAPPINGS if scheme))
        raise UserError(
            "shards can't be read from this kind of remote",
            cure=f"known are file://, {known}",
            where=remote,
        ) from None
    try:
        client.download(source, str(local))
    finally:
        client.clean_up()
