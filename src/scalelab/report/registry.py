"""Every figure by number and by name."""

from scalelab.core.errors import UserError, nearest
from scalelab.report.facts_vs_params import FactsVsParams
from scalelab.report.figure import Figure

FIGURES: tuple[Figure, ...] = (
    FactsVsParams(
        number=1,
        name="facts_vs_params",
        title="How many parameters does a fact cost?",
        experiment="facts_vs_params",
        spec="specs/facts_vs_params.yaml",
    ),
)


def find(figure: str | int) -> Figure:
    """`1`, `fig 1`, `fig-1` or `facts_vs_params`. Raises UserError for a figure that is not there."""
    wanted = str(figure).strip().lower()
    number = wanted.removeprefix("fig").strip(" -.")
    for known in FIGURES:
        if wanted == known.name or number == str(known.number):
            return known
    listed = ", ".join(f"{known.number} (`{known.name}`)" for known in FIGURES)
    near = nearest(wanted, [known.name for known in FIGURES])
    raise UserError(f"there is no figure `{figure}`", cure=near if near.startswith("did") else f"known are {listed}")
