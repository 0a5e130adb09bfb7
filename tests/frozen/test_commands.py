"""What every command answers on the frozen store: JSON, exit codes, flags, and the columns of
exported tables.
"""

import csv
import json
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.cli.conftest import Command
from tests.frozen.conftest import Frozen
from tests.frozen.frozen import check, flags, masked

ANSWERS = {
    "status": "status",
    "ls-states": "ls --experiment states",
    "ls-families": "ls --experiment families",
    "ls-filter": "ls --filter 'params.total<3k' --experiment facts_vs_params",
    "show-plain": "show families/0",
    "show-mixture": "show families/2",
    "show-layer-router": "show families/3",
    "show-lstm": "show families/4",
    "show-biography": "show tasks/1",
    "show-arithmetic": "show tasks/3",
    "show-text": "show gqa_moe/0",
    "show-routes": "show routers/6",
    "show-diverged": "show states/4",
    "show-missing": "show states/5",
    "show-imported": "show grid/0",
    "compare-families": "compare families/0 families/3",
    "compare-origins": "compare families/0 grid/0",
    "fit-list": "fit --list",
    "fit-at": "fit chinchilla --experiment grid --fix alpha=0.34 --fix beta=0.28 --starts 10"
    " --bootstrap 20 --at flops=1e20 --holdout largest_params",
    "fit-formula": "fit E+A*N^-a --experiment grid --fix a=0.3 --starts 5 --bootstrap 0",
    "fit-isoflop": "fit isoflop --experiment grid --bootstrap 20",
    "import-table": "import tables/grid.csv --mapping tables/grid.yaml --add",
    "report": "report --fig 1",
    "specs": "specs",
    "data-prepare": "data prepare tales --limit 20k",
    "explain": "explain",
    "explain-router": "explain model.router",
    "explain-task": "explain task",
    "explain-optim": "explain optim",
    "optimize-dry-run": "optimize --space specs/search.yaml --dry-run",
}
"""Name -> command; `families/2` stands for the digest of the experiment's third trial."""

PLANS = (
    "families",
    "tasks",
    "objectives",
    "states",
    "frontier",
    "gqa_moe",
    "routers",
    "allocation",
)
SHIPPED = ("facts_vs_params", "fact_capacity", "allocation", "dependence")
MODELS = (
    *(f"families/{number}" for number in range(5)),
    *(f"tasks/{number}" for number in range(6)),
    *(f"objectives/{number}" for number in range(2)),
)

ERRORS = (
    "plan none.yaml",
    "plan specs/families.yaml --set model.widht=4",
    "plan specs/families.yaml --set model.width=five",
    "plan specs/families.yaml --only model.width==99",
    "run specs/none.yaml --executor inline",
    "optimize --space none",
    "optimize --space specs/search.yaml --sampler best",
    "report --fig 99",
    "report --fig 7",
    "report --fig 1 --x flops",
    "report --fig 3 --experiment none",
    "report --check",
    "fit",
    "fit none --experiment grid",
    "fit chinchilla --experiment states",
    "fit chinchilla --experiment grid --fix zeta=1",
    "generate ffffffffff",
    "generate grid/0",
    "generate states/5",
    "generate families/0 --top-k 0",
    "show ffffffffff",
    "show none",
    "compare families/0 none",
    "verify ffffffffff",
    "verify grid/0",
    "verify states/5",
    "ls --filter params.total<",
    "ls --experiment none",
    "import none.csv --mapping tables/grid.yaml",
    "import tables/grid.csv",
    "import tables/grid.csv --mapping tables/facts.yaml",
    "export --experiment none",
    "explain model.widht",
    "specs copy none",
    "data prepare none",
    "data prepare tales --tokens none",
    "status --store none.db",
    "status --store tables/grid.csv",
    "none",
    "status --none",
)


def words(line: str, digests: Mapping[str, str]) -> list[str]:
    """The command line of an answer, with digests in their places."""
    return [digests.get(word, word).strip("'") for word in line.split()]


@pytest.mark.parametrize("name", ANSWERS)
def test_a_command_answers_as_it_did(name: str, frozen: Frozen, digests: Mapping[str, str]) -> None:
    frozen(name, *words(ANSWERS[name], digests))


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_is_as_it_was(name: str, frozen: Frozen, scalelab: Command) -> None:
    assert scalelab("data", "prepare", "tales", "--limit", "20k").code == 0
    frozen(f"plan-{name}", "plan", f"specs/{name}.yaml", fresh=True)


def test_plans_of_shipped_specs_are_as_they_were(scalelab: Command, freeze: bool) -> None:
    plans = {}
    for name in SHIPPED:
        plan = scalelab("plan", name, "--store", "new.db", "--json").json
        rows = [
            [
                trial[key] if key != "params" else trial["params"]["total"]
                for key in ("digest", "params", "steps", "tokens", "flops")
            ]
            for trial in plan["trials"]
        ]
        plans[name] = {key: plan[key] for key in plan if key not in ("trials", "seconds")} | {
            "trials": rows
        }
    check("plans-shipped", masked(plans, fresh=True), freeze=freeze)


@pytest.mark.parametrize("name", MODELS)
def test_a_trained_model_writes_what_it_wrote(
    name: str, scalelab: Command, digests: Mapping[str, str], freeze: bool, tmp_path: Path
) -> None:
    """A file of weights that lies there from before is read, and gives the same text."""
    assert scalelab("data", "prepare", "tales", "--limit", "20k").code == 0
    options = ["--tokens", "12", "--temperature", "0"]
    said = scalelab("generate", digests[name], *options, "--json")
    found = {"code": said.code, "json": masked(said.json, fresh=True, folder=tmp_path)}
    check(f"generate-{name.replace('/', '-')}", found, freeze=freeze)


def test_a_finished_experiment_and_a_finished_search_run_nothing(frozen: Frozen) -> None:
    frozen("run-finished", "run", "specs/families.yaml", "--executor", "inline")
    search = ("optimize", "--space", "specs/search.yaml", "--executor", "inline")
    frozen("optimize-finished", *search, "--no-conclusion")
    front = ("optimize", "--space", "specs/front.yaml", "--executor", "inline")
    frozen("optimize-front", *front, "--no-conclusion")


def test_what_is_missing_is_run_and_verified(
    frozen: Frozen, scalelab: Command, digests: Mapping[str, str]
) -> None:
    frozen("run", "run", "specs/states.yaml", "--executor", "inline", "--retry-failed", fresh=True)
    only = ("--only", "arm == mixture", "--store", "new.db")
    run = ("run", "specs/families.yaml", "--executor", "inline", *only)
    assert scalelab(*run).code == 0
    frozen("verify", "verify", digests["families/2"], "--store", "new.db", fresh=True)


def test_the_conclusion_of_a_search_is_as_it_was(frozen: Frozen) -> None:
    search = ("optimize", "--space", "specs/search.yaml", "--executor", "inline")
    frozen("optimize-concluded", *search)


def test_a_store_is_merged(frozen: Frozen, tmp_path: Path) -> None:
    frozen("import-store", "import", "store.db", "--store", "merged.db")
    assert (tmp_path / "merged.db").exists()


def test_exported_tables_have_their_columns(
    scalelab: Command, freeze: bool, tmp_path: Path
) -> None:
    assert scalelab("export", "--out", "tables-out").code == 0
    files = sorted((tmp_path / "tables-out").rglob("*.csv"))
    tables = {}
    for path in files:
        with path.open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        tables[path.name] = {"columns": head, "rows": len(rows), "first": rows[0]}
    assert scalelab("export", "--out", "all.zip", "--format", "bundle").code == 0
    with zipfile.ZipFile(tmp_path / "all.zip") as bundle:
        tables["bundle"] = sorted(bundle.namelist())
    check("export", masked(tables, folder=tmp_path), freeze=freeze)


def test_doctor_checks_what_it_checked(
    scalelab: Command, freeze: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # the executor ray takes seconds to begin
    said = scalelab("doctor", "--json")
    # Whether a machine has a C++ compiler is its own affair.
    assert said.code in (0, 1)
    checks = {found["check"]: sorted(found) for found in said.json["checks"]}
    check("doctor", checks, freeze=freeze)


def test_the_schema_of_a_spec_is_as_it_was(command: Command, freeze: bool) -> None:
    said = command("schema")
    check("schema", masked(json.loads(said.out)), freeze=freeze)


def test_errors_have_their_exit_codes(
    scalelab: Command, digests: Mapping[str, str], freeze: bool
) -> None:
    codes = {}
    for line in ERRORS:
        said = scalelab(*words(line, digests))
        assert not said.out
        codes[line] = said.code
    check("errors", codes, freeze=freeze)


def test_commands_and_flags_are_all_there(command: Command, freeze: bool) -> None:
    listed = command("--help").out.partition("Commands:")[2]
    names = re.findall(r"^  (\w+)", listed, flags=re.MULTILINE)
    lines = [[], *([name] for name in names), ["data", "prepare"], ["specs", "copy"]]
    found = {" ".join(line): flags(command(*line, "--help").out) for line in lines}
    check("flags", found, freeze=freeze)
