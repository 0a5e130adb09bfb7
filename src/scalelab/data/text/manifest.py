"""What a prepared corpus says of itself.

It is written last: a folder without one is not prepared.
"""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from scalelab.core.canon import sha256
from scalelab.core.errors import Unreadable, UserError
from scalelab.core.files import replacing
from scalelab.core.locations import child, is_url, local_path
from scalelab.data.spec import TALES, Corpus, Tokenizer
from scalelab.data.text.asking import command, home_of
from scalelab.data.text.origin import Origin

if TYPE_CHECKING:
    from scalelab.tasks.text.spec import Text

FILE = "manifest.json"

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shard(_Record):
    """A file of blocks."""

    file: Annotated[str, Field(pattern=r"^(train|validation|test)/shard\.\d+\.mds$")]
    """`train/shard.00000.mds`, from the corpus's folder; nothing outside of it."""
    bytes: Annotated[int, Field(ge=1)]
    sha256: str
    blocks: Annotated[int, Field(ge=1)]


class Split(_Record):
    """A part of the corpus."""

    documents: int
    tokens: int
    """Ends of documents counted in."""
    bytes: int
    """Bytes of the text in UTF-8."""
    sha256: str
    """Hash of the tokens, however they are cut into shards (see `Chain`)."""
    shards: tuple[Shard, ...]


class Manifest(_Record):
    """A prepared corpus."""

    version: Literal[1] = 1
    corpus: Corpus
    tokens: Tokenizer
    tokenizer: str
    """Digest of the tokenizer that the corpus was encoded with."""
    vocab: Annotated[int, Field(ge=1, le=2**32)]
    """Tokens of the tokenizer, the end of a document counted in."""
    eos: Annotated[int, Field(ge=0)]
    """The end of a document."""
    block: Annotated[int, Field(ge=1)]
    """Tokens of a sample of a shard, but for a split's last."""
    origin: Origin
    """The local files that the text came from."""
    revision: str | None
    """The commit of the hub's data set that it came from, where that is known."""
    splits: dict[SplitName, Split]
    digest: str
    """The sha256 of tokenizer, counts and tokens: of what a model is trained on.

    Blocks and shards are no part of it.
    """
    proof: str | None = None
    """The sha256 of all that stands above; older manifests have none."""

    @model_validator(mode="after")
    def _blocks_hold_the_tokens(self) -> Self:
        for name in SPLITS:
            if name not in self.splits:
                raise ValueError(f"the split {name} is missing")
            blocks = sum(shard.blocks for shard in self.splits[name].shards)
            if -(-self.splits[name].tokens // self.block) != blocks:
                raise ValueError(f"the shards of the split {name} do not hold its tokens")
        return self


def digest(tokenizer: str, vocab: int, eos: int, splits: dict[SplitName, Split]) -> str:
    """The digest of a corpus's content; where it came from, where it lies and how it is cut are no
    part of it.
    """
    parts = {
        name: split.model_dump(mode="json", exclude={"shards"}) for name, split in splits.items()
    }
    return sha256({"tokenizer": tokenizer, "vocab": vocab, "eos": eos, "splits": parts})


def proof(manifest: Manifest) -> str:
    """The sha256 of all that a manifest says."""
    return sha256(manifest.model_dump(mode="json", exclude={"proof"}))


class NotPrepared(Unreadable):
    """A corpus has no shards yet; the cure is the command that makes them."""

    def __init__(self, task: "Text", folder: str, where: str = "") -> None:
        here = local_path(folder)
        made = command(task.corpus, task.tokens, "results/data" if here is None else here)
        cure = f"run `{made}`" + (
            f" and copy the folder that it makes to {folder}" if here is None else ""
        )
        super().__init__(
            f"the corpus `{task.corpus.source}` is not prepared in {folder}", cure=cure, where=where
        )
        self.task, self.folder = task, folder


def changed(corpus: Corpus, tokens: Tokenizer, folder: str, home: str) -> UserError:
    """What is said of a corpus whose files are others than those that it was prepared from."""
    cure = (
        "delete that folder to prepare the text anew, or name another with --folder:"
        f" {command(corpus, tokens, folder)}"
    )
    return UserError(f"`{corpus.source}` has changed since it was prepared", cure=cure, where=home)


def find(task: "Text", folder: str) -> Manifest:
    """The manifest of a task's corpus, read once for each version of its file.

    Raises NotPrepared where there is none, UserError where it is none, or of other shards than
    `task.shards`.
    """
    home = home_of(task, folder)
    try:
        found = _remote(home) if is_url(home) else read(Path(home))
    except FileNotFoundError:
        raise NotPrepared(task, folder) from None
    except Unreadable as fault:
        # What other corpora came from may be another text by now, and it is not known here.
        remade = home if task.corpus.source == TALES and not is_url(home) else ""
        raise Unreadable(fault.what, cure=fault.cure, where=fault.where, home=remade) from fault
    if task.shards is not None and task.shards != found.digest:
        what = (
            f"the shards of `{task.corpus.source}` are {found.digest[:10]}, and the trial is about"
            f" {task.shards[:10]}"
        )
        raise UserError(
            what,
            cure="prepare the text of that time again, or leave `task.shards` out",
            where=child(home, FILE),
        )
    return found


def read(home: Path) -> Manifest:
    """The manifest in a folder. Raises FileNotFoundError where there is none."""
    path = home / FILE
    status = path.stat()
    return _parsed(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _parsed(path: Path, _changed: int, _size: int) -> Manifest:
    return parse(path.read_bytes(), str(path))


@lru_cache(maxsize=64)
def _remote(home: str) -> Manifest:
    from scalelab.data.text.fetching import read_remote

    return parse(read_remote(child(home, FILE)), child(home, FILE))


def parse(content: bytes, where: str) -> Manifest:
    """A manifest from its file's content. Raises Unreadable where it is none, or is damaged."""
    cure = "delete its folder and prepare the corpus again"
    try:
        found = Manifest.model_validate_json(content)
    except ValidationError as error:
        what = f"this is no manifest of a prepared corpus ({error.error_count()} faults)"
        raise Unreadable(what, cure=cure, where=where) from error
    if found.proof not in (None, proof(found)) or found.digest != digest(
        found.tokenizer, found.vocab, found.eos, found.splits
    ):
        raise Unreadable("this manifest is damaged", cure=cure, where=where)
    return found


def save(home: Path, manifest: Manifest) -> Manifest:
    """Write the manifest with its proof, whole or not at all; returns it."""
    proven = manifest.model_copy(update={"proof": proof(manifest)})
    with replacing(home / FILE) as part:
        part.write_text(proven.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return proven
