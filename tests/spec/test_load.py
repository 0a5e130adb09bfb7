"""Bad specs get one sentence with the file, the line, what is wrong and the cure; good ones mean
what they say.
"""

from pathlib import Path

import pytest

from scalelab.core.errors import UserError
from scalelab.plan.plan import compile_plan
from scalelab.spec.load import load

GOOD = """\
name: little
budget: {exposures: 1e3}
optim: {lr: 1e-2}
axes:
  task.people: [8, 16]
  model.width:
    range: [4, 16, 4]
"""


def write(folder: Path, text: str, name: str = "spec.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_what_looks_like_a_date_is_text(tmp_path: Path) -> None:
    assert load(write(tmp_path, GOOD.replace("little", "2024-13-45")))[0].name == "2024-13-45"


def test_an_alias_inside_what_it_names_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "name: little\nbudget: {steps: 1}\naxes: &all {zip: *all}\n")
    with pytest.raises(UserError, match=r"spec\.yaml:3: goes in a circle"):
        load(path)


def test_numbers_in_every_form(tmp_path: Path) -> None:
    experiment, document = load(write(tmp_path, GOOD))
    assert (experiment.budget.exposures, experiment.optim.lr) == (1000, 0.01)
    assert document.place(("axes", "task.people")).endswith("spec.yaml:5")


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("optim: {lr", "optim: {lrr", 3, "unknown key `optim.lrr`; did you mean `lr`?"),
        ("lr: 1e-2", "lr: fast", 3, "'fast' is not a number"),
        ("lr: 1e-2", "lr: -1", 3, "greater than 0"),
        (
            "{exposures: 1e3}",
            "{exposures: 1e3, tokens: 1M}",
            2,
            "two budgets at once, `exposures` and `tokens`",
        ),
        (
            "{exposures: 1e3}",
            "{params: 1M}",
            2,
            "give one of `exposures`, `tokens`, `steps`, `flops`",
        ),
        (
            "task.people: [8, 16]",
            "task.peple: [8, 16]",
            5,
            "no path of a trial; did you mean `task.people`?",
        ),
        ("task.people: [8, 16]", "task.people: []", 5, "is empty; give it at least one value"),
        ("task.people: [8, 16]", "task.people: 8", 5, "an axis is a list"),
        ("range: [4, 16, 4]", "range: [4, 16]", 6, "has not three numbers"),
        (
            "name: little",
            "name: little\nmodel: {heads: 3}",
            2,
            "3 heads do not divide the width 16",
        ),
        (
            "name: little",
            "name: little\nmodel: {heads: 4, kv_heads: 3}",
            2,
            "3 kv_heads do not divide 4 heads",
        ),
        (
            "name: little",
            "name: little\nmodel: {position: {kind: alibi}}",
            2,
            "known are 'rope', 'learned', 'none'",
        ),
        ("name: little", "name: little\nname: large", 2, "stands there twice"),
        ("name: little", "name: little\nbatch: [1", 3, "is not YAML"),
        (
            "name: little",
            "name: little\nextends: nowhere.yaml",
            2,
            "names nowhere.yaml, which does not exist",
        ),
        (
            "name: little",
            "name: little\nsearch: {size: model.width}",
            2,
            "`search.size` is a key of another `kind`",
        ),
        (
            "name: little",
            "name: little\ntask: {kind: biography, text: {kind: bioD, length: 1, alphabet: 3}}",
            2,
            (
                "`task.text`: there are no 100 distinct strings of 1 out of 3 symbols; take a"
                " smaller `diversity`"
            ),
        ),
        (
            "name: little",
            "name: little\ntask: {kind: biography, text: {chunks: 3}}",
            2,
            "`task.text.chunks` is a key of another `kind`",
        ),
        ("name: little\n", "", 1, "`name` is missing"),
    ],
)
def test_bad_specs_name_file_line_and_cure(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(UserError) as caught:
        load(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"# nothing\n", "is empty"),
        (b"- a\n- b\n", "is not a mapping"),
        (b"\xff\xfe\x00", "is not text"),
        (b"a: \x01", "is not YAML"),
    ],
)
def test_files_that_are_no_spec(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        load(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read"):
        load(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path)


def test_extends_lays_one_spec_over_another(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "base.yaml")
    above = write(
        tmp_path,
        "extends: base.yaml\nname: large\nbudget: {tokens: 1M, params: 10k}\noptim: {weight_decay:"
        " 0}\n",
    )
    experiment, document = load(above)
    assert (experiment.name, experiment.budget.exposures, experiment.budget.tokens) == (
        "large",
        None,
        1_000_000,
    )
    assert (experiment.optim.lr, experiment.optim.weight_decay) == (0.01, 0.0)
    assert document.place(("optim", "lr")).endswith("base.yaml:3")


def test_a_circle_of_extends_is_named(tmp_path: Path) -> None:
    write(tmp_path, "extends: b.yaml\n", "a.yaml")
    path = write(tmp_path, "extends: a.yaml\n", "b.yaml")
    with pytest.raises(UserError, match=r"goes in a circle; b\.yaml -> a\.yaml -> b\.yaml"):
        load(path)


def test_settings_override_and_say_where_they_come_from(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    experiment, _ = load(
        path,
        ["model.layers=3", "budget.tokens=1M", "model.position.theta=500", "axes.task.people=[4]"],
    )
    assert (experiment.model.layers, experiment.budget.tokens, experiment.axes["task.people"]) == (
        3,
        1_000_000,
        [4],
    )
    assert experiment.model.position.kind == "rope"
    for bad in (
        "model.widht=3",
        "model.width",
        "=3",
        "model.width=[",
        "model.width=1.5",
        "model.heads=5",
    ):
        with pytest.raises(UserError) as caught:
            load(path, [bad])
        assert str(caught.value).startswith(f"--set {bad}: ")


def test_a_setting_that_an_axis_overwrites_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    with pytest.raises(
        UserError,
        match=(
            r"--set model.width=8: the axis `model.width` sets `model.width` again .*--set"
            r" 'axes.model.width="
        ),
    ):
        load(path, ["model.width=8"])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("model: {mask: prefix}\ntask: {kind: text}\n", 3),
        ("task:\n  kind: text\n  documents: apart\nmodel: {kind: lstm}\n", 5),
        ("replicates: 1\nmicro_batch: 2\n", 4),
        ("axes:\n  task.people: [2]\n  micro_batch: [1, 2]\n", 5),
        ("axes:\n  model:\n  - {mask: full}\n", 4),
    ],
)
def test_a_fault_of_a_whole_trial_is_placed_where_its_paths_are_written(
    tmp_path: Path, text: str, line: int
) -> None:
    path = write(tmp_path, f"name: a\nbudget: {{steps: 1}}\n{text}")
    with pytest.raises(UserError) as raised:
        compile_plan(*load(path))
    assert raised.value.where == f"{path}:{line}"


def test_what_an_arm_sets_wrong_is_placed_in_that_arm(tmp_path: Path) -> None:
    spec = """name: arms
budget: {steps: 1}
model: {kind: layer_router}
arms:
  first: {model.policy: open}
  second:
    model.policy: fixed
    model.order: [1, 3]
"""
    path = write(tmp_path, spec)
    with pytest.raises(
        UserError,
        match=r":8: `model`: `model.order` names layer 3, and the pool has 2; take 1 to 2",
    ):
        compile_plan(*load(path))


MEANT = """\
name: {name}
task: {{people: 0o10}}
model: {{width: 010, head_width: 4}}
budget: {{steps: 1_000}}
optim: &optim {{lr: 1e-2, weight_decay: 0}}
arms:
  adam: {{optim: {{<<: *optim}}}}
  hot:
    optim:
      <<: *optim
      lr: 3e-2
execution: {{checkpoint_every: 1:30:00, compile: no}}
"""


def test_scalars_mean_what_people_mean(tmp_path: Path) -> None:
    path = write(tmp_path, MEANT.format(name="2024-11-03"))
    experiment, document = load(path, ["optim.schedule.warmup=1k", "batch=010"])
    assert (experiment.name, experiment.task.people, experiment.model.width) == (
        "2024-11-03",
        8,
        10,
    )
    assert (experiment.budget.steps, experiment.batch) == (1000, 10)
    assert experiment.optim.schedule.warmup == 1000
    assert (experiment.execution.checkpoint_every, experiment.execution.compile) == (5400, False)
    rates = [planned.trial.optim.lr for planned in compile_plan(experiment, document).trials]
    assert rates == [0.01, 0.03]
    assert load(path, ["name=no"])[0].name == "no"


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("name: little", "name: 20241103", 1, 'a number, .* in quotes: "20241103"'),
        ("name: little", "name: true", 1, 'a truth value, .* in quotes: "true"'),
        ("name: little", "name: a\nabout: -.inf", 2, 'a number, .* in quotes: "-.inf"'),
        ("lr: 1e-2", "lr: 1:30", 3, "'1:30' is not a number"),
        ("lr: 1e-2", "lr: .inf", 3, "inf is not a finite number"),
        ("lr: 1e-2", "lr: !!bool solve", 3, "the tag `!!bool`"),
        ("name: little", "name: little\nbatch: 1e99999999999999999999", 2, "not a whole number"),
        ("task.people: [8, 16]", "zip: [1]", 5, "`zip`: it takes a mapping"),
        ("task.people: [8, 16]", 'product: "x"', 5, "`product`: it takes a mapping"),
        ("task.people: [8, 16]", "task.people: {range: [-1e308, 1e308, 1]}", 5, "more than"),
        ("task.people: [8, 16]", "task.people: {range: [1, 2, 1e-320]}", 5, "more than"),
        ("task.people: [8, 16]", "task.people: {logspace: [1e-320, 1e308, 5]}", 5, "too far"),
        ("name: little", "name: little\nreplicates: 3000000", 2, "at most 100,000"),
        ("name: little", "name: little\nmodel: {layers: 1000000000}", 2, "10000"),
        ("name: little", "name: little\nmodel: {ffn: {ratio: 1e308}}", 2, "1000000"),
        (
            "name: little",
            "name: little\nmodel: {kind: layer_router, layers: 4, steps: 9000}",
            2,
            "20,000",
        ),
        ("name: little", f"name: little\nextends: {'a' * 300}", 2, "too long"),
        ("name: little", "name: little\nextends: 2024", 2, "in quotes"),
    ],
)
def test_plain_mistakes_are_refused_at_once(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(UserError, match=rf"spec\.yaml:{line}: .*{words}"):
        load(path)


def test_a_budget_that_only_axes_give_is_checked_where_it_stands(tmp_path: Path) -> None:
    budgets = "[{steps: 5, params: {model.window: 3, target: 10k}}]"
    path = write(tmp_path, f"name: little\naxes:\n  batch: [4]\n  budget: {budgets}\n")
    with pytest.raises(UserError, match=r"yaml:4: unknown key `budget.params.model.window`"):
        load(path)


def test_what_extends_no_regular_file_is_refused(tmp_path: Path) -> None:
    for name in ("/dev/zero", "."):
        path = write(tmp_path, f"extends: {name}\nname: a\n")
        with pytest.raises(UserError, match="no regular file"):
            load(path)
    for number in range(60):
        path = write(tmp_path, f"extends: {number + 1}.yaml\n", f"{number}.yaml")
    with pytest.raises(UserError, match="more than 50 specs"):
        load(tmp_path / "0.yaml")


def test_a_setting_in_a_circle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--set batch=&a \[\*a\]: goes in a circle"):
        load(write(tmp_path, GOOD), ["batch=&a [*a]"])
