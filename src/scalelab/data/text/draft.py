"""A corpus while it is prepared: tokens become blocks, blocks become shards, and what is finished
outlives the process.

Nothing reads a draft: the manifest is written last. A checkpoint is taken behind every shard; what
a killed process wrote after it is written again, with the same bytes. A checkpoint carries a hash
of itself and of what belongs to it: one that is damaged is none.
"""

import hashlib
import io
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scalelab.core.canon import sha256
from scalelab.core.files import PART, replacing
from scalelab.data.text import mds
from scalelab.data.text.chain import Chain
from scalelab.data.text.manifest import SPLITS, Shard, Split, SplitName
from scalelab.data.text.mds import Tokens
from scalelab.data.text.splitting import Position
from scalelab.data.text.tokenising import Encoded

STATE = "preparing.json"


@dataclass(frozen=True)
class Layout:
    """Sizes of blocks and shards.

    Shards of 8 MB: little is lost with a process, and a remote is read without a long wait.
    """

    block: int = 1 << 16
    """Tokens of a block."""
    blocks: int = 64
    """Blocks of a shard."""

    @property
    def shard(self) -> int:
        """Tokens of a shard."""
        return self.block * self.blocks


LAYOUT = Layout()


class Draft:
    """The corpus in a folder, up to some position of its text."""

    def __init__(self, home: Path, layout: Layout, dtype: type[np.unsignedinteger[Any]]) -> None:
        self.home, self.layout = home, layout
        self.at: Position | None = None
        self.tokens: dict[SplitName, int] = dict.fromkeys(SPLITS, 0)
        self.bytes: dict[SplitName, int] = dict.fromkeys(SPLITS, 0)
        self.documents: dict[SplitName, int] = dict.fromkeys(SPLITS, 0)
        self._rest: dict[SplitName, list[Tokens]] = {
            split: [np.empty(0, dtype)] for split in SPLITS
        }
        self._chains: dict[SplitName, Chain] = {
            split: Chain("", np.empty(0, dtype)) for split in SPLITS
        }
        self._shards: dict[SplitName, list[Shard]] = {split: [] for split in SPLITS}
        self._version = 0

    def add(self, batch: Iterable[Encoded]) -> bool:
        """Take in the next tokens; returns whether a shard was written, and a checkpoint is worth
        it.
        """
        for part in batch:
            self._rest[part.split].append(part.tokens)
            self.tokens[part.split] += len(part.tokens)
            self.bytes[part.split] += part.bytes
            self.documents[part.split] += part.last
            self.at = part.at
        written = [self._write(split, whole=True) for split in SPLITS]
        return any(written)

    def finish(self) -> dict[SplitName, Split]:
        """Write what is left, and each split's index in the library's form; returns the splits."""
        for split in SPLITS:
            self._write(split, whole=False)
            entries = [
                mds.entry(
                    Path(shard.file).name,
                    shard.bytes,
                    shard.sha256,
                    shard.blocks,
                    self._rest[split][0].dtype,
                )
                for shard in self._shards[split]
            ]
            with replacing(self.home / split / "index.json") as part:
                part.write_text(json.dumps({"version": 2, "shards": entries}, sort_keys=True))
        return {
            split: Split(
                documents=self.documents[split],
                tokens=self.tokens[split],
                bytes=self.bytes[split],
                sha256=self._chains[split].digest(),
                shards=tuple(self._shards[split]),
            )
            for split in SPLITS
        }

    def _write(self, split: SplitName, *, whole: bool) -> bool:
        """Write the shards that are full, or all that is left."""
        size = self.layout.shard
        if whole and sum(map(len, self._rest[split])) < size:
            return False
        tokens = np.concatenate(self._rest[split])
        end = len(tokens) // size * size if whole else len(tokens)
        for start in range(0, end, size):
            part = tokens[start : min(start + size, end)]
            path = self.home / split / f"shard.{len(self._shards[split]):05}.mds"
            length = self.layout.block
            blocks = [part[at : at + length] for at in range(0, len(part), length)]
            written, sha256 = mds.write(blocks, path)
            self._shards[split].append(
                Shard(file=f"{split}/{path.name}", bytes=written, sha256=sha256, blocks=len(blocks))
            )
        self._chains[split].add(tokens[:end])
        self._rest[split] = [tokens[end:].copy()]
        return True

    def save(self, key: dict[str, Any]) -> None:
        """A checkpoint; `key` says what the draft is of."""
        before, self._version = self._tails(self._version), self._version + 1
        tails = {split: np.concatenate(parts) for split, parts in self._rest.items()}
        unlinked = {f"{split}.unlinked": chain.rest for split, chain in self._chains.items()}
        # Through memory: a zip file that meets a full disk complains once more when it is deleted.
        buffer = io.BytesIO()
        np.savez(buffer, **tails, **unlinked)
        with replacing(self._tails(self._version)) as part:
            part.write_bytes(buffer.getvalue())
        state = {
            "key": key,
            "tails": hashlib.sha256(buffer.getvalue()).hexdigest(),
            "version": self._version,
            "at": self.at,
            **{name: getattr(self, name) for name in ("tokens", "bytes", "documents")},
            "links": {split: chain.link for split, chain in self._chains.items()},
            "shards": {
                split: [shard.model_dump() for shard in shards]
                for split, shards in self._shards.items()
            },
        }
        with replacing(self.home / STATE) as part:
            part.write_text(json.dumps({"proof": sha256(state), **state}))
        before.unlink(missing_ok=True)

    def resume(self, key: dict[str, Any]) -> bool:
        """Go on from the checkpoint in the folder; returns False where there is none of
        this key.
        """
        try:
            state = _state(self.home)
            if state["key"] != key:
                return False
            self._version = state["version"]
            content = self._tails(self._version).read_bytes()
            if hashlib.sha256(content).hexdigest() != state["tails"]:
                return False
            with np.load(io.BytesIO(content)) as tails:
                self._rest = {split: [tails[split]] for split in SPLITS}
                self._chains = {
                    split: Chain(state["links"][split], tails[f"{split}.unlinked"])
                    for split in SPLITS
                }
        except (OSError, ValueError, KeyError):
            return False
        self.at = None if state["at"] is None else Position(*state["at"])
        self.tokens, self.bytes, self.documents = (
            state["tokens"],
            state["bytes"],
            state["documents"],
        )
        self._shards = {
            split: [Shard(**shard) for shard in state["shards"][split]] for split in SPLITS
        }
        return True

    def clean(self) -> None:
        """Remove what only a draft needs."""
        _clean(self.home)

    def _tails(self, version: int) -> Path:
        return self.home / f"tails.{version}.npz"


def begun(home: Path) -> dict[str, Any]:
    """The key of the checkpoint in a folder, empty where there is none."""
    try:
        return _state(home)["key"]
    except (OSError, ValueError, KeyError):
        return {}


def _state(home: Path) -> dict[str, Any]:
    """The checkpoint in a folder.

    Raises OSError where there is none, and ValueError or KeyError where it is damaged.
    """
    state = json.loads((home / STATE).read_text())
    if state.pop("proof") != sha256(state):
        raise ValueError("the checkpoint is damaged")
    return state


def clear(home: Path) -> None:
    """Remove a draft, or what another version left."""
    for split in SPLITS:
        shutil.rmtree(home / split, ignore_errors=True)
    _clean(home)


def _clean(home: Path) -> None:
    (home / STATE).unlink(missing_ok=True)
    for tails in home.glob("tails.*.npz"):
        tails.unlink()
    for part in home.rglob(f"*{PART}"):  # of a process that was killed
        part.unlink()
