"""From a store to files: pages, pictures, numbers as JSON, and whether they are still true."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scalelab.core.errors import UserError, reason
from scalelab.core.files import replacing
from scalelab.report.charts.themes import to_png, to_svg
from scalelab.report.figure import Drawing, Figure, Rows
from scalelab.report.html.index import (
    Drawn,
    Failed,
    read_cards,
    to_card,
    to_failed_card,
    to_index,
)
from scalelab.report.html.page import to_failed_page, to_page
from scalelab.report.reading import Reading, fingerprint, having_data, take
from scalelab.report.registry import ENTRIES, Entry, figures, find
from scalelab.store.reader import Reader

Format = Literal["html", "png", "svg"]

INDEX = "index.html"


@dataclass(frozen=True)
class Failure:
    """A figure that could not be drawn."""

    number: int
    name: str
    error: BaseException


@dataclass(frozen=True)
class Report:
    """What became of every figure that has data."""

    paths: Mapping[str, Path]
    """By the figures' names, `index` first."""
    failures: Sequence[Failure]


def draw(
    store: Reader,
    figure: str | int,
    *,
    experiments: Sequence[str] | None = None,
    filter: str | None = None,
    options: Mapping[str, str] | None = None,
    out: Path,
    format: Format = "html",
) -> Path:
    """Draw a figure into the folder `out` as `fig-N.html` (or .png, .svg), with `fig-N.json` beside
    it; gives the first's path.

    Without `experiments` it draws the one that the registry names, or the only one that has data. A
    picture of a further panel is `fig-N-NAME.png`. An index that lies there shows the new one. The
    same rows give the same bytes. Raises
    UserError for an unknown figure, experiment or option, a filter that is none, and a figure
    without data, with the spec that makes it.
    """
    reading, drawn = Reading(store, filter), find(figure).chosen(options or {})
    names, rows = take(reading, drawn, experiments)
    drawing = _drawing(drawn, rows)
    path = write(drawn, drawing, rows, names, filter, out, format)
    if format == "html" and (out / INDEX).exists():
        others = [name for name in having_data(reading, drawn) if name not in names]
        _put_index(out, {drawn.number: to_card(Drawn(drawn, drawing, names, others, path.name))})
    return path


def draw_all(
    store: Reader,
    *,
    experiments: Sequence[str] | None = None,
    filter: str | None = None,
    out: Path,
    format: Format = "html",
) -> Report:
    """Draw every figure that has data, and `index.html` that shows them all, and those that were
    drawn there before.

    Pictures have no index. Where several experiments have data for a figure, and none of them is
    the registry's, the newest is drawn. A figure that fails stops no other: it is among the
    failures, and its page and the index say so; but for one that `experiments` or `filter` do not
    fit, whose earlier page stays. Raises UserError for an unknown experiment, a
    filter that is none, and a folder that cannot be written into.
    """
    reading = Reading(store, filter)
    reading.check(experiments)
    is_narrowed = experiments is not None or filter is not None
    cards, paths, failures = dict[int, str](), {}, []
    for entry in ENTRIES:
        made = _made(reading, entry, experiments, format)
        if made is None:
            continue
        if made.error is not None:
            failures.append(Failure(entry.number, entry.name, made.error))
            if is_narrowed and isinstance(made.error, UserError):
                continue
            _remove_pictures(out, entry, format)
        cards[entry.number] = made.card
        path = _put_all(out, made.files)
        if made.error is None:
            paths[entry.name] = path
    if not cards or format != "html":
        return Report(paths, failures)
    _put_index(out, cards)
    return Report({"index": out / INDEX, **paths}, failures)


def _put_index(out: Path, cards: Mapping[int, str]) -> None:
    """Write the index: these cards, and those of figures that lie there from before."""
    path = out / INDEX
    before = read_cards(path.read_text(encoding="utf-8", errors="replace")) if path.exists() else {}
    kept = {
        number: card for number, card in before.items() if (out / f"fig-{number}.html").exists()
    }
    _put(path, to_index({**kept, **cards}).encode())


@dataclass(frozen=True)
class _Made:
    """The files of a figure by their names, the page or picture first; its card on the index; and
    the error that stopped it, if one did.
    """

    files: Mapping[str, bytes]
    card: str
    error: BaseException | None = None


def _made(
    reading: Reading, entry: Entry, experiments: Sequence[str] | None, format: Format
) -> _Made | None:
    """All that is made of one figure; None where it has no data.

    Whatever fails here may be the fault of this figure alone. Files are not written here: a full
    disk is no figure's fault.
    """
    try:
        figure = entry.load()
        candidates = _candidates(reading, figure, experiments)
        if not candidates:
            return None
        names = list(experiments or candidates[:1])
        rows = reading.rows(figure, names)
        drawing = _drawing(figure, rows)
        files = _files(figure, drawing, rows, names, reading.filter, format)
        others = [name for name in candidates if name not in names]
        drawn = Drawn(figure, drawing, names, others, next(iter(files)))
        return _Made(files, to_card(drawn) if format == "html" else "")
    except BaseException as error:
        if not is_fault(error):
            raise
        return _failed(entry, error, format)


def _drawing(figure: Figure, rows: Rows) -> Drawing:
    """What the figure draws. Raises UserError if that has no panel."""
    drawing = figure.draw(rows)
    if not drawing.panels:
        what = f"figure {figure.number} ({figure.name}): these trials leave nothing to draw"
        raise UserError(what, cure="draw more of them, or another experiment")
    return drawing


def is_fault(error: BaseException) -> bool:
    """Whether an error is a fault of what was tried, and no interruption; a panic of a library in
    Rust, such as Polars, is no Exception.
    """
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _failed(entry: Entry, error: BaseException, format: Format) -> _Made:
    """A page in the place of an earlier one, which would pass for a current one; and its numbers,
    which `check` then calls out of date.
    """
    failed = Failed(entry.number, entry.title, _sentence(error))
    source = {"figure": entry.number, "name": entry.name, "failed": failed.why}
    files = {f"fig-{entry.number}.json": _json(source).encode()}
    if format == "html":
        page = to_failed_page(entry.number, entry.title, failed.why)
        files = {failed.page: page.encode(), **files}
    return _Made(files, to_failed_card(failed), error)


def _sentence(error: BaseException) -> str:
    """The error in one line."""
    if isinstance(error, UserError):
        return str(error)
    lines = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *lines[:1]])


def _remove_pictures(out: Path, entry: Entry, format: Format) -> None:
    """Remove an earlier run's pictures of a figure: they can't say that it failed."""
    if format != "html":
        with _changing(out):
            for path in [
                out / f"fig-{entry.number}.{format}",
                *out.glob(f"fig-{entry.number}-*.{format}"),
            ]:
                path.unlink(missing_ok=True)


def with_data(store: Reader, experiments: Sequence[str] | None = None) -> list[str]:
    """Names of the figures that have something to draw: from these experiments, or from any."""
    reading = Reading(store)
    return [figure.name for figure in figures() if _candidates(reading, figure, experiments)]


def _candidates(
    reading: Reading, figure: Figure, experiments: Sequence[str] | None
) -> Sequence[str]:
    """The experiments that the figure could draw; those that are named, where they have data."""
    if experiments:
        return experiments if figure.has_data(reading.rows(figure, experiments)) else ()
    return having_data(reading, figure)


def write(
    figure: Figure,
    drawing: Drawing,
    rows: Rows,
    experiments: Sequence[str],
    filter: str | None,
    out: Path,
    format: Format,
) -> Path:
    """Write a drawing of rows that are read already."""
    return _put_all(out, _files(figure, drawing, rows, experiments, filter, format))


def _files(
    figure: Figure,
    drawing: Drawing,
    rows: Rows,
    experiments: Sequence[str],
    filter: str | None,
    format: Format,
) -> dict[str, bytes]:
    """Name -> content: the page, or a picture of each panel; and the numbers."""
    drawn_from = {
        "experiments": list(experiments),
        "filter": filter,
        "options": dict(figure.options),
        "rows": fingerprint(figure, rows),
    }
    warnings = [{"code": warned.code, "text": warned.text} for warned in drawing.warnings]
    source = {"figure": figure.number, "name": figure.name, **drawn_from, "warnings": warnings}
    stem = f"fig-{figure.number}"
    if format == "html":
        files = {f"{stem}.html": to_page(figure, drawing, rows).encode()}
    else:
        files = {}
        for index, panel in enumerate(drawing.panels):
            name = f"{stem}-{panel.name}.{format}" if index else f"{stem}.{format}"
            chart = panel.chart
            files[name] = to_svg(chart).encode() if format == "svg" else to_png(chart)
    return {**files, f"{stem}.json": _json({**source, **drawing.data}).encode()}


def _json(data: Mapping[str, Any]) -> str:
    """One line for each key: a difference can be seen, and the fast encoder does it."""
    lines = (
        f"{json.dumps(key)}: {json.dumps(value, allow_nan=False, ensure_ascii=False)}"
        for key, value in data.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _put_all(out: Path, files: Mapping[str, bytes]) -> Path:
    """Write the files; gives the first's path."""
    for name, content in files.items():
        _put(out / name, content)
    return out / next(iter(files))


def _put(path: Path, content: bytes) -> None:
    with _changing(path.parent), replacing(path) as part:
        part.write_bytes(content)


@contextmanager
def _changing(folder: Path) -> Iterator[None]:
    """Raises UserError where the block cannot change the folder."""
    try:
        yield
    except OSError as error:
        what, cure = f"cannot write into it: {reason(error)}", "name another folder with --out"
        raise UserError(what, cure=cure, where=str(folder)) from error


def check(store: Reader, out: Path) -> list[str]:
    """The figures in `out` whose rows, or whose way of drawing, are no longer what they were drawn
    from: `fig-1`, ...

    Raises UserError where no figure lies in `out`.
    """
    drawn = sorted(out.glob("fig-*.json"))
    if not drawn:
        raise UserError(f"no figure lies in {out}", cure="draw one with `scalelab report`")
    return [path.stem for path in drawn if _is_stale(store, path)]


def _is_stale(store: Reader, path: Path) -> bool:
    try:
        source = json.loads(path.read_text(encoding="utf-8"))
        figure = find(source["figure"]).chosen(source["options"])
        rows = Reading(store, source["filter"]).rows(figure, source["experiments"])
        return fingerprint(figure, rows) != source["rows"]
    except Exception:  # failed, or not written by this version, or of an experiment that is gone
        return True
