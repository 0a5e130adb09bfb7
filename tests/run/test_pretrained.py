"""Trials whose layers a spec asks for: found in the store, and held against what it says of its
own.
"""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from scalelab.core.errors import UserError
from scalelab.core.events import Ended, Outcome, Started
from scalelab.plan.plan import Plan, compile_plan
from scalelab.run.driver import register
from scalelab.run.pretrained import Givers, check_there, plan_spec
from scalelab.spec.load import load, read
from scalelab.spec.references import resolved
from scalelab.store import open_store

PLAIN = """
name: plain
task: {people: 2, templates: 1}
model: {width: 8, layers: 3}
budget: {steps: 12}
"""

ROUTER = """
name: router
task: {people: 2, templates: 1}
model:
  kind: layer_router
  width: 8
  layers: 3
  pretrained:
    trial: TRIAL
budget: {steps: 12}
"""


class Room:
    """A folder with specs and a store."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, str(folder / "store.db")

    def spec(self, text: str, name: str = "router") -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(text)
        return path

    def keep(
        self,
        text: str = PLAIN,
        state: Outcome | None = "done",
        *,
        model: bool = True,
        sha256: str | None = None,
        name: str = "plain",
    ) -> str:
        """Write a trial down as if it had run; returns its digest."""
        plan = compile_plan(*load(self.spec(text, name)))
        digest = plan.trials[0].digest
        with open_store(self.store, mode="write") as store:
            register(plan, store)
            if state is not None:
                store.claim(digest, "owner")
                attempt = store.begin(digest, Started({}, resumed=0), {}, "owner")
                artifacts = {"model": f"{self.folder}/trials/{digest}/model.pt"} if model else {}
                artifacts |= {"model_sha256": sha256} if sha256 else {}
                store.end(digest, attempt, Ended(state, 12, 1.0, {}, artifacts=artifacts))
        return digest

    def plan(self, text: str, *settings: str) -> Plan:
        return plan_spec(self.spec(text), settings, self.store)

    def fault(self, text: str, *settings: str) -> str:
        with pytest.raises(UserError) as error:
            self.plan(text, *settings)
        return str(error.value).replace(str(self.folder), "")


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def asked(trial: str, text: str = ROUTER) -> str:
    return text.replace("TRIAL", f"'{trial}'")


def taken(plan: Plan) -> list[Any]:
    return [planned.trial.model_dump()["model"].get("pretrained") for planned in plan.trials]


def test_a_short_digest_and_the_whole_one_are_the_same_trial(room: Room):
    digest = room.keep()
    plan = room.plan(asked(digest[:8]))
    assert taken(plan) == [{"trial": digest, "freeze": True}]
    assert plan.experiment.model_dump()["model"]["pretrained"]["trial"] == digest
    assert (
        room.plan(asked(digest)).trials[0].digest
        == plan.trials[0].digest
        == room.plan(asked(digest[:20])).trials[0].digest
    )
    assert (
        room.plan(asked(digest), "model.pretrained.freeze=false").trials[0].digest
        != plan.trials[0].digest
    )


def test_axes_arms_and_settings_name_trials_too(room: Room):
    first, second = room.keep(), room.keep(PLAIN + "seed: 1\n", name="other")
    base = ROUTER.partition("  pretrained")[0] + "budget: {steps: 12}\n"
    one, two = {"trial": first, "freeze": True}, {"trial": second, "freeze": True}
    assert taken(
        room.plan(base + f"axes: {{model.pretrained.trial: ['{first[:9]}', '{second[:9]}']}}")
    ) == [one, two]
    zipped = (
        f"axes: {{zip: {{model.pretrained: [null, {{trial: '{first[:9]}', freeze: false}}], seed:"
        " [3, 4]}}"
    )
    assert taken(room.plan(base + zipped)) == [None, {**one, "freeze": False}]
    arms = (
        f"arms: {{none: {{}}, it: {{model.pretrained.trial: '{second[:9]}'}}, all:"
        f" {{model.pretrained: {{trial: '{first[:8]}'}}}}}}"
    )
    assert taken(room.plan(base + arms)) == [None, two, one]
    assert taken(room.plan(base, f"model.pretrained.trial='{second[:8]}'")) == [two]


def test_a_space_names_trials_too(room: Room):
    digest = room.keep()
    path = room.spec(
        f"base: {{model: {{pretrained: {{trial: '{digest[:8]}'}}}}}}\nsearch:"
        f" {{model.pretrained.trial: {{choice: ['{digest[:9]}']}}}}"
    )
    with Givers(room.store) as givers:
        document = resolved(read(path, ()), givers.resolve)
    assert document.data["base"]["model"]["pretrained"]["trial"] == digest
    assert document.data["search"]["model.pretrained.trial"] == {"choice": [digest]}
    assert list(givers.by_digest) == [digest]


def test_a_spec_that_takes_no_layers_opens_no_store(room: Room):
    nowhere = plan_spec(room.spec(PLAIN), (), "/nowhere/at/all.db")
    assert len(nowhere.trials) == 1
    assert [planned.digest for planned in room.plan(PLAIN).trials] == [
        planned.digest for planned in compile_plan(*load(room.spec(PLAIN))).trials
    ]


def test_the_document_stays_as_it_was_written(room: Room):
    digest = room.keep()
    document = load(room.spec(asked(digest[:8])))[1]
    with Givers(room.store) as givers:
        resolved(document, givers.resolve)
    assert document.data["model"]["pretrained"]["trial"] == digest[:8]


@pytest.mark.parametrize(
    ("state", "model", "words"),
    [
        (None, True, "is missing; run its experiment to the end, or name a finished one"),
        ("failed", True, "is failed; run its experiment to the end, or name a finished one"),
        ("diverged", True, "is diverged; run its experiment to the end, or name a finished one"),
        ("done", False, "kept no model to take layers from; train it again with another store"),
    ],
)
def test_a_trial_that_has_no_layers_to_give(
    room: Room, state: Outcome | None, model: bool, words: str
):
    digest = room.keep(PLAIN, state, model=model)
    fault = room.fault(asked(digest[:8]))
    assert fault.startswith("/router.yaml:9: the trial ")
    assert fault.endswith(words)


def test_a_trial_that_is_not_there(room: Room):
    assert room.fault(asked("0" * 8)).startswith(
        "/router.yaml:9: layers are taken from a trial, and there is no store /store.db; train the"
    )
    room.keep()
    assert (
        room.fault(asked("0" * 8))
        == "/router.yaml:9: no trial begins with `00000000`; see `scalelab ls` for digests"
    )
    assert "--set model.pretrained.trial='11111111': no trial" in room.fault(
        asked("0" * 8), "model.pretrained.trial='11111111'"
    )


def test_a_trial_of_another_family(room: Room):
    digest = room.keep(PLAIN.replace("{width: 8, layers: 3}", "{kind: lstm, width: 8, layers: 3}"))
    words = (
        f"/router.yaml:9: the model of {digest[:10]} is a `lstm`, and layers are taken from a"
        " trained `transformer`; name another trial"
    )
    assert room.fault(asked(digest)) == words


@pytest.mark.parametrize(
    ("theirs", "mine", "words"),
    [
        (
            "width: 16",
            "width: 8",
            "its `model.width` is 16, and this trial's is 8; make the two alike",
        ),
        ("layers: 2", "layers: 3", "its `model.layers` is 2, and this trial's is 3"),
        ("heads: 4", "heads: 2", "its `model.heads` is 4, and this trial's is 2"),
        ("heads: 2", "heads: 2, kv_heads: 1", "its `model.kv_heads` is 2, and this trial's is 1"),
        ("head_width: 6", "layers: 3", "its `model.head_width` is 6, and this trial's is 4"),
        ("ffn: {width: 24}", "layers: 3", "its `model.ffn.width` is 24, and this trial's is 32"),
        (
            "ffn: {kind: gelu}",
            "layers: 3",
            "its `model.ffn.kind` is gelu, and this trial's is swiglu",
        ),
        (
            "ffn: {kind: moe, width: 8, experts: 4, chosen: 2}",
            "layers: 3",
            "its `model.ffn` is `moe`, and this trial's is `swiglu`",
        ),
        (
            "norm: {place: peri}",
            "layers: 3",
            "its `model.norm.place` is peri, and this trial's is pre",
        ),
        (
            "position: {kind: none}",
            "layers: 3",
            "its `model.position` is `none`, and this trial's is `rope`",
        ),
        ("tied: true", "layers: 3", "its `model.tied` is True, and this trial's is False"),
        ("qk_norm: true", "layers: 3", "its `model.qk_norm` is True, and this trial's is False"),
        (
            "value_embeddings: true",
            "layers: 3",
            "its `model.value_embeddings` is True, and this trial's is False",
        ),
        ("mup: 4", "layers: 3", "its `model.mup` is 4, and this trial's is None"),
    ],
)
def test_layers_of_another_model(room: Room, theirs: str, mine: str, words: str):
    whole = {part.split(":")[0]: part for part in ("width: 8", "layers: 3", theirs)}
    digest = room.keep(PLAIN.replace("width: 8, layers: 3", ", ".join(whole.values())))
    kept = {part.split(":")[0]: part for part in ("width: 8", "layers: 3", *mine.split(", "))}
    text = asked(digest).replace(
        "  width: 8\n  layers: 3\n", "".join(f"  {part}\n" for part in kept.values())
    )
    fault = room.fault(text)
    assert fault.startswith("/router.yaml:")
    assert f": the layers of {digest[:10]} are of another model: {words}" in fault


def test_what_may_differ(room: Room):
    digest = room.keep(
        PLAIN.replace("layers: 3", "layers: 3, embedding_dropout: 0.1, init: {std: 0.3}")
    )
    assert len(room.plan(asked(digest)).trials) == 1


def test_a_solved_width_is_held_against_the_layers(room: Room):
    digest = room.keep(PLAIN.replace("width: 8", "width: 16"))
    text = (
        asked(digest)
        .replace("width: 8", "width: solve\n  heads: 2")
        .replace("steps: 12", "steps: 12, params: PARAMS")
    )
    alone = asked(digest).partition("  pretrained")[0] + "budget: {steps: 12}\n"
    right, wrong = (
        room.plan(alone, f"model.width={width}").trials[0].params.total for width in (16, 24)
    )
    assert (
        room.plan(text.replace("PARAMS", str(right))).trials[0].trial.model.model_dump()["width"]
        == 16
    )
    assert "its `model.width` is 16, and this trial's is 24" in room.fault(
        text.replace("PARAMS", str(wrong))
    )


def test_another_vocabulary_and_other_positions(room: Room):
    learned = "width: 8, layers: 3, position: {kind: learned}"
    digest = room.keep(
        PLAIN.replace("width: 8, layers: 3", learned).replace("people: 2", "people: 500")
    )
    text = asked(digest).replace("  layers: 3\n", "  layers: 3\n  position: {kind: learned}\n")
    assert "learned positions, and this trial " in (
        fault := room.fault(text.replace("people: 2", "people: 2, context: 90"))
    )
    assert fault.endswith("; take the layers of a trial with the same task")
    digest = room.keep(PLAIN.replace("{people: 2, templates: 1}", "{kind: arithmetic}"))
    assert " tokens, and this trial " in room.fault(asked(digest))


def test_layers_lie_where_workers_look(room: Room, tmp_path: Path):
    digest = room.keep()
    plan, there = room.plan(asked(digest)), tmp_path / "trials" / digest / "model.pt"
    with pytest.raises(
        UserError,
        match=(
            rf"trials/{digest}/model.pt: the layers of {digest[:10]} are not there; name the folder"
        ),
    ):
        check_there(plan, room.store, f"{tmp_path}/trials")
    there.parent.mkdir(parents=True)
    there.write_bytes(b"")
    check_there(plan, room.store, f"{tmp_path}/trials")
    with pytest.raises(UserError, match="are not there"):
        check_there(plan, room.store, f"{tmp_path}/elsewhere")


def test_layers_are_those_that_the_trial_ended_with(room: Room, tmp_path: Path):
    digest = room.keep(sha256=hashlib.sha256(b"weights").hexdigest())
    plan, there = room.plan(asked(digest)), tmp_path / "trials" / digest / "model.pt"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"weights")
    check_there(plan, room.store, f"{tmp_path}/trials")
    there.write_bytes(b"weightz")
    with pytest.raises(UserError):
        check_there(plan, room.store, f"{tmp_path}/trials")


def test_layers_of_a_finished_trial_are_asked_for_no_more(room: Room, tmp_path: Path):
    room.keep()
    digest = room.keep()
    plan = room.plan(asked(digest))
    with open_store(room.store, mode="write") as store:
        register(plan, store)
        store.claim(plan.trials[0].digest, "owner")
        attempt = store.begin(plan.trials[0].digest, Started({}, resumed=0), {}, "owner")
        store.end(plan.trials[0].digest, attempt, Ended("done", 12, 1.0, {}))
    check_there(plan, room.store, f"{tmp_path}/nowhere")


def test_frozen_layers_of_a_policy_that_learns_nothing(room: Room):
    digest = room.keep()
    fault = room.fault(asked(digest), "model.policy=fixed")
    assert fault.endswith(
        "with frozen layers a `fixed` policy has nothing to learn; write `pretrained.freeze: false`"
    )
    assert (
        len(room.plan(asked(digest), "model.policy=fixed", "model.pretrained.freeze=false").trials)
        == 1
    )
