"""Mutated inputs: each command succeeds or refuses with exit code 2, quickly, in little memory, and
a refused one writes nothing.
"""

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType

import pytest
from tests.fuzz.inputs import FILES, KINDS, Kind
from tests.fuzz.mutation import mutated

from scalelab.cli import main
from scalelab.core.errors import UserError

SECONDS = 5
"""A command may take as long."""

KIBIBYTES = 1_000_000
"""And this memory beyond what was in use."""

FAST, SLOW = 40, 1200
"""Mutations of each kind."""


class _TooSlow(BaseException):
    """The time is over. The command line reports it as a fault of its own."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise _TooSlow


@contextmanager
def _limited() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _lay(kind: Kind, text: str) -> list[str]:
    """Write the files of a kind into the current folder; returns the command."""
    for name, content in FILES.items():
        Path(name).write_text(content, encoding="utf-8")
    if kind.file:
        Path(kind.file).write_text(text, encoding="utf-8", newline="")
    return ["scalelab", *(text if part == "{}" else part for part in kind.command)]


def _listing() -> dict[str, int]:
    return {str(path): path.stat().st_size for path in Path().rglob("*")}


def _code(kind: Kind, command: list[str], text: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code."""
    if kind.read is not None:
        try:
            kind.read(text)
        except UserError:
            return 2
        return 0
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def _check(kind: Kind, seeds: range, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(_code(kind, _lay(kind, text), text, monkeypatch) == 0 for text in kind.inputs)
    others = [text for other in KINDS for text in other.inputs]
    for seed in seeds:
        Path("x.db").unlink(missing_ok=True)
        text = mutated(kind.inputs[seed % len(kind.inputs)], others, Random(seed))
        command = _lay(kind, text)
        before, peak = _listing(), _peak()
        with _limited():
            code = _code(kind, command, text, monkeypatch)
        told = f"{kind.name} {seed}: {command} with {text[:3000]!r}"
        assert code in (0, 2), told
        assert _peak() - peak < KIBIBYTES, told
        assert code == 0 or _listing() == before, told


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(FAST), id="some"),
        pytest.param(range(FAST, FAST + SLOW), id="many", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_mutated_input_is_read_or_refused(
    kind: Kind,
    seeds: range,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    _check(kind, seeds, monkeypatch)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_mutated_input_is_read_or_refused_from_the_shell(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = mutated(kind.inputs[0], kind.inputs, Random(kind.name)).replace("\0", "")
    command = _lay(kind, text)
    done = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:]],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, 2), done.stderr
    assert b"Traceback" not in done.stderr
