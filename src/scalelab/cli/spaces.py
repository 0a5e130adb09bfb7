"""Spaces as a command meets them: by name, with their corpus, as a table, and as a journal."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from scalelab.cli.options import print_json, print_table
from scalelab.cli.planning import cold_note
from scalelab.cli.running import is_there
from scalelab.core.canon import canonical_json
from scalelab.core.errors import UserError
from scalelab.core.locations import is_url
from scalelab.core.secrets import masked

if TYPE_CHECKING:
    from scalelab.run.search.guided import GuidedSearch
    from scalelab.spec.experiment import Experiment
    from scalelab.spec.load import Document
    from scalelab.spec.space import Distribution, Space

DRAWN = 10
"""Trials that tell whether those of a space end within their warm-up."""


def base_of(space: "Space", document: "Document") -> "Experiment":
    """The base of a space as an experiment. Raises Unreadable where its corpus is not there."""
    from scalelab.spec.load_space import experiment_of
    from scalelab.tasks import describe

    experiment, _ = experiment_of(space, document)
    describe(experiment.task, experiment.execution.data)
    return experiment


def preview(space: "Space", document: "Document", store: str, warm: bool, as_json: bool) -> None:
    """Print a space and what a store knows of it."""
    from scalelab.data.text.manifest import NotPrepared

    try:
        search, states, strangers = _known(space, document, store, warm)
    except NotPrepared as missing:
        search, states, others, told = (
            None,
            None,
            None,
            f"what counts can't be told before the data is there: {missing}",
        )
    else:
        others, told = len(search.warm), _told(states, len(search.warm), strangers)
    if as_json:
        print_json(
            {
                "space": space.model_dump(mode="json"),
                "states": states,
                "others": others,
                "trials": [],
            }
        )
        return
    print(f"{space.name}: {space.about}\n" if space.about else f"{space.name}\n")
    print_table(
        ["path", "values", "when"],
        [[path, _values(given), _when(given)] for path, given in space.search.items()],
    )
    print(
        "\n" + ", ".join(f"{direction} {metric}" for metric, direction in space.objectives.items())
    )
    budget = (
        f"{space.trials:,} trials in all"
        if space.trials
        else "as many trials as there is time for (--time)"
    )
    print(f"sampler {space.sampler.kind}, pruner {space.pruner.kind}, seed {space.seed}, {budget}")
    print(f"in {masked(store)}: {told}")
    if search is not None and (cold := cold_start(search)):
        print(cold)


def cold_start(search: "GuidedSearch") -> str:
    """The sentence on trials of a space that end within their warm-up, by some that chance draws;
    empty where none does.
    """
    drawn = list(search.by_chance(DRAWN))
    return cold_note(drawn, f"{len(drawn)} trials that chance drew")


def _known(
    space: "Space", document: "Document", store: str, warm: bool
) -> "tuple[GuidedSearch, dict[str, int], int]":
    """The search as it would begin, how many trials that count ended as what, the pruned ones
    apart, and how many members do not count.

    Raises UserError where no point is a trial.
    """
    from scalelab.core.events import is_pruned
    from scalelab.run.search.guided import GuidedSearch
    from scalelab.run.search.known import Known, known_trials
    from scalelab.store import open_store

    known: list[Known] = []
    if is_there(store):
        with open_store(store, mode="read") as opened:
            known = known_trials(opened, space, document, warm=warm)
    search = GuidedSearch(space, document, known, trials=space.trials)
    own = set(search.own)
    states = Counter(
        "pruned" if is_pruned(one.state, one.metrics) else one.state
        for one in known
        if one.digest in own
    )
    return (
        search,
        dict(states),
        sum(one.axes is not None and one.digest not in own for one in known),
    )


def _told(states: Mapping[str, int], others: int, strangers: int) -> str:
    """What a store knows, in words."""
    said = [
        ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
        or "no trial of it"
    ]
    if strangers:
        said.append(
            f"{strangers:,} that it asked for as another space, on another base or under an older"
            " recipe do not count"
        )
    if others:
        said.append(f"{others:,} known from elsewhere fit, and warm it up")
    return "; ".join(said)


def _values(given: "Distribution") -> str:
    """`0.001 to 0.02 (log)`, `2 to 8`, `linear, mlp`."""
    from scalelab.spec.space import Choice, Float, Int

    if isinstance(given, Choice):
        return ", ".join(
            one if isinstance(one, str) else canonical_json(one) for one in given.choice
        )
    assert isinstance(given, Float | Int)
    notes = [
        *(["log"] if given.log else []),
        *([f"in steps of {given.step}"] if isinstance(given, Int) and given.step > 1 else []),
    ]
    low, high = given.ends
    return f"{low:g} to {high:g}" + (f" ({', '.join(notes)})" if notes else "")


def _when(given: "Distribution") -> str:
    return " and ".join(
        f"{path} is {' or '.join(map(str, values))}" for path, values in given.when.items()
    )


def export(space: "Space", store: str, as_json: bool) -> None:
    """Write what a store knows of a space as an Optuna journal beside it, and say how to look at
    it.
    """
    from scalelab.run.journal import journal_trials, write_journal
    from scalelab.store import open_store

    path = (Path("results") if is_url(store) else Path(store).parent) / f"{space.name}.journal"
    with open_store(store, mode="read") as opened:
        trials = journal_trials(opened, space)
    if not trials:
        raise UserError(
            f"no trial of the space `{space.name}` has ended",
            cure="search it first, without --dashboard",
            where=store,
        )
    write_journal(path, space, trials)
    command = f"optuna-dashboard {path}"
    if as_json:
        print_json(
            {
                "journal": str(path),
                "command": command,
                "trials": [trial.user_attrs["digest"] for trial in trials],
            }
        )
    else:
        print(
            f"{len(trials):,} trials are in {path}; look at them with\n\n    {command}\n\nwhich"
            " `pip install optuna-dashboard` brings"
        )
