"""A damaged corpus is set aside, so that it is prepared anew, where that is sure to give the same
text.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from scalelab.core.errors import UserError
from scalelab.data.spec import TALES
from scalelab.data.text import manifest
from scalelab.data.text.corpora import is_downloaded
from scalelab.data.text.locking import locked
from scalelab.data.text.manifest import FILE, Manifest
from scalelab.data.text.origin import is_same, local
from scalelab.data.text.reading import is_sound
from scalelab.data.text.tokenizers import is_trained, open_tokenizer

BROKEN = ".broken"
"""How the name of a folder ends that was set aside; nothing looks for it there."""


def mend(home: str, say: Callable[[str], None]) -> bool:
    """Set aside the prepared corpus in a folder, if it is damaged and can be prepared anew here;
    `say` tells where it lies then.

    Returns whether it is worth trying again: True also where another process was faster.
    """
    place = Path(home)
    with locked(place.parent / f".{place.name}.lock"):  # as those that prepare it
        if not place.exists() or is_whole(home):
            return True
        if not _can_be_made(place):
            return False
        aside, number = place.with_name(f"{place.name}{BROKEN}"), 1
        while aside.exists():
            number += 1
            aside = place.with_name(f"{place.name}{BROKEN}.{number}")
        place.rename(aside)
    say(f"the damaged corpus is set aside as {aside}, and prepared anew")
    return True


def is_whole(home: str) -> bool:
    """Whether a prepared corpus is what its manifest says, the tokenizer that was trained on it
    too. Every byte is read.
    """
    place = Path(home)
    try:
        found = manifest.parse((place / FILE).read_bytes(), home)
        shards = [shard for split in found.splits.values() for shard in split.shards]
        tokenizer = open_tokenizer(found.tokens, home) if is_trained(found.tokens) else None
    except (OSError, UserError):
        return False
    return (tokenizer is None or tokenizer.digest == found.tokenizer) and all(
        is_sound(place / shard.file, shard) for shard in shards
    )


def _can_be_made(place: Path) -> bool:
    """Whether what a corpus was made from is on this machine, and is what it was."""
    try:
        found = manifest.parse((place / FILE).read_bytes(), str(place))
    except (OSError, UserError):
        # Only the manifest knows what files were. The tales are in the program.
        return place.name.startswith(f"{TALES}-")
    with suppress(OSError, UserError):
        return _is_there(found, place.parent) and (
            is_trained(found.tokens) or open_tokenizer(found.tokens).digest == found.tokenizer
        )
    return False


def _is_there(found: Manifest, folder: Path) -> bool:
    if found.corpus.source == TALES:
        return True
    if found.corpus.source == "shakespeare":
        return is_downloaded(folder)
    path = local(found.corpus)
    return path is not None and is_same(found.corpus, found.origin, whole=True)
