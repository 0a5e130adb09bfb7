"""`scalelab report`, as people call it."""

import json
import shutil
from pathlib import Path

import pytest
from tests.cli.conftest import Command
from tests.fit.published import CHINCHILLA

from scalelab.core.errors import UserError
from scalelab.report.figures.recall_map.figure import RecallMap

STORE = ("--store", "runs.db")
SIZES = (1000, 2000, 4000, 8000)
MAPPING = """\
experiment: facts_vs_params
columns: {task.people: n, task.recall: key, params.total: size, metrics.recall: acc}
"""


@pytest.fixture
def scalelab(command: Command) -> Command:
    """The command, beside a store of published runs."""
    csv, mapping = map(str, CHINCHILLA)
    assert command("import", csv, "--mapping", mapping, *STORE).code == 0
    return command


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fig", "7"], "takes no --fig; leave it out"),
        (["--experiment", "chinchilla"], "takes no --experiment; leave it out"),
        (["--filter", "metrics.loss < 3.44"], "takes no --filter; leave it out"),
        (["--filter", ""], "takes no --filter; leave it out"),
        (["--metric", "loss"], "takes no --metric; leave it out"),
        (["--x", "flops"], "takes no --x; leave it out"),
        (["--format", "png"], "takes no --format; leave it out"),
        (["--fig", "7", "--x", "flops"], "takes no --fig and no --x; leave them out"),
    ],
)
def test_check_refuses_what_it_would_not_heed(
    command: Command, options: list[str], words: str
) -> None:
    said = command("report", "--check", *options, *STORE)
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert said.err.count("\n") == 1


def test_check_of_a_folder_without_figures_is_an_error(scalelab: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in ("none", "empty"):
        said = scalelab("report", "--check", "--out", folder, *STORE)
        assert (said.code, said.out) == (2, "")
        assert f"no figure lies in {folder}; draw one with `scalelab report`" in said.err


def test_a_file_in_the_way_is_named_before_anything_is_read(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for out in ("file", "file/below"):
        said = command("report", "--out", out, "--store", "none.db")
        assert (said.code, said.err.startswith("error: file: is no folder; ")) == (2, True)


def test_a_filtered_figure_says_so_and_is_up_to_date(scalelab: Command, tmp_path: Path) -> None:
    drawn = scalelab("report", "--fig", "5", "--filter", "metrics.loss < 3.44", *STORE, "--json")
    assert drawn.code == 0, drawn.err
    page = (tmp_path / "reports" / "fig-5.html").read_text(encoding="utf-8")
    assert "Only rows that match <code>metrics.loss &lt; 3.44</code>: 240 of 245 rows." in page
    assert "Fitted here with 1,000 draws." in page
    said = scalelab("report", "--check", *STORE, "--json")
    assert (said.code, said.json) == (0, {"stale": []})
    changed = tmp_path / "reports" / "fig-5.json"
    changed.write_text(
        json.dumps(json.loads(changed.read_text(encoding="utf-8")) | {"rows": ""}), encoding="utf-8"
    )
    said = scalelab("report", "--check", "--format", "html", *STORE)
    assert (said.code, said.out) == (1, "out of date: fig-5\n")
    shutil.rmtree(tmp_path / "reports")
    assert scalelab("report", "--check", *STORE).code == 2


def test_a_fit_of_other_rows_in_the_store_is_named_on_the_page(
    scalelab: Command, tmp_path: Path
) -> None:
    by = ("--filter", "metrics.loss < 3.44")
    fitted = scalelab(
        "fit",
        "chinchilla",
        "--experiment",
        "chinchilla",
        *by,
        "--starts",
        "20",
        "--bootstrap",
        "50",
        *STORE,
        "--json",
    )
    assert fitted.json["kept"] is True
    assert scalelab("report", "--fig", "4", *by, *STORE).code == 0
    page = (tmp_path / "reports" / "fig-4.html").read_text(encoding="utf-8")
    assert "The fit kept in the store." in page
    assert scalelab("report", "--fig", "4", *STORE).code == 0
    page = (tmp_path / "reports" / "fig-4.html").read_text(encoding="utf-8")
    assert "Fitted here with 1,000 draws." in page
    assert (
        "The store keeps a fit of 240 other rows (filter <code>metrics.loss &lt; 3.44</code>): draw"
        " it with" in page
    )
    assert "<code>--filter &#x27;metrics.loss &lt; 3.44&#x27;</code>" in page


@pytest.mark.parametrize(
    ("error", "code"), [(ZeroDivisionError("division"), 70), (UserError("not these"), 2)]
)
def test_a_figure_that_fails_is_named_and_decides_the_exit_code(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: Exception,
    code: int,
) -> None:
    def draw(*_: object) -> None:
        raise error

    lines = [
        f"{people},in_weight,{size},{int(size > 200 * people)}"
        for people in (8, 32)
        for size in SIZES
    ]
    (tmp_path / "runs.csv").write_text("\n".join(["n,key,size,acc", *lines]), encoding="utf-8")
    (tmp_path / "map.yaml").write_text(MAPPING, encoding="utf-8")
    assert command("import", "runs.csv", "--mapping", "map.yaml", *STORE).code == 0
    monkeypatch.setattr(RecallMap, "draw", draw)
    said = command("report", *STORE, "--json")
    assert said.code == code
    assert [one["figure"] for one in said.json["figures"]] == ["facts_vs_params"]
    assert [one["figure"] for one in said.json["failed"]] == ["recall_map"]
    assert "figure 2 (recall_map)" in said.err
    assert str(error) in said.err
    assert said.err.count("\n") == 1
    assert command("--debug", "report", *STORE).err.count("Traceback") == 1
