"""Data sets of the hub, from a folder in their form: the library that streams them is optional."""

import json
import sys
from pathlib import Path

import pytest

from scalelab.core.errors import UserError
from scalelab.data.text.hub import HubSource, _joined
from scalelab.data.text.splitting import Splitter
from scalelab.spec.text import Corpus


def write_split(folder: Path, name: str, texts: list[str]) -> None:
    (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def test_articles_begin_with_a_heading_of_the_first_level():
    lines = ["", " = One = \n", "", " a b \n", " = = Part = = \n", " c = d = \n", " = no heading = \n", "", " = Two = \n", "", " e \n"]
    articles = list(_joined(lines))
    assert [article.split("\n")[0] for article in articles] == [" = One = ", " = Two = "]
    assert "".join(articles) == "".join(lines)


def test_a_data_set_keeps_its_splits(tmp_path: Path):
    pytest.importorskip("datasets")
    for name, count in (("train", 30), ("validation", 5), ("test", 4)):
        write_split(tmp_path, name, [f"{name} {number}" for number in range(count)])
    source = HubSource(str(tmp_path), "text")
    assert source.splits == ("train", "validation", "test")
    parts = list(Splitter(Corpus(source="some/set"), source).parts())
    assert [part.text for part in parts if part.split == "test"] == [f"test {number}" for number in range(4)]
    assert list(Splitter(Corpus(source="some/set"), source).parts(parts[10].at)) == parts[11:]


def test_a_data_set_without_splits_is_dealt_out(tmp_path: Path):
    pytest.importorskip("datasets")
    write_split(tmp_path, "train", [f"text {number}" for number in range(300)])
    source = HubSource(str(tmp_path), "text")
    assert source.splits == ("train",)
    assert {part.split for part in Splitter(Corpus(source="some/set"), source).parts()} == {"train", "validation", "test"}
    with pytest.raises(UserError, match="there is no field `body`"):
        list(HubSource(str(tmp_path), "body").pieces("train", 0))


def test_the_library_that_streams_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # as where it is not installed
    with pytest.raises(UserError, match="which takes the library `datasets`, and that is not installed; pip install datasets"):
        HubSource("owner/name", "text")


@pytest.mark.slow
def test_a_data_set_that_can_not_be_reached_is_named():
    pytest.importorskip("datasets")
    with pytest.raises(UserError, match="`nobody/nothing`"):
        HubSource("nobody/nothing", "text")
