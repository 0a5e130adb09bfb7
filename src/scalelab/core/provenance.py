"""Where a number comes from: the code, the packages, the machine and the command, taken once for a
run.
"""

import hashlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from scalelab.core.secrets import masked_all

PACKAGES = (
    "scalelab",
    "torch",
    "numpy",
    "pydantic",
    "sqlmodel",
    "ray",
    "optuna",
    "polars",
    "altair",
    "scipy",
    "triton",
)


def environment() -> dict[str, Any]:
    """Git commit and digest of what is not committed, package versions, hardware, argv without its
    secrets.

    Plain JSON values.
    """
    return {
        **code_version(Path(__file__).resolve().parent),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "hostname": platform.node(),
        "cpus": os.cpu_count(),
        "argv": masked_all(sys.argv),
    }


def code_version(folder: Path) -> dict[str, Any]:
    """The commit that the code stands at and, where files differ from it, a digest of the
    difference.

    Both are None for code that git does not track, such as a package installed inside somebody's
    own repository.
    """
    commit = (
        _git(folder, "rev-parse", "HEAD").strip() if _git(folder, "ls-files", "--", ".") else ""
    )
    if not commit:
        return {"commit": None, "dirty": None}
    root = Path(_git(folder, "rev-parse", "--show-toplevel").strip())
    difference = _git(root, "diff", "HEAD", "--", "src", "pyproject.toml")
    for name in sorted(
        _git(root, "ls-files", "--others", "--exclude-standard", "--", "src").splitlines()
    ):
        difference += name + (root / name).read_text(encoding="utf-8", errors="replace")
    return {
        "commit": commit,
        "dirty": hashlib.sha256(difference.encode()).hexdigest() if difference else None,
    }


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
