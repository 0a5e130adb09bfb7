"""Rows to draw, made by a rule; and a real browser, where there is one."""

import hashlib
import math
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from scalelab.report.figure import Drawing, Rows
from scalelab.report.reading import Reading
from scalelab.report.registry import find
from scalelab.store import open_store
from scalelab.store.adopt import adopt

WIDTHS = (4, 8, 12, 16, 24)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ENVIRONMENT = {
    "commit": COMMIT, "dirty": None, "packages": {"torch": "2.13.0"}, "python": "3.11.2", "platform": "Linux", "cpus": 2,
    "argv": ["scalelab", "run", "specs/facts_vs_params.yaml"],
}  # fmt: skip


def total(width: int) -> int:
    return 32 * width**2 + 525 * width


def trial(people: int, recall: str, width: int, seed: int, passes: bool) -> dict[str, Any]:
    """One row as the store gives it."""
    key = f"{people}/{recall}/{width}/{seed}"
    return {
        "digest": hashlib.sha256(key.encode()).hexdigest(), "experiment": "facts_vs_params", "state": "stopped" if passes else "done",
        "task.kind": "facts", "task.people": people, "task.recall": recall, "model.width": width, "params.total": total(width),
        "seed": seed, "step": 1000, "seconds": 2.5, "metrics.recall": 0.97 if passes else 0.41, "commit": COMMIT, "environment": "e",
    }  # fmt: skip


def needed(people: int, recall: str, seed: int) -> float:
    """Parameters that a trial needs to pass: a line in the weights; through a tool, one size."""
    return 3000 + 16 * 4 * people + 900 * seed if recall == "in_weight" else 9000 + 2000 * seed


@pytest.fixture(scope="session")
def table() -> pl.DataFrame:
    """Five numbers of people, two recall modes, five widths, two seeds; in-weight, 256 people are too many for any width."""
    keys = [(people, recall, seed) for recall in ("in_weight", "in_tool") for people in (8, 16, 32, 64, 256) for seed in (0, 1)]
    return pl.DataFrame([trial(*key[:2], width, key[2], total(width) >= needed(*key)) for key in keys for width in WIDTHS])


@pytest.fixture(scope="session")
def rows(table: pl.DataFrame) -> Rows:
    spec = {"name": "facts_vs_params", "about": "What does a fact cost?", "search": {"kind": "frontier"}}
    return Rows(table, {"facts_vs_params": spec}, {"e": ENVIRONMENT})


@pytest.fixture(scope="session")
def drawing(rows: Rows) -> Drawing:
    """Fig. 1 of the rows."""
    return find(1).draw(rows)


@pytest.fixture
def browse(tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Open a page in headless Chromium, without a network: gives the document as it then stands, and what the console said."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here; Debian's package `chromium` has one")

    def open_page(page: Path, *, width: int = 1200, dark: bool = False, picture: Path | None = None) -> tuple[str, str]:
        # A screenshot takes the page before slow scripts are through, unless time is virtual.
        command = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage",
            "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=8000", "--enable-logging=stderr", "--v=0",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1400",
            *(["--force-dark-mode"] if dark else []), f"--screenshot={picture}" if picture else "--dump-dom", page.resolve().as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)

    return open_page


@pytest.fixture(scope="session")
def chinchilla(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """Epoch's 240 rows of Chinchilla's runs, imported into a store and read back by a filter."""
    tables = Path(__file__).parents[1] / "tables"
    with open_store(tmp_path_factory.mktemp("chinchilla") / "runs.db", mode="write") as store:
        adopt(store, tables / "chinchilla_epoch_245.csv", tables / "chinchilla.yaml")
        return Reading(store, "metrics.loss < 3.42").rows(find(4), ["chinchilla"])


TRUE = {"E": 1.7, "A": 400.0, "alpha": 0.34, "B": 410.0, "beta": 0.28}
"""The law that `isoflop_grid` obeys."""


def true_loss(params: float, tokens: float) -> float:
    """Chinchilla's law with the coefficients of `TRUE`."""
    return TRUE["E"] + TRUE["A"] * params ** -TRUE["alpha"] + TRUE["B"] * tokens ** -TRUE["beta"]


@pytest.fixture(scope="session")
def isoflop_grid() -> pl.DataFrame:
    """Five budgets with seven sizes about the best one each, losses by a known law with noise of 0.1 %."""
    rng = random.Random(0)
    rows = []
    for flops in (1e18, 3e18, 1e19, 3e19, 1e20):
        best = 1.3 * (flops / 6) ** 0.4516
        for step in range(-3, 4):
            params = round(best * 1.6**step)
            tokens = flops / (6 * params)
            loss = true_loss(params, tokens) * math.exp(rng.gauss(0, 1e-3))
            digest = hashlib.sha256(f"{flops}/{step}".encode()).hexdigest()
            fixed = {"digest": digest, "experiment": "grid", "state": "done", "seed": 0, "commit": COMMIT, "environment": "e"}
            rows.append({**fixed, "params.total": params, "tokens": tokens, "flops": flops, "metrics.loss": loss})
    return pl.DataFrame(rows)
