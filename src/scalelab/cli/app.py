"""The `scalelab` command: its commands and its exit codes.

0: all done. 1: some trial failed. 2: the input is wrong, or the machine lacks what the command
needs. 70: a fault of scalelab's own. 128 + signal (130 for Ctrl-C): interrupted, run again to
go on.

A command whose reader goes away (`| head`) runs to its end and exits with its own code.
"""

import atexit
import os
import signal
import sys
import threading
from importlib.metadata import version
from pathlib import Path
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
from scalelab.cli.faults import print_error, print_traceback
from scalelab.cli.specs import specs
from scalelab.cli.streams import lost, standard_streams
from scalelab.core import signals
from scalelab.core.errors import UserError
from scalelab.core.secrets import masked
from scalelab.core.text import check_arguments

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
    try:
        Path.cwd()
    except FileNotFoundError as error:  # torch would end the process
        raise UserError(
            "the current folder no longer exists", cure="`cd` to one that does"
        ) from error


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
app.add_typer(specs, name="specs")


def main() -> None:
    """Run the command line and exit with its code."""
    with signals.handled(signals.end), standard_streams() as outlet:
        code = _run()
        sys.stdout.flush()
        if outlet is not None and (fault := lost(outlet)):
            print(f"error: {masked(str(fault))}", file=sys.stderr)
            code = code or 2
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if code > signals.exit_code(0) and not all(thread.daemon for thread in others):
        # A trial that was given up may have left a compiler at work, in threads that Python would
        # wait for: half a minute, which a scheduler may not grant.
        sys.stderr.flush()
        atexit._run_exitfuncs()
        os._exit(code)
    raise SystemExit(code)


def _run() -> int:
    """Run the command, report what stopped it, and give its exit code."""
    try:
        check_arguments(sys.argv[1:])
        app()
    except SystemExit as ended:
        cause = ended.__context__
        if isinstance(cause, typer.Abort):
            cause = cause.__cause__
        # typer takes these of a command for errors of the terminal, and would end with 1.
        if isinstance(cause, BrokenPipeError | EOFError):
            return print_error(cause)
        return int(ended.code or 0)
    except (KeyboardInterrupt, signals.Signalled) as error:
        print_traceback(error)
        number = getattr(error, "number", signal.SIGINT)
        by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        print(f"interrupted{by}; the same command goes on from here", file=sys.stderr)
        return signals.exit_code(number)
    except BaseException as error:  # a panic of a library in Rust is no Exception
        return print_error(error)
    return 0
