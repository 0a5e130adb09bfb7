"""JSON Lines and Parquet are the same trials as the CSV of the same values."""

import json
from pathlib import Path

import polars as pl
import pytest

from scalelab.core.errors import UserError
from scalelab.store.table import read_published

MAPPING = """experiment: made
columns: {params.total: N, budget.tokens: D, metrics.loss: loss, extra.dataset: dataset}
"""
ROWS = [
    {"N": 10_000_000, "D": 2_000_000_000, "loss": 3.25, "dataset": "c4", "note": None},
    {"N": 20_000_000, "D": 4_000_000_000, "loss": 3.0000000001, "dataset": "c4", "note": "rerun"},
    {"N": 20_000_000, "D": 8_000_000_000, "loss": 2.9, "dataset": "pile", "note": None},
]


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    (tmp_path / "map.yaml").write_text(MAPPING)
    return tmp_path / "map.yaml"


def lines(*rows: object) -> str:
    return "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson", "t.parquet"])
def test_every_format_gives_the_same_trials(tmp_path: Path, mapping: Path, name: str) -> None:
    table, csv = tmp_path / name, tmp_path / "t.csv"
    frame = pl.DataFrame(ROWS)
    frame.write_csv(csv)
    if name.endswith("parquet"):
        frame.write_parquet(table)
    else:
        table.write_text(lines(ROWS[0], "\n", *ROWS[1:]))
    found, expected = read_published(table, mapping), read_published(csv, mapping)
    assert [trial.digest for trial in found.trials] == [trial.digest for trial in expected.trials]
    assert found.results == expected.results
    assert [trial.extra for trial in found.trials] == [trial.extra for trial in expected.trials]


def test_keys_that_a_row_lacks_are_empty(tmp_path: Path, mapping: Path) -> None:
    table = tmp_path / "t.jsonl"
    table.write_text(lines({**ROWS[0], "more": 1}, ROWS[1]))
    assert [trial.extra["more"] for trial in read_published(table, mapping).trials] == [1, None]


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        (lines(ROWS[0], "{'N': 1}\n"), ":2", "not JSON"),
        (lines(ROWS[0], "[1, 2]\n"), ":2", "no JSON object"),
        (lines(ROWS[0], "\n", "[]\n"), "", "object"),
        (lines(ROWS[0], '{"N": 1, "N": 2}\n'), ":2", "twice"),
        (lines(ROWS[0], {**ROWS[1], "note": [1]}), ":2", "column `note`"),
        (lines(ROWS[0], {**ROWS[1], "loss": "high"}), ":2", "column `loss`"),
        ("", "", "no rows"),
    ],
)
def test_a_faulty_line_is_named(
    tmp_path: Path, mapping: Path, text: str, place: str, said: str
) -> None:
    table = tmp_path / "t.jsonl"
    table.write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        read_published(table, mapping)
    assert f"{table}{place}" in str(caught.value)


def test_what_is_no_parquet_is_refused(tmp_path: Path, mapping: Path) -> None:
    table = tmp_path / "t.parquet"
    with pytest.raises(UserError, match="cannot be read"):
        read_published(table, mapping)
    table.write_text("N,D\n1,2\n")
    with pytest.raises(UserError, match="is not Parquet"):
        read_published(table, mapping)
