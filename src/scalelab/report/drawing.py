"""From a store to files: which rows a figure takes, where its page, picture and JSON go, and whether they are still true."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from scalelab.core.canon import sha256
from scalelab.core.errors import UserError
from scalelab.core.filter import compile_filter
from scalelab.report.charts import to_png, to_svg
from scalelab.report.figure import Drawing, Figure, Rows
from scalelab.report.page import to_page
from scalelab.report.registry import FIGURES, find
from scalelab.store.frames import trials
from scalelab.store.reader import Reader

Format = Literal["html", "png", "svg"]


def draw(
    store: Reader,
    figure: str | int,
    *,
    experiments: Sequence[str] | None = None,
    filter: str | None = None,
    out: Path,
    format: Format = "html",
) -> Path:
    """Draw a figure into the folder `out` as `fig-N.html` (or .png, .svg), with `fig-N.json` beside it; gives the first's path.

    Without `experiments` it draws the one that the registry names. The same rows give the same bytes. Raises UserError
    for an unknown figure or experiment, a filter that is none, and a figure without data, with the spec that makes it.
    """
    drawn = find(figure)
    chosen = list(experiments or [drawn.experiment])
    rows = read(store, chosen, filter) if experiments or drawn.experiment in _names(store) else None
    if rows is None or not drawn.has_data(rows):
        raise _without_data(drawn, chosen, filter, _names(store))
    return write(drawn, rows, chosen, filter, out, format)


def _without_data(figure: Figure, chosen: Sequence[str], filter: str | None, known: Sequence[str]) -> UserError:
    among = " and ".join(f"`{name}`" for name in chosen) + (f" where {filter}" if filter else "")
    others = ", ".join(f"`{name}`" for name in known if name not in chosen)
    cure = f"`scalelab run {figure.spec}` makes it" + (f", or name an experiment that has it (there are {others})" if others else "")
    return UserError(f"figure {figure.number} ({figure.name}) has no data: no trial of {among} has finished with what it draws", cure=cure)


def write(figure: Figure, rows: Rows, experiments: Sequence[str], filter: str | None, out: Path, format: Format) -> Path:
    """Draw rows that are read already."""
    drawing = figure.draw(rows)
    drawn_from = {"experiments": list(experiments), "filter": filter, "rows": fingerprint(figure, rows)}
    source = {"figure": figure.number, "name": figure.name, **drawn_from}
    text = json.dumps({**source, **drawing.data}, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    path = out / f"fig-{figure.number}.{format}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_rendered(figure, drawing, rows, format))
        path.with_suffix(".json").write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UserError(f"cannot write into it: {error.strerror}", cure="name another folder with --out", where=str(out)) from error
    return path


def _rendered(figure: Figure, drawing: Drawing, rows: Rows, format: Format) -> bytes:
    if format == "html":
        return to_page(figure, drawing, rows).encode()
    return to_svg(drawing.chart).encode() if format == "svg" else to_png(drawing.chart)


def with_data(store: Reader, experiments: Sequence[str] | None = None) -> list[str]:
    """Names of the figures that have something to draw: from these experiments, or each from its own."""
    known = _names(store)
    chosen = {figure: list(experiments or [figure.experiment]) for figure in FIGURES}
    wanted = [figure for figure in FIGURES if experiments or figure.experiment in known]
    return [figure.name for figure in wanted if figure.has_data(read(store, chosen[figure], None))]


def check(store: Reader, out: Path) -> list[str]:
    """The figures in `out` whose rows, or whose way of drawing, are no longer what they were drawn from: `fig-1`, ..."""
    return [path.stem for path in sorted(out.glob("fig-*.json")) if _is_stale(store, path)]


def _is_stale(store: Reader, path: Path) -> bool:
    try:
        source = json.loads(path.read_text(encoding="utf-8"))
        figure, experiments = find(source["figure"]), source["experiments"]
        return fingerprint(figure, read(store, experiments, source["filter"])) != source["rows"]
    except (KeyError, TypeError, ValueError):  # not written by this version, or drawn from an experiment that is gone
        return True


def read(store: Reader, experiments: Sequence[str], filter: str | None) -> Rows:
    """The rows of some experiments, those that the filter keeps."""
    frame = trials(store, list(experiments))
    if filter is not None:
        keep = compile_filter(filter)
        frame = frame.filter([keep(row) for row in frame.iter_rows(named=True)])
    specs = {found.name: found.spec for found in store.experiments() if found.name in experiments}
    ran_in = set(frame["environment"].drop_nulls())
    environments = {digest: data for digest, data in store.environments().items() if digest in ran_in}
    return Rows(frame, specs, environments)


def fingerprint(figure: Figure, rows: Rows) -> str:
    """A digest of the rows, in whatever order they come, and of the way they are drawn."""
    columns = sorted(rows.trials.columns)
    plain = sorted([_plain(value) for value in row] for row in rows.trials.select(columns).iter_rows())
    return sha256({"recipe": figure.recipe, "columns": columns, "rows": plain, "specs": dict(rows.specs)})


def _plain(value: Any) -> str:
    return "nan" if isinstance(value, float) and math.isnan(value) else repr(value)


def _names(store: Reader) -> list[str]:
    return [found.name for found in store.experiments()]
