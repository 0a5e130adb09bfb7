"""`optimize` from the command line: a search of seconds over sums, its end, its errors."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.storages.journal import JournalFileBackend
from tests.cli.conftest import Command

from scalelab.cli import main
from scalelab.cli.concluding import beside
from scalelab.report.figures.search.figure import Search
from scalelab.spec.load_space import load_space

SPACES = Path(__file__).parents[2] / "specs" / "spaces"
SPACE = """
name: sums
about: A search of seconds.
base:
  task: {kind: arithmetic, length: 1, longest: 2}
  model: {width: 8}
  budget: {steps: 9}
  batch: 8
  evaluation: {first: 3, ratio: 2}
search:
  optim.lr: {float: [1e-3, 1e-1], log: true}
  model.layers: {int: [1, 2]}
  optim.kind: {choice: [adamw, muon]}
  optim.momentum: {float: [0.8, 0.98], when: {optim.kind: [muon]}}
objectives: {loss: minimize}
trials: 4
"""
INLINE = ("--executor", "inline")


@pytest.fixture
def scalelab(command: Command, tmp_path: Path) -> Command:
    """The command in a folder with a space."""
    (tmp_path / "specs" / "spaces").mkdir(parents=True)
    (tmp_path / "specs" / "spaces" / "sums.yaml").write_text(SPACE)
    return command


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the space has been searched."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "sums.yaml").write_text(SPACE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["scalelab", "optimize", "--space", "sums.yaml", *INLINE])
        with pytest.raises(SystemExit, match="0"):
            main()
    return folder


@pytest.fixture
def there(command: Command, searched: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """The command in that folder."""
    monkeypatch.chdir(searched)
    return command


def test_it_ends_with_the_best_and_the_worst(there: Command, searched: Path) -> None:
    said = there("optimize", "--space", "sums.yaml", *INLINE)
    assert said.code == 0
    assert "nothing to run" in said.out
    found = there("optimize", "--space", "sums.yaml", *INLINE, "--json").json
    losses = {trial["digest"]: trial["metrics"]["loss"] for trial in found["trials"]}
    assert len(losses) == found["known"] == 4
    assert found["best"]["values"] == [min(losses.values())] == [losses[found["best"]["digest"]]]
    assert found["worst"]["values"] == [max(losses.values())]
    assert f"trial {found['best']['digest'][:10]}" in said.out
    assert "optim.momentum" in said.out
    assert "4 trials came to their end" in said.out
    assert "10 are needed" in said.out
    assert "reports/fig-12.html" in said.out
    assert (searched / "reports" / "fig-12.html").exists()


def test_samples_of_both_ends_are_kept_and_shown_side_by_side(there: Command) -> None:
    found = there("optimize", "--space", "sums.yaml", *INLINE, "--json").json
    best, worst = (found["samples"][found[end]["digest"]] for end in ("best", "worst"))
    assert len(best.splitlines()) == len(worst.splitlines()) == 4  # two questions of each length
    assert all("=" in line for line in best.splitlines())
    place = there("show", found["best"]["digest"], "--json").json["trials"][0]["artifacts"][
        "sample"
    ]
    assert place.startswith("data:text/plain,")
    shown = there("optimize", "--space", "sums.yaml", *INLINE).out
    assert any(
        line.startswith(best.splitlines()[0]) and worst.splitlines()[0] in line
        for line in shown.splitlines()
    )


def test_the_found_spec_is_the_best_trial_and_has_nothing_to_run(
    there: Command, searched: Path
) -> None:
    found = there("optimize", "--space", "sums.yaml", *INLINE, "--json").json
    path = searched / found["found"]
    assert path == searched / "specs" / "found" / "sums.yaml"
    spec = yaml.safe_load(path.read_text())
    assert spec["name"] == "found_sums"
    assert found["best"]["digest"][:10] in spec["about"]
    plan = there("plan", found["found"], "--json").json
    assert [trial["digest"] for trial in plan["trials"]] == [found["best"]["digest"]]
    assert plan["states"] == {"done": 1}
    ran = there("run", found["found"], *INLINE)
    assert (ran.code, "nothing to run" in ran.out) == (0, True)


def test_trials_of_another_base_leave_the_experiment(scalelab: Command) -> None:
    """They stay in the store, and the best is one that the space can ask for now."""
    first = scalelab("optimize", "--space", "sums", *INLINE, "--trials", "2", "--json").json
    again = scalelab(
        "optimize", "--space", "sums", *INLINE, "--trials", "2", "--set", "budget.steps=3", "--json"
    ).json
    digests = {trial["digest"] for trial in first["trials"]}
    assert len(again["trials"]) == 2
    assert not digests & {trial["digest"] for trial in again["trials"]}
    assert again["best"]["digest"] not in digests
    assert again["found"] == "specs/found/sums.yaml"
    assert scalelab("show", first["best"]["digest"]).code == 0
    Path("copy.yaml").write_text(SPACE)
    refused = scalelab("optimize", "--space", "copy.yaml", *INLINE)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("error: copy.yaml:2: 2 trials with results would leave ")


def test_the_journal_opens_as_a_study(there: Command, searched: Path) -> None:
    said = there("optimize", "--space", "sums.yaml", "--dashboard")
    assert "optuna-dashboard results/sums.journal" in said.out
    storage = optuna.storages.JournalStorage(
        JournalFileBackend(str(searched / "results" / "sums.journal"))
    )
    study = optuna.load_study(study_name="sums", storage=storage)
    found = there("optimize", "--space", "sums.yaml", *INLINE, "--json").json
    assert [trial.user_attrs["digest"] for trial in study.trials] == [
        trial["digest"] for trial in found["trials"]
    ]
    assert study.best_trial.user_attrs["digest"] == found["best"]["digest"]
    assert study.best_trial.params["optim.lr"] == found["best"]["setting"]["optim.lr"]
    assert study.best_trial.intermediate_values[9] == study.best_value


def test_the_same_command_goes_on(scalelab: Command) -> None:
    short = ("optimize", "--space", "sums", *INLINE, "--no-conclusion", "--json")
    first = scalelab(*short, "--trials", "2").json
    assert first["outcomes"] == {"done": 2}
    more = scalelab(*short, "--trials", "3").json
    assert (more["outcomes"], more["known"]) == ({"done": 1}, 2)
    assert [trial["digest"] for trial in more["trials"][:2]] == [
        trial["digest"] for trial in first["trials"]
    ]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Whoever runs the tests may ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupted_search_ends_with_130_and_goes_on(
    scalelab: Command, interruptible: None
) -> None:
    def interrupt() -> None:
        while not Path("results/scalelab.db").exists():
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    said = scalelab("optimize", "--space", "sums", *INLINE, "--trials", "500")
    thread.join()
    assert said.code == 130
    assert "the same command goes on from here" in said.out
    assert not Path("specs/found").exists()
    ran = scalelab("ls", "--json").json["trials"]
    done = sum(trial["state"] == "done" for trial in ran)
    more = scalelab(
        "optimize",
        "--space",
        "sums",
        *INLINE,
        "--trials",
        str(done + 2),
        "--no-conclusion",
        "--json",
    ).json
    assert (more["outcomes"], more["known"]) == ({"done": 2}, done)
    assert [trial["digest"] for trial in more["trials"][: len(ran)]] == [
        trial["digest"] for trial in ran
    ]


def test_seed_and_sampler_are_flags(scalelab: Command) -> None:
    short = ("optimize", "--space", "sums", *INLINE, "--no-conclusion", "--trials", "2", "--json")
    stores = {"a.db": "1", "b.db": "1", "c.db": "2"}
    found = [
        scalelab(*short, "--store", store, "--seed", seed).json["trials"]
        for store, seed in stores.items()
    ]
    asked = [[trial["axes"] for trial in trials] for trials in found]
    assert asked[0] == asked[1] != asked[2]
    shown = scalelab(
        "optimize",
        "--space",
        "sums",
        "--sampler",
        "random",
        "--pruner",
        "median",
        "--trials",
        "7",
        "--dry-run",
    ).out
    assert "sampler random, pruner median, seed 0, 7 trials in all" in shown


def test_a_dry_run_tells_what_the_store_knows(there: Command) -> None:
    assert (
        "in results/scalelab.db: 4 done\n"
        in there("optimize", "--space", "sums.yaml", "--dry-run").out
    )
    other = ("optimize", "--space", "sums.yaml", "--set", "name=other", "--dry-run")
    assert "no trial of it; 4 known from elsewhere fit, and warm it up" in there(*other).out
    assert there(*other, "--no-warm-start", "--json").json["others"] == 0


def test_a_dry_run_counts_what_fits_alone(there: Command) -> None:
    changed = ("optimize", "--space", "sums.yaml", "--set", "base.budget.steps=7", "--dry-run")
    shown = there(*changed).out
    assert (
        "no trial of it; 4 that it asked for as another space, on another base or under an older"
        " recipe do not count" in shown
    )
    assert "fit" not in shown
    found = there(*changed, "--set", "name=other", "--json").json
    assert (found["states"], found["others"]) == ({}, 0)


def test_a_search_says_that_its_trials_end_within_their_warm_up(scalelab: Command) -> None:
    said = "10 of 10 trials that chance drew end within their warm-up"
    warm_up = ("optimize", "--space", "sums", "--set", "base.optim.schedule.warmup=9")
    assert said in scalelab(*warm_up, "--dry-run").out
    assert said in scalelab(*warm_up, *INLINE, "--trials", "1", "--no-conclusion").out
    assert (
        "warm-up"
        not in scalelab(
            "optimize", "--space", "sums", "--set", "base.optim.schedule.warmup=2", "--dry-run"
        ).out
    )


def test_the_journal_has_trials_whose_resolved_form_tells_no_point(scalelab: Command) -> None:
    searched = (
        "optimize",
        "--space",
        "sums",
        "--set",
        "search={model.ffn.ratio: {float: [3.03, 3.2]}}",
        "--trials",
        "2",
    )
    ran = scalelab(*searched, *INLINE, "--no-conclusion", "--json").json["trials"]
    assert len(ran) == 2
    assert scalelab(*searched, "--dashboard", "--json").json["trials"] == [
        trial["digest"] for trial in ran
    ]


def test_the_documented_space_is_one(command: Command, tmp_path: Path) -> None:
    text = (SPACES.parents[1] / "docs" / "optimize.md").read_text()
    (tmp_path / "my.yaml").write_text(text.split("```yaml")[1].split("```")[0])
    assert "optim.kind is muon" in command("optimize", "--space", "my.yaml", "--dry-run").out


def test_settings_reach_the_base_and_the_space(scalelab: Command) -> None:
    told = scalelab(
        "optimize",
        "--space",
        "sums",
        "--dry-run",
        "--json",
        "--set",
        "batch=4",
        "--set",
        "search.optim.lr={float: [1, 2]}",
    ).json
    assert told["space"]["base"]["batch"] == 4
    assert told["space"]["search"]["optim.lr"]["float"] == [1, 2]
    assert told["states"] == {}


def test_several_objectives_end_with_a_front(scalelab: Command) -> None:
    front = ("--set", "objectives={loss: minimize, params.total: minimize}")
    said = scalelab("optimize", "--space", "sums", *INLINE, *front)
    assert said.code == 0, said.err
    assert "on the front of loss and params.total" in said.out
    found = scalelab("optimize", "--space", "sums", *INLINE, *front, "--json").json
    sizes = [one["values"][1] for one in found["front"]]
    assert sizes == sorted(sizes, reverse=True)
    assert len(found["samples"]) == min(2, len(sizes))
    entries = scalelab("optimize", "--space", "sums", *front, "--dashboard", "--json").json[
        "trials"
    ]
    assert entries == [trial["digest"] for trial in found["trials"]]


def test_a_search_without_a_finished_trial_says_so(scalelab: Command) -> None:
    said = scalelab("optimize", "--space", "sums", *INLINE, "--time", "0.001s")
    assert said.code == 0
    assert "no trial has come to its end; the same command goes on" in said.out
    assert not Path("specs/found").exists()
    assert (
        scalelab("optimize", "--space", "sums", *INLINE, "--time", "0.001s", "--json").json[
            "trials"
        ]
        == []
    )


def test_what_cannot_be_written_hides_nothing(scalelab: Command) -> None:
    Path("specs/found").write_text("a file")
    said = scalelab("optimize", "--space", "sums", *INLINE, "--trials", "1")
    assert said.code == 0, said.err
    assert "1 trial came to its end" in said.out
    assert "fig. 12: figure 12 (search) has no data" in said.out
    assert "the best as a spec: specs/found/sums" in said.out
    assert "can't be written" in said.out


def test_a_figure_that_fails_hides_nothing(there: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(Search, "draw", draw)
    said = there("optimize", "--space", "sums.yaml", *INLINE, "--json")
    assert said.code == 70
    assert said.err.splitlines()[-1].startswith("error: ZeroDivisionError: division by zero;")
    assert said.json["figure"] is None
    assert Path(said.json["found"]).exists()
    assert len(said.json["samples"]) == 2


def test_a_search_without_a_conclusion_names_its_best_and_writes_nothing(scalelab: Command) -> None:
    found = scalelab("optimize", "--space", "sums", *INLINE, "--no-conclusion", "--json").json
    assert found["best"]["values"][0] == min(trial["metrics"]["loss"] for trial in found["trials"])
    assert not Path("specs/found").exists()
    assert not Path("reports").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--space", "sum"], "there is no space `sum`; did you mean `sums`?"),
        (["--space", "none.yaml"], "none.yaml: cannot be read"),
        (["--space", "sums", "--sampler", "tpee"], "`sampler`"),
        (["--space", "sums", "--time", "soon"], "--time: 'soon' is not a duration"),
        (["--space", "sums", "--set", "trials=null"], "neither --trials nor --time is given"),
        (
            ["--space", "sums", "--set", "search.optim.lrr={float: [1, 2]}"],
            "did you mean `optim.lr`?",
        ),
        (["--space", "sums", "--set", "objectives={los: minimize}"], "did you mean `loss`?"),
        (["--space", "sums", "--dashboard"], "results/scalelab.db: does not exist"),
    ],
    ids=str,
)
def test_wrong_input_is_a_sentence(scalelab: Command, arguments: list[str], says: str) -> None:
    said = scalelab("optimize", *arguments)
    assert (said.code, said.out) == (2, "")
    assert says in said.err
    assert said.err.count("\n") == 1
    assert not Path("results").exists()


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_space_of_the_house_can_be_searched(path: Path, scalelab: Command) -> None:
    space, _ = load_space(path)
    assert space.name == path.stem
    assert space.trials
    shown = scalelab("optimize", "--space", str(path), "--dry-run")
    assert shown.code == 0, shown.err
    assert all(searched in shown.out for searched in space.search)


def test_texts_side_by_side_keep_their_lines() -> None:
    lines = beside(["left", "right"], ["one\ntwo words that are long\n\nend", "\x1b[2J"], width=47)
    assert [[cell.rstrip() for cell in line.split(" |")] for line in lines[2:]] == [
        ["one", " \\x1b[2J"],
        ["two words that are", ""],
        ["long", ""],
        ["", ""],
        ["end", ""],
    ]
    assert lines[0] == f"{'left':22} | right"
