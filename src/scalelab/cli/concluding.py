"""How a search ends: the best and the worst side by side or the front, what mattered, what they
write, fig. 12, and the best as a spec.
"""

import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalelab.cli.faults import as_user_error, explained
from scalelab.cli.options import number, print_table
from scalelab.core.canon import SHORT, canonical_json
from scalelab.core.text import safe

if TYPE_CHECKING:
    from scalelab.optimize.result import SearchResult
    from scalelab.spec.load import Document
    from scalelab.spec.space import Space
    from scalelab.store import Store

FIGURE = "search"
"""The name of fig. 12."""
REPORTS = Path("reports")

_AGAIN = "; under more seeds: scalelab run {} --set replicates=3"
_FRONT = 20
"""Trials of a front that are shown."""
_NAMED = 6
"""Paths that are named as important."""
_GAP = " | "


@dataclass(frozen=True)
class Conclusion:
    """What is written at the end of a search."""

    result: "SearchResult"
    samples: Mapping[str, str]
    """Title -> what that trial writes; see `SearchResult.ends`."""
    figure: "Made"
    best: "Made"
    """The best as a spec; of several objectives the best in the first."""

    @property
    def unexpected(self) -> list[BaseException]:
        """What stopped a file from being made, and is no fault of the user's."""
        return [made.unexpected for made in (self.figure, self.best) if made.unexpected is not None]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`, beside that of the result."""
        samples = {self.result.ends[title].digest: text for title, text in self.samples.items()}
        return {"samples": samples, "figure": self.figure.name, "found": self.best.name}


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


def conclude(
    opened: "Store", result: "SearchResult", space: "Space", document: "Document", where: str
) -> Conclusion:
    """Ask the ends for their samples, write the best as a spec, and draw."""
    from scalelab import report
    from scalelab.optimize.best_spec import best_spec, write_spec
    from scalelab.optimize.samples import sample_text
    from scalelab.spec.load_space import experiment_of

    data = experiment_of(space, document)[0].execution.data
    samples = {
        title: sample_text(opened, one.digest, data, where) for title, one in result.ends.items()
    }
    best = _made(lambda: write_spec(best_spec(space, document, result)))
    figure = _made(lambda: report.draw(opened, FIGURE, experiments=[result.name], out=REPORTS))
    return Conclusion(result, samples, figure, best)


def show(concluded: Conclusion) -> None:
    """Print it."""
    searched = concluded.result
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
    _show_ends(searched)
    print(f"\n{_mattered(searched)}\n")
    titles = [f"{title}, trial {one.digest[:SHORT]}" for title, one in searched.ends.items()]
    print("\n".join(beside(titles, list(concluded.samples.values()))))
    figure, best = concluded.figure, concluded.best
    print(f"\nfig. 12: {figure.path or figure.why}")
    print(
        f"the best as a spec: {best.path or best.why}"
        + (_AGAIN.format(best.path) if best.path else "")
    )


def _show_front(searched: "SearchResult") -> None:
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


def _show_ends(searched: "SearchResult") -> None:
    """A column for each end: what it reached, how, and what it costs."""
    ends = searched.ends
    rows = [
        ["trial", *(one.digest[:SHORT] for one in ends.values())],
        ["state", *(one.state for one in ends.values())],
    ]
    rows += [
        [name, *(number(one.values[at]) for one in ends.values())]
        for at, name in enumerate(searched.objectives)
    ]
    rows += [
        [path, *(_cell(one.setting.get(path)) for one in ends.values())] for path in searched.paths
    ]
    totals = [one.stored.record.params.get("total", 0) for one in ends.values()]
    rows.append(["params", *(f"{total:,}" for total in totals)])
    if "flops_per_token" not in searched.objectives:
        measured = [one.stored.result.metrics for one in ends.values()]
        rows.append(
            ["flops_per_token", *(number(each.get("flops_per_token")) for each in measured)]
        )
    print_table(["", *ends], rows)


def _cell(value: Any) -> str:
    return canonical_json(value) if isinstance(value, list | dict) else number(value)


def _mattered(searched: "SearchResult") -> str:
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


def beside(titles: Sequence[str], texts: Sequence[str], width: int | None = None) -> list[str]:
    """Lines with the texts in columns of one width, each under its title; the terminal's width, or
    120 where there is none.
    """
    width = width or shutil.get_terminal_size(fallback=(120, 40)).columns
    each = max(20, (width - len(_GAP) * (len(texts) - 1)) // len(texts))
    columns = [
        [title[:each], "-" * each, *_wrapped(text, each)]
        for title, text in zip(titles, texts, strict=True)
    ]
    rows = zip_longest(*columns, fillvalue="")
    return [_GAP.join(cell.ljust(each) for cell in row).rstrip() for row in rows]


def _wrapped(text: str, width: int) -> list[str]:
    lines = safe(text).expandtabs(4).splitlines()
    return [
        part
        for line in lines
        for part in textwrap.wrap(line, width, drop_whitespace=False, replace_whitespace=False)
        or [""]
    ]
