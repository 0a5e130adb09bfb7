"""Fig. 12 from searches whose results follow a rule."""

import hashlib
import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from scalelab.core.events import Ended, Measured, Started
from scalelab.optimize.result import SearchResult
from scalelab.report.drawing import draw
from scalelab.report.figure import Rows
from scalelab.report.figures.search.figure import searched_of
from scalelab.report.figures.search.text import samples_table
from scalelab.report.reading import Reading
from scalelab.report.registry import find
from scalelab.store import TrialRecord, open_store
from scalelab.store.store import Store

SPACE: dict[str, Any] = {
    "optim.lr": {"float": [1e-3, 1e-1], "log": True},
    "model.steps": {"int": [2, 8]},
    "model.router.kind": {"choice": ["linear", "mlp"]},
    "model.router.width": {"int": [16, 128], "log": True, "when": {"model.router.kind": ["mlp"]}},
    "model.halting": {"choice": [{"kind": "none"}, {"kind": "act", "cost": 0.01}]},
}
FIGURE = find(12)
SAMPLE = "First line, <b>bold</b> & more.\nSecond line."


def loss_of(model: dict[str, Any], lr: float) -> float:
    """Best at a rate of 0.01 with many steps; the router's kind hardly matters."""
    return (
        2
        + 0.4 * abs(math.log10(lr / 0.01))
        + 0.3 / model["steps"]
        + (0.01 if model["router"]["kind"] == "mlp" else 0.0)
    )


def fill(
    store: Store, count: int = 40, objectives: dict[str, str] | None = None, pruned_every: int = 4
) -> list[TrialRecord]:
    """A search of `count` trials of which every fourth was pruned."""
    rng, records = random.Random(0), list[TrialRecord]()
    for number in range(count):
        router = {"kind": rng.choice(["linear", "mlp"]), "width": rng.choice([16, 32, 64, 128])}
        halting = (
            {"kind": "act", "cost": 0.01, "epsilon": 0.01}
            if rng.random() < 0.5
            else {"kind": "none"}
        )
        model = {
            "kind": "layer_router",
            "steps": rng.randint(2, 8),
            "router": router,
            "halting": halting,
        }
        trial = {
            "task": {"kind": "text"},
            "model": model,
            "optim": {"lr": 10 ** rng.uniform(-3, -1)},
            "seed": number,
        }
        axes = {
            "optim.lr": trial["optim"]["lr"],
            "model.steps": model["steps"],
            "model.router.kind": router["kind"],
        }
        axes |= {"model.router.width": router["width"]} if router["kind"] == "mlp" else {}
        axes["model.halting"] = (
            {"kind": "act", "cost": 0.01} if halting["kind"] == "act" else halting
        )
        digest = hashlib.sha256(json.dumps(trial).encode()).hexdigest()
        records.append(
            TrialRecord(
                digest, trial, trial, axes, 0, number, {"total": 1000}, 100, 10**5, 1.0, 10**9
            )
        )
    spec = {
        "name": "router",
        "about": "Which router is best?",
        "search": SPACE,
        "objectives": objectives or {"validation_loss": "minimize"},
    }
    store.register(
        "router", {**spec, "sampler": {"kind": "tpe"}, "pruner": {"kind": "asha"}}, records
    )
    for number, record in enumerate(records):
        attempt = store.begin(record.digest, Started({}), {"commit": "c"}, "me")
        loss = loss_of(record.trial["model"], record.trial["optim"]["lr"])
        metrics = {"validation_loss": loss, "flops_per_token": 1e5 * record.trial["model"]["steps"]}
        store.measure(record.digest, attempt, Measured(50, {"validation_loss": loss + 0.5}))
        cut = pruned_every and number % pruned_every == 3
        ended = (
            Ended("stopped", 50, 1.0, {"validation_loss": loss + 0.5, "pruned": 50.0})
            if cut
            else Ended("done", 100, 2.0, metrics)
        )
        note = {} if cut else {"sample": f"data:text/plain,{SAMPLE}"}
        store.end(
            record.digest,
            attempt,
            Ended(ended.state, ended.step, ended.seconds, ended.values, artifacts=note),
        )
    return records


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Rows]:
    """The rows of a search."""

    def rows(**how: Any) -> Rows:
        with open_store(tmp_path / "search.db", mode="write") as store:
            fill(store, **how)
            return Reading(store).rows(FIGURE, ["router"])

    return rows


def found_in(rows: Rows) -> SearchResult:
    found = searched_of(rows)
    assert found is not None
    return found


def test_a_search_is_read_in_the_order_of_asking(read: Callable[..., Rows]) -> None:
    found = found_in(read())
    assert [one.number for one in found.tried] == list(range(1, 41))
    assert len(found.complete) == 30
    assert sum(one.pruned for one in found.tried) == 10
    assert found.ranked[0].values == min(one.values for one in found.complete)


def test_settings_are_those_that_apply(read: Callable[..., Rows]) -> None:
    for one in found_in(read()).tried:
        assert ("model.router.width" in one.setting) == (one.setting["model.router.kind"] == "mlp")
        assert one.setting["model.halting"] in ("none", "act, cost 0.01")


def test_what_matters_is_told(read: Callable[..., Rows]) -> None:
    found = found_in(read(count=80))
    assert next(iter(found.importances)) == "optim.lr"
    assert sum(found.importances.values()) == pytest.approx(1.0)
    assert "`optim.lr`" in FIGURE.draw(read(count=80)).verdict[2]


def test_no_trial_of_the_front_is_beaten(read: Callable[..., Rows]) -> None:
    found = found_in(
        read(objectives={"validation_loss": "minimize", "flops_per_token": "minimize"})
    )
    for one in found.front:
        assert not any(
            all(a < b for a, b in zip(other.values, one.values, strict=True))
            for other in found.complete
        )
    assert {one.digest for one in found.front} >= {found.ranked[0].digest}
    for one in found.complete:
        as_good = [
            other
            for other in found.front
            if all(a <= b for a, b in zip(other.values, one.values, strict=True))
        ]
        assert as_good, "every trial is on the front or beaten by one that is"


def test_more_is_better_where_the_space_says_so(read: Callable[..., Rows]) -> None:
    found = found_in(read(objectives={"validation_loss": "maximize"}))
    assert found.ranked[0].values == max(one.values for one in found.complete)


def test_samples_stand_side_by_side(read: Callable[..., Rows]) -> None:
    rows = read()
    (table,) = samples_table(found_in(rows), rows.notes)
    assert table.columns[0].startswith("best")
    assert len(table.columns) == 2
    assert table.rows == [[SAMPLE, SAMPLE]]


def test_an_experiment_that_is_no_search_has_no_data(read: Callable[..., Rows]) -> None:
    rows = read(count=4)
    assert FIGURE.has_data(rows)
    assert not FIGURE.has_data(Rows(rows.trials, {"router": {"name": "router"}}))
    assert not FIGURE.has_data(read(count=1))


@pytest.mark.parametrize(
    "objectives",
    [
        {"validation_loss": "minimize"},
        {"validation_loss": "minimize", "flops_per_token": "minimize"},
    ],
)
def test_the_page_opens_in_a_browser(
    tmp_path: Path, browse: Callable[..., tuple[str, str]], objectives: dict[str, str]
) -> None:
    with open_store(tmp_path / "search.db", mode="write") as store:
        fill(store, objectives=objectives)
        page = draw(store, "search", experiments=["router"], out=tmp_path)
    document, said = browse(page)
    assert not said
    assert document.count("<svg") >= 4 + len(objectives) - 1
    assert "<b>bold</b>" not in document
    assert "&lt;b&gt;bold" in document
    data = json.loads(page.with_suffix(".json").read_text())
    assert len(data["tried"]) == 40
    assert data["best"] in {one["digest"] for one in data["tried"]}


def test_a_mean_over_lengths_is_called_so_everywhere(read: Callable[..., Rows]) -> None:
    rows = read()
    sums = rows.trials.with_columns(
        pl.lit("arithmetic").alias("task.kind"),
        (1 / pl.col("metrics.validation_loss")).alias("metrics.accuracy"),
    )
    trials = [
        replace(
            one,
            record=replace(one.record, trial=one.record.trial | {"task": {"kind": "arithmetic"}}),
            result=replace(
                one.result,
                metrics=one.metrics | {"accuracy": 1 / one.metrics["validation_loss"]},
            ),
        )
        for one in rows.searches["router"]
    ]
    spec = {**rows.specs["router"], "objectives": {"accuracy": "maximize"}}
    drawn = FIGURE.draw(
        replace(rows, trials=sums, specs={"router": spec}, searches={"router": trials})
    )
    label = "accuracy (mean over lengths)"
    for panel in drawn.panels:
        if panel.name != "importances":
            assert label in json.dumps(panel.chart)
    history = drawn.panels[0]
    assert history.table is not None
    assert label in history.table.columns
    assert any(row[0] == label for row in drawn.tables[0].rows)
    assert label in history.caption
    assert label in drawn.verdict[1]
    assert drawn.data["objectives"] == ["accuracy"]
