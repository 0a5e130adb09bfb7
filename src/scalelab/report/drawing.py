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
from scalelab.report.figure import Figure, Rows
from scalelab.report.page import to_page
from scalelab.report.registry import FIGURES, find
from scalelab.store.frames import trials
from scalelab.store.store import Store

Format = Literal["html", "png", "svg"]


def draw(
    store: Store,
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
    rows = read(store, chosen, filter) if experiments or _known(store, drawn.experiment) else None
    if rows is None or not drawn.has_data(rows):
        among = f"`{'`, `'.join(chosen)}`" + (f" among the rows where {filter}" if filter else "")
        cure = f"`scalelab run {drawn.spec}` makes it" if not experiments else "see `scalelab status` for what has finished"
        if experiments:
            cure += f", or draw another experiment (`scalelab run {drawn.spec}` makes one)"
        raise UserError(f"figure {drawn.number} ({drawn.name}) has no data: {among} has no finished trial of its kind", cure=cure)
    return write(drawn, rows, chosen, filter, out, format)


def write(figure: Figure, rows: Rows, experiments: Sequence[str], filter: str | None, out: Path, format: Format) -> Path:
    """Draw rows that are read already."""
    drawing = figure.draw(rows)
    drawn_from = {"experiments": list(experiments), "filter": filter, "rows": fingerprint(figure, rows)}
    source = {"figure": figure.number, "name": figure.name, **drawn_from}
    out.mkdir(parents=True, exist_ok=True)
    stem = out / f"fig-{figure.number}"
    text = json.dumps({**source, **drawing.data}, indent=1, allow_nan=False, ensure_ascii=False)
    stem.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    path = stem.with_suffix(f".{format}")
    if format == "html":
        path.write_text(to_page(figure, drawing, rows), encoding="utf-8")
    elif format == "svg":
        path.write_text(to_svg(drawing.chart), encoding="utf-8")
    else:
        path.write_bytes(to_png(drawing.chart))
    return path


def with_data(store: Store) -> list[str]:
    """Names of the figures whose own experiment has something to draw."""
    return [
        figure.name for figure in FIGURES if _known(store, figure.experiment) and figure.has_data(read(store, [figure.experiment], None))
    ]


def check(store: Store, out: Path) -> list[str]:
    """The figures in `out` whose rows, or whose way of drawing, are no longer what they were drawn from: `fig-1`, ..."""
    return [path.stem for path in sorted(out.glob("fig-*.json")) if _is_stale(store, path)]


def _is_stale(store: Store, path: Path) -> bool:
    try:
        source = json.loads(path.read_text(encoding="utf-8"))
        figure, experiments = find(source["figure"]), source["experiments"]
        return fingerprint(figure, read(store, experiments, source["filter"])) != source["rows"]
    except (KeyError, TypeError, ValueError):  # not written by this version, or drawn from an experiment that is gone
        return True


def read(store: Store, experiments: Sequence[str], filter: str | None) -> Rows:
    """The rows of some experiments, those that the filter keeps."""
    frame = trials(store, list(experiments))
    if filter is not None:
        keep = compile_filter(filter)
        frame = frame.filter([keep(row) for row in frame.iter_rows(named=True)])
    specs = {found.name: found.spec for found in store.experiments() if found.name in experiments}
    commits = set(frame["commit"].drop_nulls()) if "commit" in frame.columns else set()
    environments = {digest: data for digest, data in store.environments().items() if data.get("commit") in commits}
    return Rows(frame, specs, environments)


def fingerprint(figure: Figure, rows: Rows) -> str:
    """A digest of the rows, in whatever order they come, and of the way they are drawn."""
    columns = sorted(rows.trials.columns)
    plain = sorted([_plain(value) for value in row] for row in rows.trials.select(columns).iter_rows())
    return sha256({"recipe": figure.recipe, "columns": columns, "rows": plain, "specs": dict(rows.specs)})


def _plain(value: Any) -> str:
    return "nan" if isinstance(value, float) and math.isnan(value) else repr(value)


def _known(store: Store, experiment: str) -> bool:
    return any(found.name == experiment for found in store.experiments())
