"""Faults of the surroundings: streams in every state that a shell leaves them in, folders that are
gone, disks that are full. Each gets its own exit code and a sentence, and no work is lost to it.
"""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scalelab.cli.faults import explained
from scalelab.core.errors import UserError
from scalelab.store import open_store

SPEC = """\
name: tiny
task: {templates: 1, people: 2}
budget: {steps: 4}
batch: 8
model: {width: 4}
"""

SPACE = """\
name: space
base:
  task: {templates: 1, people: 2}
  budget: {steps: 4}
  batch: 8
search:
  optim.lr: {float: [1e-3, 2e-2], log: true}
objectives: {recall: maximize}
sampler: {kind: random}
pruner: {kind: none}
trials: 1
"""

TABLE = "N,D,loss\n" + "".join(
    f"{n}000000,{d}000000,{2 + 5 / n**0.3 + 8 / d**0.3}\n" for n in (1, 2, 4, 8) for d in (20, 90)
)

MAPPING = """\
experiment: grid
columns: {params.total: N, budget.tokens: D, metrics.loss: loss}
"""

COMMANDS = [
    "--help",
    "--version",
    "plan --help",
    "plan tiny.yaml",
    "plan tiny.yaml --json",
    "plan nosuch.yaml",
    "run tiny.yaml --executor inline --store new.db",
    "run tiny.yaml --executor inline --store new.db --json",
    "optimize --space space.yaml --executor inline --store new.db --no-conclusion",
    "fit --list",
    "fit chinchilla --csv table.csv --mapping map.yaml --starts 2 --bootstrap 0",
    "generate {digest}",
    "report --fig 7",
    "status",
    "ls",
    "ls --json",
    "show {digest}",
    "compare {digest} {digest}",
    "verify {digest}",
    "import table.csv --mapping map.yaml --store new.db",
    "export",
    "data prepare text.txt",
    "schema",
    "explain optim.lr",
]

FULL = [">/dev/full", ">/dev/full 2>&1", "2>/dev/null 1>/dev/full"]
STATES = [
    *FULL,
    ">&-",
    "2>&-",
    "<&-",
    "<&- >&- 2>&-",
    "2>/dev/full",
    "| true",
    "| head -1",
    "2>&1 >/dev/null | true",
]


def shell(line: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a shell makes of the line, where `scalelab` stands for the command."""
    program = f'set -o pipefail; scalelab() {{ {sys.executable} -m scalelab "$@"; }}; {line}'
    environment = {**os.environ, **variables}
    environment.pop("SCALELAB_STORE", None)
    return subprocess.run(
        ["bash", "-c", program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
        stdin=subprocess.DEVNULL,
    )


def check(ended: subprocess.CompletedProcess[str], code: int) -> None:
    said = ended.stdout + ended.stderr
    assert ended.returncode == code, said
    for word in ("Traceback", "Exception ignored", "should not happen"):
        assert word not in said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a spec."""
    (tmp_path / "tiny.yaml").write_text(SPEC)
    return tmp_path


def states(store: Path) -> dict[str, str]:
    """Digest -> state of the trials of `tiny`."""
    with open_store(store, mode="read") as opened:
        return {one.record.digest: one.result.state for one in opened.members("tiny")}


@pytest.mark.parametrize("state", STATES)
def test_a_command_that_prints_in_every_state_of_its_streams(state: str, tmp_path: Path) -> None:
    ended = shell(f"scalelab fit --list {state}", tmp_path)
    check(ended, 2 if state in FULL else 0)
    if state == FULL[0]:
        assert "no space left" in ended.stderr.lower()


def test_a_wrong_command_is_wrong_also_where_nobody_can_read_why(tmp_path: Path) -> None:
    for state in ("2>&-", "2>/dev/full", "2>&1 | true"):
        check(shell(f"scalelab plan nosuch.yaml {state}", tmp_path), 2)


def test_a_run_is_finished_although_its_lines_cannot_be_printed(folder: Path) -> None:
    line = "scalelab run tiny.yaml --executor inline >/dev/full; echo $? >&2;"
    ended = shell(f"{line} scalelab run tiny.yaml --executor inline | true", folder)
    check(ended, 0)  # the second: its reader goes away, and there was nothing left to run
    assert ended.stderr.strip().endswith("\n2")
    assert set(states(folder / "results/scalelab.db").values()) == {"done"}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_a_stream_lacks_are_escaped(encoding: str, tmp_path: Path) -> None:
    program = "from scalelab.cli.streams import standard_streams as s\nwith s(): print('→ \\udcff')"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    arrow = "→".encode() if encoding == "utf-8" else b"\\u2192"
    assert ended.stdout == arrow + b" \\udcff\n"


def test_a_full_pipe_that_does_not_block_gets_every_byte(tmp_path: Path) -> None:
    program = (
        "import os\nfrom scalelab.cli.streams import standard_streams as s\n"
        "os.set_blocking(1, False)\nwith s(): print('x' * 300_000)"
    )
    ended = shell(f'{sys.executable} -c "{program}" | {{ sleep 0.3; wc -c; }}', tmp_path)
    assert ended.stdout.strip() == "300001"


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    program = (
        "from scalelab.cli.streams import standard_streams as s\n"
        "with s(), open('data', 'w') as file: n = file.fileno(); print('printed')\n"
        "open('number', 'w').write(str(n))"
    )
    shell(f'{sys.executable} -c "{program}" <&- >&- 2>&-', tmp_path)
    assert int((tmp_path / "number").read_text()) > 2
    assert (tmp_path / "data").read_text() == ""


def test_a_folder_that_was_deleted(tmp_path: Path) -> None:
    for command, code in (("status", 2), ("--version", 0)):
        ended = shell(f"mkdir gone; cd gone; rmdir ../gone; scalelab {command}", tmp_path)
        check(ended, code)


SYSTEM = "ENOSPC EDQUOT EACCES EROFS ENOENT ENOTDIR EMFILE ENAMETOOLONG EIO ECONNREFUSED ENOMEM"


@pytest.mark.parametrize("name", SYSTEM.split())
def test_an_error_of_the_operating_system_names_its_file_and_a_cure(name: str) -> None:
    number = getattr(errno, name)
    found = explained(OSError(number, os.strerror(number), "some/file"))
    assert found is not None
    assert found.where == "some/file"
    assert found.what.lower() == os.strerror(number).lower()
    assert found.cure


def test_what_may_be_a_fault_of_scalelab_is_not_explained_away() -> None:
    faults = (KeyError("x"), OSError("text"), UnicodeEncodeError("ascii", "é", 0, 1, "x"))
    for error in (*faults, RuntimeError("x"), ValueError("x"), AssertionError(), SystemError()):
        assert explained(error) is None
    for error in (MemoryError(), RecursionError(), UserError("x")):
        assert explained(error) is not None
    assert explained(UnicodeEncodeError("utf-8", "\udcff", 0, 1, "x")) is not None


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with everything that the commands need, and the digest of a trial there."""
    folder = tmp_path_factory.mktemp("lab")
    files = {"tiny.yaml": SPEC, "space.yaml": SPACE, "table.csv": TABLE, "map.yaml": MAPPING}
    files["text.txt"] = "some text.\n" * 200
    for name, content in files.items():
        (folder / name).write_text(content)
    check(shell("scalelab run tiny.yaml --executor inline", folder), 0)
    return folder, next(iter(states(folder / "results/scalelab.db")))


@pytest.mark.slow
@pytest.mark.parametrize("state", [">/dev/full", "<&- >&- 2>&-", "| true", "2>/dev/full"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_in_every_state_of_its_streams(
    lab: tuple[Path, str], tmp_path: Path, command: str, state: str
) -> None:
    folder, digest = lab
    shutil.copytree(folder, tmp_path / "lab")
    ended = shell(f"scalelab {command.format(digest=digest)} {state}", tmp_path / "lab")
    wrong = command == "plan nosuch.yaml"
    check(ended, 2 if wrong or state in FULL else 0)


@pytest.mark.slow
@pytest.mark.parametrize("state", ["| true", "| head -1", ">&-", ">/dev/full"])
def test_a_run_whose_trial_fails_keeps_its_exit_code(
    lab: tuple[Path, str], tmp_path: Path, state: str
) -> None:
    folder, digest = lab
    shutil.copytree(folder, tmp_path / "lab")
    (tmp_path / "lab/bad").mkdir()
    (tmp_path / "lab/bad" / digest).touch()  # where the trial wants a folder
    line = f"scalelab run tiny.yaml --executor inline --store new.db --artifacts bad {state}"
    check(shell(line, tmp_path / "lab"), 1)
