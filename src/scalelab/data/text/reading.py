"""Reading the blocks of a split at random: checked, and kept as long as there is room.

A shard's size is checked when its corpus is opened, its hash when it is first touched. Several
processes read one folder at the same time and share nothing but the files.
"""

import hashlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scalelab.core.errors import Unreadable
from scalelab.core.locations import child, is_url
from scalelab.data.text import mds
from scalelab.data.text.asking import command
from scalelab.data.text.fetching import cache, fetch
from scalelab.data.text.manifest import Manifest, Shard, SplitName
from scalelab.data.text.mds import Tokens, dtype_of

KEPT = 1 << 27
"""Bytes of decoded blocks that are kept."""


class Shards:
    """The files of a prepared corpus, in a folder or at a URL.

    Raises Unreadable where one is missing, cut short or changed.
    """

    def __init__(self, home: str, manifest: Manifest) -> None:
        self._home, self._manifest = home, manifest
        self._remote = is_url(home)
        self._paths: dict[Shard, Path] = {}
        shards = [shard for split in manifest.splits.values() for shard in split.shards]
        self._folder = (
            cache(home, [shard.sha256 for shard in shards]) if self._remote else Path(home)
        )
        if not self._remote:
            for shard in shards:
                self._check_size(shard)

    def _opened(self, shard: Shard) -> Path:
        """The checked file of a shard, which is fetched where it is not here."""
        path, remote = self._folder / shard.file, child(self._home, shard.file)
        if self._remote:
            fetch(remote, path, shard.bytes)
            if not is_sound(path, shard):
                fetch(remote, path, shard.bytes, again=True)
        self._check_size(shard)
        if not is_sound(path, shard):
            what = "this shard is corrupt: its content is not what was prepared"
            raise self._wrong(path, what)
        return path

    def block(self, shard: Shard, number: int) -> Tokens:
        """The tokens of a shard's block."""
        if shard not in self._paths:
            self._paths[shard] = self._opened(shard)
        tokens = mds.read(self._paths[shard], number, dtype_of(self._manifest.vocab))
        if tokens.max() >= self._manifest.vocab:
            what = (
                f"this shard holds the token {tokens.max()}, and its tokenizer ends at"
                f" {self._manifest.vocab - 1}"
            )
            raise self._wrong(self._folder / shard.file, what)
        return tokens

    def _check_size(self, shard: Shard) -> None:
        path = self._folder / shard.file
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise self._wrong(path, "this shard is missing") from None
        if size != shard.bytes:
            raise self._wrong(path, f"this shard has {size:,} bytes instead of {shard.bytes:,}")

    def _wrong(self, path: Path, what: str) -> Unreadable:
        if self._remote:
            remote = child(self._home, str(path.relative_to(self._folder)))
            return Unreadable(what, cure="copy the prepared folder there again", where=remote)
        asked = command(self._manifest.corpus, self._manifest.tokens, str(Path(self._home).parent))
        cure = f"delete the folder {self._home} and run `{asked}`"
        return Unreadable(what, cure=cure, where=str(path), home=self._home)


def is_sound(path: Path, shard: Shard) -> bool:
    """Whether a file is what was prepared as this shard."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, mds.HASH).hexdigest() == shard.sha256
    except OSError:
        return False


class Running:
    """The running text of a split.

    Any part of it can be had; the blocks that were read last are kept.
    """

    def __init__(self, shards: Shards, manifest: Manifest, split: SplitName) -> None:
        self.tokens = manifest.splits[split].tokens
        self._shards, self._size = shards, manifest.block
        self._places = [
            (shard, number)
            for shard in manifest.splits[split].shards
            for number in range(shard.blocks)
        ]
        self._blocks: OrderedDict[int, Tokens] = OrderedDict()
        self._room = max(2, KEPT // (self._size * np.dtype(dtype_of(manifest.vocab)).itemsize))

    def windows(self, start_B: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int32]:
        """The `length` tokens from each start on, [B, length]."""
        found = np.empty((len(start_B), length), np.int32)
        for row, start in zip(found, start_B.tolist(), strict=True):
            number, place = divmod(start, self._size)
            block = self._block(number)
            if place + length <= self._size:
                row[:] = block[place : place + length]
            else:
                last = (start + length - 1) // self._size
                blocks = [self._block(each) for each in range(number, last + 1)]
                row[:] = np.concatenate(blocks)[place : place + length]
        return found

    def _block(self, number: int) -> Tokens:
        block = self._blocks.get(number)
        if block is None:
            block = self._shards.block(*self._places[number])
            self._blocks[number] = block
            if len(self._blocks) > self._room:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(number)
        return block
