"""`scalelab import` of tables, and what `fit --csv` says of the same ones."""

import json
import sqlite3
from pathlib import Path
from zipfile import ZipFile

import pytest
from tests.cli.conftest import Command

from scalelab.store import open_store

MAPPING = """\
experiment: e
columns:
  params.total: n
  budget.tokens: d
  metrics.loss: loss
  state: state
"""
ROWS = [f"{n}000000,{n * n}000000000,{2 + 1 / n},finished" for n in range(1, 9)]
TABLE = "\n".join(["n,d,loss,state", *ROWS, "9000000,1,,running", "9000000,2000000,,crashed"])
IMPORT = ("import", "t.csv", "--mapping", "m.yaml", "--store", "a.db")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "m.yaml").write_text(MAPPING)
    (tmp_path / "t.csv").write_text(TABLE)
    return tmp_path / "t.csv"


def test_an_import_says_what_came_and_what_was_left_out(command: Command, table: Path) -> None:
    said = command(*IMPORT)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        "9 trials of t.csv are in a.db: 9 new, 0 kept; 1 failed",
        "rows left out: 1 running",
    ]
    table.write_text("\n".join([*TABLE.splitlines()[:6], "4000,3000,2.5,finished"]))
    again = command(*IMPORT, "--json")
    assert again.json == {
        "imported": 6,
        "new": 1,
        "kept": 5,
        "left": 4,
        "changed": 0,
        "states": {"done": 6},
        "left_out": {},
        "warnings": [],
        "store": "a.db",
    }
    assert command("status", "--store", "a.db", "--json").json["experiments"][0]["trials"] == 6


def test_a_second_table_is_added(command: Command, table: Path) -> None:
    command(*IMPORT)
    table.write_text("n,d,loss,state\n4000,3000,2.5,finished\n")
    added = command(*IMPORT, "--add", "--json").json
    assert (added["imported"], added["new"], added["kept"], added["left"]) == (1, 1, 0, 0)
    with open_store("a.db", mode="read") as store:
        assert store.experiments()[0].states == {"done": 9, "failed": 1}


def test_an_added_row_that_is_there_already_replaces_its_result(
    command: Command, table: Path
) -> None:
    command(*IMPORT)
    table.write_text("n,d,loss,state\n4000,3000,2.5,finished\n8000000,64000000000,1.5,finished\n")
    assert command(*IMPORT, "--add").out.splitlines() == [
        "2 trials of t.csv are in a.db: 1 new, 1 kept (1 of them with another result, which"
        " replaces the old)"
    ]
    trials = command("ls", "--store", "a.db", "--json").json["trials"]
    assert [one["metrics"]["loss"] for one in trials if one["params"]["total"] == 8e6] == [1.5]
    assert command(*IMPORT, "--add", "--json").json["changed"] == 0


def test_rows_are_imported_by_a_filter(command: Command, table: Path) -> None:
    table.write_text(TABLE.replace("2.5,finished", "high,finished"))
    assert command(*IMPORT).code == 2
    said = command(*IMPORT, "--filter", "state == done and params.total > 2e6", "--json").json
    assert (said["imported"], said["left_out"]) == (6, {"by the filter": 4})


def test_columns_that_nobody_maps_can_be_asked_for(command: Command, table: Path) -> None:
    table.write_text("n,d,loss,state,note,empty\n1000,1M,3,ok,a,\n2000,1M,2.5,ok,b,\n")
    command(*IMPORT)
    for filter_, count in (("extra.note == b", 1), ("extra.empty == null", 2)):
        shown = command("ls", "--filter", filter_, "--store", "a.db", "--json").json["trials"]
        assert len(shown) == count
    assert shown[0]["extra"] == {"note": "a", "empty": None}
    assert command("ls", "--filter", "extra.nope == 1", "--store", "a.db").code == 2


def test_a_bundle_is_imported_whole_or_not_at_all(command: Command, table: Path) -> None:
    command(*IMPORT)
    command("export", "--format", "bundle", "--out", "b.zip", "--store", "a.db")
    whole = Path("b.zip").read_bytes()
    Path("b.zip").write_bytes(whole[: len(whole) // 2])
    said = command("import", "b.zip", "--store", "new.db")
    assert (said.code, Path("new.db").exists()) == (2, False)
    assert said.err.startswith("error: b.zip: is a damaged zip archive; ")
    with ZipFile("b.zip", "w") as older:
        for name in ("trials.csv", "metrics.csv", "environments.json"):
            older.writestr(name, "")
    said = command("import", "b.zip", "--store", "new.db")
    assert (said.code, Path("new.db").exists()) == (2, False)
    assert "older scalelab" in said.err
    Path("b.zip").write_bytes(whole)
    said = command("import", "b.zip", "--store", "new.db", "--json")
    assert said.json == {
        "imported": 9,
        "differing": 0,
        "differing_trials": [],
        "outside": 0,
        "store": "new.db",
    }
    rows = [command("ls", "--store", store, "--json").json for store in ("a.db", "new.db")]
    assert rows[0] == rows[1]


def test_a_bundle_is_checked_before_a_store_is_made(command: Command, table: Path) -> None:
    command(*IMPORT)
    with sqlite3.connect("a.db") as connection:
        connection.execute("UPDATE trials SET metrics = '[1,2' WHERE id = 3")
    connection.close()
    with ZipFile("b.zip", "w") as bundle:
        bundle.write("a.db", "store.db")
    for source in ("a.db", "b.zip"):
        said = command("import", source, "--store", "new.db")
        assert (said.code, said.out, Path("new.db").exists()) == (2, "", False)
        assert said.err.startswith(f"error: {source}: `trials.metrics` is '[1,2', which is no ")
    with sqlite3.connect("a.db") as connection:
        connection.execute("UPDATE trials SET metrics = '{}'")
        connection.execute("PRAGMA foreign_keys=OFF")
        for table_, column in (("experiments", "name"), ("memberships", "experiment")):
            connection.execute(f"UPDATE {table_} SET {column} = '../../evil'")
    connection.close()
    said = command("export", "--format", "bundle", "--out", "c.zip", "--store", "a.db")
    assert (said.code, Path("c.zip").exists()) == (2, False)
    assert "a.db: `experiments.name` is '../../evil'" in said.err


def test_a_merge_says_which_results_stay(command: Command, table: Path) -> None:
    command(*IMPORT)
    table.write_text(TABLE.replace("2.5,finished", "2.75,finished"))
    command(*IMPORT[:-1], "b.db")
    assert command("import", "b.db", "--store", "a.db").out.splitlines()[1].startswith("1 trial")
    said = command("import", "b.db", "--store", "a.db", "--json").json
    assert (said["imported"], said["differing"], len(said["differing_trials"])) == (0, 1, 1)


def test_warnings_are_on_stderr_and_in_the_json(command: Command, table: Path) -> None:
    table.write_text(TABLE.replace("8000000,", "8,"))
    said = command(*IMPORT, "--json")
    assert [warned["code"] for warned in said.json["warnings"]] == ["implausible"]
    assert said.err.startswith("warning implausible: `params.total` is 8 in row 8")
    fitted = command(
        "fit", "power", "--csv", "t.csv", "--mapping", "m.yaml", "--bootstrap", "0", "--json"
    )
    assert fitted.json["warnings"][0] == said.json["warnings"][0]
    assert fitted.json["record"]["source"]["left_out"] == {"running": 1}
    assert fitted.json["record"]["rows"]["dropped"] == {"failed": 1}
    assert "rows left out: 1 running" in fitted.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("x" * 300,), "is too long"),
        (("none.csv", "--mapping", "m.yaml"), "none.csv: does not exist"),
        (("t.csv", "--mapping", "x" * 300), "is too long"),
        (("t.csv",), "t.csv: a table needs a mapping of its columns"),
        (("t.txt",), "t.txt: a table needs a mapping of its columns"),
        (("t.json",), "t.json: is JSON"),
        (("t.json", "--mapping", "m.yaml"), "t.json: is JSON"),
        (("other.db",), "other.db"),
        (("other.db", "--mapping", "m.yaml"), "other.db: is an SQLite database"),
        (("t.csv", "--mapping", "t.csv"), "t.csv"),
        ((".", "--mapping", "m.yaml"), "cannot be read"),
        ((".",), "cannot be read: it is no regular file"),
        (("a.db", "--add"), "--add is for tables"),
        (("a.db", "--filter", "state == done"), "--filter is for tables"),
        (("t.csv", "--mapping", "m.yaml", "--filter", "state ="), "is no filter"),
        (("t.csv", "--mapping", "m.yaml", "--filter", "sate == done"), "did you mean `state`"),
    ],
)
def test_what_cannot_be_imported_is_a_sentence_and_writes_nothing(
    command: Command, table: Path, arguments: tuple[str, ...], says: str
) -> None:
    folder = table.parent
    (folder / "t.txt").write_text(TABLE)
    (folder / "t.json").write_text(json.dumps({"n": [1, 2]}))
    (folder / "a.db").touch()
    with sqlite3.connect(folder / "other.db") as connection:
        connection.execute("CREATE TABLE runs (id INTEGER)")
    connection.close()
    said = command("import", *arguments, "--store", "new.db")
    assert (said.code, said.out) == (2, "")
    assert says in said.err
    assert said.err.count("\n") == 1
    assert "--store" not in said.err
    assert not (folder / "new.db").exists()


def test_a_misspelt_metric_is_named_unless_it_is_meant(command: Command, table: Path) -> None:
    mapping = table.parent / "m.yaml"
    mapping.write_text(MAPPING.replace("metrics.loss", "metrics.losss"))
    fit = ("fit", "power", "--csv", "t.csv", "--mapping", "m.yaml")
    for arguments in (IMPORT, fit):
        said = command(*arguments)
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith("error: m.yaml:5: `metrics.losss` is no known metric; did you")
        assert "`metrics.loss`" in said.err
    mapping.write_text(MAPPING.replace("s.loss: loss", "s.losss: {column: loss, own: true}"))
    assert command(*IMPORT).code == 0
    assert command("ls", "--store", "a.db", "--json").json["trials"][0]["metrics"] == {"losss": 3.0}
    mapping.write_text(MAPPING.replace("state: state", "state: {column: state, own: true}"))
    assert "m.yaml:6: the `own` of `state` marks no metric" in command(*IMPORT).err


def test_a_store_of_percents_is_not_fitted_or_drawn_without_a_word(
    command: Command, table: Path
) -> None:
    """Stores of earlier versions may hold them: ranges were not checked at import."""
    mapping = (
        "experiment: e\ncolumns: {task.people: p, task.recall: k, params.total: n,"
        " metrics.recall: r}\n"
    )
    rows = [f"{p},in_weight,{n},{min(1, n / p / 500)}" for p in (8, 16, 32) for n in (1e3, 4e3)]
    (table.parent / "m.yaml").write_text(mapping)
    table.write_text("\n".join(["p,k,n,r", *rows]))
    assert command(*IMPORT).code == 0
    with sqlite3.connect(table.parent / "a.db") as connection:
        connection.execute("UPDATE trials SET metrics = '{\"recall\":50.0}' WHERE id = 2")
    connection.close()
    options = ("--experiment", "e", "--store", "a.db")
    fit = command("fit", "power", *options, "--target", "metrics.recall", "--bootstrap", "0")
    drawn = command("report", "--fig", "1", *options, "--out", "rep")
    for said in (fit, drawn):
        assert said.code == 2
        assert "`metrics.recall` is 50 in " in said.err
        assert "scale: 0.01" in said.err
    with sqlite3.connect(table.parent / "a.db") as connection:
        connection.execute("UPDATE trials SET origin = 'run'")
    connection.close()
    fit = command("fit", "power", *options, "--target", "metrics.recall", "--bootstrap", "0")
    drawn = command("report", "--fig", "1", *options, "--out", "rep")
    for said in (fit, drawn):
        assert said.code == 2
        assert "--filter 'metrics.recall <= 1'" in said.err
        assert "mapping" not in said.err
    assert not (table.parent / "rep").exists()
    kept = ("--filter", "metrics.recall <= 1")
    assert command("report", "--fig", "1", *options, *kept, "--out", "rep").code == 0


def test_what_a_table_does_not_say_is_unknown_and_can_be_asked_for(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "sizes.csv").write_text("N,loss\n1000000,3.2\n,3.1\n")
    (tmp_path / "sizes.yaml").write_text(
        "experiment: sizes\ncolumns: {params.total: N, metrics.loss: loss}\n"
    )
    command("import", "sizes.csv", "--mapping", "sizes.yaml", "--store", "x.db")
    trials = command("ls", "--store", "x.db", "--json").json["trials"]
    assert {trial["flops"] for trial in trials} == {None}
    assert {trial["params"].get("total") for trial in trials} == {1_000_000, None}
    large = command("ls", "--store", "x.db", "--filter", "params.total >= 1M", "--json").json
    assert len(large["trials"]) == 1
    none = command("ls", "--store", "x.db", "--filter", "flops < 1k", "--json").json
    assert none["trials"] == []


def test_an_imported_trial_has_no_model_to_sample_from(command: Command) -> None:
    Path("table.csv").write_text("N,D,L\n1e6,1e8,3.1\n2e6,2e8,2.9\n")
    Path("mapping.yaml").write_text(
        "experiment: mine\ncolumns: {params.total: N, tokens: D, metrics.loss: L}\n"
    )
    made = command("import", "table.csv", "--mapping", "mapping.yaml", "--json")
    assert made.code == 0, made.err
    digest = command("ls", "--json").json["trials"][0]["digest"]
    for wanted in (
        [digest],
        ["--best-and-worst", "mine", "--metric", "loss"],
        ["--best-and-worst", "mine"],
    ):
        said = command("generate", *wanted)
        assert (said.code, said.out) == (2, "")
        assert "imported" in said.err
