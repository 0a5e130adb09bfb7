"""Examine the installation, the store and both executors; every finding that is amiss says its
cure.
"""

import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from scalelab.core.errors import UserError
from scalelab.core.locations import is_missing, is_url
from scalelab.core.secrets import masked

NEEDED = ("torch", "numpy", "pydantic", "sqlmodel", "typer", "yaml")
"""Without these nothing runs."""

USEFUL = {
    "ray": "parallel runs",
    "polars": "reports and fits",
    "altair": "reports",
    "optuna": "searches",
    "vl_convert": "pages and pictures",
}
"""A bare machine trains without these, with `--executor inline`: their lack is told and not held
against it.
"""

FREE_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    ok: bool
    what: str
    cure: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The finding for `--json`."""
        return asdict(self)


def examine(store: str) -> list[Finding]:
    """Every finding, the good ones too."""
    return [
        *_python(),
        *_packages(),
        _device(),
        _compiler(),
        _disk(store),
        _store(store),
        _executor("inline"),
        _ray(),
    ]


def _python() -> Iterator[Finding]:
    ok = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Finding(
        "python", ok, platform.python_version(), "make a venv with Python 3.11, 3.12 or 3.13"
    )


def _packages() -> Iterator[Finding]:
    for name in NEEDED:
        yield _package(name, "nothing runs without it")
    for name, use in USEFUL.items():
        missing = Finding(name, True, f"not installed; needed for {use}")
        yield _package(name, f"needed for {use}") if find_spec(name) else missing


def _package(name: str, use: str) -> Finding:
    try:
        module = import_module(name)
    except ImportError as error:
        return Finding(
            name,
            False,
            f"cannot be imported ({error}); {use}",
            "install what requirements.lock pins",
        )
    return Finding(name, True, getattr(module, "__version__", "installed"))


def _device() -> Finding:
    import torch

    from scalelab.spec.execution import Execution
    from scalelab.train.numerics import pick_device, processor

    device = pick_device(Execution())
    name = torch.cuda.get_device_name() if device.type == "cuda" else processor()
    return Finding("device", True, f"{device.type}: {name}")


def _compiler() -> Finding:
    found = shutil.which("g++") or shutil.which("clang++")
    # Only `execution.compile` on a CPU needs one, so its lack is told and not held against the
    # machine.
    return Finding(
        "C++ compiler", True, found or "none: `execution.compile` will not work on the CPU"
    )


def _disk(store: str) -> Finding:
    folder = Path() if is_url(store) else _existing(Path(store))
    free = shutil.disk_usage(folder).free
    return Finding(
        "disk",
        free >= FREE_BYTES,
        f"{free / 1e9:.0f} GB free at {folder.resolve()}",
        "make room, or name another place with --store",
    )


def _existing(path: Path) -> Path:
    return next(parent for parent in (path.resolve(), *path.resolve().parents) if parent.is_dir())


def _store(store: str) -> Finding:
    from scalelab.store import open_store

    if is_missing(store):
        return Finding("store", True, f"{masked(store)} does not exist yet; the first run makes it")
    try:
        with open_store(store, mode="read") as opened:
            experiments = opened.experiments()
    except UserError as error:
        return Finding("store", False, error.what, error.cure)
    trials = sum(sum(found.states.values()) for found in experiments)
    return Finding(
        "store", True, f"{masked(store)}: {len(experiments)} experiments, {trials} trials"
    )


def _ray() -> Finding:
    if not find_spec("ray"):
        return Finding(
            "executor ray",
            True,
            "not examined, as Ray is not installed; run with --executor inline",
        )
    return _executor("ray")


def _executor(name: str) -> Finding:
    try:
        state = _run_tiny(name)
    except Exception as error:
        return Finding(
            f"executor {name}",
            False,
            f"{type(error).__name__}: {error}",
            "run this command again with --debug",
        )
    return Finding(
        f"executor {name}",
        state == "done",
        f"a tiny trial is {state}",
        "see its error with `scalelab run --executor inline`",
    )


def _run_tiny(name: str) -> str:
    """A trial of four steps through the real driver, in a store of its own."""
    from scalelab.plan.plan import compile_plan
    from scalelab.run.driver import ExecutorName, Options, drive
    from scalelab.spec.load import Document, check
    from scalelab.store import open_store

    data: dict[str, Any] = {
        "name": "doctor",
        "task": {"people": 2},
        "model": {"width": 4},
        "budget": {"steps": 4},
        "batch": 4,
    }
    document = Document(data, {}, "doctor")
    plan = compile_plan(check(document), document)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_store(Path(folder) / "doctor.db", mode="write") as store,
    ):
        with (Path(folder) / "log").open("w") as stream:
            drive(plan, store, Options(executor=cast(ExecutorName, name), jobs=1, stream=stream))
        return store.states([plan.trials[0].digest])[plan.trials[0].digest]
