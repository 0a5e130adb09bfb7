"""A folder is gone with its process, at the latest when the next one is made, and with it the
processes that write there.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.run.processes import is_alive

from scalelab.run.scratch import scratch

HOLD = """
import sys, time
from scalelab.run.scratch import scratch
with scratch("x-", sys.argv[1]) as folder:
    (folder / "big").write_bytes(b"0" * 1000)
    if len(sys.argv) > 2:
        import subprocess
        for mode in "wr":
            with (folder / "big").open(mode) as file:
                end = {"stdout" if mode == "w" else "stdin": file}
                child = subprocess.Popen(["sleep", "600"], **end)
                print(child.pid, flush=True)
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path, request: pytest.FixtureRequest) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), *getattr(request, "param", [])],
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def test_a_folder_is_removed_at_the_end(tmp_path: Path) -> None:
    def fail() -> None:
        with scratch("x-", str(tmp_path)) as folder:
            (folder / "file").write_text("")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_the_next_one_removes_what_a_killed_process_left(
    tmp_path: Path, holder: "subprocess.Popen[str]"
) -> None:
    assert holder.stdout is not None
    left = Path(holder.stdout.readline().strip())
    (tmp_path / "x-others").mkdir()  # without a lock: not ours
    (tmp_path / "y-other").mkdir()
    with scratch("x-", str(tmp_path)) as folder:
        assert left.exists()
        assert folder != left
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (left / "big").exists()
    with scratch("x-", str(tmp_path)) as folder:
        assert {path.name for path in tmp_path.iterdir()} == {folder.name, "x-others", "y-other"}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not tell")
@pytest.mark.parametrize("holder", [["children"]], indirect=True)
def test_processes_of_a_killed_one_that_write_into_its_folder_end_and_who_reads_there_stays(
    tmp_path: Path, holder: "subprocess.Popen[str]"
) -> None:
    assert holder.stdout is not None
    writer, reader = (int(holder.stdout.readline()) for _ in "wr")
    left = Path(holder.stdout.readline().strip())
    try:
        with scratch("x-", str(tmp_path)):
            assert is_alive(writer)
        holder.kill()
        holder.wait()
        with scratch("x-", str(tmp_path)):
            until = time.monotonic() + 5
            while is_alive(writer):
                assert time.monotonic() < until
                time.sleep(0.01)
            assert is_alive(reader)
            assert not left.exists()
    finally:
        for process in (writer, reader):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
