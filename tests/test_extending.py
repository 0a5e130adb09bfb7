"""What docs/extending.md adds, added to a copy of the package."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

REGISTERED = {
    "src/scalelab/families/__init__.py": (
        ("    | Lstm,", "    | Lstm\n    | GatedRnn,"),
        (
            "from scalelab.families.layer_router.spec",
            "from scalelab.families.gated_rnn.spec import GatedRnn\n"
            "from scalelab.families.layer_router.spec",
        ),
    ),
    "src/scalelab/tasks/__init__.py": (
        ("    | Arithmetic,", "    | Arithmetic\n    | Copying,"),
        (
            "from scalelab.tasks.facts.spec",
            "from scalelab.tasks.copying.spec import Copying\nfrom scalelab.tasks.facts.spec",
        ),
    ),
    "src/scalelab/search/__init__.py": (
        ("    | Frontier,", "    | Frontier\n    | Smallest,"),
        (
            "from scalelab.search.grid import Grid\n",
            "from scalelab.search.grid import Grid\n"
            "from scalelab.search.smallest import Smallest\n",
        ),
    ),
    "src/scalelab/search/samplers/__init__.py": (
        ("    | Nsga2,", "    | Nsga2\n    | Nsga3,"),
        (
            "from scalelab.search.samplers.nsga2 import Nsga2\n",
            "from scalelab.search.samplers.nsga2 import Nsga2\n"
            "from scalelab.search.samplers.nsga3 import Nsga3\n",
        ),
    ),
    "src/scalelab/report/registry.py": (
        (
            'What did the search find?", ""),\n',
            'What did the search find?", ""),\n'
            '    Entry(13, "loss_by_params", "LossByParams", "How does the loss fall?", ""),\n',
        ),
    ),
    "tests/fit/synthetic.py": (
        (
            "TRUE: dict[str, dict[str, float]] = {\n",
            "TRUE: dict[str, dict[str, float]] = {\n"
            '    "data_mixing": {"c": 1.5, "k": 1.2, "t": 3.0},\n',
        ),
        (
            '        "extra.unique_tokens":',
            '        "extra.share": lambda: rng.uniform(0, 1, rows),\n'
            '        "extra.unique_tokens":',
        ),
    ),
    "tests/tasks/variants.py": (
        (
            "TASKS: dict[str, Task] = {\n",
            "from scalelab.tasks.copying.spec import Copying\n\n"
            'TASKS: dict[str, Task] = {\n    "copying": Copying(),\n',
        ),
    ),
    "tests/search/variants.py": (
        (
            "SEARCHES: dict[str, Search] = {\n",
            "from scalelab.search.smallest import Smallest\n\n"
            'SEARCHES: dict[str, Search] = {\n    "smallest": Smallest(),\n',
        ),
    ),
    "tests/optimize/variants.py": (('"nsga2", ', '"nsga2", "nsga3", '),),
    "tests/families/variants.py": (
        (
            'VARIANTS: dict[str, Model] = {\n    "default": Transformer(),\n',
            "from scalelab.families.gated_rnn.spec import GatedRnn\n\n"
            'VARIANTS: dict[str, Model] = {\n    "gated_rnn": GatedRnn(),\n',
        ),
    ),
}
"""File -> (what stands there, what is written instead): all that is changed outside of the new
folders.
"""

SPEC = """
name: copies
task: {kind: copying, length: 2, alphabet: 4}
model: {kind: gated_rnn}
budget: {steps: 300}
optim: {lr: 0.02}
axes: {model.width: [8, 16]}
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the page's code in it."""
    folder = tmp_path_factory.mktemp("extended")
    ignored = shutil.ignore_patterns("__pycache__")
    suites = (
        "tests/fit",
        "tests/families",
        "tests/tasks",
        "tests/search",
        "tests/optimize",
        "tests/run",
    )
    for part in ("src", "specs", *suites):
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copy(ROOT / "tests/conftest.py", folder / "tests")
    page = (ROOT / "docs/extending.md").read_text()
    for path, code in re.findall(r"```python\n# (src/\S+)\n(.*?)```", page, re.DOTALL):
        file = folder / path
        file.parent.mkdir(exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text(code)
    [law] = re.findall(r"```python\n# in src/scalelab/fit/laws.py\n(.*?)```", page, re.DOTALL)
    laws = {"src/scalelab/fit/laws.py": (("]\n\nLAWS:", f"{law}]\n\nLAWS:"),)}
    for path, changes in (REGISTERED | laws).items():
        file = folder / path
        text = file.read_text()
        for before, after in changes:
            assert text.count(before) == 1, before
            text = text.replace(before, after)
        file.write_text(text)
    return folder


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, check=False, capture_output=True, text=True
    )


def test_they_are_planned_run_drawn_and_asked(extended: Path) -> None:
    (extended / "copies.yaml").write_text(SPEC)
    ran = python(extended, "scalelab", "run", "copies.yaml", "--executor", "inline", "--json")
    assert ran.returncode == 0, ran.stderr
    small, large = json.loads(ran.stdout)["trials"]
    for trial in (small, large):
        assert trial["state"] == "done"
        assert trial["metrics"]["loss"] < 0.1
        assert 0 <= trial["metrics"]["accuracy"] <= 1
    drawn = python(extended, "scalelab", "report", "--fig", "13", "--experiment", "copies")
    assert drawn.returncode == 0, drawn.stderr
    points = json.loads((extended / "reports/fig-13.json").read_text())["points"]
    assert len(points) == 2
    digest = large["digest"]
    said = python(extended, "scalelab", "generate", digest, "--prompt", "ab|", "--json")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["trials"][0]["samples"][0]["text"]


def test_the_law_is_fitted(extended: Path) -> None:
    shares = [step / 20 for step in range(1, 19)]
    rows = [f"{share},{1.5 + 1.2 * math.exp(-3 * share)}" for share in shares]
    (extended / "mixes.csv").write_text("\n".join(["share,loss", *rows]))
    mapping = "experiment: mixes\ncolumns: {extra.share: share, metrics.loss: loss}"
    (extended / "mixes.yaml").write_text(mapping)
    table = ["--csv", "mixes.csv", "--mapping", "mixes.yaml"]
    quick = ["--bootstrap", "0", "--starts", "20"]
    fitted = python(extended, "scalelab", "fit", "data_mixing", *table, *quick, "--json")
    assert fitted.returncode == 0, fitted.stderr
    found = json.loads(fitted.stdout)["coefficients"]
    for name, value in {"c": 1.5, "k": 1.2, "t": 3.0}.items():
        assert found[name]["value"] == pytest.approx(value, rel=1e-3)


def test_the_search_runs_what_it_needs(extended: Path) -> None:
    path = extended / "smallest.yaml"
    spec = SPEC.replace("name: copies", "name: smallest").replace("300", "20")
    path.write_text(f"{spec}search: {{kind: smallest, metric: accuracy, at_least: 0}}\n")
    command = ("scalelab", "run", path.name, "--executor", "inline")
    ran = python(extended, *command, "--json")
    assert ran.returncode == 0, ran.stderr
    assert [trial["state"] for trial in json.loads(ran.stdout)["trials"]] == ["done", "missing"]


@pytest.mark.slow
def test_they_conform(extended: Path) -> None:
    suites = ["tests/families", "tests/tasks", "tests/search", "tests/optimize"]
    suites.append("tests/fit/test_conformance.py")
    words = "gated_rnn or copying or smallest or nsga3 or data_mixing"
    tested = python(extended, "pytest", "-q", *suites, "-k", words)
    assert tested.returncode == 0, tested.stdout
    assert int(re.findall(r"(\d+) passed", tested.stdout)[0]) > 20


@pytest.mark.slow
def test_the_code_passes_the_checks(extended: Path) -> None:
    for check in (["ruff", "check", "src"], ["pyright", "src"], ["importlinter.cli", "lint"]):
        checked = python(extended, *check)
        assert checked.returncode == 0, checked.stdout
