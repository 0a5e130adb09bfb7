"""Disks that are full, fail or are read-only, at every operation of a command: one sentence and
exit code 2, or a whole result; nothing fails, nothing is left half, and the same command ends as on
a sound disk.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Command
from tests.faults.failing import RUN, SCENARIOS, SPEC, trials

CASES = [
    pytest.param("prepare", errno.ENOSPC, 13),
    *[pytest.param(name, errno.ENOSPC, 1, marks=pytest.mark.slow) for name in SCENARIOS],
    *[
        pytest.param(name, number, 7, marks=pytest.mark.slow)
        for name in ("run", "prepare", "report", "bundle")
        for number in (errno.EIO, errno.EROFS, errno.EDQUOT)
    ],
]


@pytest.mark.parametrize(("scenario", "number", "steps"), CASES)
def test_a_disk_that_fails_at_any_operation_loses_nothing(
    preloaded: Callable[[str], Path], tmp_path: Path, scenario: str, number: int, steps: int
) -> None:
    program = [sys.executable, "-m", "tests.faults.failing"]
    ran = subprocess.run(
        [*program, tmp_path / "bench", scenario, str(number), "1", str(steps)],
        env=os.environ
        | {"LD_PRELOAD": str(preloaded("failing.c")), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["problems"] == [], found
    assert found["refused"] >= found["tried"] / 2
    assert found["tried"] == -(-found["operations"] // steps) > 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 16 kB; `mount -o remount,size=...` changes that."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    try:
        yield place
    finally:
        os.chdir(tmp_path)
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("sizes", [(160,), pytest.param(range(8, 400, 8), marks=pytest.mark.slow)])
def test_a_file_system_that_is_too_small_loses_nothing(
    command: Command, small_disk: Path, tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    def run(folder: Path) -> tuple[int, str]:
        os.chdir(folder)
        said = command(*RUN.split())
        return said.code, said.err

    def resize(kilobytes: int) -> None:
        size = f"remount,size={kilobytes}k"
        subprocess.run(["mount", "-o", size, str(small_disk)], check=True)

    (tmp_path / "spec.yaml").write_text(SPEC)
    assert run(tmp_path) == (0, "")
    whole = trials(tmp_path)
    refused = 0
    for size in sizes:
        for path in small_disk.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        resize(size)
        (small_disk / "spec.yaml").write_text(SPEC)
        code, error = run(small_disk)
        assert (code, error.count("\n")) in ((0, 0), (2, 1)), (size, error)
        assert not [*small_disk.rglob("*.part")]
        refused += code == 2
        resize(10_000)
        assert run(small_disk) == (0, ""), size
        assert trials(small_disk) == whole
    assert refused
