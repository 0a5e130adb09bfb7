"""The best of a search as a spec file of its own, which `scalelab run` takes and finds nothing left
to run of.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from scalelab.core.canon import SHORT
from scalelab.core.errors import UserError, reason
from scalelab.core.files import replacing
from scalelab.optimize.result import SearchResult
from scalelab.plan.plan import compile_point
from scalelab.spec.axes import laid
from scalelab.spec.document import Document, dump
from scalelab.spec.load_space import experiment_of
from scalelab.spec.space import Space

FOLDER = Path("specs/found")

_MARK = "# Written by `scalelab optimize`, which writes it anew while nobody has changed it: "
_WIDTH = 120


@dataclass(frozen=True)
class BestSpec:
    """The best trial of a search."""

    space: str
    """Name of the space."""
    objective: str
    """What it is the best by."""
    value: float
    digest: str
    base: Mapping[str, Any]
    """The space's base, as the user wrote it."""
    point: Mapping[str, Any]
    """Searched path -> value, the active ones."""

    def data(self) -> dict[str, Any]:
        """The spec: the base with the point's values in their places."""
        about = (
            f"The best of the space {self.space} by {self.objective}: {self.value:.6g}, trial"
            f" {self.digest[:SHORT]}."
        )
        base = {key: value for key, value in self.base.items() if key not in ("name", "about")}
        return {"name": f"found_{self.space}", "about": about, **laid(base, dict(self.point))}


def best_spec(space: Space, document: Document, result: SearchResult) -> BestSpec:
    """The best trial of a search by its first objective, as a spec.

    Raises UserError if it ran when the space had another base.
    """
    experiment, base = experiment_of(space, document)
    best = result.ranked[0]
    point = best.stored.record.axes
    if compile_point(experiment, base, dict(point)).digest != best.digest:
        raise UserError(
            f"the best, trial {best.digest[:SHORT]}, ran when the space had another base",
            cure=(
                f"see it with `scalelab show {best.digest[:SHORT]}`, or give the changed space"
                " another `name`"
            ),
        )
    return BestSpec(
        result.name, result.objectives[0], best.values[0], best.digest, base.data, point
    )


def write_spec(found: BestSpec, folder: Path = FOLDER) -> Path:
    """Write the spec into the folder and give its path: `NAME.yaml`, or where somebody changed that
    one, `NAME-DIGEST.yaml` beside it.

    Raises UserError where it can't be written.
    """
    path = folder / f"{found.space}.yaml"
    if not is_ours(path):
        path = folder / f"{found.space}-{found.digest[:SHORT]}.yaml"
    body = dump(found.data(), default_flow_style=None, width=_WIDTH, allow_unicode=True)
    try:
        with replacing(path) as part:
            part.write_text(f"{_MARK}{_checksum(body)}\n{body}", encoding="utf-8")
    except OSError as error:
        cure = "make the folder writable, or run the command elsewhere with `--space PATH`"
        raise UserError(
            f"the found spec can't be written: {reason(error)}", cure=cure, where=str(path)
        ) from error
    return path


def is_ours(path: Path) -> bool:
    """Whether a file may be replaced: there is none, or it is as it was written."""
    if not path.exists():
        return True
    first, _, body = path.read_text(encoding="utf-8", errors="replace").partition("\n")
    match = re.fullmatch(re.escape(_MARK) + r"([0-9a-f]+)", first)
    return match is not None and match[1] == _checksum(body)


def _checksum(body: str) -> str:
    return sha256(body.encode()).hexdigest()[:SHORT]
