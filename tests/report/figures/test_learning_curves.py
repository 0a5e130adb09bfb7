"""Fig. 7: from a store with curves to its panels, its choices, and its verdict."""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scalelab import report
from scalelab.core.errors import UserError
from scalelab.core.events import Ended, Measured, Started
from scalelab.report.charts.themes import to_svg
from scalelab.report.figure import Drawing
from scalelab.report.figures.learning_curves import figure as learning_curves
from scalelab.report.reading import Reading
from scalelab.report.registry import find
from scalelab.store import TrialRecord, open_store
from scalelab.store.store import Store

STEPS = (10, 20, 40, 80)


def digest(width: int, seed: int) -> str:
    return hashlib.sha256(f"{width}/{seed}".encode()).hexdigest()


def fill(
    store: Store,
    experiment: str,
    widths: tuple[int, ...],
    seeds: int = 2,
    steps: tuple[int, ...] = STEPS,
) -> None:
    """Losses fall as 10 / (width step); recall rises; seed 1 is worse by a tenth."""
    records = []
    for width in widths:
        for seed in range(seeds):
            trial = {"task": {"kind": "facts"}, "model": {"width": width}, "seed": seed}
            params = {"total": 100 * width}
            axes = {"model.width": width}
            records.append(
                TrialRecord(
                    digest(width, seed),
                    trial,
                    trial,
                    axes,
                    seed,
                    seed,
                    params,
                    steps[-1],
                    10 * steps[-1],
                    1.0,
                    10**6,
                )
            )
    store.register(
        experiment,
        {"name": experiment, "about": "What moves?", "axes": {"model.width": list(widths)}},
        records,
    )
    for record in records:
        attempt = store.begin(record.digest, Started({"device": "cpu"}), {"commit": "abc"}, "me")
        for step in steps:
            loss = 10 / record.trial["model"]["width"] / step * (1 + record.seed / 10)
            values = {
                "loss": loss,
                "recall": 1 - min(loss, 1),
                "tokens": 7.0 * step,
                "seconds": step / 10,
            }
            store.measure(record.digest, attempt, Measured(step, values))
        store.end(
            record.digest,
            attempt,
            Ended("done", steps[-1], 8.0, {"loss": loss, "recall": 1 - min(loss, 1)}),
        )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(tmp_path_factory.mktemp("curves") / "store.db", mode="write") as opened:
        fill(opened, "widths", (2, 4, 8))
        yield opened


def drawn(store: Store, **options: str) -> Drawing:
    figure = find(7).chosen(options)
    return figure.draw(Reading(store).rows(figure, ["widths"]))


def test_every_series_has_its_mean_its_range_and_the_ends_of_its_trials(store: Store) -> None:
    panels = {panel.name: panel for panel in drawn(store).panels}
    assert list(panels) == ["recall", "loss"]
    data = panels["loss"].chart["datasets"]
    last = {row["series"]: row for row in data["curves"]}
    assert list(last) == ["width 2", "width 4", "width 8"]
    assert last["width 2"] == {
        "series": "width 2",
        "x": 560,
        "value": 0.065625,
        "low": 0.0625,
        "high": 0.06875,
    }
    assert {row["digests"][0] for row in data["ends"]} == {
        digest(width, seed) for width in (2, 4, 8) for seed in (0, 1)
    }
    assert {row["x"] for row in data["ends"]} == {560}


def test_the_verdict_names_the_best_of_each_metric_by_its_own_direction(store: Store) -> None:
    recall, loss, counts = drawn(store).verdict
    assert (
        recall
        == "Highest recall at the end: 0.9836 in width 8 (mean of 2 trials, after 560 training"
        " tokens)."
    )
    assert (
        loss == "Lowest loss at the end: 0.01641 in width 8 (mean of 2 trials, after 560 training"
        " tokens)."
    )
    assert counts == "6 trials in 3 series: 6 done."


@pytest.mark.parametrize(
    ("x", "last"), [("tokens", 560), ("flops", 1e6), ("seconds", 8), ("steps", 80)]
)
def test_curves_stand_against_what_is_chosen(store: Store, x: str, last: float) -> None:
    drawing = drawn(store, x=x, metric="metrics.loss")
    (panel,) = drawing.panels
    assert max(row["x"] for row in panel.chart["datasets"]["curves"]) == last
    assert drawing.data["x"] == x
    assert ">loss<" in to_svg(panel.chart)


def test_an_unknown_metric_or_x_is_refused_with_the_nearest(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no trial has a curve of `los`; did you mean `loss`"):
        report.draw(store, 7, experiments=["widths"], options={"metric": "los"}, out=tmp_path)
    with pytest.raises(UserError, match=r"`--x flop` .* did you mean `flops`"):
        report.draw(store, 7, options={"x": "flop"}, out=tmp_path)
    with pytest.raises(UserError, match=r"figure 1 .* takes no --metric and --x"):
        report.draw(store, 1, options={"metric": "loss", "x": "tokens"}, out=tmp_path)


def test_the_choice_is_kept_beside_the_page_and_a_longer_curve_makes_it_out_of_date(
    tmp_path: Path,
) -> None:
    with open_store(tmp_path / "store.db", mode="write") as store:
        fill(store, "widths", (2,), seeds=1)
        path = report.draw(store, 7, options={"metric": "loss", "x": "steps"}, out=tmp_path)
        source = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert source["options"] == {"metric": "loss", "x": "steps"}
        assert source["experiments"] == ["widths"]
        assert report.check(store, tmp_path) == []
        attempt = store.begin(digest(2, 0), Started({}, 80), {"commit": "abc"}, "me")
        store.measure(digest(2, 0), attempt, Measured(160, {"recall": 1.0}))
        store.flush()
        assert report.check(store, tmp_path) == []  # of another metric
        store.measure(digest(2, 0), attempt, Measured(160, {"loss": 0.01}))
        store.flush()
        assert report.check(store, tmp_path) == ["fig-7"]


def test_curves_of_a_sample_are_called_estimates(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db", mode="write") as store:
        fill(store, "widths", (2,), seeds=1)
        attempt = store.begin(digest(2, 0), Started({}, 80), {"commit": "abc"}, "me")
        store.measure(digest(2, 0), attempt, Measured(160, {"recall_unseen": 0.5}))
        store.flush()
        measured, estimated = (
            drawn(store, metric=metric).reading for metric in ("recall", "recall_unseen")
        )
        assert len(estimated) == len(measured) + 1
        assert "recall_unseen" in estimated[-1]


def test_two_experiments_are_laid_over_each_other(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db", mode="write") as store:
        fill(store, "first", (2,))
        fill(store, "second", (4,))
        figure = find(7)
        line, other = figure.draw(Reading(store).rows(figure, ["first", "second"])).data["curves"][
            :2
        ]
        assert (line["series"], other["series"]) == ("first", "second")


def test_more_series_than_can_be_told_apart_take_the_colour_of_their_axis(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db", mode="write") as store:
        fill(store, "widths", tuple(range(2, 32, 2)), seeds=1)
        panel, _ = drawn(store).panels
        assert {row["colour"] for row in panel.chart["datasets"]["curves"]} == set(range(2, 32, 2))
        assert ">model.width<" in to_svg(panel.chart)


@pytest.mark.parametrize("most", [1500, 0])
def test_a_trial_that_is_evaluated_once_is_a_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(learning_curves, "_ENDS", most)
    with open_store(tmp_path / "store.db", mode="write") as store:
        fill(store, "widths", (2, 4), steps=(80,))
        drawing = drawn(store)
    assert [panel.name for panel in drawing.panels] == ["recall", "loss"]
    for panel in drawing.panels:
        data = panel.chart["datasets"]
        assert (len(data["ends"]), len(data["alone"])) == ((4, 0) if most else (0, 2))
        assert {row["x"] for row in data["curves"]} == {560}
    assert [warned.code for warned in drawing.warnings] == ["one_evaluation"]
    assert {tuple(curve["x"]) for curve in drawing.data["curves"]} == {(560.0,)}


@pytest.mark.slow
def test_a_million_points_are_a_page_of_megabytes_in_seconds(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db", mode="write") as store:
        fill(store, "widths", tuple(range(2, 52, 2)), seeds=4, steps=tuple(range(1, 2501)))
        began = time.process_time()
        path = report.draw(store, 7, out=tmp_path)
        assert time.process_time() - began < 5
        assert path.stat().st_size < 5_000_000
