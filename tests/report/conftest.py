"""Rows to draw, made by a rule; and a real browser, where there is one."""

import hashlib
import math
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from scalelab.core.events import Ended, Measured, Started
from scalelab.report.figure import Drawing, Rows
from scalelab.report.reading import Reading
from scalelab.report.registry import find
from scalelab.store import TrialRecord, open_store
from scalelab.store.adopt import adopt
from scalelab.store.store import Store
from scalelab.store.table import read_published

WIDTHS = (4, 8, 12, 16, 24)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ENVIRONMENT = {
    "commit": COMMIT,
    "dirty": None,
    "packages": {"torch": "2.13.0"},
    "python": "3.11.2",
    "platform": "Linux",
    "cpus": 2,
    "argv": ["scalelab", "run", "specs/facts_vs_params.yaml"],
}


def total(width: int) -> int:
    return 32 * width**2 + 525 * width


def trial(people: int, recall: str, width: int, seed: int, passes: bool) -> dict[str, Any]:
    """One row as the store gives it."""
    key = f"{people}/{recall}/{width}/{seed}"
    return {
        "digest": hashlib.sha256(key.encode()).hexdigest(),
        "experiment": "facts_vs_params",
        "state": "stopped" if passes else "done",
        "task.kind": "facts",
        "task.people": people,
        "task.recall": recall,
        "model.width": width,
        "params.total": total(width),
        "seed": seed,
        "step": 1000,
        "seconds": 2.5,
        "metrics.recall": 0.97 if passes else 0.41,
        "commit": COMMIT,
        "environment": "e",
    }


def needed(people: int, recall: str, seed: int) -> float:
    """Parameters that a trial needs to pass: a line in the weights; through a tool, one size."""
    return 3000 + 16 * 4 * people + 900 * seed if recall == "in_weight" else 9000 + 2000 * seed


@pytest.fixture(scope="session")
def table() -> pl.DataFrame:
    """Five numbers of people, two recall modes, five widths, two seeds; in-weight, 256 people are
    too many for any width.
    """
    keys = [
        (people, recall, seed)
        for recall in ("in_weight", "in_tool")
        for people in (8, 16, 32, 64, 256)
        for seed in (0, 1)
    ]
    return pl.DataFrame(
        [
            trial(*key[:2], width, key[2], total(width) >= needed(*key))
            for key in keys
            for width in WIDTHS
        ]
    )


@pytest.fixture(scope="session")
def rows(table: pl.DataFrame) -> Rows:
    spec = {
        "name": "facts_vs_params",
        "about": "What does a fact cost?",
        "search": {"kind": "frontier"},
    }
    return Rows(table, {"facts_vs_params": spec}, {"e": ENVIRONMENT})


@pytest.fixture(scope="session")
def drawing(rows: Rows) -> Drawing:
    """Fig. 1 of the rows."""
    return find(1).draw(rows)


@pytest.fixture
def browse(tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Open a page in headless Chromium, without a network: gives the document as it then stands,
    and what the console said.
    """
    browser = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if browser is None:
        pytest.skip("no Chromium here; Debian's package `chromium` has one")

    def open_page(
        page: Path, *, width: int = 1200, dark: bool = False, picture: Path | None = None
    ) -> tuple[str, str]:
        # A screenshot takes the page before slow scripts are through, unless time is virtual.
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--virtual-time-budget=8000",
            "--enable-logging=stderr",
            "--v=0",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},1400",
            *(["--force-dark-mode"] if dark else []),
            f"--screenshot={picture}" if picture else "--dump-dom",
            page.resolve().as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, "\n".join(
            line for line in done.stderr.splitlines() if "CONSOLE" in line
        )

    return open_page


@pytest.fixture(scope="session")
def chinchilla(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """Epoch's 240 rows of Chinchilla's runs, imported into a store and read back by a filter."""
    tables = Path(__file__).parents[1] / "tables"
    with open_store(tmp_path_factory.mktemp("chinchilla") / "runs.db", mode="write") as store:
        adopt(
            store, read_published(tables / "chinchilla_epoch_245.csv", tables / "chinchilla.yaml")
        )
        return Reading(store, "metrics.loss < 3.42").rows(find(4), ["chinchilla"])


TRUE = {"E": 1.7, "A": 400.0, "alpha": 0.34, "B": 410.0, "beta": 0.28}
"""The law that `isoflop_grid` obeys."""


def true_loss(params: float, tokens: float) -> float:
    """Chinchilla's law with the coefficients of `TRUE`."""
    return TRUE["E"] + TRUE["A"] * params ** -TRUE["alpha"] + TRUE["B"] * tokens ** -TRUE["beta"]


@pytest.fixture(scope="session")
def isoflop_grid() -> pl.DataFrame:
    """Five budgets with seven sizes about the best one each, losses by a known law with noise of
    0.1 %.
    """
    rng = random.Random(0)
    rows = []
    for flops in (1e18, 3e18, 1e19, 3e19, 1e20):
        best = 1.3 * (flops / 6) ** 0.4516
        for step in range(-3, 4):
            params = round(best * 1.6**step)
            tokens = flops / (6 * params)
            loss = true_loss(params, tokens) * math.exp(rng.gauss(0, 1e-3))
            digest = hashlib.sha256(f"{flops}/{step}".encode()).hexdigest()
            fixed = {
                "digest": digest,
                "experiment": "grid",
                "state": "done",
                "seed": 0,
                "commit": COMMIT,
                "environment": "e",
            }
            rows.append(
                {
                    **fixed,
                    "params.total": params,
                    "tokens": tokens,
                    "flops": flops,
                    "metrics.loss": loss,
                }
            )
    return pl.DataFrame(rows)


ARMS: dict[str, dict[str, Any]] = {
    "base": {"kv": 8, "width": 328, "loss": 1.62, "decode": 812, "train": 21_500},
    "+MQA": {"kv": 1, "width": 424, "loss": 1.625, "decode": 1012, "train": 22_300},
    "+GQA, wider FFN": {"kv": 2, "width": 408, "loss": 1.604, "decode": 955, "train": 22_100},
    "+GQA, more heads": {
        "kv": 2,
        "width": 328,
        "heads": 12,
        "loss": 1.61,
        "decode": 905,
        "train": 19_200,
    },
    "+GQA+MoE": {"kv": 2, "width": 104, "moe": True, "loss": 1.54, "decode": 640, "train": 13_400},
}
"""Arms of a made-up campaign: key heads, hidden width, and about what they reach."""
LM_STEPS = (50, 70, 98, 137, 192, 269, 376, 488)


def lm_trial(arm: str, seed: int, **task: Any) -> dict[str, Any]:
    """A resolved trial of the campaign."""
    given = ARMS[arm]
    ffn: dict[str, Any] = {"kind": "swiglu", "width": given["width"]}
    ffn = ffn | {"kind": "moe", "experts": 15, "chosen": 3, "shared": 1} if "moe" in given else ffn
    model = {
        "layers": 4,
        "width": 128,
        "heads": given.get("heads", 8),
        "kv_heads": given["kv"],
        "ffn": ffn,
    }
    corpus = {
        "kind": "text",
        "corpus": {"source": "shakespeare"},
        "context": 128,
        "shards": "ab12",
        **task,
    }
    return {
        "task": corpus,
        "model": model,
        "budget": {"tokens": 10**6},
        "batch": 16,
        "precision": "fp32",
        "seed": seed,
    }


def lm_metrics(arm: str, seed: int, rng: random.Random) -> dict[str, float]:
    """Final metrics of a trial: seeds differ by more than arms do, and alike in all of them."""
    given = ARMS[arm]
    loss = given["loss"] + 0.02 * math.sin(3 * seed) + rng.gauss(0, 0.003)
    found = {
        "loss": loss - 0.2,
        "validation_loss": loss + 0.01,
        "test_loss": loss,
        "perplexity": math.exp(loss),
    }
    found |= {
        "bits_per_byte": loss / math.log(2),
        "tokens_per_second": given["train"] * rng.gauss(1, 0.01),
    }
    for lanes, context in ((1, 128), (8, 128)):
        place, speed = (
            f"tokens_per_second_b{lanes}_t{context}",
            given["decode"] * lanes**0.8 * rng.gauss(1, 0.01),
        )
        found |= {
            f"decode_{place}": speed,
            f"uncached_{place}": speed / 7 * rng.gauss(1, 0.01),
            f"prefill_{place}": 30 * speed,
        }
    return found | {"cache_bytes_per_token": 4.0 * 2 * 4 * 16 * given["kv"]}


def routed(step: int, layers: int, experts: int, rng: random.Random) -> dict[str, float]:
    """What a router's balance told at a step: uneven at first, later even; expert 7 of layer 1
    dies.
    """
    found: dict[str, float] = {}
    for layer in range(layers):
        unevenness = 0.9 * (50 / step) ** 0.6 + 0.04
        weight = [
            math.exp(unevenness * math.sin(1.7 * expert + layer) + rng.gauss(0, 0.05))
            for expert in range(experts)
        ]
        if layer == 1:
            weight[7 % experts] *= (50 / step) ** 2
        share = [one / sum(weight) for one in weight]
        found |= {f"load_{layer}_{expert}": one for expert, one in enumerate(share)}
        found[f"max_vio_{layer}"] = experts * max(share) - 1
        found[f"router_entropy_{layer}"] = math.log(experts) - 0.25 * math.log(step / 40) / (
            1 + layer
        )
        found[f"dropped_{layer}"] = 0.0
    return found | {
        name: sum(found[f"{name}_{layer}"] for layer in range(layers)) / layers
        for name in ("max_vio", "router_entropy", "dropped")
    }


def fill_campaign(
    store: Store,
    arms: Sequence[str] = tuple(ARMS),
    *,
    seeds: int = 3,
    layers: int = 4,
    experts: int = 15,
    steps: Sequence[int] = LM_STEPS,
    **task: Any,
) -> list[TrialRecord]:
    """The campaign `gqa_moe` in a store, every trial done."""
    keys = [(arm, seed) for arm in arms for seed in range(seeds)]
    records = [lm_record(arm, seed, steps[-1], **task) for arm, seed in keys]
    spec = {
        "name": "gqa_moe",
        "about": "What do grouped heads and experts buy?",
        "arms": {arm: {} for arm in arms},
        "axes": {},
    }
    store.register("gqa_moe", spec, records)
    rng = random.Random(0)
    for (arm, seed), record in zip(keys, records, strict=True):
        attempt = store.begin(
            record.digest, Started({"device": "cpu"}), {"commit": COMMIT, "hostname": "here"}, "me"
        )
        for step in steps:
            loss = 1.3 + 3 * step**-0.4 + ARMS[arm]["loss"] - 1.6
            quick = {
                "loss": loss,
                "validation_loss": loss + 0.02,
                "tokens": 2048.0 * step,
                "seconds": 0.3 * step,
            }
            told = quick | (routed(step, layers, experts, rng) if "moe" in ARMS[arm] else {})
            store.measure(record.digest, attempt, Measured(step, told))
        store.end(
            record.digest,
            attempt,
            Ended("done", steps[-1], 140.0, told | lm_metrics(arm, seed, rng)),
        )
    return records


def lm_record(arm: str, seed: int, steps: int, **task: Any) -> TrialRecord:
    """A planned trial of the campaign."""
    trial = lm_trial(arm, seed, **task)
    digest = hashlib.sha256(repr(trial).encode()).hexdigest()
    params = {
        "total": 2_406_000 if "moe" in ARMS[arm] else 800_000 + ARMS[arm]["kv"],
        "active": 800_000 + ARMS[arm]["kv"],
    }
    return TrialRecord(
        digest, trial, trial, {"arm": arm}, seed, seed, params, steps, 2048 * steps, 1.0, 10**13
    )


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Store]:
    """A store with the made-up campaign."""
    with open_store(tmp_path / "campaign.db", mode="write") as store:
        fill_campaign(store)
        yield store


@pytest.fixture
def fill() -> Callable[..., list[TrialRecord]]:
    """Fills a store with the campaign: see `fill_campaign`."""
    return fill_campaign
