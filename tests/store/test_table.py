"""Other programs' own exports as trials, with the headers that they write."""

import json
import os
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelab.core.errors import UserError
from scalelab.core.filter import compile_filter
from scalelab.core.metrics import is_possible
from scalelab.core.units import parse_number
from scalelab.store import frames
from scalelab.store.column import Column
from scalelab.store.table import Published, read_published


def read(folder: Path, table: str | bytes, columns: dict[str, Any], **options: Any) -> Published:
    """A table through a mapping of these columns; `top` is what stands beside them."""
    top = {"experiment": "e", "columns": columns} | options.pop("top", {})
    (folder / "t.csv").write_bytes(table.encode() if isinstance(table, str) else table)
    (folder / "m.json").write_text(json.dumps(top, indent=1))
    return read_published(folder / "t.csv", folder / "m.json", **options)


def states(published: Published) -> list[str]:
    return [result.state for result in published.results]


def losses(published: Published) -> list[float | None]:
    return [result.metrics.get("loss") for result in published.results]


SIZES = {"params.total": "n", "budget.tokens": "d", "metrics.loss": "loss"}


MLFLOW = """\
Start Time,Duration,Run ID,Name,Source Type,Source Name,User,Status,lr,n_params,seed,loss
26-02-01 10:00:00,5.3min,00000000000000000000000000000000,,LOCAL,a,me,FINISHED,,1000000,,3.5
26-02-01 10:01:00,1.5h,00000000000000000000000000001eef,"a, b",,a,me,FINISHED,0.003,1000000,3,3.4
26-02-01 10:02:00,320ms,00000000000000000000000000003dde,,LOCAL,a,me,FAILED,0.1,1000000,,
26-02-01 10:03:00,,00000000000000000000000000005ccd,,LOCAL,a,me,RUNNING,0.001,1000000,,3.9
26-02-01 10:04:00,45.0s,00000000000000000000000000007bbc,,LOCAL,a,me,KILLED,0.002,1000000,,
26-02-01 10:05:00,45.0s,00000000000000000000000000009bbc,,LOCAL,a,me,FINISHED,0.004,1000000,,NaN
"""


def test_mlflow_runs(tmp_path: Path) -> None:
    columns = {
        "params.total": "n_params",
        "optim.lr": "lr",
        "metrics.loss": "loss",
        "state": "Status",
        "seconds": "Duration",
    }
    published = read(tmp_path, MLFLOW, columns)
    assert states(published) == ["done", "done", "failed", "failed", "diverged"]
    assert published.left_out == {"running": 1}
    assert losses(published) == [3.5, 3.4, None, None, None]
    assert [result.seconds for result in published.results] == [318.0, 5400.0, 0.32, 45, 45]
    frame = frames.published(published)
    assert frame["optim.lr"].to_list() == [None, 0.003, 0.1, 0.002, 0.004]
    assert frame["extra.seed"].to_list() == [None, 3, None, None, None]
    assert [warned["code"] for warned in published.warnings] == ["missing_values"]


def test_without_a_column_for_the_state_rows_without_a_value_are_left_out(tmp_path: Path) -> None:
    columns = {"params.total": "n_params", "optim.lr": "lr", "metrics.loss": "loss"}
    published = read(tmp_path, MLFLOW, columns)
    assert states(published) == ["done", "done", "done", "diverged"]
    assert published.left_out == {"without `metrics.loss`": 2}


def test_wandb_runs(tmp_path: Path) -> None:
    table = (
        '"Name","State","Notes","User","Tags","Created","Runtime","Sweep","width","loss","recall"\n'
        '"run-1","finished","-","me","","2026-01-01T00:00:00Z","3600","","8","2.5","0.5"\n'
        '"run-2","crashed","-","me","","2026-01-01T00:00:00Z","12","","16","",""\n'
        '"run-3","finished","-","me","a, b","2026-01-01T00:00:00Z","3600","","32","Infinity",""\n'
        '"run-4","killed","-","me","","2026-01-01T00:00:00Z","9","","64","3.5",""\n'
        '"run-5","running","-","me","","2026-01-01T00:00:00Z","9","","128","3.5",""\n'
    )
    columns = {
        "model.width": "width",
        "metrics.loss": "loss",
        "metrics.recall": "recall",
        "state": "State",
        "seconds": "Runtime",
    }
    published = read(tmp_path, table, columns)
    assert states(published) == ["done", "failed", "diverged", "failed"]
    assert published.results[0].metrics == {"loss": 2.5, "recall": 0.5}
    assert [result.metrics for result in published.results[1:]] == [{}, {}, {"loss": 3.5}]
    assert published.left_out == {"running": 1}


def test_a_wandb_panel(tmp_path: Path) -> None:
    table = (
        '"Step","run-a - train/loss","run-a - train/loss__MIN","run-a - train/loss__MAX"'
        ',"run-b - train/loss","run-b - train/loss__MIN","run-b - train/loss__MAX"\n'
        '"0","11.2","11.2","11.2","","",""\n"1","","","","9.5","9.5","9.5"\n'
        '"2","4.97","4.97","4.97","","",""\n'
    )
    published = read(tmp_path, table, {"steps": "Step", "metrics.loss": "run-a - train/loss"})
    assert losses(published) == [11.2, 4.97]
    assert frames.published(published)["steps"].to_list() == [None, 2]
    assert published.left_out == {"without `metrics.loss`": 1}


def test_optuna_trials(tmp_path: Path) -> None:
    table = (
        ",number,value,datetime_start,datetime_complete,duration,params_lr,params_width,state\n"
        "0,0,3.0,2026-01-01,2026-01-01,0 days 00:01:00.000123,0.01,8,COMPLETE\n"
        "1,1,,2026-01-01,,,0.02,16,RUNNING\n"
        "2,2,2.9,2026-01-01,2026-01-01,1 days 00:00:01,0.03,24,PRUNED\n"
        "3,3,,2026-01-01,2026-01-01,0 days 00:01:00,0.04,32,FAIL\n"
    )
    columns = {
        "model.width": "params_width",
        "optim.lr": "params_lr",
        "metrics.loss": "value",
        "state": "state",
        "seconds": "duration",
    }
    published = read(tmp_path, table, columns)
    assert states(published) == ["done", "failed"]
    assert published.left_out == {"running": 1, "pruned": 1}
    assert [result.seconds for result in published.results] == [60.000123, 60.0]
    assert published.trials[0].extra["unnamed"] == 0


def test_tensorboard_scalars(tmp_path: Path) -> None:
    table = "Wall time,Step,Value\n1700000000.123,0,11.5\n1700000001.5,10,4.5\n1700000002,20,NaN\n"
    published = read(tmp_path, table, {"steps": "Step", "metrics.loss": "Value"})
    assert [trial.steps for trial in published.trials] == [0, 10, 20]
    assert states(published) == ["done", "done", "diverged"]


ENGLISH = 'n,d,loss\n"10,000,000","200,000,000",6.4324\n"10,000,000","1,500",5.25\n'


@pytest.mark.parametrize(
    "table",
    [
        ENGLISH.encode(),
        b"n;d;loss\r\n10000000;200000000;6,4324\r\n10000000;1500;5,25\r\n",
        b"sep=;\r\nn;d;loss;\r\n10.000.000;200.000.000;6,4324;\r\n10.000.000;1.500;5,25;\r\n;;;\r\n",
        "n\td\tloss\r\n10\u202f000\u202f000\t2E+08\t6,4324\r\n1E+07\t1\u00a0500\t5,25\r\n".encode(
            "utf-16"
        ),
        b"n;d;loss;name\n10'000'000;200M;6.4324;\xe9t\xe9\n10M;1.5k;5.25;\xfc\n",
        b'n,d,loss\n10000000,200000000,"6,4324"\n10000000,1500,"5,25"\n',
    ],
)
def test_spreadsheets_of_several_countries(tmp_path: Path, table: bytes) -> None:
    published = read(tmp_path, table, SIZES)
    assert [trial.params["total"] for trial in published.trials] == [10_000_000] * 2
    assert [trial.tokens for trial in published.trials] == [200_000_000, 1500]
    assert losses(published) == [6.4324, 5.25]


def test_cells_of_spreadsheets_without_a_value(tmp_path: Path) -> None:
    cells = ["#DIV/0!", "#N/A", "N/A", "-", "None", "null", " ", "#NV", "#WERT!", "#BEZUG!", "#N/D"]
    cells += ["#VALEUR!", "#\u00a1VALOR!", "#\u00dcBERLAUF!"]
    rows = [f"{index + 1}000;2000;{cell}" for index, cell in enumerate([*cells, "2,5"])]
    published = read(tmp_path, "n;d;loss\n" + "\n".join(rows), SIZES)
    assert losses(published) == [2.5]
    assert published.left_out == {"without `metrics.loss`": len(cells)}

    with pytest.raises(UserError, match="row 1, column `loss`: '#1'"):
        read(tmp_path, "n;d;loss\n1000;2000;#1\n", SIZES)
    words = {"extra.id": "id", "metrics.loss": "loss"}
    published = read(tmp_path, "id;loss\n#A;2,5\n", words)
    assert published.trials[0].identity["columns"] == {"extra.id": "#A"}


@pytest.mark.parametrize(
    ("word", "value"),
    [("TRUE", True), ("WAHR", True), ("VRAI", True), ("FALSCH", False), ("faux", False)],
)
def test_truth_in_several_languages(tmp_path: Path, word: str, value: bool) -> None:
    columns = {"model.qk_norm": "q", "metrics.loss": "loss"}
    [trial] = read(tmp_path, f"q;loss\n{word};2,5\n", columns).trials
    assert trial.identity["columns"] == {"model.qk_norm": value}


def test_an_experiment_named_by_a_number_is_put_in_quotes(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, "n,d,loss\n1000,2000,2\n", SIZES, top={"experiment": 20241103})
    assert '"20241103"' in error.value.cure


def test_a_pipe_is_no_table(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "m.json").write_text(json.dumps({"experiment": "e", "columns": SIZES}))
    with pytest.raises(UserError, match=r"pipe.csv: cannot be read"):
        read_published(tmp_path / "pipe.csv", tmp_path / "m.json")


def test_a_decimal_mark_that_is_not_clear_is_asked_for(tmp_path: Path) -> None:
    table = "n;d;loss\n10000000;200000000;4,123\n10000000;300000000;3,999\n"
    with pytest.raises(UserError, match=r"t.csv: '4,123' \(row 1, column `loss`\) may be"):
        read(tmp_path, table, SIZES)
    assert losses(read(tmp_path, table, SIZES, top={"decimal": ","})) == [4.123, 3.999]
    with pytest.raises(UserError, match=r"'2.5' \(row 1, .* and '4,12' \(row 2, column `loss`\)"):
        read(tmp_path, "n;d;loss\n1000;2000;2.5\n1000;3000;4,12\n", SIZES)


@pytest.mark.parametrize(
    "table",
    [
        "n;loss\n1.000.000;3.214\n2.000.000;3.115\n",
        "n,loss\n1.000.000,3.214\n2.000.000,3.115\n",
        'n,loss\n1.000.000,"3.214"\n2.000.000,\n',
    ],
)
def test_thousands_in_one_column_are_no_thousands_in_another(tmp_path: Path, table: str) -> None:
    columns = {"params.total": "n", "metrics.loss": "loss"}
    with pytest.raises(UserError, match=r"'3.214' \(row 1, column `loss`\) may be") as error:
        read(tmp_path, table, columns)
    assert "decimal" in error.value.cure
    german = read(tmp_path, table, columns, top={"decimal": ","})
    assert losses(german)[0] == 3214
    # A column that shows the mark itself, and counts, which have no fraction, are clear.
    shown = read(tmp_path, "n;loss\n10.000;3.214\n1.000;2,5\n", columns)
    assert losses(shown) == [3214, 2.5]
    assert [trial.params["total"] for trial in shown.trials] == [10_000, 1000]
    scaled = {"params.total": {"column": "n", "scale": 1e6}, "metrics.loss": "loss"}
    with pytest.raises(UserError, match=r"'1.400' \(row 1, column `n`\) may be"):
        read(tmp_path, "n;loss\n1.400;2,5\n", scaled)


@pytest.mark.parametrize(
    ("header", "cell", "scale"),
    [
        ("N (M)", "1400", "1e6"),
        ("N [B]", "7", "1e9"),
        ("params_k", "50000", "1e3"),
        ("size in millions", "14", "1e6"),
        ("N (Mio)", "14", "1e6"),
        ("N trillions", "2", "1e12"),
    ],
)
def test_a_unit_in_the_header_that_is_not_applied_is_warned_about(
    tmp_path: Path, header: str, cell: str, scale: str
) -> None:
    table = f"{header},loss\n{cell},2\n"
    columns: dict[str, Any] = {"params.total": header, "metrics.loss": "loss"}
    [warned] = read(tmp_path, table, columns).warnings
    assert warned["code"] == "implausible"
    assert f"scale: {scale}}}" in warned["text"]
    columns["params.total"] = {"column": header, "scale": scale}
    assert not any("header" in found["text"] for found in read(tmp_path, table, columns).warnings)
    columns["params.total"] = header
    assert read(tmp_path, f"{header},loss\n13.7T,2\n", columns).warnings == []


@pytest.mark.parametrize(
    ("key", "cell", "scale", "value"),
    [
        ("params.total", "13.7", "1e6", 13_700_000),
        ("params.total", "13.70", "1M", 13_700_000),
        ("params.total", "0.30000000000000004", 1e6, 300_000),
        ("tokens", "1.13", 1e9, 1_130_000_000),
        ("budget.tokens", "27.12", "1B", 27_120_000_000),
        ("model.width", "0.5", 1000, 500),
        ("optim.lr", "3", 1e-4, 3e-4),
        ("seconds", "1.5", 3600, 5400.0),
        ("metrics.recall", "95.3", 0.01, 0.953),
        ("metrics.recall", "95.3%", None, 0.953),
        ("extra.ratio", "2.5", 100, 250.0),
        ("params.total", "13.7M", None, 13_700_000),
    ],
)
def test_a_scale_gives_the_number_that_was_meant(
    tmp_path: Path, key: str, cell: str, scale: Any, value: float
) -> None:
    entry = {"column": "x", "scale": scale} if scale is not None else "x"
    published = read(tmp_path, f"x,y\n{cell},1\n", {key: entry, "metrics.other": "y"})
    [trial], [result] = published.trials, published.results
    found = {f"metrics.{name}": number for name, number in result.metrics.items()}
    found |= {"seconds": result.seconds} | trial.identity["columns"]
    assert found[key] == value
    assert type(found[key]) is type(value)


@pytest.mark.parametrize(
    "key", ["params.total", "params.active", "tokens", "budget.steps", "flops"]
)
@pytest.mark.parametrize("cell", ["13.70", "0.4", "1130.5"])
def test_a_count_that_is_not_whole_is_refused_with_the_scale(
    tmp_path: Path, key: str, cell: str
) -> None:
    columns = {key: "N (M)", "metrics.loss": "loss"}
    table = f"N (M),loss\n1,2\n{cell},3\n"
    with pytest.raises(UserError, match=r"t.csv:3: row 2, column `N \(M\)`") as error:
        read(tmp_path, table, columns)
    assert f'`{key}: {{column: "N (M)", scale: 1e6}}`' in error.value.cure
    whole = read(
        tmp_path, "N (M),loss\n1.6,2\n2.6,3\n", columns | {key: {"column": "N (M)", "round": True}}
    )
    assert [trial.identity["columns"][key] for trial in whole.trials] == [2, 3]


def test_sizes_read_off_a_figure_are_nearly_whole(tmp_path: Path) -> None:
    table = "n,d,loss\n6795600349.289497,33333333.3,2\n"
    [trial] = read(tmp_path, table, SIZES).trials
    assert (trial.params["total"], trial.tokens) == (6_795_600_349, 33_333_333)
    with pytest.raises(UserError, match=r"column `n`: '411616.256' is not a whole number"):
        read(tmp_path, "n,d,loss\n411616.256,2e9,2\n", SIZES)


def test_a_unit_is_not_applied_twice(tmp_path: Path) -> None:
    columns = SIZES | {"params.total": {"column": "n", "scale": 1e6}}
    with pytest.raises(UserError, match=r"'13.7M' has a unit already"):
        read(tmp_path, "n,d,loss\n13.7M,2e9,2\n", columns)


def test_a_duration_keeps_its_unit(tmp_path: Path) -> None:
    columns = {"params.total": "n", "metrics.loss": "loss", "seconds": "s"}
    table = "n,loss,s\n1000,2,15m\n2000,2,90\n3000,2,2h\n"
    assert [result.seconds for result in read(tmp_path, table, columns).results] == [900, 90, 7200]


@pytest.mark.parametrize(
    ("metric", "cell"),
    [
        ("recall", "50.0"),
        ("acc", "95"),
        ("em", "71.5"),
        ("accuracy_3", "-0.1"),
        ("identity_share", "1.5"),
        ("loss", "-2"),
        ("perplexity", "0.5"),
        ("tokens_per_second", "-1"),
        ("share", "1.1"),
    ],
)
def test_a_metric_out_of_its_range_is_refused(tmp_path: Path, metric: str, cell: str) -> None:
    columns = {"params.total": "n", f"metrics.{metric}": "a b"}
    with pytest.raises(UserError, match=f"t.csv:2: row 1, column `a b`: '{cell}'") as error:
        read(tmp_path, f"n,a b\n1000,{cell}\n", columns)
    assert ("scale: 0.01" in error.value.cure) == (
        metric in ("recall", "acc", "em", "accuracy_3", "identity_share", "share")
    )


def test_metrics_that_may_be_negative_come_in(tmp_path: Path) -> None:
    columns = {"params.total": "n", "metrics.bits_per_fact": "b", "metrics.share": "s"}
    [result] = read(tmp_path, "n,b,s\n1000,-3.5,-0.2\n", columns).results
    assert result.metrics == {"bits_per_fact": -3.5, "share": -0.2}


@pytest.mark.parametrize(
    ("columns", "table", "named"),
    [
        (SIZES, "n,d,loss\n14,2000000,2\n1000000,2000000,2\n", "params.total"),
        (SIZES, "n,d,loss\n1000000,3,2\n", "budget.tokens"),
        (SIZES, "n,d,loss\n1000000,3000,1e6\n", "metrics.loss"),
        ({"optim.lr": "lr", "metrics.loss": "loss"}, "lr,loss\n40,2\n", "optim.lr"),
        (SIZES | {"flops": "c"}, "n,d,loss,c\n1e6,1e9,2,6e6\n", "FLOPs"),
        ({"params.total": "n", "metrics.wer": "w"}, "n,w\n1e6,12.5\n", "metrics.wer"),
        ({"params.total": "n", "metrics.bpb": "b"}, "n,b\n1e6,90\n", "metrics.bpb"),
        (
            {"params.total": "n", "metrics.bits_per_param": "b"},
            "n,b\n1e6,200\n2e6,-1\n",
            "metrics.bits_per_param",
        ),
    ],
)
def test_numbers_that_cannot_be_are_warned_about(
    tmp_path: Path, columns: dict[str, str], table: str, named: str
) -> None:
    [warned] = read(tmp_path, table, columns).warnings
    assert warned["code"] == "implausible"
    assert named in warned["text"]
    assert "row 1" in warned["text"]


def test_ordinary_numbers_are_not_warned_about(tmp_path: Path) -> None:
    columns = SIZES | {"flops": "c", "optim.lr": "lr"}
    table = "n,d,loss,c,lr\n2612,32000,4,5e8,1e-3\n7e10,1.4e12,1.9,5.88e23,3e-4\n"
    assert read(tmp_path, table, columns).warnings == []


def test_a_filter_is_applied_before_cells_are_refused(tmp_path: Path) -> None:
    table = "n,d,loss,group\n1000,2000,high,a\n1000,3000,2.5,b\n1000,2.5,2,a\n"
    kept = read(tmp_path, table, SIZES, keep=compile_filter("extra.group == b"))
    assert losses(kept) == [2.5]
    assert kept.left_out == {"by the filter": 2}
    with pytest.raises(UserError, match=r"no row is left: 3 by the filter"):
        read(tmp_path, table, SIZES, keep=compile_filter("extra.group == c"))
    with pytest.raises(UserError, match=r"unknown name `extra.grop`"):
        read(tmp_path, table, SIZES, keep=compile_filter("extra.grop == c"))


@pytest.mark.parametrize(("key", "cell"), [("optim.lr", "-1"), ("optim.lr", "1e-400")])
def test_what_a_spec_does_not_allow_has_a_cure(tmp_path: Path, key: str, cell: str) -> None:
    with pytest.raises(UserError, match=f"row 1, column `x`: '{cell}") as error:
        read(tmp_path, f"x,loss\n{cell},2\n", {key: "x", "metrics.loss": "loss"})
    assert error.value.cure


@pytest.mark.parametrize("columns", [SIZES, SIZES | {"state": "s"}])
def test_a_filter_sees_how_a_run_ended(tmp_path: Path, columns: dict[str, str]) -> None:
    table = "n,d,loss,s\n1000,2000,2,FINISHED\n1000,3000,inf,FINISHED\n1000,4000,,FINISHED\n"
    kept = read(tmp_path, table, columns, keep=compile_filter("state == done"))
    assert (losses(kept), kept.left_out) == ([2], {"by the filter": 2})
    kept = read(tmp_path, table, columns, keep=compile_filter("state == diverged"))
    assert states(kept) == ["diverged"]
    kept = read(tmp_path, table, columns, keep=compile_filter("budget.tokens > 2500"))
    assert kept.left_out == {"by the filter": 1, "without `metrics.loss`": 1}


def test_the_state_is_translated_where_a_program_has_words_of_its_own(tmp_path: Path) -> None:
    table = "n,d,loss,s\n1000,2000,2,fertig\n1000,3000,,kaputt\n1000,4000,2,Finished\n"
    state = {"column": "s", "values": {"fertig": "done", "kaputt": "failed"}}
    assert states(read(tmp_path, table, SIZES | {"state": state})) == ["done", "failed", "done"]
    with pytest.raises(UserError, match="row 1, column `s`: 'fertig' is not a known state"):
        read(tmp_path, table, SIZES | {"state": "s"})
    state["values"] = {"fertig": "good"}
    with pytest.raises(UserError, match=r"m.json:.*'good' is not a known state"):
        read(tmp_path, table, SIZES | {"state": state})


def test_one_finite_loss_is_enough_for_a_run_that_did_not_diverge(tmp_path: Path) -> None:
    columns = {"params.total": "n", "metrics.loss": "a", "metrics.validation_loss": "b"}
    published = read(tmp_path, "n,a,b\n1000,2.5,NaN\n2000,inf,\n3000,nan,3\n", columns)
    assert states(published) == ["done", "diverged", "done"]
    assert [result.metrics for result in published.results] == [
        {"loss": 2.5},
        {},
        {"validation_loss": 3.0},
    ]


def test_none_may_be_a_word_of_the_spec(tmp_path: Path) -> None:
    columns = {"params.total": "n", "metrics.loss": "l", "optim.schedule.kind": "s"}
    table = "n,l,s\n1000,2,constant\n1000,3,None\n"
    frame = frames.published(read(tmp_path, table, columns))
    assert frame["optim.schedule.kind"].to_list() == ["constant", None]


def test_columns_that_nobody_maps_may_have_one_name(tmp_path: Path) -> None:
    table = "n,d,loss,Notes,Notes,,Notes.2,\n1000,2000,2,a,b,5,c,\n"
    [trial] = read(tmp_path, table, SIZES).trials
    assert trial.extra == {"Notes": "a", "Notes.3": "b", "unnamed": 5, "Notes.2": "c"}
    with pytest.raises(UserError, match=r"t.csv:1: has 2 columns named `loss`"):
        read(tmp_path, "n,d,loss,loss\n1000,2000,2,3\n", SIZES)


@pytest.mark.parametrize(
    ("top", "says"),
    [
        (
            {"columns": {"tokens": "d", "extra.x": "d"}},
            "`extra.x` and `tokens` are the same column",
        ),
        ({"columns": {"tokens": {"column": "d", "scale": "big"}}}, "`scale` of `tokens`: 'big'"),
        (
            {"columns": {"tokens": {"column": "d", "scale": 0}}},
            "`scale` of `tokens` is not positive",
        ),
        ({"columns": {"tokens": {"column": "d", "scal": 2}}}, "no option `scal`; did you mean"),
        ({"columns": {"tokens": {"column": "d", "round": "no"}}}, "`round` of `tokens`"),
        ({"columns": {"tokens": {"column": "d", "values": []}}}, "the `values` of `tokens`"),
        ({"columns": {"task.recall": {"column": "d", "scale": 2}}}, "`task.recall` is no number"),
        ({"columns": {"tokens": {"scale": 2}}}, "`tokens` names no column"),
        ({"decimal": ";"}, "`decimal` is not a decimal mark"),
        ({"columns": SIZES | {"extra.e": "empty"}}, "the column `empty` is blank in every row"),
        ({"columns": {"tokens": "los"}}, "has no column `los`; did you mean `loss`"),
    ],
)
def test_a_mapping_that_does_not_fit_is_a_sentence(
    tmp_path: Path, top: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        read(tmp_path, "n,d,loss,empty\n1000,2000,2,\n", SIZES, top=top)


def test_a_title_above_the_header_is_found(tmp_path: Path) -> None:
    table = "Results of May,,\nn,d,loss\n1000,2000,2\n"
    with pytest.raises(UserError, match="no column `n`; it is on line 2: delete the lines above"):
        read(tmp_path, table, SIZES)


@pytest.mark.parametrize(
    ("key", "cell", "options"),
    [
        ("metrics.loss", "3.21", {}),
        ("metrics.recall", "95.5", {}),
        ("params.total", "13.5", {}),
        ("seconds", "1.5", {}),
        ("seconds", "1:30:00", {"scale": 60}),
        ("seconds", "1.234e2", {"scale": 60}),
        ("metrics.recall", "\uff19\uff15", {}),
        ("optim.lr", "\u0663", {}),
    ],
)
def test_no_number_escapes_the_decimal_mark_and_the_scale(
    tmp_path: Path, key: str, cell: str, options: dict[str, Any]
) -> None:
    table = f"x;l\n{cell};2,5\n"
    columns = {key: {"column": "x"} | options, "metrics.other": "l"}
    with pytest.raises(UserError, match=f"row 1, column `x`: '{cell}'") as error:
        read(tmp_path, table, columns, top={"decimal": ","})
    assert error.value.cure


def test_every_suffix_is_scaled_alike(tmp_path: Path) -> None:
    published = read(tmp_path, "n,d,loss\n1000,1.5P,2\n", SIZES)
    assert published.trials[0].tokens == 1_500_000_000_000_000
    columns = SIZES | {"budget.tokens": {"column": "d", "scale": 1e3}}
    with pytest.raises(UserError, match=r"'1.5P' has a unit already"):
        read(tmp_path, "n,d,loss\n1000,1.5P,2\n", columns)


NUMBERS = st.one_of(
    st.from_regex(
        r"[+-]?[0-9]{0,5}([.,][0-9]{1,4}){0,3}(e[+-]?[0-9]{1,3})?[ ]?[kMBTGPE%]?", fullmatch=True
    ),
    st.text("0123456789.,_eE+-kMPE% \u0663\uff19\u2212", max_size=12),
)


@settings(max_examples=500, deadline=None)
@given(
    key=st.sampled_from(["params.total", "metrics.recall", "metrics.loss", "metrics.perplexity"]),
    text=NUMBERS,
    mark=st.sampled_from([".", ","]),
    scale=st.sampled_from([None, 0.01, 1000, "1e9"]),
    is_rounded=st.booleans(),
)
def test_whatever_is_read_is_whole_or_in_its_range(
    key: str, text: str, mark: Any, scale: Any, is_rounded: bool
) -> None:
    size = None if scale is None else Decimal(str(scale))
    column = Column(key, "x", parse_number, "m:1", True, size, is_rounded)
    with suppress(ValueError):
        value = column.read(text, mark)
        if key.startswith("params."):
            assert value is None or (type(value) is int and 1 <= value < 2**63)
        else:
            assert value is None or is_possible(key.removeprefix("metrics."), value)


WORDS = "nan -inf 1e400 -1 0 1,5 1,234 1.234.567 95% 13.7M 5.3min TRUE None #DIV/0! 1e-400 0x10 5."
WORDS += ' % M 1e300T 8.5 in_weight RUNNING [] 1e308 2.5 1000000 7 ; \0 \u221e \u2028 \u00b2 "'
CELLS = st.sampled_from(
    [*WORDS.split(" "), "", "\t", "a\nb", "x" * 200_000, "9" * 5000, "1e" + "9" * 99]
)
KEYS = [
    "params.total",
    "tokens",
    "budget.flops",
    "steps",
    "exposures",
    "seconds",
    "seed",
    "state",
    "optim.lr",
    "extra.a",
]
KEYS += ["task.people", "task.recall", "metrics.loss", "metrics.recall"]
OPTIONS = [{}, {"scale": 1e6}, {"scale": "1e300"}, {"round": True}, {"values": {"7": "8"}}]
MAPPED = st.tuples(st.sampled_from(KEYS), st.sampled_from("abc"), st.sampled_from(OPTIONS))


@settings(max_examples=300, deadline=5000)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=4),
    mapped=st.lists(MAPPED, min_size=1, max_size=3),
    delimiter=st.sampled_from(",;\t"),
    encoding=st.sampled_from(["utf-8", "utf-16"]),
)
def test_whatever_a_table_holds_it_is_read_or_refused_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, ...]],
    mapped: list[tuple[str, str, dict[str, Any]]],
    delimiter: str,
    encoding: str,
) -> None:
    table = "\n".join(delimiter.join(cells) for cells in [("a", "b", "c"), *rows])
    columns = {key: {"column": name} | options for key, name, options in mapped}
    folder = tmp_path_factory.getbasetemp()
    with suppress(UserError):
        published = read(folder, table.encode(encoding), columns, repeats=True)
        assert len(published.trials) == len(published.results) > 0
        assert frames.published(published).height == len(published.trials)
