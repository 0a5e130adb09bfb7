"""The fitted numbers of the two published tables, to 1e-6; many starts come to one optimum to 1e-9,
so that a few of them do here.
"""

from pathlib import Path

import pytest
from tests.cli.conftest import Command
from tests.fit.published import CHINCHILLA, FITTED, GADRE, HELD_OUT
from tests.frozen.frozen import check, masked

TABLES: dict[str, tuple[tuple[Path, Path], list[str]]] = {
    "chinchilla": (CHINCHILLA, ["--filter", "metrics.loss < 3.42"]),
    "gadre": (GADRE, ["--filter", f"({FITTED}) or ({HELD_OUT})", "--holdout", HELD_OUT]),
}
"""Name -> table with its mapping, options."""
EXACT = 1e-6


@pytest.mark.parametrize("name", ["chinchilla", pytest.param("gadre", marks=pytest.mark.slow)])
def test_a_published_table_gives_the_numbers_that_it_gave(
    name: str, command: Command, freeze: bool
) -> None:
    (csv, mapping), options = TABLES[name]
    table = ("--csv", str(csv), "--mapping", str(mapping))
    few = ("--starts", "20", "--bootstrap", "20", "--json")
    said = command("fit", "chinchilla", *table, *options, *few)
    found = {"code": said.code, "json": masked(said.json)}
    check(f"fit-{name}", found, freeze=freeze, tolerance=EXACT)
