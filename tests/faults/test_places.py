"""A place that was kept without its password is read with the one of the environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Command

from scalelab.core.errors import UserError
from scalelab.store.postgres import Postgres

PASSWORD = "hunter2hunter2"
SPEC = """\
name: small
task: {people: 4, templates: 1}
model: {width: 8}
budget: {steps: 20}
batch: 8
execution: {device: cpu}
"""


def generate(digest: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: fsspec reads the environment once."""
    command = [sys.executable, "-m", "scalelab", "generate", digest, "--tokens", "1"]
    without = {name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"}
    return subprocess.run(
        command, env={**without, **environment}, capture_output=True, text=True, check=False
    )


def test_a_model_on_a_server_is_read_again(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("paramiko", reason="no SFTP here (pip install paramiko)")
    from tests.faults.sftp import USER, served

    (tmp_path / "remote").mkdir()
    Path("spec.yaml").write_text(SPEC)
    with served(tmp_path / "remote", PASSWORD) as port:
        place = f"sftp://{USER}:{PASSWORD}@127.0.0.1:{port}/trials"
        run = command("run", "spec.yaml", "--executor", "inline", "--json", "--artifacts", place)
        assert run.code == 0, run.err
        digest = run.json["trials"][0]["digest"]
        model = command("show", digest, "--json").json["trials"][0]["artifacts"]["model"]
        assert model.startswith(f"sftp://{USER}:***@127.0.0.1")
        refused = generate(digest)
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1
        assert "FSSPEC_SFTP_PASSWORD" in refused.stderr
        read = generate(digest, FSSPEC_SFTP_PASSWORD=PASSWORD)
        assert read.returncode == 0, read.stderr
        assert PASSWORD not in read.stdout + read.stderr + refused.stderr


def test_a_masked_url_of_a_store_has_no_password() -> None:
    kind = Postgres("postgresql://ann:***@db/lab")
    assert kind.url.password is None
    assert kind.name == "postgresql://ann@db/lab"


def test_a_store_that_is_no_url_is_refused() -> None:
    with pytest.raises(UserError):
        Postgres("postgresql://ann:***@db:port/lab")
