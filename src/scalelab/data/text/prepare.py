"""`prepare`: a corpus is tokenised once, into shards that every trial reads.

Memory does not grow with the corpus. A preparation that was cut short goes on where it was, and
ends with the same bytes.
"""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scalelab.core.canon import sha256
from scalelab.core.errors import UserError
from scalelab.core.locations import local_path
from scalelab.data import spec
from scalelab.data.spec import Corpus
from scalelab.data.text import manifest
from scalelab.data.text.asking import command, home
from scalelab.data.text.corpora import Source, check_source, open_source
from scalelab.data.text.draft import LAYOUT, Draft, Layout, begun, clear
from scalelab.data.text.locking import locked
from scalelab.data.text.manifest import SPLITS, Manifest, SplitName
from scalelab.data.text.mds import dtype_of
from scalelab.data.text.origin import is_same, left_out, local
from scalelab.data.text.splitting import Splitter
from scalelab.data.text.tokenising import Encoded, encoded
from scalelab.data.text.tokenizers import Tokenizer, is_trained, open_tokenizer, train

TRAINED_ON = 1 << 28
"""Characters of the training split that a tokenizer is trained on at most."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Progress(NamedTuple):
    """How far a preparation is."""

    doing: str
    documents: int = 0
    tokens: int = 0
    bytes: int = 0
    """Bytes of text in UTF-8."""
    share: float | None = None
    """From 0 to 1; None where the end is not known."""


Tell = Callable[[Progress], None]


def prepare(
    corpus: Corpus,
    tokens: spec.Tokenizer,
    folder: str,
    progress: Tell = lambda told: None,
    *,
    workers: int = 1,
    layout: Layout = LAYOUT,
) -> Manifest:
    """The corpus as shards in a folder of its own in `folder`; what is prepared already is left as
    it is.

    `workers` processes tokenise. Raises UserError for what is wrong with the corpus or the
    tokenizer, and where the disk is full.
    """
    here = local_path(folder)
    if here is None:
        raise UserError(
            f"a corpus is prepared on this machine, not in {folder}",
            cure="name a local --folder, and copy it there",
        )
    folder, place = here, Path(home(corpus, tokens, here))
    if not (place / manifest.FILE).exists():
        _check(corpus, tokens)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with locked(
            Path(folder) / f".{place.name}.lock",
            lambda: progress(Progress("waiting for another process that prepares it")),
        ):
            return _known(corpus, tokens, place, folder) or _prepared(
                corpus, tokens, place, folder, progress, workers, layout
            )
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        cure = f"make room; `{command(corpus, tokens, folder)}` goes on from there"
        raise UserError(
            "the disk is full; what is finished stays", cure=cure, where=str(place)
        ) from error


def _check(corpus: Corpus, tokens: spec.Tokenizer) -> None:
    """Raise UserError for what is wrong with a corpus or a tokenizer before anything is written."""
    check_source(corpus)
    if not is_trained(tokens):
        open_tokenizer(tokens)


def _known(corpus: Corpus, tokens: spec.Tokenizer, place: Path, folder: str) -> Manifest | None:
    """The corpus that was prepared before. Raises UserError where its files have changed since."""
    try:
        found = manifest.read(place)
    except FileNotFoundError:
        return None
    if not is_same(corpus, found.origin, whole=True):
        raise manifest.changed(corpus, tokens, folder, str(place))
    return found


def _prepared(
    corpus: Corpus,
    tokens: spec.Tokenizer,
    place: Path,
    folder: str,
    progress: Tell,
    workers: int,
    layout: Layout,
) -> Manifest:
    path = local(corpus)
    others = ", ".join(left_out(path) if path is not None else [])
    progress(Progress(f"reading the text{f', without {others} files' if others else ''}"))
    before = begun(place)
    source = open_source(corpus, Path(folder), before.get("revision"))
    splitter = Splitter(corpus, source)
    origin = sha256({name: file.sha256 for name, file in source.origin.items()})
    made_from = {
        "origin": origin,
        "revision": source.revision,
        "block": layout.block,
        "blocks": layout.blocks,
    }
    place.mkdir(parents=True, exist_ok=True)
    goes_on = made_from == {name: before.get(name) for name in made_from}
    if is_trained(tokens) and not (goes_on and _has(place, tokens, before["tokenizer"])):
        progress(Progress("training the tokenizer"))
        train(tokens, _training_text(splitter), str(place))
    tokenizer = open_tokenizer(tokens, str(place))
    key = {**made_from, "tokenizer": tokenizer.digest}
    draft = _begun(place, layout, tokenizer, key)
    limit = Limit(corpus.tokens, splitter.quotas(corpus.tokens), draft.tokens)
    for batch in encoded(
        splitter.parts(draft.at, limit.full), tokenizer, tokens, str(place), workers
    ):
        if draft.add(limit.kept(batch, tokenizer)):
            draft.save(key)
        progress(_told(draft, source, corpus.tokens))
    return _finished(corpus, tokens, tokenizer, draft, source)


def _has(place: Path, tokens: spec.Tokenizer, digest: str) -> bool:
    """Whether the tokenizer of a draft is there, undamaged."""
    try:
        return open_tokenizer(tokens, str(place)).digest == digest
    except UserError:
        return False


def _begun(place: Path, layout: Layout, tokenizer: Tokenizer, key: dict[str, Any]) -> Draft:
    """The draft of an earlier process where it is of the same text, else a fresh one."""
    draft = Draft(place, layout, dtype_of(tokenizer.vocab))
    if not draft.resume(key):
        clear(place)
        draft.save(key)
    return draft


def _training_text(splitter: Splitter) -> Iterator[str]:
    """The training split's text, as much as a tokenizer is trained on."""
    seen = 0
    for part in splitter.parts():
        if part.split == "train":
            yield part.text
            seen += len(part.text)
            if seen >= TRAINED_ON:
                return


def _told(draft: Draft, source: Source, limit: int | None) -> Progress:
    tokens = sum(draft.tokens.values())
    known = [
        *([] if source.endless else [source.share]),
        *([] if limit is None else [tokens / limit]),
    ]
    share = min(1.0, max(known)) if known else None
    return Progress(
        "tokenising", sum(draft.documents.values()), tokens, sum(draft.bytes.values()), share
    )


def _finished(
    corpus: Corpus, tokens: spec.Tokenizer, tokenizer: Tokenizer, draft: Draft, source: Source
) -> Manifest:
    empty = [split for split in SPLITS if not draft.tokens[split]]
    if empty:
        cure = "take a longer corpus" + (
            ""
            if len(empty) == len(SPLITS)
            else ", a larger share with --validation, or another --split-seed"
        )
        raise UserError(
            f"`{corpus.source}` has no text for the splits {', '.join(empty)}", cure=cure
        )
    splits = draft.finish()
    content = {
        "tokenizer": tokenizer.digest,
        "vocab": tokenizer.vocab,
        "eos": tokenizer.eos,
        "splits": splits,
    }
    made_from = {
        "corpus": corpus,
        "tokens": tokens,
        "origin": source.origin,
        "revision": source.revision,
    }
    made = Manifest(
        **made_from, block=draft.layout.block, digest=manifest.digest(**content), **content
    )
    saved = manifest.save(draft.home, made)
    draft.clean()
    return saved


class Limit:
    """How many tokens are prepared at most; the last document is cut there."""

    def __init__(
        self, limit: int | None, quotas: dict[SplitName, int] | None, done: dict[SplitName, int]
    ) -> None:
        self._limit, self._quotas, self._done = limit, quotas, done

    def room(self, split: SplitName) -> int | None:
        """Tokens that a split may yet have, None for any number.

        `done` is the draft's own count.
        """
        if self._quotas is not None:
            return self._quotas[split] - self._done[split] if split in self._quotas else None
        return None if self._limit is None else self._limit - sum(self._done.values())

    def full(self, split: SplitName) -> bool:
        """Whether a split may have no more."""
        room = self.room(split)
        return room is not None and room <= 0

    def kept(self, batch: list[Encoded], tokenizer: Tokenizer) -> Iterator[Encoded]:
        """What of a batch there is room for, as it is taken in."""
        for part in batch:
            room = self.room(part.split)
            if room is None or room >= len(part.tokens):
                yield part
            elif room > 0:
                tokens = part.tokens[:room]
                yield part._replace(
                    tokens=tokens, bytes=len(tokenizer.decode(tokens).encode()), last=True
                )
