"""The commit of the code, and what differs from it."""

import subprocess
from pathlib import Path

from scalelab.core.provenance import code_version, environment


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_a_change_and_a_new_file_make_the_code_dirty(tmp_path: Path) -> None:
    code = tmp_path / "src" / "code"
    code.mkdir(parents=True)
    (code / "one.py").write_text("1")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "src")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert code_version(code) == {"commit": commit, "dirty": None}
    (code / "one.py").write_text("2")
    changed = code_version(code)
    (code / "two.py").write_text("3")
    added = code_version(code)
    assert changed["commit"] == added["commit"] == commit
    assert None not in {changed["dirty"], added["dirty"]}
    assert changed["dirty"] != added["dirty"]


def test_code_inside_anothers_repository_has_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "theirs")
    (tmp_path / "site-packages").mkdir()
    assert code_version(tmp_path / "site-packages") == {"commit": None, "dirty": None}


def test_an_environment_names_packages_machine_and_command() -> None:
    found = environment()
    assert {"commit", "dirty", "python", "platform", "hostname", "cpus", "argv"} <= found.keys()
    assert {"torch", "numpy", "scalelab"} <= found["packages"].keys()
