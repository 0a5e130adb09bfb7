"""A mixture has hundreds of metrics, one for each expert: they are a line of each answer, and whole
in JSON.
"""

import json
import sys
from pathlib import Path

import pytest

from scalelab.cli import main
from scalelab.core.events import Ended, Measured, Started
from scalelab.store import TrialRecord, open_store

DIGESTS = ("a" * 64, "b" * 64)


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Two trials with 12 x 32 experts."""
    with open_store(tmp_path / "store.db", mode="write") as opened:
        records = [
            TrialRecord(
                digest,
                {},
                {"seed": seed},
                {"arm": "moe"},
                seed,
                seed,
                {"total": 10},
                20,
                40,
                1.0,
                80,
            )
            for seed, digest in enumerate(DIGESTS)
        ]
        opened.register("mixture", {"name": "mixture"}, records)
        for seed, digest in enumerate(DIGESTS):
            attempt = opened.begin(digest, Started({}), {}, "me")
            loads = {
                f"load_{layer}_{expert}": 0.01 + seed + expert
                for layer in range(12)
                for expert in range(32)
            }
            for step in (10, 20):
                opened.measure(
                    digest,
                    attempt,
                    Measured(step, {"loss": 2.0 + seed, "max_vio": 0.5, "max_vio_3": 0.7, **loads}),
                )
            opened.end(
                digest,
                attempt,
                Ended(
                    "done",
                    20,
                    1.0,
                    {"test_loss": 2.1 + seed, "max_vio": 0.5, "max_vio_3": 0.7, **loads},
                ),
            )
    return str(tmp_path / "store.db")


def said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> str:
    monkeypatch.setattr(sys, "argv", ["scalelab", *arguments])
    with pytest.raises(SystemExit, match="0"):
        main()
    return capsys.readouterr().out


def test_show_tells_experts_by_their_range(
    store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = said(capsys, monkeypatch, "show", DIGESTS[0], "--store", store)
    assert "0.01 to 31.01 (384; --json has all)" in text
    assert "load_0_0" not in text
    assert max(map(len, text.splitlines())) < 120
    assert "without load_*, max_vio_*: --json has them" in text
    (trial,) = json.loads(
        said(capsys, monkeypatch, "show", DIGESTS[0], "--store", store, "--json")
    )["trials"]
    assert trial["curves"]["load_11_31"] == [[10, 31.01], [20, 31.01]]


def test_compare_counts_experts_that_differ(
    store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = said(capsys, monkeypatch, "compare", *DIGESTS, "--store", store)
    assert "metrics.load_*" in text
    assert "384 differ" in text
    assert len(text.splitlines()) < 10
    different = json.loads(
        said(capsys, monkeypatch, "compare", *DIGESTS, "--store", store, "--json")
    )["different"]
    assert different["metrics.load_3_4"] == [4.01, 5.01]


def test_ls_shows_the_test_loss_and_the_arm(
    store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = said(capsys, monkeypatch, "ls", "--store", store).splitlines()[0].split()
    assert first == ["digest", "state", "experiment", "arm", "seed", "params", "test_loss", "time"]


def test_what_lies_in_the_store_itself_is_shown_by_its_kind_and_length(
    store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {
        "test_loss": 2.0,
        "identity_share": 0.3,
        "route_1_1": 0.2,
        "route_1_2": 0.8,
        "identity_kind_space": 0.4,
        "identity_kind_digit": 0.1,
    }
    with open_store(store, mode="write") as opened:
        attempt = opened.begin(DIGESTS[0], Started({}), {}, "me")
        url = "data:application/json," + 1000 * "%20"
        opened.end(
            DIGESTS[0],
            attempt,
            Ended("done", 20, 1.0, told, artifacts={"routes": url, "model": "trials/model.pt"}),
        )
    text = said(capsys, monkeypatch, "show", DIGESTS[0], "--store", store)
    assert "routes: application/json in the store (3,022 characters; --json has it)" in text
    assert "model: trials/model.pt" in text
    assert "%20" not in text
    for line in ("route_*", "identity_kind_*", "identity_share"):
        assert line in text
    assert "identity_kind_space" not in text
    (trial,) = json.loads(
        said(capsys, monkeypatch, "show", DIGESTS[0], "--store", store, "--json")
    )["trials"]
    assert trial["artifacts"]["routes"] == url
