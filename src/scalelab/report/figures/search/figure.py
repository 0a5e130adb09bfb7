"""Fig. 12: what a guided search tried, what it found, and what mattered."""

from dataclasses import dataclass

from scalelab.core.metrics import column_of
from scalelab.optimize.result import SearchResult, is_search, search_result
from scalelab.report.figure import Drawing, Figure, Panel, Rows
from scalelab.report.figures.search.charts import (
    front_chart,
    history_chart,
    importance_chart,
    parallel_chart,
    slice_chart,
)
from scalelab.report.figures.search.text import (
    ends_table,
    methods,
    reading,
    samples_table,
    to_json,
    trials_table,
    verdict,
    warnings,
)
from scalelab.report.numbers import rounded

_FEWEST = 2
"""Complete trials that a drawing needs."""


@dataclass(frozen=True)
class Search(Figure):
    """History, front, importances, slices and parallel coordinates of a search, with its best and
    worst trials.
    """

    needs_notes: bool = True
    needs_searches: bool = True
    needs_pruned: bool = True

    @property
    def cure(self) -> str:
        """What makes its data."""
        return "`scalelab optimize --space NAME` makes it"

    def lacks(self, rows: Rows) -> str:
        """Nothing, where a search is among the experiments, of which some trials came to their
        end.
        """
        found = searched_of(rows)
        if found is None:
            return "there is no search"
        if (count := len(found.complete)) < _FEWEST:
            ended = f"{count} trial{'s' if count != 1 else ''} of the search"
            return f"{ended} came to an end, and {_FEWEST} are needed"
        return ""

    def draw(self, rows: Rows) -> Drawing:
        """The drawing."""
        found = searched_of(rows)
        assert found is not None, "a figure is drawn where it has data"
        metric = column_of(found.objectives[0])
        return Drawing(
            title=f"What did the search of {found.name} find?",
            verdict=verdict(found),
            panels=_panels(found),
            metric=metric if metric in rows.trials.columns else found.objectives[0],
            tables=[ends_table(found), *samples_table(found, rows.notes)],
            reading=reading(found),
            methods=methods(rows, found),
            data=rounded(to_json(found)),
            warnings=warnings(found),
        )


def searched_of(rows: Rows) -> SearchResult | None:
    """The first experiment among the rows that is a search; None where none is."""
    for name, spec in rows.specs.items():
        if is_search(spec):
            return search_result(name, spec, rows.searches.get(name, ()))
    return None


def _panels(found: SearchResult) -> list[Panel]:
    first = found.labels[0]
    varied = [
        path
        for path in found.paths
        if len({one.setting[path] for one in found.complete if path in one.setting}) > 1
    ]
    panels = [
        Panel(
            "history",
            "",
            history_chart(found),
            f"The {first} of every trial; the line is the best so far.",
            trials_table(found),
        )
    ]
    if len(found.objectives) > 1:
        more = (
            ""
            if len(found.objectives) == 2
            else " (in all objectives together others may be on the front too)"
        )
        caption = (
            f"{first} against {found.labels[1]}: the trials on the line are beaten by none{more}."
        )
        panels.append(Panel("front", "The front", front_chart(found), caption))
    if found.importances:
        caption = "How much each setting separates the best trials from the others."
        panels.append(Panel("importances", "What mattered", importance_chart(found), caption))
    if varied:
        panels.append(
            Panel(
                "slices",
                "Setting by setting",
                slice_chart(found, varied),
                f"{first} of the complete trials against each setting.",
            )
        )
        panels.append(
            Panel(
                "parallel",
                "All settings together",
                parallel_chart(found, varied),
                "A line for each complete trial.",
            )
        )
    return panels
