"""Data sets of the hub, from a folder in their form: the library that streams them is optional."""

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
from tests.data.prose import SMALL

from scalelab.core.errors import UserError
from scalelab.data.spec import Bytes, Corpus
from scalelab.data.text.hub import HubSource, _joined
from scalelab.data.text.prepare import Progress, prepare
from scalelab.data.text.splitting import Splitter


def write_split(folder: Path, name: str, texts: list[str]) -> None:
    (folder / f"{name}.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in texts)
    )


def test_articles_begin_with_a_heading_of_the_first_level():
    lines = [
        "",
        " = One = \n",
        "",
        " a b \n",
        " = = Part = = \n",
        " c = d = \n",
        " = no heading = \n",
        "",
        " = Two = \n",
        "",
        " e \n",
    ]
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
    assert [part.text for part in parts if part.split == "test"] == [
        f"test {number}" for number in range(4)
    ]
    assert list(Splitter(Corpus(source="some/set"), source).parts(parts[10].at)) == parts[11:]


def test_a_data_set_without_splits_is_dealt_out(tmp_path: Path):
    pytest.importorskip("datasets")
    write_split(tmp_path, "train", [f"text {number}" for number in range(300)])
    source = HubSource(str(tmp_path), "text")
    assert source.splits == ("train",)
    assert {part.split for part in Splitter(Corpus(source="some/set"), source).parts()} == {
        "train",
        "validation",
        "test",
    }
    with pytest.raises(UserError, match="there is no field `body`"):
        list(HubSource(str(tmp_path), "body").pieces("train", 0))


COMMITS = {"main": "a" * 40, "v1": "b" * 40}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A hub with one data set, whose rows tell the commit that they are of; returns the commits of
    its revisions.
    """
    named = dict(COMMITS)

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, revision = self.path.partition("?")[0].partition("/revision/")
            known = path == "/api/datasets/owner/name" and (revision or "main") in named
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(
                json.dumps({"id": "owner/name", "sha": named.get(revision or "main")}).encode()
            )

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Rows(list[dict[str, str]]):
        def skip(self, count: int) -> list[dict[str, str]]:
            return self[count:]

    def load_dataset(
        path: str, configuration: str | None, *, revision: str, streaming: bool
    ) -> dict[str, Rows]:
        assert (path, configuration, streaming) == ("owner/name", "part", True)
        return {"train": Rows({"text": f"{revision[:8]} {number}"} for number in range(3000))}

    library = ModuleType("datasets")
    library.__spec__ = ModuleSpec("datasets", None)
    monkeypatch.setattr(library, "load_dataset", load_dataset, raising=False)
    monkeypatch.setitem(sys.modules, "datasets", library)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(
        "huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}"
    )
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield named
    server.shutdown()
    server.server_close()


def test_a_revision_is_read_by_its_commit(hub: dict[str, str]):
    for name, revision in (("owner/name:part", "main"), ("owner/name:part@v1", "v1")):
        source = HubSource(name, "text")
        assert source.revision == hub[revision]
        assert next(source.pieces("train", 7)).text == f"{hub[revision][:8]} 7"
    assert HubSource("owner/name:part@v1", "text", "c" * 40).revision == "c" * 40
    assert (
        HubSource("owner/name:part@v2", "text").revision is None
    )  # the library says what is wrong with it


def test_a_preparation_goes_on_with_the_commit_that_it_began_with(
    hub: dict[str, str], tmp_path: Path
):
    corpus = Corpus(source="owner/name:part")
    whole = prepare(corpus, Bytes(), str(tmp_path / "whole"), layout=SMALL)

    def stop(told: Progress) -> None:
        if told.tokens:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(corpus, Bytes(), str(tmp_path / "cut"), stop, layout=SMALL)
    hub["main"] = "f" * 40
    again = prepare(corpus, Bytes(), str(tmp_path / "cut"), layout=SMALL)
    assert again == whole
    assert again.revision == COMMITS["main"]
    assert prepare(corpus, Bytes(), str(tmp_path / "new"), layout=SMALL).digest != whole.digest


def test_the_library_that_streams_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # as where it is not installed
    with pytest.raises(
        UserError,
        match="which takes the library `datasets`, and that is not installed; pip install datasets",
    ):
        HubSource("owner/name", "text")


@pytest.mark.slow
def test_a_data_set_that_can_not_be_reached_is_named():
    pytest.importorskip("datasets")
    with pytest.raises(UserError, match="`nobody/nothing`"):
        HubSource("nobody/nothing", "text")
