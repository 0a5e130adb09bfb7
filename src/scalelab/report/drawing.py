"""From a store to files: pages, pictures, numbers as JSON, and whether they are still true."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from scalelab.core.errors import UserError, reason
from scalelab.report.charts import to_png, to_svg
from scalelab.report.figure import Drawing, Figure, Panel, Rows
from scalelab.report.index import Drawn, to_index
from scalelab.report.page import to_page
from scalelab.report.reading import Reading, fingerprint, having_data, take
from scalelab.report.registry import figures, find
from scalelab.store.reader import Reader

Format = Literal["html", "png", "svg"]


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
    picture of a further panel is `fig-N-NAME.png`. The same rows give the same bytes. Raises
    UserError for an unknown figure, experiment or option, a filter that is none, and a figure
    without data, with the spec that makes it.
    """
    drawn = find(figure).chosen(options or {})
    names, rows = take(Reading(store, filter), drawn, experiments)
    return write(drawn, drawn.draw(rows), rows, names, filter, out, format)


def draw_all(
    store: Reader,
    *,
    experiments: Sequence[str] | None = None,
    filter: str | None = None,
    out: Path,
    format: Format = "html",
) -> dict[str, Path]:
    """Draw every figure that has data, and `index.html` that shows them all; gives paths by the
    figures' names, `index` first.

    Pictures have no index. Where several experiments have data for a figure, and none of them is
    the registry's, the newest is drawn.
    """
    reading, pages, paths = Reading(store, filter), [], {}
    for figure, candidates in _drawable(reading, experiments):
        names = list(experiments or candidates[:1])
        rows = reading.rows(figure, names)
        drawing = figure.draw(rows)
        paths[figure.name] = write(figure, drawing, rows, names, filter, out, format)
        pages.append(
            Drawn(
                figure,
                drawing,
                names,
                [name for name in candidates if name not in names],
                paths[figure.name].name,
            )
        )
    if not pages or format != "html":
        return paths
    _put(out / "index.html", to_index(pages).encode())
    return {"index": out / "index.html", **paths}


def with_data(store: Reader, experiments: Sequence[str] | None = None) -> list[str]:
    """Names of the figures that have something to draw: from these experiments, or from any."""
    return [figure.name for figure, _ in _drawable(Reading(store), experiments)]


def _drawable(
    reading: Reading, experiments: Sequence[str] | None
) -> list[tuple[Figure, list[str]]]:
    """Each figure that has data, with the experiments that have it."""
    if experiments:
        return [
            (figure, list(experiments))
            for figure in figures()
            if figure.has_data(reading.rows(figure, experiments))
        ]
    found = [(figure, having_data(reading, figure)) for figure in figures()]
    return [(figure, names) for figure, names in found if names]


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
    drawn_from = {
        "experiments": list(experiments),
        "filter": filter,
        "options": dict(figure.options),
        "rows": fingerprint(figure, rows),
    }
    warnings = [{"code": warned.code, "text": warned.text} for warned in drawing.warnings]
    source = {"figure": figure.number, "name": figure.name, **drawn_from, "warnings": warnings}
    path = out / f"fig-{figure.number}.{format}"
    if format == "html":
        _put(path, to_page(figure, drawing, rows).encode())
    else:
        for index, panel in enumerate(drawing.panels):
            _put(
                path.with_stem(f"{path.stem}-{panel.name}") if index else path,
                _picture(panel, format),
            )
    _put(path.with_suffix(".json"), _json({**source, **drawing.data}).encode())
    return path


def _picture(panel: Panel, format: Format) -> bytes:
    return to_svg(panel.chart).encode() if format == "svg" else to_png(panel.chart)


def _json(data: Mapping[str, Any]) -> str:
    """One line for each key: a difference can be seen, and the fast encoder does it."""
    lines = (
        f"{json.dumps(key)}: {json.dumps(value, allow_nan=False, ensure_ascii=False)}"
        for key, value in data.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _put(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        what, cure = f"cannot write into it: {reason(error)}", "name another folder with --out"
        raise UserError(what, cure=cure, where=str(path.parent)) from error


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
    except (
        KeyError,
        TypeError,
        ValueError,
    ):  # not written by this version, or drawn from an experiment that is gone
        return True
