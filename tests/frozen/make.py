"""Makes `store.db` and `trials/` with the code of this checkout, and then all that is frozen of
them: python tests/frozen/make.py

Needed where the schema or the files of trained models change on purpose. Trained numbers differ
between processors, so everything in `expected/` changes with them; where only an answer changed,
`pytest tests/frozen --freeze` writes the answers anew and leaves the store alone.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

HERE = Path(__file__).parent
RUN = ("families", "tasks", "objectives", "frontier", "gqa_moe", "routers", "allocation")
TABLES = ("facts", "capacity", "grid")
FIT = ("--experiment", "grid", "--fix", "alpha=0.34", "--fix", "beta=0.28", "--starts", "20")
KEPT = ("families", "tasks", "objectives")
"""The experiments whose models are kept: each trial's first seed."""
ENVIRONMENT = {"hostname": "host", "platform": "Linux", "cpus": 2, "argv": ["scalelab"]}


def scalelab(folder: Path, *arguments: str) -> None:
    """Run a command in a folder. Raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", "scalelab", *arguments, "--store", "store.db"]
    subprocess.run(command, cwd=folder, check=True)


def fill(folder: Path) -> None:
    """Train what is trained, import what is imported, search, and fit."""
    shutil.copytree(HERE / "specs", folder / "specs")
    shutil.copytree(HERE / "tables", folder / "tables")
    inline = ("--executor", "inline")
    for name in RUN:
        scalelab(folder, "run", f"specs/{name}.yaml", *inline)
    few = ("--only", "model.width == 4 or optim.lr < 1e6")
    scalelab(folder, "run", "specs/states.yaml", *inline, *few)
    for name in TABLES:
        table = f"tables/{name}"
        scalelab(folder, "import", f"{table}.csv", "--mapping", f"{table}.yaml")
    scalelab(folder, "optimize", "--space", "specs/search.yaml", *inline)
    scalelab(folder, "optimize", "--space", "specs/front.yaml", *inline, "--no-conclusion")
    scalelab(folder, "fit", "chinchilla", *FIT, "--bootstrap", "60")


def make_neutral(folder: Path, store: sqlite3.Connection) -> None:
    """Paths from the store's folder, and nothing of this machine."""
    for table, column in (("artifacts", "place"), ("sources", "path")):
        store.execute(f"UPDATE {table} SET {column} = replace({column}, ?, '')", (f"{folder}/",))
    for number, data in store.execute("SELECT id, data FROM environments").fetchall():
        plain = json.dumps(json.loads(data) | ENVIRONMENT, separators=(",", ":"))
        store.execute("UPDATE environments SET data = ? WHERE id = ?", (plain, number))
    store.execute("UPDATE attempts SET owner = 'frozen'")
    store.commit()
    store.execute("PRAGMA journal_mode = DELETE")
    store.execute("VACUUM")


def keep(folder: Path, store: sqlite3.Connection) -> None:
    """Put the store and the models beside this file."""
    marks = ", ".join("?" * len(KEPT))
    kept = store.execute(
        "SELECT digest FROM trials JOIN memberships ON trials.id = memberships.trial WHERE"
        f" replicate = 0 AND experiment IN ({marks})",
        KEPT,
    ).fetchall()
    shutil.rmtree(HERE / "trials", ignore_errors=True)
    for (digest,) in kept:
        (HERE / "trials" / digest).mkdir(parents=True)
        model = Path("trials", digest, "model.pt")
        shutil.copyfile(folder / model, HERE / model)
    shutil.copyfile(folder / "store.db", HERE / "store.db")


def main() -> int:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made).resolve()
        fill(folder)
        with closing(sqlite3.connect(folder / "store.db")) as store:
            make_neutral(folder, store)
            keep(folder, store)
    return subprocess.run([sys.executable, "-m", "pytest", "-q", str(HERE), "--freeze"]).returncode


if __name__ == "__main__":
    raise SystemExit(main())
