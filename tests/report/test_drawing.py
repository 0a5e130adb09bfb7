"""From a real store to files: which rows, which files, what is out of date, and what an empty store
is told.
"""

import json
import math
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from scalelab import report
from scalelab.core.errors import UserError
from scalelab.core.events import Ended, Measured, Started
from scalelab.report.drawing import write
from scalelab.report.figure import Drawing, Rows
from scalelab.report.figures.recall_map.figure import RecallMap
from scalelab.report.html.index import read_cards
from scalelab.report.reading import Reading, fingerprint
from scalelab.report.registry import ENTRIES, find
from scalelab.store import TrialRecord, open_store
from scalelab.store.adopt import adopt
from scalelab.store.fits import StoredFit
from scalelab.store.store import Store
from scalelab.store.table import read_published

SPEC = {"name": "facts_vs_params", "search": {"kind": "frontier"}}


def record(row: dict[str, Any]) -> TrialRecord:
    task = {"kind": "facts", "people": row["task.people"], "recall": row["task.recall"]}
    trial = {"task": task, "model": {"width": row["model.width"]}, "seed": row["seed"]}
    axes = {path: row[path] for path in ("task.people", "task.recall", "model.width")}
    params = {"total": row["params.total"]}
    return TrialRecord(
        row["digest"],
        trial,
        trial,
        axes,
        row["seed"],
        row["seed"],
        params,
        1000,
        10**6,
        100.0,
        10**12,
    )


def finish(store: Store, row: dict[str, Any]) -> None:
    attempt = store.begin(
        row["digest"],
        Started({"device": "cpu"}),
        {"commit": "abc", "argv": ["scalelab"], "packages": {}},
        "me",
    )
    store.end(row["digest"], attempt, Ended("done", 1000, 2.0, {"recall": row["metrics.recall"]}))


@pytest.fixture
def store(table: pl.DataFrame, tmp_path: Path) -> Iterator[Store]:
    """A store with every trial planned, and those up to width 16 done."""
    with open_store(tmp_path / "store.db", mode="write") as opened:
        opened.register(
            "facts_vs_params", SPEC, [record(row) for row in table.iter_rows(named=True)]
        )
        for row in table.filter(pl.col("model.width") < 24).iter_rows(named=True):
            finish(opened, row)
        yield opened


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "empty.db", mode="write") as opened:
        yield opened


def test_a_figure_goes_from_the_store_to_a_page_and_its_numbers(
    store: Store, tmp_path: Path
) -> None:
    path = report.draw(store, "fig 1", out=tmp_path / "reports")
    assert path == tmp_path / "reports" / "fig-1.html"
    data = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert [curve["recall"] for curve in data["curves"]] == ["in_weight", "in_tool"]
    assert [point["facts"] for point in data["curves"][0]["points"]] == [32, 64, 128, 256, 1024]
    assert data["curves"][0]["points"][-1]["censored"] == 2
    assert data["experiments"] == ["facts_vs_params"]
    assert "Every run (80)" in path.read_text(encoding="utf-8")


def test_drawn_again_the_files_have_the_same_bytes(store: Store, tmp_path: Path) -> None:
    path = report.draw(store, 1, out=tmp_path / "reports")
    before = path.read_bytes(), path.with_suffix(".json").read_bytes()
    report.draw(store, 1, out=tmp_path / "reports")
    assert (path.read_bytes(), path.with_suffix(".json").read_bytes()) == before


def test_a_read_only_store_is_drawn(store: Store, tmp_path: Path) -> None:
    store.flush()
    with open_store(tmp_path / "store.db", mode="read") as opened:
        assert "facts_vs_params" in report.with_data(opened)
        assert report.draw(opened, "facts_vs_params", out=tmp_path / "reports").exists()


@pytest.mark.parametrize(("format", "magic"), [("png", b"\x89PNG"), ("svg", b"<svg")])
def test_pictures_are_written_with_the_numbers_beside_them(
    store: Store, tmp_path: Path, format: Any, magic: bytes
) -> None:
    path = report.draw(store, 1, out=tmp_path, format=format)
    assert path.suffix == f".{format}"
    assert path.read_bytes().startswith(magic)
    assert (tmp_path / "fig-1.json").exists()


def test_a_filter_keeps_rows(store: Store, tmp_path: Path) -> None:
    report.draw(store, 1, filter="task.people <= 32 and task.recall == in_tool", out=tmp_path)
    (curve,) = json.loads((tmp_path / "fig-1.json").read_text(encoding="utf-8"))["curves"]
    assert [point["facts"] for point in curve["points"]] == [32, 64, 128]


def test_a_filter_stands_on_the_page_with_how_many_rows_it_leaves(
    store: Store, tmp_path: Path
) -> None:
    path = report.draw(
        store, 1, filter="task.people <= 32 and task.recall == in_tool", out=tmp_path
    )
    said = path.read_text(encoding="utf-8")
    assert (
        "<li>Only rows that match <code>task.people &lt;= 32 and task.recall == in_tool</code>: 30"
        " of 100 rows.</li>" in said
    )
    assert report.check(store, tmp_path) == []
    paths = report.draw_all(store, filter="task.people <= 32", out=tmp_path / "all").paths
    assert len(paths) > 2
    for name, page in paths.items():
        assert (
            name == "index"
            or "match <code>task.people &lt;= 32</code>: 60 of 100 rows"
            in page.read_text(encoding="utf-8")
        ), name
    assert "Only rows that match" not in report.draw(store, 1, out=tmp_path).read_text(
        encoding="utf-8"
    )


def test_rows_before_a_filter_are_among_what_is_drawn(rows: Rows) -> None:
    filtered = replace(rows, filter="seed >= 0", before=100)
    known = [rows, filtered, replace(filtered, before=101), replace(filtered, filter="seed < 9")]
    assert len({fingerprint(find(1), drawn) for drawn in known}) == 4


def test_check_names_what_is_out_of_date(store: Store, table: pl.DataFrame, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    with pytest.raises(
        UserError, match=r"no figure lies in .*reports; draw one with `scalelab report`"
    ):
        report.check(store, out)
    report.draw(store, 1, out=out)
    assert report.check(store, out) == []
    finish(store, table.filter(pl.col("model.width") == 24).row(0, named=True))
    assert report.check(store, out) == ["fig-1"]
    report.draw(store, 1, out=out)
    assert report.check(store, out) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"figure": 99}',
        '{"figure": 1, "experiments": ["gone"], "filter": null, "rows": ""}',
    ],
)
def test_check_calls_a_file_that_it_cannot_trust_out_of_date(
    store: Store, tmp_path: Path, text: str
) -> None:
    (tmp_path / "fig-1.json").write_text(text, encoding="utf-8")
    assert report.check(store, tmp_path) == ["fig-1"]


def test_a_figure_without_data_says_which_spec_makes_it(empty: Store, tmp_path: Path) -> None:
    assert report.with_data(empty) == []
    with pytest.raises(
        UserError, match=r"no data: .* `scalelab run specs/facts_vs_params.yaml` makes it$"
    ):
        report.draw(empty, 1, out=tmp_path / "reports")
    assert not (tmp_path / "reports").exists()


def test_planned_trials_are_no_data_and_other_experiments_are_named(
    empty: Store, table: pl.DataFrame, tmp_path: Path
) -> None:
    empty.register(
        "facts_vs_params", SPEC, [record(row) for row in table.head(3).iter_rows(named=True)]
    )
    empty.register("published", {}, [])
    assert report.with_data(empty) == []
    with pytest.raises(
        UserError, match=r"no data in `facts_vs_params`, nor in 1 other .* \(3 missing\)"
    ):
        report.draw(empty, 1, out=tmp_path)


@pytest.mark.parametrize("number", [entry.number for entry in ENTRIES])
def test_every_figure_without_data_says_how_the_trials_stand(
    empty: Store, table: pl.DataFrame, tmp_path: Path, number: int
) -> None:
    rows = list(table.head(2).iter_rows(named=True))

    def told() -> str:
        with pytest.raises(UserError, match=rf"^figure {number} \(") as raised:
            report.draw(empty, number, out=tmp_path)
        assert raised.value.cure
        return str(raised.value)

    assert "no experiment" in told()
    empty.register("mine", SPEC, [record(row) for row in rows])
    assert "in `mine`: no trial has finished (2 missing)" in told()
    for row in rows:
        attempt = empty.begin(row["digest"], Started({"device": "cpu"}), {"commit": "abc"}, "me")
        empty.end(row["digest"], attempt, Ended("failed", 1, 2.0, {}))
    assert "(2 failed)" in told()
    assert f"scalelab show {rows[0]['digest'][:10]}" in told()


def test_a_figure_that_comes_out_empty_is_refused(
    empty: Store, table: pl.DataFrame, tmp_path: Path
) -> None:
    """Three sizes at one budget: no isoFLOP profile, and a single point on the envelope."""
    sizes = table.filter(pl.col("task.people") == 32, pl.col("task.recall") == "in_weight")
    rows = list(sizes.unique("params.total").sort("params.total").head(3).iter_rows(named=True))
    empty.register("mine", SPEC, [record(row) for row in rows])
    for loss, row in enumerate(rows, 1):
        attempt = empty.begin(row["digest"], Started({"device": "cpu"}), {"commit": "abc"}, "me")
        empty.measure(row["digest"], attempt, Measured(1000, {"loss": loss, "tokens": 10**6}))
        empty.end(row["digest"], attempt, Ended("done", 1000, 2.0, {"loss": loss}))
    with pytest.raises(UserError, match=r"^figure 5 \(isoflops\)") as raised:
        report.draw(empty, 5, out=tmp_path)
    assert raised.value.cure


@pytest.mark.parametrize(
    ("number", "lacking"),
    [(3, "metrics.bits"), (5, "metrics.loss"), (9, "metrics.test_loss"), (12, "no search")],
)
def test_a_figure_says_what_finished_trials_lack(
    store: Store, tmp_path: Path, number: int, lacking: str
) -> None:
    with pytest.raises(UserError, match=rf"in `facts_vs_params`: .*{lacking}"):
        report.draw(store, number, out=tmp_path)


def test_the_only_experiment_with_data_is_drawn_and_of_several_one_must_be_named(
    empty: Store, table: pl.DataFrame, tmp_path: Path
) -> None:
    rows = list(table.filter(pl.col("model.width") < 24).iter_rows(named=True))
    empty.register("mine", SPEC, [record(row) for row in rows])
    for row in rows:
        finish(empty, row)
    data = json.loads(
        report.draw(empty, 1, out=tmp_path).with_suffix(".json").read_text(encoding="utf-8")
    )
    assert data["experiments"] == ["mine"]
    empty.register("ours", SPEC, [record(row) for row in rows])
    with pytest.raises(
        UserError,
        match=r"several experiments; name one: `--experiment ours` or `--experiment mine`",
    ):
        report.draw(empty, 1, out=tmp_path)
    paths = report.draw_all(empty, out=tmp_path).paths
    assert json.loads((tmp_path / "fig-1.json").read_text(encoding="utf-8"))["experiments"] == [
        "ours"
    ]
    assert "scalelab report --fig 1 --experiment mine" in paths["index"].read_text(encoding="utf-8")


def test_all_figures_have_an_index_that_leads_to_them(store: Store, tmp_path: Path) -> None:
    paths = report.draw_all(store, out=tmp_path).paths
    assert next(iter(paths)) == "index"
    assert "facts_vs_params" in paths
    index = paths["index"].read_text(encoding="utf-8")
    assert '<a href="fig-1.html">How many parameters does a fact cost?</a>' in index
    assert "In the weights, a fact costs" in index
    assert index.count("data:image/png") == 2 * (len(paths) - 1)
    report.draw_all(store, out=tmp_path / "again")
    assert (tmp_path / "again" / "index.html").read_text(encoding="utf-8") == index


def test_the_index_follows_a_page_that_is_drawn_alone(store: Store, tmp_path: Path) -> None:
    whole = report.draw_all(store, out=tmp_path).paths
    before = read_cards(whole["index"].read_text(encoding="utf-8"))
    report.draw(store, 1, filter="task.people <= 8", out=tmp_path)
    after = read_cards(whole["index"].read_text(encoding="utf-8"))
    assert after.keys() == before.keys()
    assert {number for number in before if after[number] != before[number]} == {1}
    (tmp_path / "fig-2.html").unlink()
    report.draw(store, 1, out=tmp_path)
    found = read_cards(whole["index"].read_text(encoding="utf-8"))
    assert found == {number: card for number, card in before.items() if number != 2}


def test_a_filter_that_does_not_fit_a_figure_leaves_its_page(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UserError("unknown name in the filter")

    whole = report.draw_all(store, out=tmp_path).paths
    page, index = whole["recall_map"].read_bytes(), whole["index"].read_bytes()
    monkeypatch.setattr(RecallMap, "draw", refuse)
    narrowed = report.draw_all(store, filter="model.width > 0", out=tmp_path)
    assert [failure.name for failure in narrowed.failures] == ["recall_map"]
    assert whole["recall_map"].read_bytes() == page
    assert (
        read_cards(index.decode()).keys()
        == read_cards(whole["index"].read_text(encoding="utf-8")).keys()
    )
    report.draw_all(store, out=tmp_path)
    assert whole["recall_map"].read_bytes() != page


@pytest.mark.parametrize("format", ["html", "svg"])
def test_a_figure_that_fails_stops_no_other_and_leaves_no_earlier_page(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Any
) -> None:
    whole = report.draw_all(store, out=tmp_path, format=format).paths
    others = {
        name: path.read_bytes()
        for name, path in whole.items()
        if name not in ("index", "recall_map")
    }
    assert others
    before = {path.name for path in tmp_path.glob("fig-2*")}
    with monkeypatch.context() as patched:
        patched.setattr(RecallMap, "draw", lambda self, rows: rows.trials["gone"] / 0)
        drawn = report.draw_all(store, out=tmp_path, format=format)
    assert [(one.number, type(one.error).__name__) for one in drawn.failures] == [
        (2, "ColumnNotFoundError")
    ]
    kept = {name: path for name, path in drawn.paths.items() if name != "index"}
    assert {name: path.read_bytes() for name, path in kept.items()} == others
    left = {path.name for path in tmp_path.glob("fig-2*")}
    if format == "html":
        assert left == before == {"fig-2.html", "fig-2.json"}
        assert "<figure" not in (tmp_path / "fig-2.html").read_text(encoding="utf-8")
        index = drawn.paths["index"].read_text(encoding="utf-8")
        assert index.count("<article>") == len(others)
        assert index.count('<article class="failed">') == 1
    else:
        assert len(before) > 2
        assert left == {"fig-2.json"}
    assert report.check(store, tmp_path) == ["fig-2"]
    report.draw(store, 2, out=tmp_path, format=format)
    assert report.check(store, tmp_path) == []


def test_a_filter_that_nothing_can_be_chosen_by_is_no_figures_fault(
    store: Store, tmp_path: Path
) -> None:
    store.register("second", SPEC, [])
    for filter in ("task.poeple > 8", "task.people >"):
        with pytest.raises(UserError):
            report.draw_all(
                store, experiments=["facts_vs_params"], filter=filter, out=tmp_path / "none"
            )
    assert not (tmp_path / "none").exists()


def test_pictures_of_all_figures_have_no_index(store: Store, tmp_path: Path) -> None:
    paths = report.draw_all(store, out=tmp_path, format="svg").paths
    assert "index" not in paths
    assert paths["facts_vs_params"].read_bytes().startswith(b"<svg")
    none = report.draw_all(
        store, experiments=["facts_vs_params"], filter="task.people > 999", out=tmp_path
    )
    assert none == report.Report({}, [])


def test_every_further_panel_has_a_picture_of_its_own(
    rows: Rows, drawing: Drawing, tmp_path: Path
) -> None:
    (panel,) = drawing.panels
    both = replace(drawing, panels=[panel, replace(panel, name="more")])
    path = write(find(1), both, rows, ["facts_vs_params"], None, tmp_path, "svg")
    assert path.name == "fig-1.svg"
    assert (tmp_path / "fig-1-more.svg").read_bytes() == path.read_bytes()


def test_fits_and_curves_are_among_what_is_drawn(rows: Rows) -> None:
    curves = pl.DataFrame(
        {"digest": ["b", "a"], "step": [1, 1], "name": "loss", "value": [1.0, math.nan]}
    )
    fit = StoredFit("k", "facts_vs_params", "power", 0.0, {}, {"coefficients": {"A": 1.0}})
    known = {
        fingerprint(find(1), drawn)
        for drawn in (rows, replace(rows, curves=curves), replace(rows, fits=[fit]))
    }
    assert len(known) == 3
    assert fingerprint(find(1), replace(rows, curves=curves.reverse())) in known
    assert (
        fingerprint(find(1), replace(rows, curves=curves.with_columns(pl.lit(2.0).alias("value"))))
        not in known
    )
    assert fingerprint(find(1), replace(rows, fits=[replace(fit, result={})])) not in known


def test_an_unknown_experiment_or_filter_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean `facts_vs_params`"):
        report.draw(store, 1, experiments=["facts_vs_parms"], out=tmp_path)
    with pytest.raises(UserError, match=r"unknown name `task.poeple`"):
        report.draw(store, 1, filter="task.poeple <= 32", out=tmp_path)
    with pytest.raises(
        UserError, match=r"no data in `facts_vs_params` where task.people > 999: none of 100"
    ):
        report.draw(store, 1, filter="task.people > 999", out=tmp_path)


def test_a_folder_that_cannot_be_written_is_an_error_with_its_place(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="file: cannot write"):
        report.draw(store, 1, out=tmp_path / "file")


def test_a_full_disk_leaves_the_earlier_page_whole(store: Store, tmp_path: Path) -> None:
    path = report.draw(store, 1, out=tmp_path / "reports")
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    figure = find(1)
    rows = Reading(store).rows(figure, ["facts_vs_params"])
    drawing = figure.draw(rows)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before["fig-1.html"]) // 2, hard))
    try:
        with pytest.raises(UserError, match="reports: cannot write into it"):
            write(figure, drawing, rows, ["facts_vs_params"], "seed == 0", path.parent, "html")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_an_earlier_picture_that_cannot_be_removed_is_an_error_with_its_place(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fig-2.svg").mkdir()
    monkeypatch.setattr(RecallMap, "draw", lambda self, rows: rows.trials["gone"] / 0)
    with pytest.raises(UserError, match="cannot write into it"):
        report.draw_all(store, out=tmp_path, format="svg")


def test_reports_load_neither_torch_nor_ray_nor_what_runs() -> None:
    names = {"torch", "ray", "scalelab.run", "scalelab.train", "scalelab.families.language_model"}
    script = f"import sys, scalelab.report; print(sorted({names} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_an_imported_table_is_drawn_like_a_run_one(
    empty: Store, table: pl.DataFrame, tmp_path: Path
) -> None:
    columns = {
        "n_people": "task.people",
        "key": "task.recall",
        "emb": "model.width",
        "seed": "seed",
        "size": "params.total",
        "acc": "metrics.recall",
    }
    table.select(**{name: pl.col(path) for name, path in columns.items()}).write_csv(
        tmp_path / "runs.csv"
    )
    mapping = [
        "experiment: published_grid",
        "columns:",
        *(f"  {path}: {name}" for name, path in columns.items()),
    ]
    (tmp_path / "map.yaml").write_text("\n".join(mapping), encoding="utf-8")
    adopt(empty, read_published(tmp_path / "runs.csv", tmp_path / "map.yaml"))
    assert "facts_vs_params" in report.with_data(empty)
    assert report.with_data(empty) == report.with_data(empty, ["published_grid"])
    path = report.draw(empty, 1, out=tmp_path)
    data = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    points = {
        curve["recall"]: [point["params_mean"] for point in curve["points"]]
        for curve in data["curves"]
    }
    assert points == {"in_weight": [6248, 6248, 6248, 10_908, 31_032], "in_tool": [13_750] * 5}
    assert data["fits"]["in_tool"]["better"] == "plateau"
