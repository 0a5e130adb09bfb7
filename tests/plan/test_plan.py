"""Specs become trials: axes, replicates, budgets, solved sizes, and the difference against what a
store knows.
"""

import os
import time
from pathlib import Path

import pytest

from scalelab.core.errors import UserError
from scalelab.data.text.manifest import NotPrepared
from scalelab.data.text.prepare import prepare
from scalelab.plan.cost import GUESSED_FLOPS_PER_SECOND, Clock, Speed
from scalelab.plan.diff import choose, row, tally
from scalelab.plan.plan import Plan, compile_plan
from scalelab.spec.budget import Budget
from scalelab.spec.load import load
from scalelab.tasks import describe

SPECS = Path(__file__).parents[2] / "specs"


def plan(folder: Path, text: str) -> Plan:
    path = folder / "spec.yaml"
    path.write_text(text)
    return compile_plan(*load(path))


def test_axes_replicates_and_their_seeds(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        "{name: a, budget: {steps: 5}, seed: 10, axes: {model.width: [4, 8], task.people: [2, 4]},"
        " replicates: 3}",
    )
    assert [
        (trial.axes["model.width"], trial.axes["task.people"], trial.replicate, trial.trial.seed)
        for trial in made.trials[:4]
    ] == [
        (4, 2, 0, 10),
        (4, 2, 1, 11),
        (4, 2, 2, 12),
        (4, 4, 0, 10),
    ]
    assert len({trial.digest for trial in made.trials}) == len(made.trials) == 12


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        ("{steps: 7}", 7),
        ("{exposures: 10}", -(-10 * 16 // 8)),
        ("{tokens: 100k}", None),
        ("{flops: 1e9}", None),
    ],
)
def test_every_budget_is_spent_and_overshot_by_less_than_an_update(
    tmp_path: Path, budget: str, steps: int | None
) -> None:
    [trial] = plan(tmp_path, f"{{name: a, task: {{people: 4}}, batch: 8, budget: {budget}}}").trials
    shape = describe(trial.trial.task)
    assert trial.steps == trial.trial.budget.steps == (steps or trial.steps)
    assert trial.tokens == trial.steps * 8 * shape.context
    assert trial.exposures == trial.steps * 8 / 16
    assert (
        trial.flops
        == trial.steps
        * 8
        * trial.trial.model.train_bounds(shape.vocab, shape.context, shape.targets).most
    )
    if "tokens" in budget:
        assert 0 <= trial.tokens - 100_000 < 8 * shape.context
    if "flops" in budget:
        assert 0 <= trial.flops - 1e9 < trial.flops / trial.steps


ROUTER = "{kind: layer_router, width: 8, identity: 1, steps: 3}"


def test_a_budget_of_flops_stays_one_where_a_meter_spends_it(tmp_path: Path) -> None:
    text = f"{{name: a, task: {{people: 4}}, batch: 8, model: {ROUTER}, budget: {{flops: 1e9}}}}"
    [trial] = plan(tmp_path, text).trials
    shape = describe(trial.trial.task)
    each = trial.trial.model.train_bounds(shape.vocab, shape.context, shape.targets)
    assert trial.trial.budget == Budget(flops=10**9)
    assert (trial.steps - 1) * 8 * each.least < 10**9 <= trial.steps * 8 * each.least
    assert (trial.flops_least, trial.flops) == (10**9, 10**9 + 8 * each.most - 1)
    assert trial.tokens == trial.steps * 8 * shape.context
    [exact] = plan(tmp_path, text.replace("identity: 1", "policy: fixed")).trials
    assert exact.trial.budget == Budget(steps=exact.steps)
    assert exact.flops == exact.flops_least


def test_other_budgets_say_between_what_flops_they_are(tmp_path: Path) -> None:
    [trial] = plan(
        tmp_path,
        f"{{name: a, task: {{people: 4}}, batch: 8, model: {ROUTER}, budget: {{steps: 7}}}}",
    ).trials
    shape = describe(trial.trial.task)
    each = trial.trial.model.train_bounds(shape.vocab, shape.context, shape.targets)
    assert trial.trial.budget == Budget(steps=7)
    assert (trial.flops_least, trial.flops) == (56 * each.least, 56 * each.most)
    assert row(trial)["flops_least"] == trial.flops_least < trial.flops


def test_a_whole_budget_may_come_from_an_axis_alone(tmp_path: Path) -> None:
    made = plan(
        tmp_path, "{name: a, task: {people: 4}, axes: {budget: [{steps: 5}, {flops: 1e9}]}}"
    )
    assert made.trials[0].steps == 5
    assert made.trials[1].flops >= 10**9


def test_specs_that_meet_at_one_trial_share_its_digest(tmp_path: Path) -> None:
    said = plan(
        tmp_path,
        "{name: a, task: {people: 4}, batch: 8, budget: {exposures: 10}, model: {width: 8, heads:"
        " 2, ffn: {ratio: 2}}}",
    )
    other = plan(
        tmp_path,
        "{name: b, task: {people: 4}, batch: 8, budget: {steps: 20, params: {target: 5480,"
        " tolerance: 0.001}}, model: {width: 8, kv_heads: 2, head_width: 4, ffn: {width: solve}},"
        " optim: {lr: 0.001}}",
    )
    assert said.trials[0].params.total == other.trials[0].params.total
    assert said.trials[0].digest == other.trials[0].digest


def test_values_of_an_axis_are_read_like_any_other(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        "{name: a, budget: {steps: 5}, axes: {task.people: [1k, 2e2, 16], optim.betas: [[0.9,"
        " 0.99]], optim.lr: [1]}}",
    )
    assert [trial.axes for trial in made.trials] == [
        {"task.people": people, "optim.betas": [0.9, 0.99], "optim.lr": 1}
        for people in (1000, 200, 16)
    ]
    assert type(made.trials[1].axes["task.people"]) is int


def test_an_axis_may_change_a_kind(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        "{name: a, budget: {steps: 5}, model: {position: {theta: 500}}, axes: {model.position:"
        " [{kind: rope, theta: 9}, {kind: none}]}}",
    )
    assert [trial.trial.model.position.kind for trial in made.trials] == ["rope", "none"]


def test_a_budget_axis_replaces_the_length_and_keeps_the_parameters(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        "{name: a, budget: {steps: 5, params: {target: 6k, tolerance: 0.1}}, model: {width: solve},"
        " axes: {budget.tokens: [10k, 20k]}}",
    )
    assert [trial.trial.model.width for trial in made.trials] == [8, 8]
    assert made.trials[1].tokens >= 20_000 > made.trials[0].tokens >= 10_000


def test_what_cannot_be_names_the_axis_and_its_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"spec\.yaml:4: .*2 heads do not divide the width 7"):
        plan(tmp_path, "name: a\nbudget: {steps: 5}\naxes:\n  model.width: [4, 7]\n")
    with pytest.raises(
        UserError, match=r"spec\.yaml:3: the frontier's `size` is `model\.width`, which is no axis"
    ):
        plan(
            tmp_path,
            "name: a\nbudget: {steps: 5}\nsearch: {kind: frontier}\naxes: {task.people: [2]}\n",
        )
    with pytest.raises(
        UserError,
        match=(
            r"spec\.yaml:5: the axis `evaluation\.stop\.at_least` sets a field of"
            r" `evaluation\.stop`, which .* None"
        ),
    ):
        plan(
            tmp_path,
            "name: a\nbudget: {steps: 5}\nevaluation: {stop: null}\naxes:\n "
            " evaluation.stop.at_least: [0.5, 0.9]\n",
        )
    with pytest.raises(UserError, match=r"spec\.yaml:4: .*sets a field of `budget\.params`"):
        plan(
            tmp_path,
            "name: a\nmodel: {width: solve}\nbudget: {steps: 5, params: 16k}\naxes:"
            " {budget.params.target: [16k, 32k]}\n",
        )
    with pytest.raises(
        UserError,
        match=(
            r"spec\.yaml:3: the frontier's `along` is `optim\.clip`, whose value None is no number"
        ),
    ):
        plan(
            tmp_path,
            "name: a\nbudget: {steps: 5}\nsearch: {kind: frontier, along: optim.clip}\naxes:"
            " {model.width: [4], optim.clip: [null, 1]}\n",
        )
    with pytest.raises(UserError, match=r"spec\.yaml:2: .*reachable"):
        plan(tmp_path, "name: a\nbudget: {steps: 5, params: 7000}\nmodel: {width: solve}\n")
    with pytest.raises(UserError, match=r"spec\.yaml:3: "):
        plan(tmp_path, "name: a\nbudget: {steps: 5}\ntask: {context: 20}\n")


def test_the_published_grid_in_full() -> None:
    began = time.perf_counter()
    made = compile_plan(*load(SPECS / "paper" / "in_tool_learning.yaml"))
    assert len(made.trials) == 15 * 26 * 2 * 10 == 7800
    assert {trial.params.total for trial in made.trials} == {
        32 * width**2 + 525 * width for width in (*range(4, 81, 4), *range(88, 129, 8))
    }
    assert time.perf_counter() - began < 30


CAPACITY = SPECS / "paper" / "fact_capacity.yaml"
"""A spec that needs GPT-2's two files."""


WIKITEXT = SPECS / "paper" / "wikitext103_125m.yaml"
"""A spec of real text in GPT-2's tokens."""

EXPERIMENTS = set(SPECS.rglob("*.yaml")) - set((SPECS / "spaces").glob("*.yaml"))

TEXT = sorted(path for path in EXPERIMENTS if "kind: text" in path.read_text() and path != WIKITEXT)


@pytest.mark.parametrize(
    "path", sorted(EXPERIMENTS - {CAPACITY, WIKITEXT, *TEXT}), ids=lambda path: path.name
)
def test_every_spec_of_the_project_compiles(path: Path) -> None:
    assert compile_plan(*load(path)).trials


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "numbers.txt"
    path.write_text(
        "\n\n".join(f"The square of {number} is {number**2}." for number in range(3000))
    )
    return path


def on(corpus: Path, path: Path, tokens: str) -> Plan:
    """The plan of a spec of text on another corpus."""
    settings = [f"task.corpus={corpus}", f"task.tokens={tokens}"]
    if "\ntask:" not in path.read_text():  # it is an axis
        settings = [
            f"axes.task=[{{kind: text, corpus: {corpus}, tokens: {tokens}}}, {{kind: arithmetic}}]"
        ]
    if "pretrained:" in path.read_text():  # which trial that is its user says
        settings.append("model.pretrained.trial=0123456789abcdef")
    settings.append(f"execution.data={corpus.parent}")
    while True:
        try:
            return compile_plan(*load(path, settings))
        except NotPrepared as missing:
            prepare(missing.task.corpus, missing.task.tokens, str(corpus.parent))


@pytest.mark.parametrize("path", TEXT, ids=lambda path: path.name)
def test_every_spec_of_text_compiles(path: Path, corpus: Path) -> None:
    assert on(corpus, path, "bytes").trials


@pytest.mark.skipif(
    "SCALELAB_TEST_DATA" not in os.environ,
    reason="SCALELAB_TEST_DATA names no folder with GPT-2's files",
)
def test_the_full_size_at_equal_active_parameters(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCALELAB_GPT2", str(Path(os.environ["SCALELAB_TEST_DATA"]) / "gpt2"))
    arms = {planned.axes["arm"]: planned for planned in on(corpus, WIKITEXT, "gpt2").trials}
    sizes = {
        arm: (planned.trial.model.heads, planned.trial.model.ffn.width)
        for arm, planned in arms.items()
    }
    assert sizes == {
        "base": (12, 2048),
        "+MQA": (12, 2520),
        "+GQA, wider FFN": (12, 2392),
        "+GQA, more heads": (20, 2048),
        "+GQA+MoE": (12, 296),
    }
    assert all(
        planned.params.active == pytest.approx(123.55e6, rel=0.003) for planned in arms.values()
    )


def test_the_published_capacity_grid_says_where_its_tokenizer_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCALELAB_GPT2", "nowhere")
    unknown = ["task.world=12345"]  # what another test has planned is remembered
    with pytest.raises(
        UserError, match=r"nowhere/vocab.bpe: the tokenizer can't be read .*; .*SCALELAB_GPT2"
    ):
        compile_plan(*load(CAPACITY, unknown))


@pytest.mark.skipif(
    "SCALELAB_TEST_DATA" not in os.environ,
    reason="SCALELAB_TEST_DATA names no folder with GPT-2's files",
)
def test_the_published_capacity_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALELAB_GPT2", str(Path(os.environ["SCALELAB_TEST_DATA"]) / "gpt2"))
    made = compile_plan(*load(CAPACITY))
    assert len(made.trials) == 12 * 13
    assert {
        trial.params.groups["embedding"] // trial.trial.model.width for trial in made.trials
    } == {50257}  # pyright: ignore[reportOperatorIssue]


def test_the_published_capacity_grid_but_for_its_tokenizer() -> None:
    made = compile_plan(*load(CAPACITY, ["task.tokens=words"]))
    assert len(made.trials) == 12 * 13
    assert all(
        trial.exposures == pytest.approx(trial.axes["budget.exposures"], rel=0.01)
        for trial in made.trials
    )
    assert {trial.trial.model.width // trial.trial.model.heads for trial in made.trials} == {64}  # pyright: ignore[reportOperatorIssue]


def test_filters_and_tallies(tmp_path: Path) -> None:
    made = plan(tmp_path, "{name: a, budget: {steps: 5}, axes: {model.width: [4, 8, 12]}}")
    small = choose(made, "params.total < 10000 and model.heads == 2")
    assert [trial.axes["model.width"] for trial in small.trials] == [4, 8]
    assert choose(made, None) is made
    assert row(made.trials[0])["optim.schedule.kind"] == "cosine"
    states = {
        trial.digest: "done" if trial.axes["model.width"] == 4 else "missing"
        for trial in made.trials
    }
    assert tally(made, states) == {"done": 1, "missing": 2}  # pyright: ignore[reportArgumentType]


def test_times_come_from_the_nearest_sizes_or_are_called_a_guess(tmp_path: Path) -> None:
    [small, large] = plan(
        tmp_path, "{name: a, budget: {steps: 5}, axes: {model.width: [8, 128]}}"
    ).trials
    guess = Clock([])
    assert "guess" in guess.basis
    assert guess.seconds(small) == small.flops / GUESSED_FLOPS_PER_SECOND
    measured = Clock([Speed(6_000, 1e9)] * 5 + [Speed(600_000, 1e11)] * 5)
    assert measured.seconds(small) == small.flops / 1e9
    assert measured.seconds(large) == large.flops / 1e11


def test_a_context_that_is_written_down_is_the_same_trial(tmp_path: Path) -> None:
    said = plan(tmp_path, "{name: a, task: {people: 4}, budget: {steps: 5}}").trials[0]
    context = said.trial.task.context
    assert context is not None
    again = plan(
        tmp_path, f"{{name: a, task: {{people: 4, context: {context}}}, budget: {{steps: 5}}}}"
    ).trials[0]
    wider = plan(
        tmp_path, f"{{name: a, task: {{people: 4, context: {context + 8}}}, budget: {{steps: 5}}}}"
    ).trials[0]
    assert said.digest == again.digest != wider.digest


def test_a_length_may_come_from_an_axis_alone(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        "{name: a, budget: {params: {target: 6k, tolerance: 0.1}}, model: {width: solve}, axes:"
        " {budget.steps: [5, 9]}}",
    )
    assert [trial.steps for trial in made.trials] == [5, 9]
    assert [
        trial.steps for trial in plan(tmp_path, "{name: a, axes: {budget.steps: [5, 9]}}").trials
    ] == [5, 9]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "evaluation: {stop: {metric: recal}}",
            "no evaluation measures `recal`; did you mean `recall`?",
        ),
        (
            "evaluation: {stop: {metric: test_loss, at_most: 1}}",
            "no evaluation measures `test_loss`",
        ),
        ("evaluation: {stop: {metric: loss}}", "of `loss` less is better; write `at_most`"),
        (
            "search: {kind: frontier, metric: recal}",
            "no trial ends with a metric `recal`; did you mean `recall`?",
        ),
    ],
)
def test_a_metric_that_nobody_measures_is_found_before_the_run(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(UserError) as caught:
        plan(
            tmp_path,
            f"name: a\nbudget: {{steps: 5}}\n{text}\naxes: {{model.width: [4, 8], task.people: [2,"
            " 4]}\n",
        )
    assert words in str(caught.value)
    assert "spec.yaml:3: " in str(caught.value)


def test_a_budget_that_cannot_be_met_names_the_point_of_the_axes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\(at model\.layers 4\); the nearest reachable"):
        plan(
            tmp_path,
            "{name: a, budget: {steps: 5, params: 5480}, model: {width: solve, ffn: {ratio: 2}},"
            " axes: {model.layers: [2, 4]}}",
        )
