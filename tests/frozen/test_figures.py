"""The data beside each figure's page (`fig-N.json`), drawn from the frozen store."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Command
from tests.frozen.frozen import FINGERPRINT, check, masked

FIGURES = {
    "1": "facts_vs_params",
    "2": "facts_vs_params",
    "3": "fact_capacity",
    "4": "grid",
    "5": "grid",
    "6": "grid",
    "7": "gqa_moe",
    "8": "allocation",
    "9": "gqa_moe",
    "10": "gqa_moe",
    "11": "routers",
    "12": "search",
}
"""Number -> experiment."""


@pytest.mark.parametrize("number", FIGURES)
def test_the_numbers_of_a_figure_are_as_they_were(
    number: str, scalelab: Command, freeze: bool, tmp_path: Path
) -> None:
    _compare(number, FIGURES[number], f"fig-{number}", scalelab, freeze, tmp_path)


def test_the_numbers_of_a_search_for_two_objectives_are_as_they_were(
    scalelab: Command, freeze: bool, tmp_path: Path
) -> None:
    _compare("12", "front", "fig-12-front", scalelab, freeze, tmp_path)


def _compare(
    number: str, experiment: str, name: str, scalelab: Command, freeze: bool, folder: Path
) -> None:
    said = scalelab("report", "--fig", number, "--experiment", experiment)
    assert said.code == 0, said.err
    data = json.loads((folder / "reports" / f"fig-{number}.json").read_text(encoding="utf-8"))
    assert data.pop(FINGERPRINT)
    check(name, masked(data), freeze=freeze)
