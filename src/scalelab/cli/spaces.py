"""Spaces as a command meets them: by name, with their corpus, as a table, and as a journal."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from scalelab.cli.options import print_json, print_table
from scalelab.cli.planning import cold_note
from scalelab.core.canon import canonical_json
from scalelab.core.errors import UserError
from scalelab.core.locations import is_url
from scalelab.core.secrets import masked

if TYPE_CHECKING:
    from scalelab.optimize.opening import OpenedSearch
    from scalelab.spec.load import Document
    from scalelab.spec.space import Distribution, Space


def preview(space: "Space", document: "Document", store: str, warm: bool, as_json: bool) -> None:
    """Print a space and what a store knows of it."""
    from scalelab.data.text.manifest import NotPrepared

    try:
        opened = _opened(space, document, store, warm)
    except NotPrepared as missing:
        opened, states, others = None, None, None
        told = f"what counts can't be told before the data is there: {missing}"
    else:
        states, others = opened.states, len(opened.search.warm)
        told = _told(states, others, len(opened.strangers))
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
    if opened is not None and (cold := cold_start(opened)):
        print(cold)


def cold_start(search: "OpenedSearch") -> str:
    """The sentence on trials of a space that end within their warm-up, by some that chance draws;
    empty where none does.
    """
    return cold_note(search.drawn, f"{len(search.drawn)} trials that chance drew")


def _opened(space: "Space", document: "Document", store: str, warm: bool) -> "OpenedSearch":
    """The search as it would begin. Raises UserError where no point is a trial."""
    from scalelab.optimize.opening import open_search
    from scalelab.store import open_store, store_exists

    if not store_exists(store):
        return open_search(None, space, document)
    with open_store(store, mode="read") as opened:
        return open_search(opened, space, document, warm=warm)


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
    from scalelab.optimize.journal import journal_trials, write_journal
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
