"""Every figure by number and by name.

A figure's module is loaded when it is drawn: each brings its own fits, slow to import.
"""

from collections.abc import Callable
from dataclasses import dataclass

from scalelab.core.errors import UserError, nearest
from scalelab.report.figure import Figure


def _facts_vs_params() -> type[Figure]:
    from scalelab.report.facts_vs_params import FactsVsParams

    return FactsVsParams


def _recall_map() -> type[Figure]:
    from scalelab.report.recall_map import RecallMap

    return RecallMap


def _fact_capacity() -> type[Figure]:
    from scalelab.report.fact_capacity import FactCapacity

    return FactCapacity


def _loss_contours() -> type[Figure]:
    from scalelab.report.loss_contours import LossContours

    return LossContours


def _isoflops() -> type[Figure]:
    from scalelab.report.isoflops import IsoFlops

    return IsoFlops


def _diagnostics() -> type[Figure]:
    from scalelab.report.diagnostics import Diagnostics

    return Diagnostics


def _learning_curves() -> type[Figure]:
    from scalelab.report.learning_curves import LearningCurves

    return LearningCurves


def _allocation() -> type[Figure]:
    from scalelab.report.allocation import Allocation

    return Allocation


def _quality_vs_speed() -> type[Figure]:
    from scalelab.report.quality_vs_speed import QualityVsSpeed

    return QualityVsSpeed


def _expert_load() -> type[Figure]:
    from scalelab.report.expert_load import ExpertLoad

    return ExpertLoad


def _routes() -> type[Figure]:
    from scalelab.report.routes import Routes

    return Routes


def _search() -> type[Figure]:
    from scalelab.report.search import Search

    return Search


@dataclass(frozen=True)
class Entry:
    """What is known of a figure before it is loaded: see `Figure`."""

    number: int
    name: str
    kind: Callable[[], type[Figure]]
    title: str
    experiment: str

    def load(self) -> Figure:
        """The figure. Its spec has the name of its experiment."""
        spec = f"specs/{self.experiment}.yaml" if self.experiment else ""
        return self.kind()(
            number=self.number,
            name=self.name,
            title=self.title,
            experiment=self.experiment,
            spec=spec,
        )


ENTRIES = (
    Entry(
        1,
        "facts_vs_params",
        _facts_vs_params,
        "How many parameters does a fact cost?",
        "facts_vs_params",
    ),
    Entry(2, "recall_map", _recall_map, "What is recalled, at which size?", "facts_vs_params"),
    Entry(
        3, "fact_capacity", _fact_capacity, "How many bits does a parameter hold?", "fact_capacity"
    ),
    Entry(4, "loss_contours", _loss_contours, "Where does compute buy most?", ""),
    Entry(5, "isoflops", _isoflops, "How large a model, for how much compute?", ""),
    Entry(6, "diagnostics", _diagnostics, "Can the fit be trusted?", ""),
    Entry(
        7,
        "learning_curves",
        _learning_curves,
        "How do the metrics move while training?",
        "facts_vs_params",
    ),
    Entry(8, "allocation", _allocation, "Which shape of one budget learns best?", "allocation"),
    Entry(9, "quality_vs_speed", _quality_vs_speed, "How good, and how fast?", "gqa_moe"),
    Entry(10, "expert_load", _expert_load, "Do all experts work?", "gqa_moe"),
    Entry(11, "routes", _routes, "Which layers does a router choose?", "routers"),
    Entry(12, "search", _search, "What did the search find?", ""),
)


def figures() -> list[Figure]:
    """Every figure, by number."""
    return [entry.load() for entry in ENTRIES]


def find(figure: str | int) -> Figure:
    """`1`, `fig 1`, `fig-1` or `facts_vs_params`.

    Raises UserError for a figure that is not there.
    """
    wanted = str(figure).strip().lower()
    number = wanted.removeprefix("fig").strip(" -.")
    for known in ENTRIES:
        if wanted == known.name or number == str(known.number):
            return known.load()
    listed = ", ".join(f"{known.number} (`{known.name}`)" for known in ENTRIES)
    near = nearest(wanted, [known.name for known in ENTRIES])
    raise UserError(
        f"there is no figure `{figure}`",
        cure=near if near.startswith("did") else f"known are {listed}",
    )
