"""Figs. 4 to 7 of language models: the held-out loss, one law for each arm, and no flood of
experts' loads.
"""

import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scalelab import report
from scalelab.core.events import Ended, Measured, Started
from scalelab.report.fits.data import fits, is_surface, names
from scalelab.report.reading import Reading
from scalelab.report.registry import find
from scalelab.store import TrialRecord, open_store
from scalelab.store.store import Store

WIDTHS, TOKENS, ARMS = (64, 128, 192, 256), (10**6, 3 * 10**6, 10**7), ("plain", "qk-norm")


def true_loss(params: float, tokens: float, arm: str) -> float:
    return (1.2 if arm == "plain" else 1.1) + 40 * params**-0.34 + 30 * tokens**-0.28


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Two arms of four sizes on three token budgets: the test loss obeys a law, the training loss
    lies below it.
    """
    rng, keys = (
        random.Random(0),
        [(arm, width, tokens) for arm in ARMS for width in WIDTHS for tokens in TOKENS],
    )
    with open_store(tmp_path_factory.mktemp("grid") / "store.db", mode="write") as store:
        records = [_record(*key) for key in keys]
        axes = {"model.width": list(WIDTHS), "budget.tokens": list(TOKENS)}
        store.register(
            "tricks", {"name": "tricks", "arms": {arm: {} for arm in ARMS}, "axes": axes}, records
        )
        for (arm, _, tokens), record in zip(keys, records, strict=True):
            attempt = store.begin(record.digest, Started({}), {"commit": "abc"}, "me")
            last = true_loss(record.params["total"], tokens, arm) * rng.gauss(1, 1e-3)
            for share in (0.1, 0.3, 1.0):
                step, here = round(share * record.steps), last * share**-0.05
                values = {
                    "loss": here - 0.3,
                    "validation_loss": here + 0.02,
                    **{f"load_0_{expert}": 0.1 for expert in range(10)},
                }
                store.measure(record.digest, attempt, Measured(step, values))
            store.end(
                record.digest,
                attempt,
                Ended("done", record.steps, 9.0, {**values, "test_loss": last}),
            )
        yield store


def _record(arm: str, width: int, tokens: int) -> TrialRecord:
    task = {"kind": "text", "corpus": {"source": "shakespeare"}, "context": 128}
    trial: dict[str, Any] = {
        "task": task,
        "model": {"width": width, "qk_norm": arm != "plain"},
        "budget": {"tokens": tokens},
        "seed": 0,
    }
    digest, params = hashlib.sha256(repr(trial).encode()).hexdigest(), 48 * width**2
    axes = {"arm": arm, "model.width": width, "budget.tokens": tokens}
    return TrialRecord(
        digest,
        trial,
        trial,
        axes,
        0,
        0,
        {"total": params},
        tokens // 2048,
        tokens,
        1.0,
        6 * params * tokens,
    )


def test_every_arm_has_its_own_law_of_the_test_loss(grid: Store) -> None:
    rows = Reading(grid).rows(find(4), ["tricks"])
    assert names(rows) == ["tricks, plain", "tricks, qk-norm"]
    found = {one.experiment: one for one in fits(rows, is_surface)}
    assert {one.fit.law.target for one in found.values()} == {"metrics.test_loss"}
    assert {len(one.fit.sample.digests) for one in found.values()} == {12}
    assert all(one.mixed == () for one in found.values())


@pytest.mark.parametrize("number", [4, 5, 6])
def test_figures_of_laws_say_test_loss_and_draw_each_arm(grid: Store, number: int) -> None:
    figure = find(number)
    drawing = figure.draw(Reading(grid).rows(figure, ["tricks"]))
    assert drawing.metric == "metrics.test_loss"
    assert any(panel.title.endswith(": tricks, qk-norm") for panel in drawing.panels)
    assert len({panel.name for panel in drawing.panels}) == len(drawing.panels)
    assert not [warned for warned in drawing.warnings if warned.code == "mixed_runs"]


@pytest.mark.slow
def test_another_metric_is_fitted_where_it_is_asked_for(grid: Store, tmp_path: Path) -> None:
    figure = find(4).chosen({"metric": "loss"})
    drawing = figure.draw(Reading(grid).rows(figure, ["tricks"]))
    assert drawing.metric == "metrics.loss"
    assert "tricks, plain: loss = " in drawing.verdict[0]
    report.draw(grid, 4, options={"metric": "loss"}, out=tmp_path)
    assert report.check(grid, tmp_path) == []


def test_the_envelope_follows_the_validation_loss(grid: Store) -> None:
    figure = find(5)
    rows = Reading(grid).rows(figure, ["tricks"])
    assert set(rows.curves["name"].unique()) == {"loss", "validation_loss"}


def test_learning_curves_are_the_main_ones_in_the_order_of_the_arms(campaign: Store) -> None:
    figure = find(7)
    rows = Reading(campaign).rows(figure, ["gqa_moe"])
    drawing = figure.draw(rows)
    assert [panel.name for panel in drawing.panels] == ["validation-loss", "loss"]
    assert not [name for name in rows.curves["name"].unique() if name.startswith("load_")]
    drawn = dict.fromkeys(row["series"] for row in drawing.panels[0].chart["datasets"]["curves"])
    assert list(drawn) == ["base", "+MQA", "+GQA, wider FFN", "+GQA, more heads", "+GQA+MoE"]
    asked = figure.chosen({"metric": "load_2_3"})
    assert [
        panel.name for panel in asked.draw(Reading(campaign).rows(asked, ["gqa_moe"])).panels
    ] == ["load-2-3"]


def test_a_campaign_of_one_size_has_the_figures_that_it_is_for(
    campaign: Store, browse: Callable[..., tuple[str, str]], tmp_path: Path
) -> None:
    assert report.with_data(campaign) == ["learning_curves", "quality_vs_speed", "expert_load"]
    paths = report.draw_all(campaign, out=tmp_path).paths
    document, console = browse(paths["index"])
    assert console == ""
    assert document.count("<article>") == 3
