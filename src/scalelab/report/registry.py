"""Every figure by number and by name.

A figure's module is loaded when it is drawn: each brings its own fits, slow to import.
"""

from dataclasses import dataclass
from importlib import import_module

from scalelab.core.errors import UserError, nearest
from scalelab.report.figure import Figure


@dataclass(frozen=True)
class Entry:
    """What is known of a figure before it is loaded: see `Figure`."""

    number: int
    name: str
    """Also that of its folder in `report/figures`."""
    kind: str
    """Name of its class in `figure.py` there."""
    title: str
    experiment: str
    """The experiment that is drawn unless one is named; its spec has the same name."""

    def load(self) -> Figure:
        """The figure."""
        module = import_module(f"scalelab.report.figures.{self.name}.figure")
        kind: type[Figure] = getattr(module, self.kind)
        spec = f"specs/{self.experiment}.yaml" if self.experiment else ""
        return kind(
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
        "FactsVsParams",
        "How many parameters does a fact cost?",
        "facts_vs_params",
    ),
    Entry(2, "recall_map", "RecallMap", "What is recalled, at which size?", "facts_vs_params"),
    Entry(
        3, "fact_capacity", "FactCapacity", "How many bits does a parameter hold?", "fact_capacity"
    ),
    Entry(4, "loss_contours", "LossContours", "Where does compute buy most?", ""),
    Entry(5, "isoflops", "IsoFlops", "How large a model, for how much compute?", ""),
    Entry(6, "diagnostics", "Diagnostics", "Can the fit be trusted?", ""),
    Entry(
        7,
        "learning_curves",
        "LearningCurves",
        "How do the metrics move while training?",
        "facts_vs_params",
    ),
    Entry(8, "allocation", "Allocation", "Which shape of one budget learns best?", "allocation"),
    Entry(9, "quality_vs_speed", "QualityVsSpeed", "How good, and how fast?", "gqa_moe"),
    Entry(10, "expert_load", "ExpertLoad", "Do all experts work?", "gqa_moe"),
    Entry(11, "routes", "Routes", "Which layers does a router choose?", "routers"),
    Entry(12, "search", "Search", "What did the search find?", ""),
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
