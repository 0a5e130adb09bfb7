"""Spaces mean what they say; bad ones get one sentence with the file, the line, what is wrong and
the cure.
"""

from pathlib import Path
from random import Random
from time import perf_counter

import pytest

from scalelab.core.errors import UserError
from scalelab.spec.conditions import demands, drawn, every_point, in_order
from scalelab.spec.load import load
from scalelab.spec.load_space import experiment_of, load_space
from scalelab.spec.space import Choice, Float, Int, Space

GOOD = """\
name: little
base:
  task: {people: 8}
  model: {width: 8}
  budget: {steps: 100}
search:
  model.ffn.ratio: {float: [1, 4], when: {model.ffn.kind: [gelu, swiglu]}}
  optim.lr: {float: [1e-4, 1e-1], log: true}
  model.ffn.kind: {choice: [gelu, swiglu, moe]}
  model.layers: {int: [1, 7], step: 2}
objectives: {recall: maximize}
sampler: {kind: tpe}
pruner: {kind: asha}
"""


CONTRADICTION = """step: 2, when: {model.ffn.kind: [moe]}}
  batch: {choice: [1, 2], when: {model.layers: [1], model.ffn.kind: [gelu]}}"""

CIRCLE = """swiglu, moe], when: {batch: [8]}}
  batch: {choice: [8, 16], when: {model.ffn.kind: [gelu]}"""

TWICE = """swiglu, moe]}
  model.ffn: {choice: [{kind: gelu, ratio: 2}, {kind: moe}]"""


def write(folder: Path, text: str, name: str = "space.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_space_is_read_and_comes_back_from_its_json(tmp_path: Path) -> None:
    space, _ = load_space(write(tmp_path, GOOD))
    assert space.search["optim.lr"] == Float.model_validate({"float": [1e-4, 1e-1], "log": True})
    layers, kinds = space.search["model.layers"], space.search["model.ffn.kind"]
    assert isinstance(layers, Int)
    assert list(layers.values) == [1, 3, 5, 7]
    assert isinstance(kinds, Choice)
    data = space.model_dump(mode="json")
    assert data["search"]["model.ffn.ratio"] == {
        "when": {"model.ffn.kind": ["gelu", "swiglu"]},
        "float": [1.0, 4.0],
        "log": False,
    }
    assert Space.model_validate(data) == space


def test_a_path_is_settled_after_those_that_its_condition_names(tmp_path: Path) -> None:
    space, _ = load_space(write(tmp_path, GOOD))
    assert in_order(space.search) == [
        "model.ffn.kind",
        "model.ffn.ratio",
        "optim.lr",
        "model.layers",
    ]


def test_the_points_of_a_finite_space_are_counted_with_their_conditions() -> None:
    search = {
        "a": Choice(choice=("x", "y")),
        "b": Int.model_validate({"int": [1, 3], "when": {"a": ["x"]}}),
        "c": Choice(choice=(True, False), when={"b": (3,)}),
    }
    assert every_point(search, 10) == [
        {"a": "x", "b": 1},
        {"a": "x", "b": 2},
        {"a": "x", "b": 3, "c": True},
        {"a": "x", "b": 3, "c": False},
        {"a": "y"},
    ]
    assert every_point(search, 4) is None
    assert every_point({**search, "d": Float.model_validate({"float": [0, 1]})}, 10) is None


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        (
            "optim.lr: {",
            "optim.lrr: {",
            8,
            "the searched path `optim.lrr` is no path of a trial; did you mean `optim.lr`?",
        ),
        (
            "float: [1e-4, 1e-1]",
            "float: [1e-1, 1e-4]",
            8,
            r"the range \[0.1, 0.0001\] is inverted; write the smaller end first",
        ),
        ("float: [1e-4, 1e-1]", "float: [1e-4, 1e-4]", 8, "has one value; write it in `base`"),
        (
            "float: [1e-4, 1e-1]",
            "float: []",
            8,
            r"a range has two ends, and this is \[\]; write `\[low, high\]`",
        ),
        ("float: [1e-4, 1e-1]", "float: [1e-4]", 8, "a range has two ends"),
        ("float: [1e-4, 1e-1]", "float: [low, 1]", 8, "'low' is not a number"),
        (
            "float: [1e-4, 1e-1]",
            "float: [0, 1]",
            8,
            "begins above 0, and .* does not; raise its lower end, or leave `log` out",
        ),
        (
            "float: [1e-4, 1e-1], log: true",
            "log: true",
            8,
            "is not one of the distributions; write",
        ),
        (
            "log: true",
            "logg: true",
            8,
            "the distribution `float` has no `logg`; it takes `float`, `log`, `when`",
        ),
        (
            "int: [1, 7], step: 2",
            "int: [1, 2.5]",
            10,
            "has a fraction; write `float`, or whole ends",
        ),
        ("int: [1, 7], step: 2", "int: [1, 7], step: 7", 10, "leaves one value"),
        (
            "int: [1, 7], step: 2",
            "int: [1, 7], step: 2, log: true",
            10,
            "`log` and `step` do not go together",
        ),
        (
            "int: [1, 7], step: 2",
            "int: [0, 7]",
            10,
            "no trial has `model.layers: 0`: .*less than 1",
        ),
        ("[gelu, swiglu, moe]", "[]", 9, "a choice is a list of values, of one at least"),
        (
            "[gelu, swiglu, moe]",
            "[gelu, gelu]",
            9,
            'the choice "gelu" stands there twice; keep one of them',
        ),
        ("[gelu, swiglu, moe]", "[gelu, swiglu, gelo]", 9, "no trial has `model.ffn.kind: gelo`"),
        (
            "when: {model.ffn.kind: [gelu, swiglu]}",
            "when: gelu",
            7,
            "`when` maps searched paths to values",
        ),
        (
            "when: {model.ffn.kind:",
            "when: {model.ffn.king:",
            7,
            "on `model.ffn.king`, .*; did you mean `model.ffn.kind`?",
        ),
        (
            "when: {model.ffn.kind: [gelu, swiglu]}",
            "when: {model.heads: [2]}",
            7,
            "which is not searched; search `model.heads` too",
        ),
        (
            "[gelu, swiglu]}}",
            "[gelu, relu]}}",
            7,
            'being "relu", which it can\'t be; it can be "gelu", ',
        ),
        ("[gelu, swiglu]}}", "[]}}", 7, "its condition on `model.ffn.kind` has no value"),
        (
            "when: {model.ffn.kind: [gelu, swiglu]}",
            "when: {model.ffn.ratio: [1]}",
            7,
            "its condition is on itself",
        ),
        (
            "when: {model.ffn.kind: [gelu, swiglu]}",
            "when: {optim.lr: [1e-3]}",
            7,
            "a `float`, which hits no value twice",
        ),
        (
            "swiglu, moe]",
            "swiglu, moe], when: {model.layers: [2]}",
            9,
            "being 2, which it can't be; it can be 1, 3, 5, 7",
        ),
        (
            "step: 2}",
            CONTRADICTION,
            11,
            "searched at no value of `model.ffn.kind`: its conditions contradict",
        ),
        ("swiglu, moe]", CIRCLE, 9, r"go in a circle \(.*batch"),
        ("swiglu, moe]", TWICE, 7, "it is searched, and a choice of `model.ffn` sets it too"),
        (
            "{recall: maximize}",
            "{recal: maximize}",
            11,
            "no trial of the task `facts` ends with a metric `recal`; did you mean `recall`?",
        ),
        (
            "{recall: maximize}",
            "{recall: max}",
            11,
            "`objectives.recall` is 'max'.*'minimize' or 'maximize'",
        ),
        ("{recall: maximize}", "{}", 11, "`objectives`"),
        (
            "{recall: maximize}",
            "{recall: maximize, flops: minimize}",
            13,
            "and there are 2 objectives; write `pruner: none`",
        ),
        (
            "{recall: maximize}",
            "{bits: maximize}",
            13,
            "none of them measures `bits`",
        ),
        ("{recall: maximize}", "{test_loss: minimize}", 11, "ends with a metric `test_loss`"),
        ("{recall: maximize}", "{recall_permuted: maximize}", 11, "`recall_permuted`"),
        ("{recall: maximize}", "{params.used: minimize}", 11, "`params.used`"),
        (
            "sampler: {kind: tpe}",
            "sampler: {kind: tpf}",
            12,
            "no known `kind`; known are 'tpe', 'random', 'gp', 'cmaes', 'nsga2'",
        ),
        (
            "pruner: {kind: asha}",
            "pruner: halve",
            13,
            "`pruner` has no known `kind`; known are 'none', 'asha', 'hyperband', 'median'",
        ),
        ("  optim.lr: {float: [1e-4, 1e-1], log: true}\n", "", 11, None),
        (
            "  budget:",
            "  axes: {batch: [1, 2]}\n  budget:",
            5,
            "`base` has `axes`, and a space searches one trial at a time; leave it out",
        ),
        ("  budget:", "  replicates: 2\n  budget:", 5, "`base` has `replicates`"),
        ("  budget:", "  search: {kind: frontier}\n  budget:", 5, "`base` has `search`"),
        ("base:", "bass:", 2, "a space has no `bass`; did you mean `base`?"),
        ("{width: 8}", "{widht: 8}", 4, "unknown key `model.widht`; did you mean `width`?"),
        ("objectives:", "objective:", 11, "a space has no `objective`; did you mean `objectives`?"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, line: int, words: str | None
) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    if words is None:
        text, words = (
            text.replace("kind: tpe", "kind: cmaes"),
            "`cmaes` adapts ranges of numbers without conditions, and of these the space has 1",
        )
    with pytest.raises(UserError, match=words) as caught:
        load_space(write(tmp_path, text))
    assert caught.value.where == f"{tmp_path / 'space.yaml'}:{line}"
    assert caught.value.cure
    assert "\n" not in str(caught.value)


def test_a_value_that_goes_with_few_others_is_no_fault(tmp_path: Path) -> None:
    # eight heads of width 3 turn no pairs
    some = "model.heads: {choice: [2, 8]}\n  model.width: {choice: [24, 16]}"
    space, _ = load_space(
        write(tmp_path, GOOD.replace("model.layers: {int: [1, 7], step: 2}", some))
    )
    assert space.search["model.heads"]


def test_a_part_is_searched_as_a_whole_and_its_field_where_it_has_one(tmp_path: Path) -> None:
    text = GOOD.replace(
        "model.ffn.kind: {choice: [gelu, swiglu, moe]}",
        "model.ffn: {choice: [{kind: gelu}, {kind: moe, experts: 4}]}",
    )
    space, _ = load_space(
        write(
            tmp_path,
            text.replace(
                "when: {model.ffn.kind: [gelu, swiglu]}", "when: {model.ffn: [{kind: gelu}]}"
            ),
        )
    )
    assert in_order(space.search)[:2] == ["model.ffn", "model.ffn.ratio"]


def test_the_base_may_be_a_spec_which_the_space_changes(tmp_path: Path) -> None:
    write(
        tmp_path,
        "name: below\ntask: {people: 8}\nmodel: {width: 8, heads: 2}\nbudget: {steps: 100}\n",
        "below.yaml",
    )
    inline = GOOD[GOOD.index("base:") : GOOD.index("search:")]
    named, _ = load_space(write(tmp_path, GOOD.replace(inline, "base: below.yaml\n")))
    assert named.base == {
        "task": {"people": 8},
        "model": {"width": 8, "heads": 2},
        "budget": {"steps": 100},
    }
    extended, document = load_space(
        write(
            tmp_path,
            GOOD.replace(
                inline, "base: {extends: below.yaml, model: {width: 16}, budget: {tokens: 1k}}\n"
            ),
        )
    )
    assert extended.base == {
        "task": {"people": 8},
        "model": {"width": 16, "heads": 2},
        "budget": {"tokens": "1k"},
    }
    experiment, inner = experiment_of(extended, document)
    assert (experiment.name, experiment.budget.tokens) == ("little", 1000)
    assert inner.place(("task", "people")).endswith("below.yaml:2")
    with pytest.raises(
        UserError,
        match=r"space\.yaml:2: `base` names nowhere\.yaml, which does not exist; give a path",
    ):
        load_space(write(tmp_path, GOOD.replace(inline, "base: nowhere.yaml\n")))


@pytest.mark.parametrize(
    "objective",
    ["loss: minimize", "bits: maximize", "recall_permuted: maximize", "max_vio: minimize"],
)
def test_whatever_some_of_the_trials_end_with_may_be_an_objective(
    tmp_path: Path, objective: str
) -> None:
    modes = "  task.recall: {choice: [in_weight, in_tool]}\nobjectives"
    text = GOOD.replace("objectives", modes).replace("recall: maximize", objective)
    space, _ = load_space(write(tmp_path, text.replace("pruner: {kind: asha}", "")))
    assert list(space.objectives) == [objective.partition(":")[0]]


def test_a_setting_of_what_is_searched_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--set optim.lr=3e-3.*search.optim.lr"):
        load_space(write(tmp_path, GOOD), ["optim.lr=3e-3"])


def test_settings_change_the_space_and_its_base(tmp_path: Path) -> None:
    settings = [
        "sampler=gp",
        "trials=7",
        "model.width=16",
        "base.batch=8",
        "search.optim.lr={choice: [1e-3, 1e-2]}",
        "search.model.layers.int=[1, 5]",
        "objectives={bits_per_fact: maximize}",
    ]
    space, document = load_space(write(tmp_path, GOOD), settings)
    assert (space.sampler.kind, space.trials, space.base["model"], space.base["batch"]) == (
        "gp",
        7,
        {"width": 16},
        8,
    )
    assert space.search["optim.lr"] == Choice(choice=(1e-3, 1e-2))
    assert space.search["model.layers"] == Int.model_validate({"int": [1, 5], "step": 2})
    assert list(space.objectives) == ["bits_per_fact"]
    assert document.place(("base", "batch")) == "--set base.batch=8"
    with pytest.raises(UserError, match=r"--set search\.optim\.lr\.float=.*is inverted"):
        load_space(write(tmp_path, GOOD), ["search.optim.lr.float=[1, 0.5]"])


def test_a_length_that_is_searched_takes_the_place_of_the_base_s(tmp_path: Path) -> None:
    space, document = load_space(write(tmp_path, GOOD), ["search.budget.exposures={int: [10, 20]}"])
    experiment, _ = experiment_of(space, document)
    assert (experiment.budget.exposures, experiment.budget.steps) == (10, None)


@pytest.mark.parametrize("key", ["name", "base", "search", "objectives"])
def test_what_a_space_needs_is_asked_for(tmp_path: Path, key: str) -> None:
    lines = GOOD.splitlines(keepends=True)
    [first] = [index for index, line in enumerate(lines) if line.startswith(f"{key}:")]
    last = next(
        (index for index in range(first + 1, len(lines)) if not lines[index].startswith(" ")),
        len(lines),
    )
    with pytest.raises(
        UserError, match=rf"space\.yaml: a space has `{key}`, and this one has none; write `{key}: "
    ):
        load_space(write(tmp_path, "".join(lines[:first] + lines[last:])))


@pytest.mark.parametrize("base", ["[1]", "3", "null"])
def test_a_base_is_an_experiment(tmp_path: Path, base: str) -> None:
    inline = GOOD[GOOD.index("base:") : GOOD.index("search:")]
    with pytest.raises(
        UserError, match=r"space\.yaml:2: `base` is no experiment; write `base: \{task"
    ):
        load_space(write(tmp_path, GOOD.replace(inline, f"base: {base}\n")))


@pytest.mark.parametrize("search", ["[1]", "{}", "null", "optim.lr"])
def test_a_search_is_a_mapping_with_something_in_it(tmp_path: Path, search: str) -> None:
    section = GOOD[GOOD.index("search:") : GOOD.index("objectives:")]
    with pytest.raises(UserError, match=r"space\.yaml:6: `search`"):
        load_space(write(tmp_path, GOOD.replace(section, f"search: {search}\n")))


def test_an_experiment_and_a_space_are_told_apart(tmp_path: Path) -> None:
    space, experiment = tmp_path / "space.yaml", tmp_path / "experiment.yaml"
    space.write_text(
        "name: s\nbase: {budget: {steps: 1}}\nsearch: {optim.lr: {float: [1e-3,"
        " 1e-2]}}\nobjectives: {loss: minimize}\n"
    )
    experiment.write_text("name: e\nbudget: {steps: 1}\n")
    with pytest.raises(
        UserError, match="this is a space to search, no experiment; run `scalelab optimize --space`"
    ):
        load(space)
    with pytest.raises(UserError, match="this is an experiment, no space to search"):
        load_space(experiment)


def test_a_range_of_billions_is_never_written_out(tmp_path: Path) -> None:
    wide = GOOD.replace("int: [1, 7], step: 2", "int: [1, 7]").replace(
        "objectives",
        "  optim.schedule.warmup: {int: [1, 60000000000]}\n"
        "  batch: {int: [1, 4], when: {optim.schedule.warmup: [59999999999]}}\nobjectives",
    )
    space, _ = load_space(write(tmp_path, wide))
    assert every_point({"optim.schedule.warmup": space.search["optim.schedule.warmup"]}, 10) is None
    assert 1 <= drawn(space.search, Random(0))["optim.schedule.warmup"] <= 60_000_000_000
    with pytest.raises(UserError, match=r"batch`: its condition .* which it can't be"):
        load_space(write(tmp_path, wide.replace("[59999999999]", "[60000000001]")))


def test_a_range_has_its_steps_and_nothing_else() -> None:
    given = Int.model_validate({"int": [2, 10**15], "step": 4})
    assert [given.has(value) for value in (2, 6.0, 10**15 - 2)] == [True, True, True]
    others = (3, 6.5, True, "6", None, float("nan"), float("inf"), -2, 10**16 + 2)
    assert not any(given.has(value) for value in others)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("int: [1, 7], step: 2", "int: [1, 1e300]", "9,007,199,254,740,992"),
        ("int: [1, 7], step: 2", "choice: [" + "1, " * 50_000 + "1]", "50,000 values"),
        ("int: [1, 7], step: 2", f"choice: {[*range(101)]}", "101 choices, and at most 100"),
        ("float: [1e-4, 1e-1], log: true", "float: [-1e308, 1e308]", "wider than any number"),
        ("float: [1e-4, 1e-1], log: true", "float: [1e-320, 1e308], log: true", "wider than"),
    ],
)
def test_a_distribution_beyond_all_bounds_is_refused(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    with pytest.raises(UserError, match=rf"space\.yaml:\d+: .*{words}"):
        load_space(write(tmp_path, GOOD.replace(old, new)))


def test_conditions_on_conditions_are_each_followed_once() -> None:
    search = {
        str(number): Int.model_validate(
            {"int": [0, 9], "when": {str(above): [1, number] for above in range(number)}}
        )
        for number in range(60)
    }
    began = perf_counter()
    assert in_order(search) == list(search)
    found = demands("59", search)
    assert perf_counter() - began < 3
    assert found == {str(number): [1] for number in range(58)} | {"58": [1, 59]}
