"""A bare GPU machine: what trains there needs no Ray, and nothing of what draws."""

import json
import os
import subprocess
import sys
from pathlib import Path

SPEC = """
name: tiny
task: {people: 2, templates: 1}
model: {width: 4}
budget: {steps: 6}
batch: 4
evaluation: {first: 3, ratio: 2}
execution: {device: cpu}
"""

ABSENT = (
    "ray",
    "polars",
    "altair",
    "optuna",
    "pandas",
    "pyarrow",
    "rich",
    "scipy",
    "tqdm",
    "vl_convert",
    "psycopg",
)

NEEDED = {"numpy", "pydantic", "sqlmodel", "torch", "typer", "yaml"}
"""What README.md tells to install there; the rest comes with them."""

COMES_WITH_THEM = {
    "annotated_doc",
    "annotated_types",
    "fsspec",
    "mpmath",
    "networkx",
    "pydantic_core",
    "setuptools",
    "shellingham",
    "cramjam",
    "dill",
    "snappy",  # which fsspec and torch take where they are there
    "sqlalchemy",
    "greenlet",
    "sympy",
    "torchgen",
    "triton",
    "typing_extensions",
    "typing_inspection",
    "jinja2",
    "markupsafe",
    "filelock",
}

PROGRAM = f"""
import json, sys
before = set(sys.modules)

class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            return None
        return self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Without, sys.meta_path)
from scalelab.cli import main
sys.argv = ["scalelab", "run", "spec.yaml", "--executor", "inline", "--json"]
try:
    main()
finally:
    new = [(name, module) for name, module in list(sys.modules.items()) if name not in before]
    files = {{name: getattr(module, "__file__", None) or "" for name, module in new}}
    installed = [name for name, file in files.items() if "site-packages" in file]
    found = sorted({{name.partition(".")[0] for name in installed}})
    print(json.dumps(found), file=sys.stderr)
"""


def test_a_real_trial_trains_inline_where_little_is_installed(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["outcomes"] == {"done": 1}
    imported = set(json.loads(ended.stderr.splitlines()[-1]))
    assert imported >= NEEDED
    assert imported - NEEDED - COMES_WITH_THEM == set()
