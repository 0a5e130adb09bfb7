"""What leaves a store: tables for other programs, or one bundle for a paper's appendix."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from scalelab.core.errors import UserError, reason
from scalelab.core.files import replacing
from scalelab.spec.document import dump
from scalelab.store import frames
from scalelab.store.bundle import STORE
from scalelab.store.incoming import checked
from scalelab.store.merge import merge
from scalelab.store.opening import open_at
from scalelab.store.reader import Reader

Format = Literal["csv", "parquet", "bundle"]

README = """An export of scalelab. `scalelab import` brings a bundle into a store.

store.db           everything below, as a store: `scalelab ls --store store.db`
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
    if format == "bundle":
        named = out / "export" if out.name in ("", "..") else out
        path = named if named.suffix else named.with_name(f"{named.name}.zip")
        with TemporaryDirectory(prefix="scalelab-") as folder:
            copy = Path(folder, STORE)
            content = _bundled(store, copy, experiments)
            _replace(path, lambda file: _zip(content, copy, file))
        return [path]
    tables = _tables(store, experiments)
    paths = [out / f"{name}.{format}" for name in tables]
    for path, frame in zip(paths, tables.values(), strict=True):
        _replace(path, frame.write_csv if format == "csv" else frame.write_parquet)
    return paths


def _tables(store: Reader, experiments: Sequence[str] | None) -> dict[str, Any]:
    return {
        "trials": frames.trials(store, experiments, pruned=True),
        "metrics": frames.metrics(store, experiments),
        "attempts": frames.attempts(store, experiments),
        "fits": frames.fits(store, experiments),
    }


def _replace(path: Path, write: Callable[[Any], Any]) -> None:
    from polars.exceptions import ComputeError  # what writing Parquet makes of a full disk

    try:
        with replacing(path) as part, part.open("wb") as file:
            write(file)
    except (OSError, ComputeError) as error:
        why = reason(error) if isinstance(error, OSError) else "its disk is full, or fails"
        raise UserError(
            f"cannot be written: {why}",
            cure="name another place with --out",
            where=str(path),
        ) from error


def _bundled(store: Reader, copy: Path, experiments: Sequence[str] | None) -> dict[str, str]:
    """The files of a bundle by name, after the store was written at `copy`: they tell what is in
    that one, in which nothing runs.
    """
    import polars as pl

    with open_at(copy, mode="write", clock=store.clock) as chosen:
        merge(checked(store), chosen, experiments)
        environments = json.dumps(chosen.environments(), indent=1)
        content = {"README.txt": README, "environments.json": environments}
        for name, frame in _tables(chosen, None).items():
            content[f"{name}.csv"] = frame.write_csv()
        for fit in chosen.fits():
            content[f"draws/{fit.key}.csv"] = pl.DataFrame(dict(fit.draws)).write_csv()
        for found in chosen.experiments():
            content[f"specs/{found.name}.yaml"] = dump(found.spec)
    return content


def _zip(content: Mapping[str, str], store: Path, file: Any) -> None:
    with ZipFile(file, "w") as bundle:
        for name in sorted((*content, STORE)):
            # A fixed date: the same store gives the same bytes.
            entry = ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = ZIP_DEFLATED
            if name == STORE:
                with (
                    store.open("rb") as source,
                    bundle.open(entry, "w", force_zip64=True) as target,
                ):
                    shutil.copyfileobj(source, target)
            else:
                bundle.writestr(entry, content[name])
