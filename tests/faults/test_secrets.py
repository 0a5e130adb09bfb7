"""A password on the command line is in nothing that a run leaves behind."""

import json
from pathlib import Path
from zipfile import ZipFile

import pytest
from tests.cli.conftest import Command
from tests.store.conftest import NewPlace

from scalelab.store import open_store

PASSWORD, TOKEN = "hunter2hunter2", "sekrit0token0sekrit"
SPEC = f"""\
name: small
task: {{people: 4, templates: 1}}
model: {{width: 8}}
budget: {{steps: 20}}
batch: 8
evaluation: {{first: 10}}
execution: {{device: cpu, data: "https://ann:{PASSWORD}@data.example.org/corpora?token={TOKEN}"}}
"""


def leaking(folder: Path) -> list[Path]:
    """Files below a folder that have a secret in them; of bundles and stores what is in them."""
    found = []
    for path in (path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.suffix == ".zip":
            with ZipFile(path) as bundle:
                content += b"".join(bundle.read(name) for name in bundle.namelist())
        if PASSWORD.encode() in content or TOKEN.encode() in content:
            found.append(path)
    return found


def test_no_secret_is_left_behind(
    command: Command, new_database: NewPlace, tmp_path: Path, monkeypatch
) -> None:
    place = new_database().replace("postgres@", f"postgres:{PASSWORD}@", 1)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC)
    store = ("--store", place)
    run = command("run", "spec.yaml", "--executor", "inline", *store)
    assert run.code == 0, run.err
    shown = [
        run,
        command("report", "--fig", "7", "--metric", "loss", *store),
        command("report", *store),
        command("export", *store, "--out", "bundle.zip"),
        command("status", *store),
        command("status", "--json", *store),
        command("ls", "--json", *store),
        command(
            "show", command("ls", "--json", *store).json["trials"][0]["digest"], "--json", *store
        ),
        command("import", "bundle.zip", "--store", "copy.db"),
        command("run", "missing.yaml", *store),
        command("ls", "--store", place.replace("?host=", "?host=/nowhere")),
    ]
    for said in shown:
        assert PASSWORD not in said.out + said.err
        assert TOKEN not in said.out + said.err
    spec.unlink()
    assert leaking(tmp_path) == []
    assert (tmp_path / "bundle.zip").exists()
    assert len(json.loads(shown[6].out)["trials"]) == 1


def test_no_secret_is_in_the_log_of_the_server(
    command: Command, new_database: NewPlace, postgres_server: str, tmp_path: Path
) -> None:
    place = new_database().replace("postgres@", f"postgres:{PASSWORD}@", 1)
    log = Path(postgres_server) / "log"

    def log_statements(which: str) -> None:
        with psycopg.connect(
            f"host={postgres_server} user=postgres dbname=postgres", autocommit=True
        ) as server:
            server.execute(f"ALTER SYSTEM SET log_statement = '{which}'".encode())
            server.execute("SELECT pg_reload_conf()")

    psycopg = pytest.importorskip("psycopg")
    (tmp_path / "spec.yaml").write_text(SPEC)
    log_statements("all")
    try:
        begin = log.stat().st_size
        store = ("--store", place)
        assert command("run", "spec.yaml", "--executor", "inline", *store).code == 0
        assert command("export", *store, "--format", "bundle", "--out", "b.zip").code == 0
        with open_store(place, mode="write") as opened, opened.database.writing() as connection:
            connection.exec_driver_sql("DELETE FROM properties WHERE name = 'cleaned'")
        assert command("import", "b.zip", *store).code == 0  # and cleans the store once more
        logged = log.read_bytes()[begin:]
    finally:
        log_statements("none")
    assert b"INSERT INTO environments" in logged
    assert b"--store" in logged, "the parameters of statements are there"
    assert PASSWORD.encode() not in logged
    assert TOKEN.encode() not in logged
