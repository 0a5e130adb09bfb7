"""Which parameter is updated how: by the role that its module declares, the spec, and under muP by
the width.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scalelab import families as spec
from scalelab.families import build
from scalelab.families.transformer.model import Transformer
from scalelab.spec.optim import AdamW, Muon
from scalelab.train.optimizer import Optimizer, treatment

CPU = torch.device("cpu")


def model(**changes: Any) -> Transformer:
    given = spec.Transformer.model_validate({"width": 16, "layers": 1, "qk_norm": True} | changes)
    return build(given.resolved(), vocab=11, context=8).initialise(0)


def groups(optimizer: Optimizer, of: nn.Module) -> list[tuple[str, float, float, set[str]]]:
    """(optimizer, learning rate, decay, names) of each group."""
    names = {id(weight): name for name, weight in of.named_parameters()}
    return [
        (
            type(part).__name__,
            round(float(group["lr"]), 9),
            group["weight_decay"],
            {names[id(weight)] for weight in group["params"]},
        )
        for part in optimizer._parts
        for group in part.param_groups
    ]


def test_adamw_alone_is_one_group_in_the_models_order() -> None:
    made = model()
    optimizer = Optimizer(AdamW(), made, CPU)
    ((part,), (group,)) = optimizer._parts, optimizer._parts[0].param_groups
    assert type(part) is torch.optim.AdamW
    assert [id(weight) for weight in group["params"]] == [
        id(weight) for weight in made.parameters()
    ]


def test_decay_falls_on_the_roles_that_are_named() -> None:
    made = model(tied=False)
    by_decay = {
        decay: names
        for _, _, decay, names in groups(
            Optimizer(AdamW(decayed=("matrix", "head")), made, CPU), made
        )
    }
    assert set(by_decay) == {0.0, 0.1}
    assert "output.weight" in by_decay[0.1]
    assert "embedding.weight" in by_decay[0.0]
    assert all(
        weight.ndim == 1
        for name, weight in made.named_parameters()
        if name in by_decay[0.0] - {"embedding.weight"}
    )
    assert by_decay[0.1] | by_decay[0.0] == {name for name, _ in made.named_parameters()}


def test_muon_takes_hidden_matrices_and_adamw_the_rest() -> None:
    made = model(ffn={"kind": "moe", "experts": 4})
    found = {kind: names for kind, _, _, names in groups(Optimizer(Muon(), made, CPU), made)}
    assert all(weight.ndim > 1 for name, weight in made.named_parameters() if name in found["Muon"])
    assert {3, 2} == {
        weight.ndim for name, weight in made.named_parameters() if name in found["Muon"]
    }
    rest = {
        name
        for name, weight in made.named_parameters()
        if weight.ndim == 1 or "embedding" in name or "output" in name or "router" in name
    }
    assert found["AdamW"] == rest


def test_without_a_base_width_every_learning_rate_is_the_peak() -> None:
    made = model()
    assert [lr for _, lr, _, _ in groups(Optimizer(AdamW(lr=1e-2), made, CPU), made)] == [
        pytest.approx(1e-2)
    ]


@pytest.mark.parametrize(
    ("optim", "role", "peak"),
    [
        (AdamW(lr=0.8), "matrix", 0.2),
        (AdamW(lr=0.8), "router", 0.2),
        (AdamW(lr=0.8), "embedding", 0.8),
        (AdamW(lr=0.8), "head", 0.8),
        (AdamW(lr=0.8), "gain", 0.8),
        (Muon(lr=0.8), "matrix", 0.8),
        (Muon(lr=0.8, scaling="match_rms_adamw"), "matrix", 0.4),
        (Muon(adamw_lr=0.8), "router", 0.2),
        (Muon(adamw_lr=0.8), "head", 0.8),
    ],
)
def test_mup_scales_the_learning_rate_of_what_is_wide_on_both_sides(
    optim: AdamW | Muon, role: Any, peak: float
) -> None:
    assert treatment(optim, spec.Transformer(width=64, mup=16), role).lr == pytest.approx(peak)


@pytest.mark.parametrize(
    "optim", [AdamW(), Muon(), Muon(decayed=("matrix",))], ids=["adamw", "muon", "muon_decayed"]
)
def test_an_optimizer_goes_on_to_the_bit(optim: AdamW | Muon) -> None:
    through, stopped = model(), model()
    _follow(Optimizer(optim, through, CPU), through, range(5))
    before = Optimizer(optim, stopped, CPU)
    _follow(before, stopped, range(2))
    after = Optimizer(optim, stopped, CPU)
    after.load_state_dict(before.state_dict())
    _follow(after, stopped, range(2, 5))
    for first, second in zip(through.parameters(), stopped.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_the_state_of_another_optimizer_is_refused() -> None:
    made = model()
    with pytest.raises(ValueError, match=r"group|zip"):
        Optimizer(AdamW(), made, CPU).load_state_dict(Optimizer(Muon(), made, CPU).state_dict())


def test_a_step_moves_no_learning_rate_tensor() -> None:
    made = model()
    optimizer = Optimizer(Muon(), made, CPU)
    rates: list[Tensor] = [group["lr"] for part in optimizer._parts for group in part.param_groups]
    _follow(optimizer, made, range(1))
    assert [id(group["lr"]) for part in optimizer._parts for group in part.param_groups] == [
        id(rate) for rate in rates
    ]
    assert all(
        0 < rate < peak for rate, peak in zip(rates, (0.02, 1e-3), strict=True)
    )  # it warms up


def _follow(optimizer: Optimizer, of: nn.Module, steps: range) -> None:
    for step in steps:
        for index, weight in enumerate(of.parameters()):
            weight.grad = torch.randn(
                weight.shape, generator=torch.Generator().manual_seed(100 * step + index)
            )
        optimizer.update(step, 10)
