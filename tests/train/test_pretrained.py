"""A router over layers that begins with the layers of a trained plain transformer."""

from pathlib import Path
from typing import Any

import pytest
import torch

from scalelab.core.errors import UserError
from scalelab.core.events import Interrupted
from scalelab.families import build
from scalelab.families.layer_router.model import LayerRouter
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.train import checkpoint, train
from scalelab.train.optimizer import Optimizer
from scalelab.train.pretrained import take

GIVER, VOCAB, CONTEXT, CPU = "ab" * 32, 11, 8, torch.device("cpu")
SIZES: dict[str, Any] = {"layers": 3, "width": 8, "heads": 2}


def trial(freeze: bool = True, optim: str = "adamw", **model: Any) -> Trial:
    asked = {
        "kind": "layer_router",
        **SIZES,
        "pretrained": {"trial": GIVER, "freeze": freeze},
        **model,
    }
    given = Trial.model_validate({"model": asked, "optim": {"kind": optim}, "budget": {"steps": 4}})
    return given.model_copy(update={"model": given.model.resolved()})


def fresh(given: Trial) -> LayerRouter:
    model = build(given.model, VOCAB, CONTEXT)
    assert isinstance(model, LayerRouter)
    return model.initialise(1)


@pytest.fixture
def weights(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Those of the giver, in its folder."""
    own: dict[str, Any] = getattr(request, "param", {})
    given = Trial.model_validate(
        {"model": {**SIZES, **own}, "budget": {"steps": 1}}
    ).model.resolved()
    found = build(given, VOCAB, CONTEXT).initialise(9).state_dict()
    folder = f"{tmp_path}/{GIVER}"
    checkpoint.save_model(folder, checkpoint.enter(folder), found)
    return found


EVERYTHING: dict[str, Any] = {
    "position": {"kind": "learned"},
    "norm": {"kind": "layer", "place": "peri"},
    "embedding_norm": True,
    "qk_norm": True,
    "ffn": {"kind": "gelu"},
}


@pytest.mark.parametrize(
    ("weights", "own"),
    [({}, {}), (EVERYTHING, EVERYTHING), ({"tied": True}, {"tied": True})],
    indirect=["weights"],
)
@pytest.mark.parametrize("freeze", [True, False])
def test_all_of_the_plain_transformer_is_taken(
    weights: dict[str, Any], own: dict[str, Any], freeze: bool, tmp_path: Path
):
    given = trial(freeze, identity=1, halting={"kind": "act"}, **own)
    model, untouched = fresh(given), fresh(given).state_dict()
    take(model, given, f"{tmp_path}/own")
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, weights[name] if name in weights else untouched[name])
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert frozen == (set(weights) if freeze else set())
    assert {name.split(".")[0] for name, _ in model.named_parameters() if name not in weights} == {
        "chooser",
        "halting",
    }


def test_a_fixed_order_is_the_plain_transformer_again(weights: dict[str, Any], tmp_path: Path):
    given = trial(freeze=False, policy="fixed")
    model, plain = fresh(given), build(given.model.plain().resolved(), VOCAB, CONTEXT)
    take(model, given, f"{tmp_path}/own")
    plain.load_state_dict(weights)
    tokens_BT = torch.arange(2 * CONTEXT).view(2, -1) % VOCAB
    assert torch.equal(model(tokens_BT), plain(tokens_BT))


@pytest.mark.parametrize("optim", ["adamw", "muon"])
def test_what_is_frozen_is_neither_moved_nor_clipped(
    weights: dict[str, Any], optim: str, tmp_path: Path
):
    given = trial(optim=optim)
    model = fresh(given)
    take(model, given, f"{tmp_path}/own")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    optimizer = Optimizer(given.optim, model, CPU)
    for name, weight in model.named_parameters():
        weight.grad = torch.full_like(
            weight, 1e9 if name in weights else 1e-3
        )  # a frozen one's would drown the others in a norm
    optimizer.update(60, 100)
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in weights)
    moved = [
        name
        for name, weight in model.named_parameters()
        if name not in weights and not torch.equal(weight, before[name])
    ]
    assert moved
    assert len(moved) == len(list(model.parameters())) - len(weights)
    held = sum(
        len(group["params"]) for part in optimizer.state_dict() for group in part["param_groups"]
    )
    assert held == len(moved)


def test_other_models_take_nothing(tmp_path: Path):
    plain = Trial.model_validate({"model": SIZES, "budget": {"steps": 1}})
    model = build(plain.model.resolved(), VOCAB, CONTEXT).initialise(1)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    take(model, plain, None)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("weights", [{"width": 16}], indirect=True)
def test_weights_of_another_width(weights: dict[str, Any], tmp_path: Path):
    with pytest.raises(
        UserError,
        match=r"abababab.*not the layers of the same plain transformer; train ababababab again",
    ):
        take(fresh(trial()), trial(), f"{tmp_path}/own")


@pytest.mark.parametrize("weights", [{"layers": 4}], indirect=True)
def test_weights_of_another_depth(weights: dict[str, Any], tmp_path: Path):
    with pytest.raises(UserError, match="not the layers of the same plain transformer"):
        take(fresh(trial()), trial(), f"{tmp_path}/own")


def test_weights_that_are_not_there(tmp_path: Path):
    with pytest.raises(
        UserError, match=f"{GIVER}/model.pt: the pre-trained layers are not there; train"
    ):
        take(fresh(trial()), trial(), f"{tmp_path}/own")
    with pytest.raises(UserError, match="this trial has none; give it one"):
        take(fresh(trial()), trial(), None)
    (tmp_path / GIVER).mkdir()
    (tmp_path / GIVER / "model.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match="can't be read"):
        take(fresh(trial()), trial(), f"{tmp_path}/own")


EXECUTION = Execution(device="cpu")
FACTS: dict[str, Any] = {"people": 2, "templates": 1}
RUN: dict[str, Any] = {
    "task": FACTS,
    "budget": {"steps": 6},
    "batch": 4,
    "evaluation": {"first": 3, "ratio": 2},
}


def planned(**model: Any) -> Trial:
    """As the plan settles it."""
    from scalelab.tasks import describe

    found = Trial.model_validate({**RUN, "model": {**SIZES, **model}})
    task = found.task.model_copy(update={"context": describe(found.task, "").context + 1})
    return found.model_copy(update={"model": found.model.resolved(), "task": task})


@pytest.fixture
def trained(tmp_path: Path) -> dict[str, Any]:
    """A plain transformer's weights, trained."""
    train(planned(), EXECUTION, folder=f"{tmp_path}/{GIVER}")
    found = checkpoint.load_model(f"{tmp_path}/{GIVER}", checkpoint.MODEL, CPU)
    assert found is not None
    return found


@pytest.mark.parametrize("freeze", [True, False])
def test_a_trial_ends_with_the_frozen_layers_that_it_began_with(
    freeze: bool, trained: dict[str, Any], tmp_path: Path
):
    taking = planned(kind="layer_router", pretrained={"trial": GIVER, "freeze": freeze})
    ended = train(taking, EXECUTION, folder=f"{tmp_path}/own")
    assert ended.state == "done"
    after = checkpoint.load_model(f"{tmp_path}/own", checkpoint.MODEL, CPU)
    assert after is not None
    assert all(torch.equal(after[name], weight) for name, weight in trained.items()) == freeze


@pytest.mark.usefixtures("trained")
def test_a_resumed_trial_does_not_load_them_again(tmp_path: Path):
    """And what was frozen still is: the optimizer's state would not fit."""
    taking = planned(kind="layer_router", pretrained={"trial": GIVER})
    expected = train(taking, EXECUTION, folder=f"{tmp_path}/whole")
    asked = iter([False, False, True])
    with pytest.raises(Interrupted):
        train(taking, EXECUTION, folder=f"{tmp_path}/own", stopping=lambda: next(asked, True))
    (tmp_path / GIVER / "model.pt").unlink()
    ended = train(taking, EXECUTION, folder=f"{tmp_path}/own")
    assert ended.artifacts["weights_sha256"] == expected.artifacts["weights_sha256"]
