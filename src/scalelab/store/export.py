"""What leaves a store: tables for other programs, or one bundle for a paper's appendix."""

import io
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from scalelab.core.errors import UserError, reason
from scalelab.spec.document import dump
from scalelab.store import frames
from scalelab.store.reader import Reader

Format = Literal["csv", "parquet", "bundle"]

README = """An export of scalelab.

trials.csv         one row for each trial in each experiment: every field of its spec, sizes,
                   lengths, last metrics (where `metrics.pruned` has a value, a search ended the
                   trial early, at that step)
metrics.csv        the curves: digest, name, step, value
attempts.csv       every execution of a trial: when, for how long, under which numerics, in which
                   environment
fits.csv           laws fitted to the experiments: what was asked, what came out
draws/             the coefficients in every draw of the bootstrap, by the key of the fit
environments.json  code, packages and machine, by the digest in the column `environment`
specs/             what was asked, experiment by experiment
"""


def export(
    store: Reader, out: Path, format: Format, experiments: Sequence[str] | None = None
) -> list[Path]:
    """Write trials, metrics, attempts and fits as tables into the folder `out`, or everything as
    the zip `out`; returns the files.

    A file is replaced as a whole or not at all. Raises UserError where it can't be written, or for
    an unknown experiment.
    """
    tables = {
        "trials": frames.trials(store, experiments, pruned=True),
        "metrics": frames.metrics(store, experiments),
        "attempts": frames.attempts(store, experiments),
        "fits": frames.fits(store, experiments),
    }
    if format == "bundle":
        named = out / "export" if out.name in ("", "..") else out
        path = named if named.suffix else named.with_name(f"{named.name}.zip")
        _replace(path, lambda file: _bundle(store, tables, experiments, file))
        return [path]
    paths = [out / f"{name}.{format}" for name in tables]
    for path, frame in zip(paths, tables.values(), strict=True):
        _replace(path, frame.write_csv if format == "csv" else frame.write_parquet)
    return paths


def _replace(path: Path, write: Callable[[Any], Any]) -> None:
    from polars.exceptions import ComputeError  # what writing Parquet makes of a full disk

    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            write(file)
        part.replace(path)
    except (OSError, ComputeError) as error:
        with suppress(OSError):
            part.unlink()
        why = reason(error) if isinstance(error, OSError) else "its disk is full, or fails"
        raise UserError(
            f"cannot be written: {why}",
            cure="name another place with --out",
            where=str(path),
        ) from error


def _bundle(
    store: Reader, tables: dict[str, Any], experiments: Sequence[str] | None, file: Any
) -> None:
    import polars as pl

    used = set(tables["attempts"]["environment"])
    environments = {digest: data for digest, data in store.environments().items() if digest in used}
    content = {"README.txt": README, "environments.json": json.dumps(environments, indent=1)}
    for name, frame in tables.items():
        buffer = io.StringIO()
        frame.write_csv(buffer)
        content[f"{name}.csv"] = buffer.getvalue()
    for fit in store.fits(experiments):
        content[f"draws/{fit.key}.csv"] = pl.DataFrame(dict(fit.draws)).write_csv()
    for found in store.experiments():
        if experiments is None or found.name in experiments:
            content[f"specs/{found.name}.yaml"] = dump(found.spec)
    with ZipFile(file, "w") as bundle:
        for name in sorted(content):
            # A fixed date: the same store gives the same bytes.
            bundle.writestr(
                ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content[name], compress_type=ZIP_DEFLATED
            )
