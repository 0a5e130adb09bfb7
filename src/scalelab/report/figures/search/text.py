"""What fig. 12 says: what was tried, what won, and what mattered."""

from collections.abc import Mapping, Sequence
from statistics import median

from scalelab.core.canon import SHORT
from scalelab.fit.importance import FEWEST
from scalelab.fit.warned import Warned
from scalelab.optimize.result import SearchResult, SearchTrial
from scalelab.report.figure import Rows, Table
from scalelab.report.numbers import NONE, value
from scalelab.report.runs import cell

_NAMED = 3
"""Paths that the verdict names as important."""
_LISTED = 12
"""Trials of the front that the table shows."""


def verdict(found: SearchResult) -> list[str]:
    """What was tried, what is best, what mattered."""
    return [_counts(found), _best(found), *_mattered(found)]


def _counts(found: SearchResult) -> str:
    pruned, complete = sum(one.pruned for one in found.tried), len(found.complete)
    other = len(found.tried) - pruned - complete
    parts = [f"{complete} came to their end", *([f"{pruned} were pruned"] if pruned else [])]
    parts += [f"{other} diverged, failed or still run"] if other else []
    return f"{len(found.tried)} trials were tried: {', '.join(parts)}."


def _best(found: SearchResult) -> str:
    if len(found.objectives) > 1:
        ends = " and ".join(found.labels)
        return (
            f"{len(found.front)} of them are on the front of {ends}: no other is as good in one and"
            " better in the other."
        )
    best, middle = found.ranked[0], median(one.values[0] for one in found.complete)
    who, name = f"trial {best.number} (`{best.digest[:SHORT]}`)", found.labels[0]
    return (
        f"The best, {who}, reaches a {name} of {value(best.values[0])}; the median is"
        f" {value(middle)}."
    )


def _mattered(found: SearchResult) -> list[str]:
    if not found.importances:
        return [
            f"What mattered can't be told from {len(found.complete)} complete trials: {FEWEST} are"
            " needed."
        ]
    named = [
        f"`{path}` ({100 * share:.0f} %)"
        for path, share in list(found.importances.items())[:_NAMED]
        if share > 0
    ]
    return [f"For being among the best {', '.join(named)} mattered most."] if named else []


def ends_table(found: SearchResult) -> Table:
    """The best and the worst, or the front, side by side: a column each."""
    shown = _shown(found)
    names = [name for name, _ in shown]
    rows = [
        [path, *(cell(one.setting.get(path)) or NONE for _, one in shown)] for path in found.paths
    ]
    reached = [
        [name, *(value(one.values[at]) for _, one in shown)] for at, name in enumerate(found.labels)
    ]
    trials = [
        ["trial", *(f"{one.number} ({one.digest[:SHORT]})" for _, one in shown)],
        ["state", *(one.state for _, one in shown)],
    ]
    note = "A dash stands where a setting does not apply."
    title = "The front" if len(found.objectives) > 1 else "The best and the worst"
    return Table(title, ("", *names), [*reached, *rows, *trials], frozenset(), note)


def _shown(found: SearchResult) -> list[tuple[str, SearchTrial]]:
    if len(found.objectives) > 1:
        front = found.front[:_LISTED]
        return [(f"front {index}", one) for index, one in enumerate(front, 1)]
    chosen = {"best": found.ranked[0], "second": found.ranked[1:2], "worst": found.ranked[-1]}
    return [(name, one[0] if isinstance(one, list) else one) for name, one in chosen.items() if one]


def samples_table(found: SearchResult, notes: Mapping[str, Mapping[str, str]]) -> list[Table]:
    """What the ends wrote, side by side; none where nothing was kept."""
    said = [
        (name, one, notes.get(one.digest, {}).get("sample")) for name, one in found.ends.items()
    ]
    columns = [f"{name}: trial {one.number}" for name, one, text in said if text is not None]
    if not columns:
        return []
    note = "From the same prompt and the same draws."
    return [
        Table(
            "What they write",
            columns,
            [[text for _, _, text in said if text is not None]],
            note=note,
            texts=True,
        )
    ]


def trials_table(found: SearchResult) -> Table:
    """Every trial."""
    columns = ("trial", "digest", "state", *found.labels, *found.paths)
    rows = [
        [
            f"{one.number}",
            one.digest,
            "pruned" if one.pruned else one.state,
            *(value(number) for number in one.values),
            *(cell(one.setting.get(path)) for path in found.paths),
        ]
        for one in found.tried
    ]
    return Table("Every trial", columns, rows, frozenset({0, *range(3, 3 + len(found.objectives))}))


def reading(found: SearchResult) -> list[str]:
    """How to read the charts."""
    return [
        (
            "Open marks are trials that were pruned: they were behind others at the same step, and"
            " their last value is not an end."
        ),
        (
            "The slices show one setting at a time while all others vary too: a trend in one is a"
            " hint, not an effect. Later trials stand out more."
        ),
        (
            "The axis of an objective shows the better nine tenths of the trials; what lies beyond"
            " stands at its edge, and its tooltip has the value."
        ),
        (
            "In the parallel coordinates a line is a trial and breaks where a setting does not"
            " apply; follow the colour of the best."
        ),
        (
            "Point at a mark to see its values; click it for its trial; `scalelab show DIGEST`"
            " tells all of it."
        ),
    ]


def methods(rows: Rows, found: SearchResult) -> list[str]:
    """Where the numbers come from."""
    spec = rows.specs[found.name]
    asked = [str(spec["about"])] if spec.get("about") else []
    sampler, pruner = _kind(spec.get("sampler")), _kind(spec.get("pruner"))
    return [
        *asked,
        (
            f"Trials were asked by Optuna (sampler `{sampler}`, pruner `{pruner}`), and count in"
            " the order of asking."
        ),
        (
            "Importance: PED-ANOVA (arXiv 2304.10255, as in Optuna) over the complete trials: how"
            " much the distribution of a setting among the best tenth differs from that among all."
            " It says what separates the best from the rest within what was tried."
        ),
        (
            "The best of many trials with one seed each is in part the luckiest: run `replicates`"
            " of the found spec before believing it."
        ),
    ]


def _kind(given: object) -> str:
    return str(given.get("kind")) if isinstance(given, Mapping) else str(given or "none")


def warnings(found: SearchResult) -> list[Warned]:
    """Few complete trials."""
    few = len(found.complete) < FEWEST
    text = (
        f"only {len(found.complete)} trials came to their end: importances and slices say little;"
        " search on with the same command."
    )
    return [Warned("few_trials", text)] if few else []


def to_json(found: SearchResult) -> dict[str, object]:
    """Every number that is drawn."""

    def whole(ones: Sequence[SearchTrial]) -> list[str]:
        return [one.digest for one in ones]

    trials = [
        {
            "number": one.number,
            "digest": one.digest,
            "state": one.state,
            "pruned": one.pruned,
            "setting": dict(one.setting),
            "values": dict(zip(found.objectives, one.values, strict=True)),
        }
        for one in found.tried
    ]
    ends = {
        "best": found.ranked[0].digest,
        "worst": found.ranked[-1].digest,
        "front": whole(found.front),
    }
    return {
        "objectives": list(found.objectives),
        **ends,
        "importances": dict(found.importances),
        "tried": trials,
    }
