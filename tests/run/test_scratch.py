"""A folder is gone with its process, at the latest when the next one is made."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scalelab.run.scratch import scratch

HOLD = """
import sys, time
from scalelab.run.scratch import scratch
with scratch("x-", sys.argv[1]) as folder:
    (folder / "big").write_bytes(b"0" * 1000)
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
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
