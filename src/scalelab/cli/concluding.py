"""How a search ends: the best and the worst side by side or the front, what mattered, what they
write, fig. 12, and the best as a spec.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalelab.cli.faults import as_user_error, explained
from scalelab.cli.options import number, print_table
from scalelab.cli.samples import beside, sample_text
from scalelab.core.canon import SHORT, canonical_json
from scalelab.core.errors import UserError

if TYPE_CHECKING:
    from scalelab.report.figures.search.data import Searched, Tried
    from scalelab.spec.experiment import Experiment
    from scalelab.spec.load import Document
    from scalelab.spec.space import Space
    from scalelab.store import Store, StoredTrial
    from scalelab.store.reader import Reader

FIGURE = "search"
"""The name of fig. 12."""
REPORTS = Path("reports")

_AGAIN = "; under more seeds: scalelab run {} --set replicates=3"
_FRONT = 20
"""Trials of a front that are shown."""
_NAMED = 6
"""Paths that are named as important."""


@dataclass(frozen=True)
class Conclusion:
    """What a search found."""

    searched: "Searched"
    ends: Mapping[str, "StoredTrial"]
    """Title -> trial: see `Searched.ends`. Their axes are the searched paths that apply."""
    samples: Mapping[str, str]
    """Title -> what that trial writes."""
    figure: "Made"
    found: "Made"
    """The best as a spec; of several objectives the best in the first."""

    @property
    def unexpected(self) -> list[BaseException]:
        """What stopped a file from being made, and is no fault of the user's."""
        return [
            made.unexpected for made in (self.figure, self.found) if made.unexpected is not None
        ]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`, beside `found_json`."""
        samples = {self.ends[title].record.digest: text for title, text in self.samples.items()}
        return {"samples": samples, "figure": self.figure.name, "found": self.found.name}


@dataclass(frozen=True)
class Made:
    """A file that was written, or the sentence that says why not: what else was found is told all
    the same.
    """

    path: Path | None
    why: str = ""
    unexpected: BaseException | None = None
    """What stopped it, where that is no fault of the user's."""

    @property
    def name(self) -> str | None:
        """Its path as text."""
        return None if self.path is None else str(self.path)


def _made(write: Callable[[], Path]) -> Made:
    from scalelab.report import is_fault

    try:
        return Made(write())
    except BaseException as error:
        if not is_fault(error):
            raise
        return Made(None, str(as_user_error(error)), error if explained(error) is None else None)


def found_json(searched: "Searched") -> dict[str, Any]:
    """What a search found, for `--json`: the best and the worst by the first objective, and the
    front.
    """

    def as_dict(one: "Tried") -> dict[str, Any]:
        return {"digest": one.digest, "values": list(one.values), "setting": dict(one.setting)}

    ends = {
        "best": as_dict(searched.ranked[0]),
        "worst": as_dict(searched.ranked[-1]),
        "front": [as_dict(one) for one in searched.front],
    }
    pruned = sum(one.pruned for one in searched.tried)
    return {
        "objectives": list(searched.objectives),
        "pruned": pruned,
        **ends,
        "importances": dict(searched.importances),
    }


def searched_in(opened: "Reader", name: str) -> "Searched | None":
    """What a store knows of a search; None where no trial of it has come to its end."""
    from scalelab.report.figures.search.data import searched_of
    from scalelab.report.reading import Reading
    from scalelab.report.registry import find

    found = searched_of(Reading(opened).rows(find(FIGURE), [name]))
    return found if found is not None and found.complete else None


def conclude(
    opened: "Store", searched: "Searched", space: "Space", document: "Document", where: str
) -> Conclusion:
    """Ask the ends for their samples, write the best as a spec, and draw."""
    from scalelab import report
    from scalelab.spec.load_space import experiment_of

    experiment, inner = experiment_of(space, document)
    data = experiment.execution.data
    ends = {title: opened.trial(one.digest) for title, one in searched.ends.items()}
    samples = {
        title: sample_text(opened, one.record.digest, data, where) for title, one in ends.items()
    }
    axes = next(
        record.axes
        for record, _, _ in opened.members(searched.name)
        if record.digest == searched.ranked[0].digest
    )
    found = _made(lambda: _found(searched, experiment, inner, axes))
    figure = _made(lambda: report.draw(opened, FIGURE, experiments=[searched.name], out=REPORTS))
    return Conclusion(searched, ends, samples, figure, found)


def _found(
    searched: "Searched", experiment: "Experiment", document: "Document", point: Mapping[str, Any]
) -> Path:
    """The best as a spec.

    Raises UserError where the base was another when it ran, and where the spec can't be written.
    """
    from scalelab.plan.plan import compile_point
    from scalelab.run.found import Found, write_found

    best = searched.ranked[0]
    if compile_point(experiment, document, dict(point)).digest != best.digest:
        what = f"the best, trial {best.digest[:SHORT]}, ran when the space had another base"
        raise UserError(
            what,
            cure=(
                f"see it with `scalelab show {best.digest[:SHORT]}`, or give the changed space"
                " another `name`"
            ),
        )
    return write_found(
        Found(
            searched.name, searched.objectives[0], best.values[0], best.digest, document.data, point
        )
    )


def show(concluded: Conclusion) -> None:
    """Print it."""
    searched = concluded.searched
    pruned = sum(one.pruned for one in searched.tried)
    ended = (
        f"{len(searched.complete):,} trials came to their end"
        if len(searched.complete) > 1
        else "1 trial came to its end"
    )
    print(f"\n{ended}" + (f", {pruned:,} pruned before" if pruned else ""))
    if len(searched.objectives) > 1:
        _show_front(searched)
    print()
    _show_ends(concluded)
    print(f"\n{_mattered(searched)}\n")
    titles = [
        f"{title}, trial {one.record.digest[:SHORT]}" for title, one in concluded.ends.items()
    ]
    print("\n".join(beside(titles, list(concluded.samples.values()))))
    figure, found = concluded.figure, concluded.found
    print(f"\nfig. 12: {figure.path or figure.why}")
    print(
        f"the best as a spec: {found.path or found.why}"
        + (_AGAIN.format(found.path) if found.path else "")
    )


def _show_front(searched: "Searched") -> None:
    """A line for each trial that no other beats in everything."""
    print(
        f"{len(searched.front):,} of them are on the front of {' and '.join(searched.objectives)}\n"
    )
    shown = searched.front[:_FRONT]
    paths = [
        path for path in searched.paths if len({str(one.setting.get(path)) for one in shown}) > 1
    ]
    rows = [
        [
            one.digest[:SHORT],
            *map(number, one.values),
            *(number(one.setting.get(path)) for path in paths),
        ]
        for one in shown
    ]
    print_table(["digest", *searched.objectives, *paths], rows)
    if len(searched.front) > len(shown):
        print(f"{len(shown)} of {len(searched.front)} are shown; --json and fig. 12 have all")


def _show_ends(concluded: Conclusion) -> None:
    """A column for each end: what it reached, how, and what it costs."""
    searched, ends = concluded.searched, concluded.ends
    by_digest = {one.digest: one for one in searched.tried}
    tried = [by_digest[one.record.digest] for one in ends.values()]
    rows = [
        ["trial", *(one.record.digest[:SHORT] for one in ends.values())],
        ["state", *(one.result.state for one in ends.values())],
    ]
    rows += [
        [name, *(number(one.values[at]) for one in tried)]
        for at, name in enumerate(searched.objectives)
    ]
    rows += [[path, *(_cell(one.setting.get(path)) for one in tried)] for path in searched.paths]
    rows.append(["params", *(f"{one.record.params.get('total', 0):,}" for one in ends.values())])
    if "flops_per_token" not in searched.objectives:
        rows.append(
            [
                "flops_per_token",
                *(number(one.result.metrics.get("flops_per_token")) for one in ends.values()),
            ]
        )
    print_table(["", *ends], rows)


def _cell(value: Any) -> str:
    return canonical_json(value) if isinstance(value, list | dict) else number(value)


def _mattered(searched: "Searched") -> str:
    """The importances in a sentence."""
    from scalelab.fit.importance import FEWEST

    named = [
        f"{path} {100 * share:.0f} %"
        for path, share in list(searched.importances.items())[:_NAMED]
        if share >= 0.005
    ]
    if not named:
        return (
            f"What mattered can't be told from {len(searched.complete)} trials that came to their"
            f" end: {FEWEST} are needed."
        )
    return f"What separates the best tenth from the rest: {', '.join(named)} (PED-ANOVA)."
