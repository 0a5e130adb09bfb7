"""Shards are those of the library, byte for byte."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from scalelab.data.text import mds


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("lengths", [[1], [255, 256], [65_535, 65_536, 3]])
def test_a_shard_is_written_as_the_library_writes_it(
    dtype: type[np.uint16], lengths: list[int], tmp_path: Path
) -> None:
    mds.load()
    from streaming import MDSWriter

    rng = np.random.default_rng(0)
    blocks = [rng.integers(0, 60_000, length).astype(dtype) for length in lengths]
    columns = {mds.COLUMN: f"ndarray:{np.dtype(dtype).name}"}
    out = str(tmp_path / "theirs")
    with MDSWriter(
        columns=columns, out=out, hashes=[mds.HASH], size_limit=None, max_workers=1
    ) as writer:
        for block in blocks:
            writer.write({mds.COLUMN: block})
    path = tmp_path / "shard.mds"
    size, sha256 = mds.write(blocks, path)
    assert path.read_bytes() == (tmp_path / "theirs" / "shard.00000.mds").read_bytes()
    assert size == path.stat().st_size
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for number, block in enumerate(blocks):
        np.testing.assert_array_equal(mds.read(path, number, dtype), block)
