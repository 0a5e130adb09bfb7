"""Commands on a disk that fails at its Nth operation, one fork for each N.

Run as a program, with the library of `failing.c` loaded before libc:
`python -m tests.faults.failing FOLDER SCENARIO ERRNO FIRST STEPS`. It prints one JSON object.
"""

import ctypes
import errno
import hashlib
import importlib
import json
import os
import pkgutil
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import scalelab
from scalelab.cli import main as scalelab_main
from scalelab.core.errors import UserError
from scalelab.core.metrics import is_speed
from scalelab.store import open_store
from scalelab.store.curves import curve

SPEC = """\
name: small
task: {people: 2, templates: 1}
model: {width: 4}
budget: {steps: 3}
batch: 4
evaluation: {first: 3}
execution: {device: cpu, checkpoint_every: 0.001}
"""

SPACE = """\
name: found
base: spec.yaml
search: {optim.lr: {float: [1e-3, 1e-2], log: true}}
objectives: {loss: minimize}
trials: 2
"""

RUN = "run spec.yaml --executor inline"
PREPARE = "data prepare mine.txt --workers 1 --limit 3000 --folder data"


@dataclass(frozen=True)
class Scenario:
    """A command, and what it is for."""

    command: str
    state: Callable[[Path], Any]
    """What the command leaves, as far as two runs of it are equal."""
    before: tuple[str, ...] = ()
    """Commands that ran on a sound disk."""
    kept: tuple[str, ...] = ()
    """Files of before, which are replaced as a whole or not at all."""
    log: bool = False
    """Whether standard output is a file on that disk."""


def trials(folder: Path) -> Any:
    """Results, curves and files of trials; a store has no more that two runs share."""
    found = {}
    with open_store(folder / "results" / "scalelab.db", mode="read") as store:
        for experiment in store.experiments():
            for one in store.members(experiment.name):
                record, result = one.record, one.result
                metrics = {k: v for k, v in result.metrics.items() if not is_speed(k)}
                curves = curve(store, record.digest)
                weights = store.trial(record.digest).artifacts.get("weights_sha256")
                points = [[*k, str(v)] for k, v in curves.items() if not is_speed(k[1])]
                found[record.digest] = [result.state, metrics, points, weights]
    files = [str(path.relative_to(folder)) for path in folder.glob("results/trials/*/*")]
    return [found, sorted(files)]


def files_in(*names: str) -> Callable[[Path], Any]:
    """The bytes of every file below these."""

    def state(folder: Path) -> Any:
        found = {}
        for path in sorted(path for name in names for path in folder.glob(f"{name}/**/*")):
            if path.is_file() and path.suffix != ".lock":
                found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    return state


def both(*states: Callable[[Path], Any]) -> Callable[[Path], Any]:
    return lambda folder: [state(folder) for state in states]


SCENARIOS = {
    "run": Scenario(RUN, trials),
    "log": Scenario(RUN, trials, log=True),
    "prepare": Scenario(PREPARE, files_in("data")),
    "prepare bpe": Scenario(f"{PREPARE} --tokens bpe:300", files_in("data")),
    "report": Scenario(
        "report --fig learning_curves --out reports",
        files_in("reports"),
        (RUN, "report --fig learning_curves --out reports --metric recall"),
        ("reports",),
    ),
    "bundle": Scenario("export --format bundle --out out/all.zip", files_in("out"), (RUN,)),
    "csv": Scenario("export --format csv --out out", files_in("out"), (RUN,)),
    "parquet": Scenario("export --format parquet --out out", files_in("out"), (RUN,)),
    "import": Scenario(
        "import all.zip",
        trials,
        (RUN, "export --format bundle --out all.zip", "!rm -r results"),
    ),
    "optimize": Scenario(
        "optimize --space space.yaml --executor inline", both(trials, files_in("specs"))
    ),
}


def load(library: str) -> Any:
    """The functions of the failing disk."""
    disk = ctypes.CDLL(library)
    disk.failing_arm.argtypes = (ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int)
    disk.failing_counted.restype = ctypes.c_long
    return disk


@dataclass
class Said:
    code: int
    error: str
    counted: int


@dataclass
class Bench:
    """A folder in which a scenario is run again and again."""

    disk: Any
    folder: Path
    scenario: Scenario
    number: int
    """The error of the disk."""
    problems: list[str] = field(default_factory=list)
    refused: int = 0
    """How often the command ended with a sentence."""

    @property
    def here(self) -> Path:
        return self.folder / "here"

    def begin(self) -> None:
        """Make the folder of before, and find out what the command leaves on a sound disk."""
        self.here.mkdir(parents=True)
        (self.here / "tmp").mkdir()
        (self.here / "spec.yaml").write_text(SPEC)
        (self.here / "space.yaml").write_text(SPACE)
        (self.here / "mine.txt").write_text(
            "\n".join(f"{i} times {i} is {i * i}." for i in range(400))
        )
        for command in self.scenario.before:
            if command.startswith("!rm -r "):
                shutil.rmtree(self.here / command.removeprefix("!rm -r "))
                continue
            said = self.run(command, at=None)
            assert said.code == 0, said
        self.old = self.kept()
        shutil.copytree(self.here, self.folder / "before", symlinks=True)
        said = self.run(self.scenario.command, at=0)
        assert said.code == 0, said
        self.operations, self.whole = said.counted, self.scenario.state(self.here)
        self.new = self.kept()
        self.names = self.files()

    def files(self) -> set[str]:
        return {
            str(path.relative_to(self.here))
            for path in self.here.rglob("*")
            if path.is_file() and path.name != "log"
        }

    def kept(self) -> dict[str, str]:
        """Digests of the files that are replaced as a whole or not at all."""
        return files_in(*self.scenario.kept)(self.here)

    def again(self) -> None:
        shutil.rmtree(self.here)
        shutil.copytree(self.folder / "before", self.here, symlinks=True)

    def fail(self, at: int) -> None:
        """The command on a disk that fails at that operation, and then on a sound one."""
        self.again()
        said = self.run(self.scenario.command, at=at)
        wrong = self.wrong(said)
        self.refused += said.code == 2
        after = self.run(self.scenario.command, at=None)
        if after.code != 0:
            wrong.append(f"afterwards {after}")
        elif (state := self.scenario.state(self.here)) != self.whole:
            wrong.append(f"afterwards another result: {state}"[:3000])
        if left := self.files() - self.names:
            wrong.append(f"left for good: {sorted(left)}")
        if wrong:
            self.problems.append(f"{at}: {said.code} {said.error!r}: {'; '.join(wrong)}")

    def wrong(self, said: Said) -> list[str]:
        """What is wrong with the folder, and with what the command said."""
        found: list[str] = []
        sentences = said.error.count("\n")
        if (said.code, sentences) not in ((0, 0), (2, 1)):
            found.append("neither whole nor one sentence")
        if parts := [name for name in self.files() if name.endswith(".part")]:
            found.append(f"left: {parts}")
        if temporary := list((self.here / "tmp").rglob("*")):
            found.append(f"temporary: {temporary}")
        now = self.kept()
        for name, digest in self.old.items():
            if now.get(name) not in (digest, self.new.get(name)):
                found.append(f"{name} is neither old nor new")
        if "failed" in self.states():
            found.append("a trial failed")
        return found

    def states(self) -> list[str]:
        """Of the trials in the store."""
        place = self.here / "results" / "scalelab.db"
        try:
            with open_store(place, mode="read") as store:
                names = [experiment.name for experiment in store.experiments()]
                return [one.result.state for name in names for one in store.members(name)]
        except UserError as error:
            if "is empty" in str(error) or "does not exist" in str(error):
                return []
            raise

    def run(self, command: str, at: int | None) -> Said:
        """Run a command in a fork, on a disk that fails at that operation (0: that only counts)."""
        child = os.fork()
        if child == 0:
            code = 70
            try:
                code = self._run(command, at)
            finally:
                os._exit(code)
        status = ended(child)
        code = os.waitstatus_to_exitcode(status)
        error = (self.folder / "error").read_text()
        counted = (self.folder / "counted").read_text() if at is not None else "0"
        return Said(code, error, int(counted or 0))

    def _run(self, command: str, at: int | None) -> int:
        os.chdir(self.here)
        os.environ["TMPDIR"] = str(self.here / "tmp")
        out = str(self.here / "log") if self.scenario.log else os.devnull
        for number, path in ((1, out), (2, str(self.folder / "error"))):
            target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(target, number)
            os.close(target)
        if at is not None:
            lasting = self.number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
            self.disk.failing_arm(bytes(self.here), at, self.number, lasting)
        sys.argv = ["scalelab", *command.split()]
        code = 70
        try:
            scalelab_main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            if at is not None:
                (self.folder / "counted").write_text(str(self.disk.failing_counted()))
        return code


def ended(child: int) -> int:
    """The status of a child, for which nobody waits longer than five minutes."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def main(folder: str, scenario: str, number: str, first: str, steps: str) -> None:
    # Forks share what is imported, which starts no thread.
    for found in pkgutil.walk_packages(scalelab.__path__, "scalelab."):
        if found.name not in ("scalelab.__main__", "scalelab.run.executors.tune"):
            importlib.import_module(found.name)
    disk = load(os.environ["LD_PRELOAD"])
    bench = Bench(disk, Path(folder), SCENARIOS[scenario], int(number))
    bench.begin()
    ticks = range(int(first), bench.operations + 1, int(steps))
    for tick in ticks:
        bench.fail(tick)
    print(
        json.dumps(
            {
                "operations": bench.operations,
                "tried": len(ticks),
                "refused": bench.refused,
                "problems": bench.problems,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
