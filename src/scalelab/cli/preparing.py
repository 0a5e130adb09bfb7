"""`data prepare`: a corpus becomes shards."""

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any, Self, TextIO, TypeVar

import typer

from scalelab.cli.options import SEEDS, JsonOption, count_option, place_option, print_json
from scalelab.core.errors import Unreadable
from scalelab.core.secrets import masked
from scalelab.core.units import format_count

if TYPE_CHECKING:
    from scalelab.data.spec import Corpus, Tokenizer
    from scalelab.data.text.manifest import Manifest
    from scalelab.data.text.prepare import Progress

T = TypeVar("T")

data = typer.Typer(help="Prepare corpora of text.", no_args_is_help=True, rich_markup_mode=None)


@data.command()
def prepare(
    source: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH",
            help=(
                "tales, shakespeare, wikitext103, smollm; text, JSON or Parquet, a file or a"
                " folder; OWNER/NAME[@REVISION] on the hub."
            ),
        ),
    ],
    tokens: Annotated[
        str,
        typer.Option(
            "--tokens",
            help="bytes, gpt2, bpe:8192, FILE.json, FILE.model, hub:NAME or tiktoken:NAME.",
        ),
    ] = "bytes",
    limit: Annotated[
        str | None, typer.Option("--limit", help="Tokens to prepare at most, such as 20M.")
    ] = None,
    field: Annotated[
        str,
        typer.Option("--field", help="The field of a JSON or Parquet row that holds the text."),
    ] = "text",
    validation: Annotated[
        str,
        typer.Option("--validation", help="Share for validation, and as much again for the test."),
    ] = "0.05",
    split_seed: Annotated[
        int, count_option("--split-seed", "Seed of the split.", least=0, most=SEEDS)
    ] = 0,
    folder: Annotated[
        str, place_option("--folder", "Folder of prepared corpora.")
    ] = "results/data",
    workers: Annotated[
        int | None,
        count_option(
            "--workers", "Processes that tokenise; one for each core without it.", most=1024
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tokenise a corpus once, into shards. Run again, it goes on where it was."""
    from scalelab.data.text.asking import home, parse_tokenizer

    corpus = _corpus(
        {
            "source": source,
            "tokens": limit,
            "field": field,
            "validation": validation,
            "split": split_seed,
        }
    )
    tokenizer = parse_tokenizer(tokens)
    made = prepare_shown(corpus, tokenizer, folder, sys.stderr if as_json else sys.stdout, workers)
    if as_json:
        said = made.model_dump(mode="json", exclude={"proof"})
        print_json({"folder": home(corpus, tokenizer, folder), **said})


def prepare_shown(
    corpus: "Corpus", tokens: "Tokenizer", folder: str, stream: TextIO, workers: int | None = None
) -> "Manifest":
    """Prepare a corpus and show how far it is; returns its manifest."""
    from scalelab.data.text.asking import home
    from scalelab.data.text.prepare import prepare as make

    with open_bar(corpus.source, stream) as bar:
        made = make(corpus, tokens, folder, bar.show, workers=workers or os.cpu_count() or 1)
    counts = ", ".join(
        f"{name} {format_count(split.tokens)}" for name, split in made.splits.items()
    )
    documents = sum(split.documents for split in made.splits.values())
    print(
        f"{corpus.source} is prepared in {home(corpus, tokens, folder)}: {documents:,} documents,"
        f" tokens: {counts}",
        file=stream,
        flush=True,
    )
    return made


def with_corpora(action: Callable[[], T], stream: TextIO) -> T:
    """Do what needs prepared corpora; those that are not there yet are prepared, and so is, once, a
    damaged one that can be made again. Then it is done again.

    Raises UserError.
    """
    mended: set[str] = set()
    while True:
        try:
            return action()
        except Unreadable as fault:
            if not _prepared_for(fault, stream, mended):
                raise


def _prepared_for(fault: Unreadable, stream: TextIO, mended: set[str]) -> bool:
    """Whether what was missing or damaged is there now, or will be."""
    from scalelab.data.text.manifest import NotPrepared
    from scalelab.data.text.mending import mend

    def say(text: str) -> None:
        print(f"{masked(f'{fault.where}: {fault.what}')}: {text}", file=stream, flush=True)

    if isinstance(fault, NotPrepared):
        prepare_shown(fault.task.corpus, fault.task.tokens, fault.folder, stream)
        return True
    is_new = bool(fault.home) and fault.home not in mended
    mended.add(fault.home)
    return is_new and mend(fault.home, say)


def _corpus(given: dict[str, Any]) -> "Corpus":
    from pydantic import ValidationError

    from scalelab.core.spec import fault_of
    from scalelab.data.spec import Corpus

    try:
        return Corpus.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        option = {"tokens": "--limit", "split": "--split-seed"}.get(
            str(first["loc"][0]), f"--{first['loc'][0]}"
        )
        cure = "see `scalelab data prepare --help`"
        raise fault_of(first).at(option, cure=cure) from error


class Bar(AbstractContextManager["Bar"]):
    """Shows how far a preparation is: a line for each thing that it does."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self._name, self._stream, self._doing = name, stream, ""

    def show(self, told: "Progress") -> None:
        """Something was done."""
        if told.doing != self._doing:
            print(f"{self._name}: {told.doing}", file=self._stream, flush=True)
        self._doing = told.doing

    def __exit__(self, *_: object) -> None:
        pass


class TerminalBar(Bar):
    """A bar on a terminal."""

    def __init__(self, name: str, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        super().__init__(name, stream)
        text = TextColumn("{task.description}", markup=False)
        columns = (text, BarColumn(bar_width=20), TaskProgressColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(file=stream), transient=True)
        self._task = self._bar.add_task(name, total=None)

    def show(self, told: "Progress") -> None:
        """See `Bar`."""
        counts = (
            f", {format_count(told.tokens)} tokens, {format_count(told.bytes)}B"
            if told.tokens
            else ""
        )
        total = None if told.share is None else 1.0
        self._bar.update(
            self._task,
            total=total,
            completed=told.share or 0.0,
            description=f"{self._name}: {told.doing}{counts}",
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def open_bar(name: str, stream: TextIO) -> Bar:
    """The display that fits the stream."""
    return TerminalBar(name, stream) if stream.isatty() else Bar(name, stream)
