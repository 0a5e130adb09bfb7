"""The guided search with Optuna itself, on spaces whose trials have a formula for a result instead
of training.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, get_args

import pytest
from tests.optimize.variants import PRUNERS, SAMPLERS

from scalelab.core.errors import UserError
from scalelab.core.events import Ended, Measured, Started, State
from scalelab.optimize.guided import GuidedSearch
from scalelab.plan.plan import PlannedTrial
from scalelab.run.registering import record
from scalelab.search.pruners import Pruner
from scalelab.search.samplers import Sampler
from scalelab.spec.load_space import load_space
from scalelab.store.history import TrialHistory, members_with_curves, search_history
from scalelab.store.records import Result, StoredTrial
from scalelab.store.store import Store

SPACE = """
name: little
base:
  task: {people: 8}
  model: {width: 8}
  budget: {steps: 300}
  evaluation: {first: 10, ratio: 2}
search:
  optim.lr: {float: [1e-4, 1e-1], log: true}
  model.layers: {int: [1, 6]}
  model.ffn.kind: {choice: [gelu, swiglu]}
  optim.weight_decay: {float: [0, 1], when: {model.ffn.kind: [swiglu]}}
objectives: {recall: maximize}
"""

FINITE = """
name: finite
base: {task: {people: 8}, model: {width: 8}, budget: {steps: 300}}
search:
  model.layers: {int: [1, 3]}
  batch: {choice: [16, 32], when: {model.layers: [1, 2]}}
objectives: {recall: maximize}
"""

Make = Callable[..., GuidedSearch]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A search over a space by its text; settings as on a command line."""

    def made(
        text: str = SPACE,
        *settings: str,
        trials: int | None = 20,
        known: Sequence[StoredTrial] = (),
        others: Sequence[StoredTrial] = (),
    ) -> GuidedSearch:
        path = tmp_path / "space.yaml"
        path.write_text(text)
        return GuidedSearch(*load_space(path, settings), TrialHistory(known, others), trials=trials)

    return made


def recall(planned: PlannedTrial) -> float:
    """Best at a learning rate of 10 ^ -2.5, four layers and swiglu with a decay of 0.3."""
    axes = planned.axes
    rate, layers = math.log10(axes["optim.lr"]) + 2.5, axes["model.layers"] - 4
    decay = axes.get("optim.weight_decay", 1) - 0.3
    return -(rate**2 + layers**2 / 9 + decay**2)


def result(planned: PlannedTrial) -> tuple[State, dict[str, float]]:
    return "done", {"recall": recall(planned)}


def row(
    planned: PlannedTrial, state: State, metrics: Mapping[str, float], curve: Any = ()
) -> StoredTrial:
    stored = replace(record(planned), axes=json.loads(json.dumps(planned.axes)))
    return StoredTrial(stored, Result(state, dict(metrics)), curve=curve)


def foreign(rows: Sequence[StoredTrial]) -> list[StoredTrial]:
    """The same trials, asked for by somebody else."""
    return [replace(one, record=replace(one.record, axes={}), curve=()) for one in rows]


def changed(one: StoredTrial, **result: Any) -> StoredTrial:
    """The trial with another result."""
    return replace(one, result=replace(one.result, **result))


def run(
    search: GuidedSearch,
    ended: Callable[[PlannedTrial], tuple[State, Mapping[str, float]]] = result,
    most: int = 10**6,
) -> list[StoredTrial]:
    """Runs a search one trial after the other, with a curve that rises to the result; the rows that
    a store would then have.
    """
    rows: list[StoredTrial] = []
    while len(rows) < most and (planned := search.ask()) is not None:
        state, metrics = ended(planned)
        curve: list[tuple[int, float]] = []
        for step in planned.trial.evaluation.steps(planned.steps):
            curve.append((step, metrics.get("recall", 0.0) - 10 / step))
            if search.measured(planned.digest, *measure(curve)):
                state, metrics = "stopped", {"recall": curve[-1][1], "pruned": step}
                break
        search.tell(planned.digest, state, metrics)
        rows.append(row(planned, state, metrics, curve))
    return rows


def measure(curve: Sequence[tuple[int, float]]) -> tuple[int, dict[str, float]]:
    return curve[-1][0], {"recall": curve[-1][1], "loss": 1.0}


def digests(rows: Sequence[StoredTrial]) -> list[str]:
    return [one.digest for one in rows]


def kinds(union: Any) -> set[str]:
    """The kinds of everything that is registered."""
    return {one.model_fields["kind"].default for one in get_args(get_args(union)[0])}


def test_every_sampler_and_pruner_is_tested(make: Make) -> None:
    spaces = [make(SPACE, f"sampler={one}").space for one in SAMPLERS]
    assert {space.sampler.kind for space in spaces} == kinds(Sampler)
    spaces = [make(SPACE, f"pruner={one}").space for one in PRUNERS]
    assert {space.pruner.kind for space in spaces} == kinds(Pruner)


# A Gaussian process takes its time, and nothing in it depends on the pruner.
@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [pair for pair in product(SAMPLERS, PRUNERS) if "gp" not in pair[0] or "asha" in pair[1]],
)
def test_an_interrupted_search_asks_what_an_uninterrupted_one_does(
    make: Make, sampler: str, pruner: str
) -> None:
    trials, settings = 7 if "gp" in sampler else 24, (f"sampler={sampler}", f"pruner={pruner}")
    whole = run(make(SPACE, *settings, trials=trials))
    assert len(set(digests(whole))) == trials
    cut = trials - 3
    interrupted = [*whole[:cut], replace(changed(whole[cut], state="queued", metrics={}), curve=())]
    assert digests(run(make(SPACE, *settings, trials=trials, known=interrupted))) == digests(
        whole[cut:]
    )
    assert digests(run(make(SPACE, *settings, "seed=1", trials=3))) != digests(whole[:3])


def test_points_are_trials_with_the_paths_that_apply_as_axes(make: Make) -> None:
    search = make()
    rows = run(search)
    kinds = {one.planned.axes["model.ffn.kind"] for one in search.asked}
    assert kinds == {"gelu", "swiglu"}
    for asked in search.asked:
        planned = asked.planned
        assert ("optim.weight_decay" in planned.axes) == (
            planned.axes["model.ffn.kind"] == "swiglu"
        )
        assert planned.trial.optim.lr == planned.axes["optim.lr"]
        assert planned.trial.model.layers == planned.axes["model.layers"]
        assert planned.digest == planned.trial.digest()
        assert planned.replicate == 0
    assert len(rows) == 20


def test_a_search_counts_what_it_asked_for_and_ends(make: Make) -> None:
    search = make(trials=3)
    asked = [search.ask() for _ in range(4)]
    assert asked[3] is None
    assert not search.finished
    assert [planned for planned in asked if planned] == search.open
    for planned in asked[:2]:
        assert planned
        search.tell(planned.digest, "done", {"recall": 0.5})
    assert (search.progress.done, search.progress.total, search.progress.unit) == (2, 3, "trials")
    assert search.progress.share == pytest.approx(2 / 3)
    assert asked[2]
    search.tell(asked[2].digest, "failed", {})
    assert search.finished
    assert search.progress.share == 1
    search.tell("somebody else's", "done", {"recall": 1.0})
    assert make(trials=None).progress.share == 0


def test_a_finished_search_resumed_has_nothing_to_ask_and_a_longer_one_goes_on(make: Make) -> None:
    rows = run(make(trials=6))
    assert make(trials=6, known=rows).finished
    longer = run(make(trials=9, known=rows))
    assert digests(rows + longer) == digests(run(make(trials=9)))


def test_trials_that_were_on_their_way_together_are_asked_for_again_first(make: Make) -> None:
    search = make(trials=8)
    planned = [one for _ in range(4) if (one := search.ask())]
    assert len({one.digest for one in planned}) == 4
    rows = [row(one, "running", {}) for one in planned]
    rows[1] = row(planned[1], *result(planned[1]))
    resumed = make(trials=8, known=rows)
    first = [planned.digest for _ in range(3) if (planned := resumed.ask())]
    assert first == digests([rows[0], *rows[2:]])
    assert len(run(resumed)) == 4


def test_what_fits_the_space_warms_it_up_and_is_not_asked_again(make: Make) -> None:
    elsewhere = foreign(run(make(SPACE, "seed=5", trials=30)))
    other = make(SPACE.replace("people: 8", "people: 16"), trials=2)
    elsewhere += foreign(run(other))
    warm = make(trials=10, others=elsewhere)
    assert len(warm.study.trials) == 30
    asked = run(warm)
    assert len(asked) == 10
    assert not set(digests(asked)) & set(digests(elsewhere))
    cold = run(make(trials=10))
    assert (
        median(one.metrics["recall"] for one in asked)
        > median(one.metrics["recall"] for one in cold) + 0.3
    )


@pytest.mark.parametrize("sampler", [one for one in SAMPLERS if one != "random"])
def test_every_sampler_takes_a_warm_start(make: Make, sampler: str) -> None:
    elsewhere = foreign(run(make(SPACE, "seed=5", trials=25)))
    settings = (f"sampler={sampler}",)
    warm, cold = (
        run(make(SPACE, *settings, trials=5, others=elsewhere)),
        run(make(SPACE, *settings, trials=5)),
    )
    assert digests(warm) != digests(cold)


def test_what_does_not_fit_is_left_alone(make: Make) -> None:
    rows = run(make(SPACE, "search.model.layers={int: [1, 9]}", trials=12))
    fitting = [one for one in rows if one.record.trial["model"]["layers"] <= 6]
    assert len(fitting) < len(rows)
    search = make(trials=12, known=rows)
    assert search.own == digests(fitting)
    pruned = foreign(
        [changed(one, state="stopped", metrics={"recall": 0.5, "pruned": 10}) for one in fitting]
    )
    failed = foreign([changed(one, state="failed", metrics={}) for one in fitting])
    assert make(others=pruned + failed).study.trials == []


def test_parts_and_short_forms_are_read_off_a_stored_trial(make: Make) -> None:
    text = SPACE.replace(
        "model.ffn.kind: {choice: [gelu, swiglu]}",
        "model.ffn: {choice: [{kind: gelu, ratio: 2}, {kind: gelu}, {kind: swiglu}]}",
    )
    text = text.replace("when: {model.ffn.kind: [swiglu]}", "when: {model.ffn: [{kind: swiglu}]}")
    text = text.replace(
        "objectives:",
        "  batch: {choice: [1k, 0.5k]}\n  optim.betas: {choice: [[0.9, 0.95], [0.8,"
        " 0.9]]}\nobjectives:",
    )
    rows = run(make(text, trials=12), lambda planned: ("done", {"recall": 0.5}))
    assert len({str(one.record.trial["model"]["ffn"]) for one in rows}) == 3
    assert {one.record.trial["batch"] for one in rows} == {500, 1000}
    assert make(text, trials=12, known=rows).finished
    assert len(make(text, others=foreign(rows)).study.trials) == 12


def test_a_ratio_is_read_off_the_width_that_it_gave(make: Make) -> None:
    rows = run(make(SPACE, "search.model.ffn.ratio={float: [1, 5]}", trials=12))
    search = make(SPACE, "search.model.ffn.ratio={float: [1, 5]}", trials=12, others=foreign(rows))
    assert len(search.study.trials) == 12
    assert make(SPACE, "search.model.ffn.ratio={float: [1, 5]}", trials=12, known=rows).finished


def test_a_finite_space_is_exhausted_without_asking_twice(make: Make) -> None:
    search = make(FINITE, trials=None)
    rows = run(search, lambda planned: ("done", {"recall": planned.axes["model.layers"]}))
    points = [
        (one.planned.axes["model.layers"], one.planned.axes.get("batch")) for one in search.asked
    ]
    assert sorted(points, key=str) == [(1, 16), (1, 32), (2, 16), (2, 32), (3, None)]
    assert search.finished
    assert search.progress.share == 1
    again = make(FINITE, trials=None, known=rows)
    assert again.ask() is None
    assert again.finished


def test_an_exhausted_space_makes_what_is_known_from_elsewhere_its_own(make: Make) -> None:
    rows = run(make(FINITE, trials=None), lambda planned: ("done", {"recall": 0.5}))
    search = make(FINITE, trials=None, others=foreign(rows[:2]))
    asked = [planned.digest for _ in range(9) if (planned := search.ask())]
    assert set(asked[:3]) == set(digests(rows[2:]))
    assert set(asked[3:]) == set(digests(rows[:2]))


IMPOSSIBLE = """
name: narrow
base:
  task: {people: 8}
  model: {width: solve}
  budget: {steps: 300, params: {target: 3k, tolerance: 0.05}}
search:
  model.layers: {int: [1, 40]}
  optim.lr: {float: [1e-4, 1e-1], log: true}
objectives: {recall: maximize}
"""


def test_points_that_cannot_be_are_passed_over_and_budgets_are_solved(make: Make) -> None:
    search = make(IMPOSSIBLE, trials=12)
    run(search, lambda planned: ("done", {"recall": -planned.axes["model.layers"]}))
    assert len(search.own) == 12
    assert all(abs(one.planned.params.total - 3000) <= 150 for one in search.asked)
    assert len(search.study.trials) == 12
    with pytest.raises(UserError, match=r"3,000"):
        make(IMPOSSIBLE, "search.model.layers.int=[300, 400]")


def test_diverged_trials_are_the_worst_and_failed_ones_tell_nothing(make: Make) -> None:
    def ended(planned: PlannedTrial) -> tuple[State, dict[str, float]]:
        if planned.axes["optim.lr"] > 1e-2:
            return "diverged", {"tokens": 1.0}
        return ("failed", {}) if planned.axes["model.layers"] == 1 else result(planned)

    search = make(trials=60)
    rows = run(search, ended)
    states = [one.state for one in rows]
    assert states[:20].count("diverged") > states[40:].count("diverged")
    told = {trial.user_attrs["digest"]: trial for trial in search.study.trials}
    assert all(told[one.digest].value == -math.inf for one in rows if one.state == "diverged")
    assert {told[one.digest].state.name for one in rows if one.state == "failed"} == {"FAIL"}
    assert search.study.best_value == max(
        one.metrics["recall"] for one in rows if one.state == "done"
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_of_which_everything_diverges_goes_on(make: Make, sampler: str) -> None:
    trials = 5 if "gp" in sampler else 14
    search = make(SPACE, f"sampler={sampler}", trials=trials)
    assert len(run(search, lambda planned: ("diverged", {}))) == trials
    assert {asked.state for asked in search.asked} == {"diverged"}


@pytest.mark.parametrize("pruner", PRUNERS[1:])
def test_a_pruner_ends_what_is_behind_and_keeps_what_leads(make: Make, pruner: str) -> None:
    search = make(SPACE, f"pruner={pruner}", "sampler=random", trials=40)
    rows = run(search)
    pruned = [one for one in rows if "pruned" in one.metrics]
    whole = [one for one in rows if one.state == "done"]
    assert len(pruned) >= 10
    final = {asked.planned.digest: recall(asked.planned) for asked in search.asked}
    assert max(final.values()) == max(one.metrics["recall"] for one in whole)
    told = {trial.user_attrs["digest"]: trial for trial in search.study.trials}
    assert {told[one.digest].state.name for one in pruned} == {"PRUNED"}
    assert all(told[one.digest].intermediate_values == dict(one.curve) for one in pruned)
    assert search.study.best_trial.user_attrs["digest"] in digests(whole)


def test_a_pruner_decides_once_and_not_at_the_last_step(make: Make) -> None:
    search = make(SPACE, "pruner={kind: asha, reduction: 2}", trials=9)
    first = search.ask()
    assert first
    assert not search.measured(first.digest, 10, {"recall": 1.0})
    second = search.ask()
    assert second
    assert not search.measured(second.digest, 5, {"recall": 0.0})
    assert not search.measured(second.digest, 10, {"loss": 0.0})
    assert search.measured(second.digest, 10, {"recall": 0.0})
    assert search.measured(second.digest, 10, {"recall": 0.0})
    third = search.ask()
    assert third
    assert not search.measured(third.digest, 300, {"recall": 0.0})
    assert not search.measured("somebody else's", 10, {"recall": 0.0})


FRONT = SPACE.replace(
    "{recall: maximize}", "{recall: maximize, params.total: minimize, flops: minimize}"
)


@pytest.mark.parametrize(
    "sampler",
    ["tpe", "nsga2", "random", pytest.param("{kind: gp, startup: 6}", marks=pytest.mark.slow)],
)
def test_several_objectives_make_a_front(make: Make, sampler: str) -> None:
    trials = 8 if "gp" in sampler else 30
    search = make(FRONT, f"sampler={sampler}", trials=trials)
    rows = run(search)
    values = {trial.user_attrs["digest"]: trial.values for trial in search.study.trials}
    assert all(
        values[one.planned.digest][1:] == [one.planned.params.total, one.planned.flops]
        for one in search.asked
    )
    losses = {digest: (-recall, *costs) for digest, (recall, *costs) in values.items()}
    front = [
        mine for mine in losses.values() if not any(beats(other, mine) for other in losses.values())
    ]
    study = search._study
    assert sorted(loss for _, loss in study._elite) == sorted(front)
    assert digests(
        run(make(FRONT, f"sampler={sampler}", trials=trials, known=rows[:-2]))
    ) == digests(rows[-2:])


def beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def test_a_diverged_trial_is_on_no_front(make: Make) -> None:
    search = make(FRONT, trials=12)
    run(
        search,
        lambda planned: ("diverged", {}) if planned.axes["model.layers"] == 1 else result(planned),
    )
    assert all(trial.params["model.layers"] > 1 for trial in search.study.best_trials)
    states = {asked.state for asked in search.asked}
    assert states == {"done", "diverged"}


def test_tpe_beats_chance_on_a_smooth_function(make: Make) -> None:
    best = {
        sampler: median(
            max(
                one.metrics["recall"]
                for one in run(make(SPACE, f"sampler={sampler}", f"seed={seed}", trials=50))
            )
            for seed in range(3)
        )
        for sampler in ("tpe", "random")
    }
    assert best["tpe"] > best["random"] / 3  # both are below zero


def test_many_trials_are_modelled_in_part_and_the_best_stay(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalelab.optimize.study.BEST", 3)
    monkeypatch.setattr("scalelab.optimize.study.LATEST", 8)
    search = make(trials=40)
    run(search)
    seen: list[int] = []
    memory = search.study._storage

    def spied(*args: Any, **named: Any) -> Any:
        found = type(memory).get_all_trials(memory, *args, **named)
        seen.append(len(found))
        return found

    monkeypatch.setattr(memory, "get_all_trials", spied)
    search._study.propose(40, 0)
    assert max(seen[1:]) <= 3 + 8 + 1
    assert len(search.study.trials) == 41


def kept(
    search: GuidedSearch,
    store: Store,
    most: int,
    ended: Callable[[PlannedTrial], tuple[State, dict[str, float]]] = result,
) -> list[str]:
    """Runs a search on a store, one trial after the other; the digests that it asked for."""
    found: list[str] = []
    store.open_experiment(search.space.name, search.space.model_dump(mode="json"))
    while len(found) < most and (planned := search.ask()) is not None:
        found.append(planned.digest)
        if not store.enlist(search.space.name, record(planned), "somebody", retry=True):
            known = store.results([planned.digest])[planned.digest]
            assert known.as_planned == "done"
            search.tell(planned.digest, known.state, known.metrics)
            continue
        attempt, (state, values) = (
            store.begin(planned.digest, Started({}), {}, "somebody"),
            ended(planned),
        )
        for step in planned.trial.evaluation.steps(planned.steps):
            measured = {"recall": values["recall"] - 10 / step}
            store.measure(planned.digest, attempt, Measured(step, measured))
            if search.measured(planned.digest, step, measured):
                state, values = "stopped", {**measured, "pruned": step}
                break
        store.end(planned.digest, attempt, Ended(state, step, 1.0, values))
        search.tell(planned.digest, state, values)
    return found


@pytest.mark.parametrize("pruner", ["none", "{kind: asha, reduction: 2}"])
def test_a_store_s_rows_make_the_same_search_again(
    tmp_path: Path, store: Store, pruner: str
) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        SPACE.replace(
            "model.ffn.kind: {choice", "model.ffn.ratio: {float: [1, 4]}\n  model.ffn.kind: {choice"
        )
    )
    space, document = load_space(path, [f"pruner={pruner}"])
    whole = run(GuidedSearch(space, document, TrialHistory(), trials=18))
    first = kept(
        GuidedSearch(space, document, search_history(store, space, document), trials=18), store, 13
    )
    second = kept(
        GuidedSearch(space, document, search_history(store, space, document), trials=18), store, 99
    )
    assert first + second == digests(whole)
    other, known = (
        space.model_copy(update={"name": "other"}),
        search_history(store, space.model_copy(update={"name": "other"}), document),
    )
    warm = GuidedSearch(other, document, known, trials=18)
    assert len(warm.study.trials) == sum(one.state == "done" for one in whole)
    cold = search_history(store, other, document, warm=False)
    assert (list(cold.own), list(cold.others)) == ([], [])


def test_what_failed_is_asked_for_again_where_that_is_wanted(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    space, document = load_space(path)
    search = GuidedSearch(space, document, TrialHistory(), trials=2)
    planned = search.ask()
    assert planned
    store.open_experiment(space.name, space.model_dump(mode="json"))
    assert store.enlist(space.name, record(planned), "somebody")
    store.end(
        planned.digest,
        store.begin(planned.digest, Started({}), {}, "somebody"),
        Ended("failed", 0, 1.0, error="out of memory"),
    )
    assert GuidedSearch(space, document, search_history(store, space, document), trials=1).finished
    again = GuidedSearch(
        space, document, search_history(store, space, document, retry_failed=True), trials=1
    )
    assert again.open == [planned]


def test_a_space_that_gains_a_path_learns_from_its_members_and_is_searched_once(
    tmp_path: Path, store: Store
) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        FINITE.replace(
            "model.layers: {int: [1, 3]}",
            "model.layers: {int: [1, 3]}\n  optim.lr: {choice: [1e-3, 1e-2]}",
        )
    )
    wider = load_space(path)
    path.write_text(FINITE)
    narrow = load_space(path, ["base.optim.lr=1e-3"])

    def searched(trials: int | None) -> list[str]:
        return kept(
            GuidedSearch(*wider, search_history(store, *wider), trials=trials),
            store,
            99,
            lambda planned: ("done", {"recall": 0.5}),
        )

    before = kept(
        GuidedSearch(*narrow, search_history(store, *narrow), trials=None),
        store,
        99,
        lambda planned: ("done", {"recall": 0.5}),
    )
    search = GuidedSearch(*wider, search_history(store, *wider), trials=None)
    assert (search.own, search.warm) == ([], before)
    assert len(search.study.trials) == len(before) == 5
    assert not set(searched(3)) & set(before)
    assert set(searched(None)) >= set(before), "at last its old members become its own"
    assert [
        axes
        for axes in (one.record.axes for one in members_with_curves(store, "finite"))
        if "optim.lr" not in axes
    ] == []
    assert searched(None) == []


def test_a_member_of_before_the_change_that_was_pruned_is_not_asked_for_again(make: Make) -> None:
    rows = run(
        make(FINITE, "pruner={kind: asha, reduction: 2}", trials=None),
        lambda planned: ("done", {"recall": 0.5}),
    )
    rows = [
        replace(
            changed(one, state="stopped", metrics={"recall": 0.1, "pruned": 10}), curve=[(10, 0.1)]
        )
        for one in rows[:4]
    ] + rows[4:]
    old = [replace(one, record=replace(one.record, axes={})) for one in rows]
    search = make(FINITE, trials=None, known=old)
    assert (search.own, sorted(search.warm)) == ([], sorted(digests(rows)))
    assert [trial.state.name for trial in search.study.trials].count("PRUNED") == 4


def test_members_of_another_base_do_not_count(make: Make) -> None:
    rows = run(make(trials=4))
    search = make(SPACE, "budget.steps=200", trials=4, known=rows)
    assert (search.own, search.warm, search.progress.done) == ([], [], 0)
    assert make(trials=4, known=rows).own == digests(rows)


def test_a_space_that_cannot_be_counted_says_that_nothing_new_was_found(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalelab.optimize.guided.PROPOSALS", 2)
    monkeypatch.setattr("scalelab.optimize.guided.DRAWS", 0)
    monkeypatch.setattr(
        GuidedSearch,
        "_probe",
        lambda search: search._compile(
            {"optim.lr": 1e-2, "model.layers": 1, "model.ffn.kind": "gelu"}
        ),
    )
    search = make(trials=3)
    assert not search.exhausted
    monkeypatch.setattr(GuidedSearch, "_compile", lambda search, point: None)
    assert search.ask() is None
    assert (search.exhausted, search.finished) == (True, True)
