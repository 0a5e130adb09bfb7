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
