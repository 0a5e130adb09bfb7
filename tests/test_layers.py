"""The rooms of the house: who may import whom. The contracts stand in pyproject.toml."""

from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

CONFIG = Path(__file__).parents[1] / "pyproject.toml"


def test_no_room_imports_what_it_may_not(capsys: pytest.CaptureFixture[str]):
    status = lint_imports(config_filename=str(CONFIG), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_every_folder_of_code_is_a_package():
    """import-linter passes over a folder without an `__init__.py` in silence."""
    folders = {path.parent for path in (CONFIG.parent / "src" / "scalelab").rglob("*.py")}
    assert [folder.as_posix() for folder in folders if not (folder / "__init__.py").exists()] == []
