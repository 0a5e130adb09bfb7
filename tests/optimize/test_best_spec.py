"""The best of a search as a spec file."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from scalelab.core.errors import UserError
from scalelab.optimize.best_spec import BestSpec, is_ours, write_spec

FOUND = BestSpec(
    space="small",
    objective="loss",
    value=1.25,
    digest="0123456789abcdef",
    base={"model": {"width": "solve"}, "budget": {"steps": 9, "params": "1k"}},
    point={
        "model.layers": 2,
        "optim.lr": 0.1 + 0.2,
        "budget.tokens": 1000,
        "optim.betas": [0.9, 0.99],
    },
)


def test_the_values_stand_in_the_base(tmp_path: Path) -> None:
    path = write_spec(FOUND, tmp_path / "found")
    spec = yaml.safe_load(path.read_text())
    assert path.name == "small.yaml"
    assert spec == {
        "name": "found_small",
        "about": "The best of the space small by loss: 1.25, trial 0123456789.",
        "model": {"width": "solve", "layers": 2},
        "budget": {"params": "1k", "tokens": 1000},
        "optim": {"lr": 0.1 + 0.2, "betas": [0.9, 0.99]},
    }
    assert [one.name for one in path.parent.iterdir()] == ["small.yaml"]


def test_what_was_written_is_written_anew_and_what_was_changed_stays(tmp_path: Path) -> None:
    path = write_spec(FOUND, tmp_path)
    better = replace(FOUND, value=1.0, digest="fedcba9876543210")
    assert write_spec(better, tmp_path) == path
    assert "fedcba9876" in path.read_text()
    changed = path.read_text() + "replicates: 3\n"
    path.write_text(changed)
    assert not is_ours(path)
    assert write_spec(FOUND, tmp_path) == tmp_path / "small-0123456789.yaml"
    assert path.read_text() == changed


def test_a_folder_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "found").write_text("a file")
    with pytest.raises(UserError, match="can't be written"):
        write_spec(FOUND, tmp_path / "found")
