"""Shards of a remote, copied one by one into a cache on this machine as they are needed.

Any number of processes share the cache: a lock, which ends with its process, lets one of them copy
a file while the others wait for it.
"""

import os
import tempfile
from pathlib import Path

from scalelab.core.canon import sha256
from scalelab.core.errors import Unreadable, UserError
from scalelab.core.files import remove_parts, replacing
from scalelab.core.locations import expanded_path
from scalelab.data.text import mds
from scalelab.data.text.locking import locked

CACHE = "SCALELAB_CACHE"
"""The environment variable that may name the folder of the cache."""


def cache(home: str, shards: list[str]) -> Path:
    """The folder for the shards (their hashes) of a remote corpus; other shards at the same address
    have another one.
    """
    root = expanded_path(os.environ.get(CACHE) or "~/.cache/scalelab", CACHE)
    return root / f"{sha256(home)[:8]}-{sha256(shards)[:16]}"


def fetch(remote: str, local: Path, size: int, *, again: bool = False) -> None:
    """Copy a file of the remote here unless it was before; `again` replaces a damaged one.

    Raises UserError where that fails, and Unreadable where the file is missing or has another size.
    """
    if local.exists() and not again:
        return
    local.parent.mkdir(parents=True, exist_ok=True)
    with locked(local.with_name(f".{local.name}.lock")):
        if local.exists() and not again:
            return
        remove_parts(local)
        with replacing(local) as part:
            try:
                _download(remote, part)
            except FileNotFoundError:
                raise Unreadable(
                    "the shard is missing",
                    cure="copy the prepared folder to the remote again",
                    where=remote,
                ) from None
            if part.stat().st_size != size:
                what = f"the shard has {part.stat().st_size:,} bytes instead of {size:,}"
                raise Unreadable(
                    what, cure="copy the prepared folder to the remote again", where=remote
                )


def read_remote(remote: str) -> bytes:
    """The content of a small file of a remote.

    Raises FileNotFoundError where it is missing, UserError where it can't be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "file"
        _download(remote, local)
        return local.read_bytes()


def _download(remote: str, local: Path) -> None:
    try:
        mds.download(remote, local)
    except (FileNotFoundError, UserError):
        raise
    except Exception as error:  # each remote's client has its own
        if "not found" in str(error).lower():
            raise FileNotFoundError(remote) from error
        raise _unreachable(remote, error) from error


def _unreachable(remote: str, error: Exception) -> UserError:
    what = (
        f"the remote can't be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    )
    return UserError(what, cure="check the address, the network and the credentials", where=remote)
