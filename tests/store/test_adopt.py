"""Published tables as trials."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store.conftest import record

from scalelab.core.errors import UserError
from scalelab.store import frames, open_store
from scalelab.store.adopt import Adopted, adopt
from scalelab.store.registering import insert_new, write_members
from scalelab.store.store import Store
from scalelab.store.table import read_published

TABLE = """\
n_people,key,emb,seed,nb_params,accuracy,note,lr
8,qa,4,0,2612,0.5,hello,1e-3
8,qatool,4,0,2612,0.9,,1e-3
8,qa,4,1,2612,0.25,x,0.01
"""
MAPPING = """\
experiment: published_grid
columns:
  task.people: n_people
  task.recall: {column: key, values: {qa: in_weight, qatool: in_tool}}
  model.width: emb
  seed: seed
  params.total: nb_params
  metrics.recall: accuracy
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path)


def write(folder: Path, table: str = TABLE, mapping: str = MAPPING) -> tuple[Path, Path]:
    paths = folder / "grid.csv", folder / "grid.yaml"
    for path, text in zip(paths, (table, mapping), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def test_rows_are_trials_with_results(store: Store, files: tuple[Path, Path]) -> None:
    assert adopt(store, read_published(*files)) == Adopted(3, 0, 0)
    frame = frames.trials(store, ["published_grid"])
    assert frame["state"].to_list() == ["done"] * 3
    assert frame["origin"].to_list() == ["imported"] * 3
    assert frame["task.recall"].to_list() == ["in_weight", "in_tool", "in_weight"]
    assert frame.select("task.people", "model.width", "params.total", "seed", "replicate").row(
        2
    ) == (8, 4, 2612, 1, 1)
    assert frame["metrics.recall"].to_list() == [0.5, 0.9, 0.25]
    assert frame.select("steps", "tokens", "flops").row(0) == (None, None, None)


def test_columns_that_are_not_named_are_kept(store: Store, files: tuple[Path, Path]) -> None:
    adopt(store, read_published(*files))
    frame = frames.trials(store)
    assert frame["extra.note"].to_list() == ["hello", None, "x"]
    assert frame["extra.lr"].to_list() == [1e-3, 1e-3, 0.01]


def test_a_second_import_changes_nothing_but_news(store: Store, files: tuple[Path, Path]) -> None:
    adopt(store, read_published(*files))
    before = frames.trials(store)
    adopt(store, read_published(*files))
    assert frames.trials(store).equals(before)
    files[0].write_text(TABLE.replace("0.25", "0.75"))
    adopt(store, read_published(*files))
    assert frames.trials(store)["metrics.recall"].to_list() == [0.5, 0.9, 0.75]


def test_digests_do_not_depend_on_order_or_results(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    lines, (first, *columns) = TABLE.splitlines(), MAPPING.splitlines()[2:]
    (tmp_path / "b").mkdir()
    turned = "\n".join([lines[0], *reversed(lines[1:])]).replace("0.9", "0.1")
    other = write(
        tmp_path / "b",
        turned,
        "\n".join(["experiment: published_grid", "columns:", *columns, first]),
    )
    assert [trial.digest for trial in read_published(*other).trials] == [
        trial.digest for trial in read_published(*files).trials
    ][::-1]


def test_lengths_and_sizes_have_columns_too(tmp_path: Path) -> None:
    mapping = (
        "experiment: e\ncolumns: {params.total: N, tokens: D, flops: C, budget.exposures: x,"
        " seconds: s, metrics.loss: l}"
    )
    published = read_published(
        *write(tmp_path, "N,D,C,x,s,l\n6795600349.29,2e10,9.99e18,400,12.5,1e-3\n", mapping)
    )
    [trial], [result] = published.trials, published.results
    assert (trial.params, trial.tokens, trial.flops, trial.exposures, trial.steps) == (
        {"total": 6_795_600_349},
        2 * 10**10,
        9_990_000_000_000_000_000,
        400,
        0,
    )
    assert (result.metrics, result.seconds) == ({"loss": 1e-3}, 12.5)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (
            TABLE.replace("2612,0.5", "2612,high"),
            "grid.csv:2: row 1, column `accuracy`: 'high' is not a number",
        ),
        (
            TABLE.replace("8,qa,4,1", "8,qa,four,1"),
            "grid.csv:4: row 3, column `emb`: 'four' is not a number",
        ),
        (
            TABLE.replace("8,qatool", "8.5,qatool"),
            "grid.csv:3: row 2, column `n_people`: '8.5' is not a whole number",
        ),
        (
            TABLE.replace("qatool", "rag"),
            (
                "grid.csv:3: row 2, column `key`: 'rag' is not among the mapping's values; known"
                " are 'qa', 'qatool'"
            ),
        ),
        (
            TABLE.replace("4,1,2612", "4,-1,2612"),
            "grid.csv:4: row 3, column `seed`: '-1' is less than 0",
        ),
        (
            TABLE.replace("4,1,2612", "4,0,2612"),
            "grid.csv:4: row 3 is the same trial as row 1; map a column that tells them apart",
        ),
        (
            TABLE.replace(",hello,1e-3", ""),
            "grid.csv:2: row 1 has 6 cells, and there are 8 columns",
        ),
        (TABLE.replace("note", "emb"), "grid.csv:1: has 2 columns named `emb`"),
        (TABLE.splitlines()[0], "grid.csv: has no rows"),
        ("", "grid.csv: has no rows"),
        (TABLE + '8,"qa', "grid.csv:5: is not CSV: the file ends within quotes"),
        (TABLE.replace("hello", "\0"), "grid.csv:2: is not text: there is a NUL byte"),
    ],
)
def test_a_table_that_does_not_fit_is_a_sentence_and_nothing_is_imported(
    tmp_path: Path, table: str, says: str
) -> None:
    with open_store(tmp_path / "a.db", mode="write") as store:
        with pytest.raises(UserError, match=says):
            adopt(store, read_published(*write(tmp_path, table)))
        assert store.experiments() == []


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        ("experiment: x", "grid.yaml:1: `columns` maps spec paths to columns of the table"),
        ("expriment: x", "grid.yaml:1: unknown key `expriment`; did you mean `experiment`"),
        (
            "experiment: no spaces\ncolumns: {seed: seed}",
            "grid.yaml:1: `experiment` is not the name of an experiment",
        ),
        ("columns: {seed: seed}", "grid.yaml:1: `experiment` is not the name"),
        (
            "experiment: x\ncolumns:\n  task.peple: n_people",
            "grid.yaml:3: `task.peple` is no path of a trial; did you mean `task.people`",
        ),
        (
            "experiment: x\ncolumns: {frobnicate: emb}",
            "`frobnicate` is no path of a trial; name a spec path, params.*",
        ),
        ("experiment: x\ncolumns: {model: emb}", "`model` has fields of its own"),
        (
            "experiment: x\ncolumns:\n  seed: seed\n  model.width: emc",
            "grid.yaml:4: the table .* no column `emc`; did you mean `emb`",
        ),
        ("experiment: x\ncolumns: {model.width: [emb]}", "`model.width` names no column"),
        (
            "experiment: x\ncolumns:\n  task.recall: {column: key, values: {qa: rag}}",
            "grid.yaml:3: `task.recall`: 'rag': input should be",
        ),
        ("", "grid.yaml: is empty"),
        ("a: [", "grid.yaml:1: is not YAML"),
    ],
)
def test_a_mapping_that_does_not_fit_is_a_sentence(tmp_path: Path, mapping: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_published(*write(tmp_path, TABLE, mapping))


def test_a_table_is_not_mixed_into_an_experiment_that_was_run(
    store: Store, files: tuple[Path, Path]
) -> None:
    store.register("published_grid", {"name": "published_grid"}, [record(1)])
    with pytest.raises(UserError, match="`published_grid` was run here"):
        adopt(store, read_published(*files))
    assert [found.states for found in store.experiments()] == [{"missing": 1}]


def test_a_spec_is_not_run_into_an_imported_table(store: Store, files: tuple[Path, Path]) -> None:
    adopt(store, read_published(*files))
    with pytest.raises(
        UserError, match=r"`published_grid` is an imported table, .*; give the spec another `name`"
    ):
        store.register("published_grid", {"name": "published_grid"}, [record(1)])
    [found] = store.experiments()
    assert (found.states, "imported" in found.spec) == ({"done": 3}, True)


def test_a_missing_table_is_a_sentence(tmp_path: Path, files: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=r"gird.csv: does not exist"):
        read_published(tmp_path / "gird.csv", files[1])
    files[0].unlink()
    files[0].mkdir()
    with pytest.raises(UserError, match=r"grid.csv: cannot be read"):
        read_published(*files)


CELLS = st.tuples(
    st.integers(1, 10**6),
    st.sampled_from(["qa", "qatool"]),
    st.integers(1, 512),
    st.integers(0, 2**62 - 1),
)


@settings(max_examples=30)
@given(rows=st.lists(CELLS, min_size=1, max_size=20, unique=True), values=st.data())
def test_every_value_of_a_table_comes_through(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[object]], values: st.DataObject
) -> None:
    recalls = values.draw(st.lists(st.floats(0, 1), min_size=len(rows), max_size=len(rows)))
    header, *_ = TABLE.splitlines()
    lines = [
        ",".join(map(str, (*row, 7, recall, "n", 1)))
        for row, recall in zip(rows, recalls, strict=True)
    ]
    published = read_published(
        *write(tmp_path_factory.mktemp("table"), "\n".join([header, *lines]), MAPPING)
    )
    names = {"in_weight": "qa", "in_tool": "qatool"}
    read = [
        (
            t.trial["task"]["people"],
            names[t.trial["task"]["recall"]],
            t.trial["model"]["width"],
            t.seed,
        )
        for t in published.trials
    ]
    assert read == rows
    assert [result.metrics["recall"] for result in published.results] == recalls


def test_columns_without_a_path_tell_trials_apart_as_extra(tmp_path: Path, store: Store) -> None:
    table = "n,corpus,step,loss,note\n8,c4,1,2.5,a\n8,rpj,1,2.25,b\n8,rpj,2,2.0,c\n"
    mapping = (
        "experiment: e\ncolumns: {params.total: n, extra.dataset: corpus, extra.step: step,"
        " metrics.loss: loss}"
    )
    assert adopt(store, read_published(*write(tmp_path, table, mapping))).new == 3
    frame = frames.trials(store, ["e"])
    assert frame["extra.dataset"].to_list() == ["c4", "rpj", "rpj"]
    assert frame["extra.step"].to_list() == [1, 1, 2]
    assert frame["extra.note"].to_list() == ["a", "b", "c"]
    assert frame["configuration"].n_unique() == 3


def test_budgets_may_be_fractions_and_larger_than_64_bits(tmp_path: Path, store: Store) -> None:
    table = "n,c,d,l\n8,1.25e40,2.5e9,2.5\n9,1e18,33333333.3,2.25\n"
    mapping = (
        "experiment: e\ncolumns: {params.total: n, budget.flops: c, budget.tokens: d,"
        " metrics.loss: l}"
    )
    adopt(store, read_published(*write(tmp_path, table, mapping)))
    frame = frames.trials(store, ["e"])
    assert frame["budget.flops"].to_list() == frame["flops"].to_list() == [1.25e40, 1e18]
    assert frame["tokens"].to_list() == [2_500_000_000, 33_333_333]


def test_equal_rows_are_replicates_where_they_may_be(tmp_path: Path) -> None:
    files = write(tmp_path, TABLE.replace("4,1,2612", "4,0,2612"))
    published = read_published(*files, repeats=True)
    assert len({trial.digest for trial in published.trials}) == 3
    assert [trial.replicate for trial in published.trials] == [0, 0, 1]
    frame = frames.published(published)
    assert (
        frame["configuration"][0] == frame["configuration"][2],
        frame["configuration"].n_unique(),
    ) == (True, 2)


def test_a_table_is_the_same_before_and_after_it_is_imported(
    store: Store, files: tuple[Path, Path]
) -> None:
    adopt(store, read_published(*files))
    assert frames.published(read_published(*files)).equals(frames.trials(store))


def test_an_experiment_is_what_its_table_says_now(store: Store, tmp_path: Path) -> None:
    adopt(store, read_published(*write(tmp_path)))
    gone = frames.trials(store)["digest"][2]
    lines = TABLE.replace("hello", "mended").replace("0.5", "0.75").splitlines()
    mended = "\n".join([lines[0], "16,qa,4,0,2612,1,,1e-3", *lines[1:3]])
    assert adopt(store, read_published(*write(tmp_path, mended))) == Adopted(1, 2, 1, changed=1)
    frame = frames.trials(store, ["published_grid"])
    assert frame["task.people"].to_list() == [16, 8, 8]
    assert frame["metrics.recall"].to_list() == [1, 0.75, 0.9]
    assert frame["extra.note"].to_list() == [None, "mended", None]
    assert frame.equals(frames.published(read_published(*write(tmp_path, mended))))
    stays = store.trial(gone)
    assert (stays.result.metrics, stays.experiments) == ({"recall": 0.25}, [])
    assert adopt(store, read_published(*write(tmp_path))) == Adopted(1, 2, 1, changed=1)
    assert frames.trials(store)["metrics.recall"].to_list() == [0.5, 0.9, 0.25]


def test_a_second_table_may_be_added(store: Store, tmp_path: Path) -> None:
    header, *lines = TABLE.splitlines()
    adopt(store, read_published(*write(tmp_path)))
    other = "\n".join([header, "16,qa,4,0,2612,1,,1e-3", lines[0].replace("0.5", "0.75")])
    (tmp_path / "grid.csv").rename(tmp_path / "first.csv")
    added = adopt(store, read_published(*write(tmp_path, other)), add=True)
    assert added == Adopted(new=1, kept=1, left=0, changed=1)
    frame = frames.trials(store)
    assert frame["task.people"].to_list() == [8, 8, 8, 16]
    assert frame["metrics.recall"].to_list() == [0.75, 0.9, 0.25, 1]
    assert adopt(store, read_published(*write(tmp_path, other)), add=True) == Adopted(0, 2, 0)
    assert adopt(store, read_published(*write(tmp_path, other))) == Adopted(0, 2, 2)


def test_seeds_of_an_added_table_are_further_replicates(store: Store, tmp_path: Path) -> None:
    head = TABLE.splitlines()[0]
    adopt(store, read_published(*write(tmp_path)))
    rows = ["8,qa,4,2,2612,0.75,,1e-3", "8,qa,4,1,2612,0.25,x,0.01", "8,qatool,4,3,2612,0.9,,1e-3"]
    added = read_published(*write(tmp_path, "\n".join([head, *rows])))
    assert adopt(store, added, add=True) == Adopted(new=2, kept=1, left=0)
    frame = frames.trials(store, ["published_grid"]).select("task.recall", "seed", "replicate")
    assert sorted(frame.rows()) == [
        ("in_tool", 0, 0),
        ("in_tool", 3, 1),
        ("in_weight", 0, 0),
        ("in_weight", 1, 1),
        ("in_weight", 2, 2),
    ]


def test_an_added_table_is_written_down_beside_the_first(store: Store, tmp_path: Path) -> None:
    adopt(store, read_published(*write(tmp_path)))
    (tmp_path / "more.csv").write_text(TABLE.replace("\n8,", "\n9,"))
    published = read_published(tmp_path / "more.csv", tmp_path / "grid.yaml")
    for _ in range(2):
        adopt(store, published, add=True)
        [found] = store.experiments()
        assert found.spec["imported"]["table"] == "more.csv"
        assert [other["table"] for other in found.spec["others"]] == ["grid.csv"]


def test_an_import_removes_no_trial_that_was_run_here(
    store: Store, files: tuple[Path, Path]
) -> None:
    """A merge brings the trials of another store into an experiment of the same name."""
    adopt(store, read_published(*files))
    ran = record(1)
    with store.database.writing() as connection:
        ids = insert_new(connection, [ran])
        write_members(store.database, connection, "published_grid", [ran], ids, begin=3)
    files[0].write_text("\n".join(TABLE.splitlines()[:2]))
    assert adopt(store, read_published(*files)) == Adopted(new=0, kept=1, left=2)
    assert ran.digest in frames.trials(store, ["published_grid"])["digest"].to_list()


def test_rows_without_a_result_are_the_same_before_and_after_they_are_imported(
    store: Store, tmp_path: Path
) -> None:
    table = "w,lr,loss,state\n8,,2.5,finished\n16,0.1,,failed\n32,0.2,NaN,finished\n64,,,running\n"
    mapping = (
        "experiment: e\ncolumns: {model.width: w, optim.lr: lr, metrics.loss: loss, state: state}"
    )
    published = read_published(*write(tmp_path, table, mapping))
    adopt(store, published)
    frame = frames.trials(store)
    assert frame["state"].to_list() == ["done", "failed", "diverged"]
    assert frame["optim.lr"].to_list() == [None, 0.1, 0.2]
    assert frame["metrics.loss"].to_list() == [2.5, None, None]
    assert frames.published(published).equals(frame)
