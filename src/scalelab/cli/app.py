"""The `scalelab` command: its commands and its exit codes.

0: all done. 1: some trial failed. 2: the input is wrong. 70: a fault of scalelab's own. 130:
interrupted, run again to go on.
"""

import os
import signal
import sys
import traceback
from importlib.metadata import version
from types import FrameType
from typing import Annotated

import typer

from scalelab.cli import (
    explaining,
    fitting,
    generating,
    looking,
    optimizing,
    planning,
    preparing,
    reporting,
    running,
    showing,
    storing,
    verifying,
)
from scalelab.core.errors import UserError

UNEXPECTED = 70
"""The exit code of a fault that is not the user's (EX_SOFTWARE of sysexits.h)."""

app = typer.Typer(
    name="scalelab",
    help=(
        "A declarative experiment lab for language-model science: from a YAML spec to trials, one"
        " store, and figures."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"scalelab {version('scalelab')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    if debug:
        os.environ["SCALELAB_DEBUG"] = "1"


for command in (
    planning.plan,
    running.run,
    optimizing.optimize,
    fitting.fit,
    generating.generate,
    reporting.report,
    looking.status,
    looking.ls,
    showing.show,
    looking.compare,
    verifying.verify,
    verifying.doctor,
    storing.import_,
    storing.export,
    explaining.schema,
    explaining.explain,
):
    app.command(command.__name__.rstrip("_"))(command)
app.add_typer(preparing.data, name="data")


class _Interrupt(BaseException):
    """Ctrl-C outside a run, which handles its own: typer would end in silence on a
    KeyboardInterrupt.
    """


def main() -> None:
    """Run the command line and exit with its code."""
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
    except UserError as error:
        _show(f"error: {error}")
        raise SystemExit(2) from None
    except (KeyboardInterrupt, _Interrupt):
        _show("interrupted; the same command goes on from here")
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has gone: nothing is wrong, and nothing more is to be
        # said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except Exception as error:
        _show(
            f"error: {type(error).__name__}: {error}; this should not happen: see where with"
            " `scalelab --debug ...`, and report it"
        )
        raise SystemExit(UNEXPECTED) from None
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise _Interrupt


def _show(sentence: str) -> None:
    if os.environ.get("SCALELAB_DEBUG"):
        traceback.print_exc()
    print(sentence, file=sys.stderr)
