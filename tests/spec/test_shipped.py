"""Specs by name: those in `specs/` here first, then those that come with scalelab."""

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from scalelab.core.errors import UserError
from scalelab.spec import shipped
from scalelab.spec.load import read

ROOT = Path(__file__).parents[2]
DOWNLOADED = {"paper/wikitext103_125m", "recipes/byte_shakespeare", "recipes/smollm"}
"""The specs that are named after a corpus which has to be downloaded."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without specs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, text: str = "name: mine\n") -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return Path(path)


@pytest.mark.parametrize(
    ("named", "below", "file"),
    [
        ("facts_vs_params", "", "facts_vs_params.yaml"),
        ("spaces/router", "spaces", "spaces/router.yaml"),
        ("recipes/muon", "", "recipes/muon.yaml"),
        ("specs/facts_vs_params.yaml", "", "facts_vs_params.yaml"),
        ("specs/paper/in_tool_learning.yaml", "", "paper/in_tool_learning.yaml"),
        ("router", "spaces", "spaces/router.yaml"),
        ("specs/spaces/router.yaml", "spaces", "spaces/router.yaml"),
        ("routers", "", "routers.yaml"),
    ],
)
def test_a_shipped_spec_is_found_from_any_folder(named: str, below: str, file: str) -> None:
    assert shipped.find(Path(named), below).samefile(ROOT / "specs" / file)


@pytest.mark.parametrize("named", ["routers", "specs/routers.yaml"])
def test_a_file_in_specs_comes_first(named: str) -> None:
    own = write("specs/routers.yaml")
    assert shipped.find(Path(named)) == own
    assert shipped.names()["routers"] == own


def test_a_file_without_a_suffix_hides_no_spec() -> None:
    write("router")
    write("mine")
    assert shipped.find(Path("router"), "spaces").name == "router.yaml"
    assert shipped.find(Path("mine")) == Path("mine")


def test_both_suffixes_are_found() -> None:
    own = write("specs/mine.yml")
    assert shipped.find(Path("mine")) == shipped.names()["mine"] == own


def test_a_space_is_copied_by_the_name_that_it_is_searched_by() -> None:
    assert shipped.copy("router")[0] == [Path("specs/spaces/router.yaml")]


def test_a_path_is_taken_as_it_is() -> None:
    own = write("router.yaml")
    assert shipped.find(own) == own
    for missing in ("gqa_moe.yaml", "other/gqa_moe.yaml", "../gqa_moe", "/gqa_moe.yaml", "."):
        assert shipped.find(Path(missing)) == Path(missing)


def test_a_folder_hides_no_spec() -> None:
    Path("routers").mkdir()
    assert shipped.find(Path("routers")).name == "routers.yaml"


@pytest.mark.parametrize(
    ("named", "below", "cure"),
    [
        ("facts_vs_parms", "", "facts_vs_params"),
        ("specs/facts_vs_parms.yaml", "", "facts_vs_params"),
        ("rooter", "spaces", "`router`"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(named: str, below: str, cure: str) -> None:
    with pytest.raises(UserError) as refused:
        shipped.find(Path(named), below)
    assert cure in str(refused.value)


def test_a_copy_has_what_it_extends() -> None:
    written, kept = shipped.copy("facts_vs_params_large")
    assert written == [
        Path("specs/facts_vs_params_large.yaml"),
        Path("specs/facts_vs_params.yaml"),
    ]
    assert kept == []
    assert all(path.read_bytes() == (ROOT / path).read_bytes() for path in written)
    assert shipped.find(Path("facts_vs_params_large")) == written[0]


def test_a_copy_replaces_nothing() -> None:
    own = write("specs/facts_vs_params.yaml")
    written, kept = shipped.copy("specs/facts_vs_params_large.yaml")
    assert (written, kept) == ([Path("specs/facts_vs_params_large.yaml")], [own])
    with pytest.raises(UserError):
        shipped.copy("facts_vs_params")
    assert own.read_text() == "name: mine\n"


@pytest.mark.parametrize("name", ["facts_vs_parms", "../pyproject", "", "found/../router"])
def test_what_does_not_come_with_scalelab_is_not_copied(name: str) -> None:
    with pytest.raises(UserError):
        shipped.copy(name)
    assert not Path("specs").exists()


@pytest.mark.slow
def test_the_wheel_ships_every_spec(tmp_path: Path) -> None:
    """Built from a copy in which a search has found something, which is the user's."""
    copied = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".git", ".venv", "results", "reports")
    shutil.copytree(ROOT, copied, ignore=ignored)
    (copied / "specs" / "found").mkdir(exist_ok=True)
    (copied / "specs" / "found" / "mine.yaml").write_text("name: mine")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    built = subprocess.run([*build, str(tmp_path), str(copied)], capture_output=True, text=True)
    if built.returncode:
        pytest.skip(f"no wheel can be built here: {built.stderr[-200:]}")
    [wheel] = tmp_path.glob("*.whl")
    with ZipFile(wheel) as files:
        shipped_in_wheel = {name for name in files.namelist() if name.startswith("scalelab/specs/")}
        assert "scalelab/__init__.py" in files.namelist()
    assert shipped_in_wheel == {f"scalelab/specs/{name}.yaml" for name in shipped.names()}


def test_shipped_specs_and_spaces_share_one_store() -> None:
    """A plan's experiment and a search's of the same name are not mixed, so no two have one."""
    named = Counter(read(path, ()).data["name"] for path in shipped.names().values())
    assert {name for name, count in named.items() if count > 1} == set()


def test_only_specs_named_after_a_corpus_need_a_network() -> None:
    sources = {
        name: {*_sources(read(path, ()).data)} - {"tales"} for name, path in shipped.names().items()
    }
    assert {name for name, found in sources.items() if found} == DOWNLOADED


def _sources(data: Any) -> Iterator[str]:
    """The corpora that a spec names, wherever it does."""
    if isinstance(data, dict):
        for key, value in data.items():
            if key == "corpus":
                yield value["source"] if isinstance(value, dict) else value
            else:
                yield from _sources(value)
    elif isinstance(data, list):
        for value in data:
            yield from _sources(value)
