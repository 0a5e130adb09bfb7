"""Muon: what torch's own does to a matrix, the same in fp32, and on stacks and on parts."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from scalelab.spec import optim as spec
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.train.attempt import Attempt
from scalelab.train.muon import Muon, factor, orthogonal

SHAPES = [(16, 16), (24, 8), (8, 24)]
SCALINGS = ["original", "match_rms_adamw"]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def ours(
    weights: Sequence[Tensor],
    scaling: str = "original",
    parts: dict[Tensor, tuple[int, ...]] | None = None,
    lr: float = 0.1,
    dtype: torch.dtype = torch.bfloat16,
) -> Muon:
    given = spec.Muon.model_validate({"lr": lr, "scaling": scaling})
    group = {"params": list(weights), "lr": torch.tensor(lr), "weight_decay": 0.1}
    return Muon([group], given, parts or {}, dtype)


def plain(weight: Tensor, grads: Sequence[Tensor], scaling: str, lr: float = 0.1) -> Tensor:
    """Muon on one matrix as its authors write it, in float64 throughout."""
    weight, momentum = weight.detach().double(), torch.zeros_like(weight, dtype=torch.float64)
    rows, columns = weight.shape
    adjusted = {
        "original": max(1, rows / columns) ** 0.5,
        "match_rms_adamw": 0.2 * max(rows, columns) ** 0.5,
    }[scaling]
    for grad in grads:
        momentum = 0.95 * momentum + 0.05 * grad.double()
        x = 0.05 * grad.double() + 0.95 * momentum
        x = x.T if rows > columns else x
        x = x / x.norm()
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        x = x.T if rows > columns else x
        weight = weight * (1 - lr * 0.1) - lr * adjusted * x
    return weight


def follow(
    optimizer: torch.optim.Optimizer, weights: Sequence[Tensor], grads: Sequence[Sequence[Tensor]]
) -> None:
    """An update for each list of gradients."""
    for of_step in grads:
        for weight, grad in zip(weights, of_step, strict=True):
            weight.grad = grad.clone()
        optimizer.step()


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_matrix_goes_where_torchs_muon_takes_it(shape: tuple[int, int], scaling: str) -> None:
    first, second = (noise(*shape).requires_grad_() for _ in range(2))
    grads = [[noise(*shape, seed=step)] for step in range(1, 5)]
    follow(ours([first], scaling), [first], grads)
    follow(
        torch.optim.Muon([second], lr=0.1, weight_decay=0.1, momentum=0.95, adjust_lr_fn=scaling),
        [second],
        grads,
    )
    torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-6)
    assert (first - noise(*shape)).abs().mean() > 0.01


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_in_fp32_a_matrix_goes_where_its_authors_take_it(
    shape: tuple[int, int], scaling: str
) -> None:
    weight, grads = noise(*shape).requires_grad_(), [noise(*shape, seed=step) for step in range(8)]
    follow(ours([weight], scaling, dtype=torch.float32), [weight], [[grad] for grad in grads])
    expected = plain(noise(*shape), grads, scaling)
    torch.testing.assert_close(weight.double(), expected, rtol=0, atol=2e-6)


def attempt(execution: Execution, **changes: Any) -> Attempt:
    data: dict[str, Any] = {
        "task": {"people": 16, "templates": 1},
        "budget": {"steps": 8},
        "batch": 12,
        "optim": {"kind": "muon", "schedule": {"warmup": 0}},
    }
    made = Trial.model_validate(data | changes)
    resolved = made.model_copy(update={"model": made.model.resolved()})
    return Attempt(resolved, execution, None, lambda: False)


def weights_after(updates: int, of: Attempt) -> Tensor:
    for _ in range(updates):
        of.update()
    return torch.cat([weight.detach().flatten() for weight in of.model.parameters()])


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize(
    "model",
    [
        {"width": 16},
        {"width": 32, "heads": 4, "kv_heads": 2, "qk_norm": True},
        {"width": 16, "ffn": {"kind": "moe", "experts": 4}},
        {"kind": "lstm", "width": 32},
    ],
    ids=["plain", "grouped", "moe", "lstm"],
)
def test_under_fp32_micro_batches_move_no_weight(model: dict[str, Any], scaling: str) -> None:
    optim = {"kind": "muon", "scaling": scaling, "schedule": {"warmup": 0}}
    whole, parts = (
        weights_after(8, attempt(Execution(device="cpu", micro_batch=size), **given))
        for given in [{"model": model, "optim": optim}]
        for size in (None, 5)
    )
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_compiled_and_eager_training_move_the_weights_alike() -> None:
    eager, compiled = (
        weights_after(8, attempt(Execution(device="cpu", compile=compiles), model={"width": 16}))
        for compiles in (False, True)
    )
    torch.testing.assert_close(compiled, eager, rtol=0, atol=2e-6)


def test_a_trials_precision_is_that_of_its_orthogonal_updates() -> None:
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        made = attempt(Execution(device="cpu"), precision=precision)
        assert [part.dtype for part in made.optimizer._parts if isinstance(part, Muon)] == [dtype]


def test_matrices_of_one_shape_do_not_meet() -> None:
    together, alone = (
        [noise(12, 8, seed=seed).requires_grad_() for seed in range(3)] for _ in range(2)
    )
    grads = [[noise(12, 8, seed=10 * step + seed) for seed in range(3)] for step in range(1, 4)]
    follow(ours(together), together, grads)
    for index, weight in enumerate(alone):
        follow(ours([weight]), [weight], [[of_step[index]] for of_step in grads])
    for first, second in zip(together, alone, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_stack_is_a_matrix_for_each_expert(scaling: str) -> None:
    stack, slices = (
        noise(5, 12, 8).requires_grad_(),
        [part.clone().requires_grad_() for part in noise(5, 12, 8)],
    )
    grads = [noise(5, 12, 8, seed=step) for step in range(1, 4)]
    follow(ours([stack], scaling), [stack], [[grad] for grad in grads])
    follow(
        torch.optim.Muon(slices, lr=0.1, weight_decay=0.1, momentum=0.95, adjust_lr_fn=scaling),
        slices,
        [list(grad) for grad in grads],
    )
    torch.testing.assert_close(stack, torch.stack(slices), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("lead", [(), (3,)], ids=["matrix", "stack"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_parts_under_each_other_are_matrices_of_their_own(
    lead: tuple[int, ...], dtype: torch.dtype
) -> None:
    whole, heights = noise(*lead, 20, 8).requires_grad_(), (8, 12)
    parts = [part.clone().requires_grad_() for part in noise(*lead, 20, 8).split(heights, -2)]
    grads = [noise(*lead, 20, 8, seed=step) for step in range(1, 4)]
    follow(ours([whole], parts={whole: heights}, dtype=dtype), [whole], [[grad] for grad in grads])
    follow(ours(parts, dtype=dtype), parts, [list(grad.split(heights, -2)) for grad in grads])
    torch.testing.assert_close(whole, torch.cat(parts, -2), rtol=0, atol=0)
    fused = noise(*lead, 20, 8).requires_grad_()
    follow(ours([fused], dtype=dtype), [fused], [[grad] for grad in grads])
    assert not torch.allclose(whole, fused, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_orthogonal_update_has_singular_values_about_one(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    update = orthogonal(noise(4, *shape), 5, dtype)
    assert update.dtype == dtype
    values = torch.linalg.svdvals(update.float())
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_a_gradient_of_nothing_moves_nothing() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        assert orthogonal(torch.zeros(2, 4, 4), 5, dtype).abs().max() == 0


def test_the_scalings_are_those_of_their_papers() -> None:
    assert [factor("original", *shape) for shape in SHAPES] == [1, math.sqrt(3), 1]
    assert [factor("match_rms_adamw", *shape) for shape in SHAPES] == pytest.approx(
        [0.8, 0.2 * math.sqrt(24), 0.2 * math.sqrt(24)]
    )
    update = orthogonal(noise(1, 64, 128), 5, torch.float32) * factor("match_rms_adamw", 64, 128)
    assert update.square().mean().sqrt().item() == pytest.approx(
        0.2, rel=0.25
    )  # AdamW's usual root mean square


def test_state_is_saved_and_restored_to_the_bit() -> None:
    through, stopped = (noise(12, 8).requires_grad_() for _ in range(2))
    grads = [[noise(12, 8, seed=step)] for step in range(1, 6)]
    follow(ours([through]), [through], grads)
    before = ours([stopped])
    follow(before, [stopped], grads[:2])
    after = ours([stopped])
    after.load_state_dict(before.state_dict())
    follow(after, [stopped], grads[2:])
    torch.testing.assert_close(through, stopped, rtol=0, atol=0)
