"""`scalelab fit`, as people call it."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.cli.conftest import Command
from tests.fit.published import CHINCHILLA, GADRE, grid, law

from scalelab.fit.kept import restore
from scalelab.store import frames, open_store

MAPPING = "experiment: made\ncolumns: {params.total: N, budget.tokens: D, metrics.loss: L}\n"
QUICK = ("--starts", "20", "--bootstrap", "50")


@pytest.fixture
def table(tmp_path: Path) -> tuple[str, str, str, str]:
    """A table of runs and its mapping, as options."""
    frame = grid().select(N="params.total", D="budget.tokens", L="metrics.loss")
    frame.write_csv(tmp_path / "made.csv")
    (tmp_path / "made.yaml").write_text(MAPPING)
    return "--csv", "made.csv", "--mapping", "made.yaml"


def test_a_published_table_is_fitted_and_only_json_is_printed(command: Command) -> None:
    csv, mapping = map(str, CHINCHILLA)
    said = command(
        "fit",
        "chinchilla",
        "--csv",
        csv,
        "--mapping",
        mapping,
        "--filter",
        "metrics.loss < 3.44",
        "--bootstrap",
        "0",
        "--json",
    )
    assert said.code == 0
    assert said.json["law"] == "chinchilla"
    assert said.json["objective"] <= 0.0010182750
    assert said.json["record"]["source"] | {"table_sha256": ""} == {
        "table": "chinchilla_epoch_245.csv",
        "table_sha256": "",
        "mapping": "chinchilla.yaml",
        "filter": "metrics.loss < 3.44",
        "filtered_out": 5,
    }
    assert said.json["kept"] is False
    assert said.err.startswith("fitting: 500 starts")


def test_an_imported_table_gives_the_same_and_keeps_the_fit(
    command: Command, table: tuple[str, ...], tmp_path: Path
) -> None:
    direct = command("fit", "chinchilla", *table, *QUICK, "--json").json
    assert command("import", "made.csv", "--mapping", "made.yaml", "--store", "a.db").code == 0
    stored = command(
        "fit", "chinchilla", "--experiment", "made", "--store", "a.db", *QUICK, "--json"
    ).json
    assert stored["coefficients"] == direct["coefficients"]
    assert stored["kept"] is True
    with open_store(tmp_path / "a.db", mode="read") as store:
        [kept] = store.fits(["made"])
        again = restore(kept, frames.trials(store, ["made"]))
    assert again is not None
    assert json.loads(json.dumps(again.to_json())) == {
        name: value for name, value in stored.items() if name != "kept"
    }


def test_a_store_that_cannot_be_written_is_said_and_the_fit_is_printed(
    command: Command, table: tuple[str, ...], tmp_path: Path
) -> None:
    command("import", "made.csv", "--mapping", "made.yaml", "--store", "a.db")
    (tmp_path / "a.db").chmod(0o444)
    said = command("fit", "power", "--experiment", "made", "--store", "a.db", *QUICK, "--json")
    assert (said.code, said.json["kept"]) == (0, False)
    assert "the fit is not kept: a.db: is read-only" in said.err


def test_people_see_a_table_of_coefficients(command: Command, table: tuple[str, ...]) -> None:
    said = command(
        "fit", "chinchilla", *table, *QUICK, "--holdout", "largest_params", "--at", "flops=1e24"
    )
    assert said.code == 0
    for part in (
        "coefficient",
        "alpha",
        "95 % interval",
        "D/N(1e+24)",
        "of one more run",
        "24 of 24 rows",
        "hold-out largest_params",
        "warning ",
    ):
        assert part in said.out


def test_repeated_rows_are_replicates(
    command: Command, table: tuple[str, ...], tmp_path: Path
) -> None:
    lines = (tmp_path / "made.csv").read_text().splitlines()
    (tmp_path / "made.csv").write_text("\n".join([*lines, *lines[1:]]))
    rows = command("fit", "power", *table, *QUICK, "--json").json["record"]["rows"]
    assert (rows["used"], rows["configurations"]) == (48, 24)
    said = command("import", "made.csv", "--mapping", "made.yaml", "--store", "a.db")
    assert said.code == 2
    assert "row 25 is the same trial as row 1; map a column that tells them apart" in said.err


def test_columns_that_are_not_mapped_weigh_and_predict(command: Command) -> None:
    csv, mapping = map(str, GADRE)
    options = (
        "--filter",
        "extra.dataset == rpj",
        "--column",
        "N=extra.params_no_embed",
        "--weights",
        "extra.multiplier",
        "--target",
    )
    said = command(
        "fit",
        "chinchilla",
        "--csv",
        csv,
        "--mapping",
        mapping,
        *options,
        "extra.loss_openlm",
        *QUICK,
        "--json",
    )
    law = said.json["record"]["law"]
    assert (law["columns"]["N"], law["weights"], law["target"]) == (
        "extra.params_no_embed",
        "extra.multiplier",
        "extra.loss_openlm",
    )


def test_every_choice_reaches_the_record(command: Command, table: tuple[str, ...]) -> None:
    options = (
        "--tie",
        "beta=alpha",
        "--fix",
        "E=1.7",
        "--bound",
        "alpha=0.1:0.3",
        "--residual",
        "linear",
        "--loss",
        "huber:0.01",
        "--seed",
        "3",
    )
    plain = command("fit", "chinchilla", *table, *QUICK, *options, "--json").json
    law = plain["record"]["law"]
    assert (law["tied"], law["fixed"], law["bounds"]) == (
        {"beta": "alpha"},
        {"E": 1.7},
        {"alpha": [0.1, 0.3]},
    )
    assert (law["residual"], law["loss"], plain["record"]["seed"]) == ("linear", "huber:0.01", 3)
    assert "at_bound" in [warned["code"] for warned in plain["warnings"]]


def test_the_laws_are_listed_with_formula_and_source(command: Command) -> None:
    said = command("fit", "--list")
    assert "chinchilla\n  loss = E + A*N^-alpha + B*D^-beta\n" in said.out
    assert "arXiv 2203.15556" in said.out
    assert {"chinchilla", "overtraining", "capacity"} <= {
        law["name"] for law in command("fit", "--list", "--json").json["laws"]
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["chinchila"], "there is no law `chinchila`; did you mean `chinchilla`?"),
        (["power-offset"], "`power-offset` has coefficients only"),
        (
            ["chinchilla", "--column", "N=params.totl"],
            "has no column `params.totl`; did you mean `params.total`?",
        ),
        (["chinchilla", "--column", "X=params.total"], "the formula of `chinchilla` has no `X`"),
        (["chinchilla", "--bound", "A=-5:-1"], "the bounds of `A` hold no positive number"),
        (["chinchilla", "--fix", "F=1"], "`chinchilla` has no coefficient `F`"),
        (["chinchilla", "--fix", "E"], "`E` is no name=value; write it like --fix NAME=VALUE"),
        (["chinchilla", "--fix", "E=x"], "--fix: 'x' is not a number"),
        (["chinchilla", "--bound", "alpha=1"], "--bound: '1' are no bounds"),
        (["chinchilla", "--bound", "alpha=1:0"], "the bounds of `alpha` hold no number"),
        (["chinchilla", "--loss", "cauchy"], "there is no loss `cauchy`"),
        (["chinchilla", "--starts", "0"], "--starts: '0' is less than 1"),
        (
            ["chinchilla", "--starts", "none"],
            "none starts make no fit; give a number from 1 on, or `hoffmann`",
        ),
        (["chinchilla", "--filter", "params.total > 1e30"], "no row matches `params.total > 1e30`"),
        (["chinchilla", "--filter", "params.totl > 1"], "unknown name `params.totl` in the filter"),
        (["chinchilla", "--target", "metrics.recall"], "no column `metrics.recall`"),
        (["chinchilla", "--weights", "extra.w"], "no column `extra.w`"),
        (["chinchilla", "--holdout", "largest_param"], "no rollout `largest_param`"),
        (["chinchilla", "--at", "N=1e9"], "leaves out `D`"),
        (["chinchilla", "--experiment", "x"], "give --experiment NAME, or --csv FILE"),
    ],
)
def test_what_is_wrong_is_a_sentence(
    command: Command, table: tuple[str, ...], arguments: list[str], says: str
) -> None:
    said = command("fit", *table, *QUICK, *arguments, "--json")
    assert (said.code, said.out) == (2, "")
    assert says in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("", "made.csv: has no rows"),
        ("1e8,1e9,3", "there is one row"),
        ("1e8,1e9,3\n1e9,1e10,2\n1e9,1e9,2.5", "has 5 coefficients, and there are 3 rows"),
        ("1e8,1e9,3\n1e9,1e10,nan", "there is one row"),
        ("1e8,1e9,3\n1e9,1e10,high", "row 2, column `L`: 'high' is not a number"),
        ("1e8,1e9,3\n1e9,-5,2", "row 2, column `D`: '-5' is less than 1"),
        (
            "\n".join(f"{n}e8,{n * n}e9,{n - 3}" for n in range(1, 10)),
            "row 1, column `L`: '-2' is no loss",
        ),
        (
            "\n".join(f"{n}e8,{n * n}e9,{n - 1}" for n in range(1, 10)),
            "`metrics.loss` is 0 in a row, and its logarithm is taken",
        ),
        (
            "\n".join(f"1e8,{n}e9,{n}" for n in range(1, 10)),
            "every row has the same `params.total` (1e+08)",
        ),
        (
            "\n".join(f"{n}e8,1e9,{n}" for n in range(1, 10)),
            "every row has the same `budget.tokens` (1e+09)",
        ),
        (
            "\n".join(f"{n}e8,{n * n}e9,3" for n in range(1, 10)),
            "every row has the same `metrics.loss` (3)",
        ),
    ],
)
def test_a_table_that_cannot_be_fitted_is_a_sentence(
    command: Command, table: tuple[str, ...], tmp_path: Path, rows: str, says: str
) -> None:
    (tmp_path / "made.csv").write_text(f"N,D,L\n{rows}\n")
    said = command("fit", "chinchilla", *table, *QUICK, "--json")
    assert (said.code, said.out) == (2, "")
    assert says in said.err


def test_flops_beyond_64_bits_do_not_overflow(
    command: Command, table: tuple[str, ...], tmp_path: Path
) -> None:
    frame = grid().select(N="params.total", D="budget.tokens", L="metrics.loss")
    lines = [
        f"{row['N']:.0f},{row['D'] * 1e6:.0f},{row['L']}" for row in frame.iter_rows(named=True)
    ]
    (tmp_path / "made.csv").write_text("\n".join(["N,D,L", *lines]))
    said = command(
        "fit", "chinchilla", *table, *QUICK, "--filter", "flops > 1e25 and flops < 6e28", "--json"
    )
    assert 5 < said.json["record"]["rows"]["used"] < 24
    budgets = [float(name[3:-1]) for name in said.json["derived"] if name.startswith("N*(")]
    assert min(budgets) > 1e28


def test_rows_and_a_law_must_be_named(command: Command, table: tuple[str, ...]) -> None:
    for arguments, says in (
        (["fit"], "no law is named"),
        (["fit", "chinchilla"], "the rows to fit are not named"),
        (["fit", "chinchilla", "--csv", "made.csv"], "a table needs a mapping of its columns"),
        (
            ["fit", "chinchilla", "--experiment", "x", "--store", "none.db"],
            "none.db: does not exist",
        ),
    ):
        said = command(*arguments)
        assert said.code == 2
        assert says in said.err


def test_a_fit_says_what_is_left_out(
    command: Command, table: tuple[str, ...], tmp_path: Path
) -> None:
    shutil.copy(CHINCHILLA[0], tmp_path / "made.csv")
    (tmp_path / "made.yaml").write_text(CHINCHILLA[1].read_text())
    said = command("fit", "E + A*N^-alpha", *table, *QUICK, "--filter", "metrics.loss < 3")
    assert "left out by the filter" in said.out


@pytest.mark.parametrize("draws", ["0", "50"])
def test_a_law_with_every_coefficient_fixed_is_measured(
    command: Command, table: tuple[str, ...], draws: str
) -> None:
    fixed = [
        word
        for value in ("E=1.7", "A=400", "B=400", "alpha=0.34", "beta=0.28")
        for word in ("--fix", value)
    ]
    said = command("fit", "chinchilla", *table, *fixed, "--bootstrap", draws, "--json")
    assert said.code == 0
    assert said.json["objective"] > 0
    assert said.json["coefficients"]["alpha"] == {"value": 0.34, "se": None, "ci95": None}
    assert not {"not_identified", "did_not_move"} & {
        warned["code"] for warned in said.json["warnings"]
    }


PROFILES = """experiment: made
columns: {params.total: N, budget.tokens: D, budget.flops: C, metrics.loss: L}
"""


@pytest.fixture
def budgets(tmp_path: Path) -> tuple[str, ...]:
    """Five budgets of six sizes each, under Chinchilla's law, as JSON Lines."""
    rows = []
    for flops in np.geomspace(1e18, 1e20, 5):
        best = 0.6 * (flops / 6) ** 0.5 / 5
        for size in best * np.geomspace(0.3, 3, 6):
            tokens = flops / 6 / size
            rows.append({"N": size, "D": tokens, "C": flops, "L": float(law(size, tokens))})
    (tmp_path / "made.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "made.yaml").write_text(PROFILES)
    return "--csv", "made.jsonl", "--mapping", "made.yaml"


def test_isoflop_parabolas_are_a_command(command: Command, budgets: tuple[str, ...]) -> None:
    said = command("fit", "isoflop", *budgets, "--bootstrap", "200", "--json")
    assert said.code == 0
    assert len(said.json["budgets"]) == 5
    assert [budget["runs"] for budget in said.json["budgets"]] == [6] * 5
    assert said.json["params"]["exponent"]["value"] == pytest.approx(0.28 / 0.62, abs=0.05)
    total = sum(said.json[name]["exponent"]["value"] for name in ("params", "tokens"))
    assert total == pytest.approx(1, abs=0.01)
    assert said.json["record"]["rows"] == {"given": 30, "used": 30, "dropped": {}}
    assert said.json["record"]["source"]["table"] == "made.jsonl"
    shown = command("fit", "isoflop", *budgets, "--bootstrap", "0")
    assert shown.code == 0
    assert len([line for line in shown.out.splitlines() if line.endswith("yes")]) == 5


def test_isoflop_takes_what_suits_it(command: Command, budgets: tuple[str, ...]) -> None:
    for options, says in (
        (("--tie", "beta=alpha"), "have no --tie"),
        (("--at", "flops=1e24"), "have no --at"),
        (("--column", "M=params.total"), "has no `M`"),
        (("--target", "metrics.accuracy"), "metrics.accuracy"),
    ):
        said = command("fit", "isoflop", *budgets, *options)
        assert said.code == 2
        assert says in said.err


def test_weights_are_an_expression_of_columns(command: Command, tmp_path: Path) -> None:
    frame = grid().select(N="params.total", D="budget.tokens", L="metrics.loss")
    sd = np.linspace(0.1, 0.4, frame.height)
    frame.with_columns(pl.Series("sd", sd), pl.Series("w", 1 / sd**2)).write_csv(
        tmp_path / "made.csv"
    )
    (tmp_path / "made.yaml").write_text(MAPPING)
    table = ("--csv", "made.csv", "--mapping", "made.yaml", "--starts", "20", "--bootstrap", "0")
    found = [
        command("fit", "chinchilla", *table, "--weights", text, "--json").json["coefficients"]
        for text in ("extra.w", "w", "1/sd^2", "extra.sd^-2", "exp(-2*log(sd))*N/params.total")
    ]
    plain = command("fit", "chinchilla", *table, "--json").json["coefficients"]
    for other in found[1:]:
        assert other["alpha"]["value"] == pytest.approx(found[0]["alpha"]["value"], rel=1e-6)
    assert plain["alpha"]["value"] != pytest.approx(found[0]["alpha"]["value"], rel=1e-4)
    for text, says in (
        ("1/ds^2", "no column `ds`"),
        ("1/(sd - sd)", "inf in a row"),
        ("1/sd^", "no formula"),
        ("2*3", "name no column"),
        ("0 - sd", "negative"),
    ):
        said = command("fit", "chinchilla", *table, "--weights", text)
        assert said.code == 2
        assert says in said.err
