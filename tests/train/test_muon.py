"""Muon: what torch's own does to a matrix, and the same on stacks and on parts of a matrix."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from scalelab.spec import optim as spec
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
) -> Muon:
    given = spec.Muon.model_validate({"lr": lr, "scaling": scaling})
    return Muon(
        [{"params": list(weights), "lr": torch.tensor(lr), "weight_decay": 0.1}], given, parts or {}
    )


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
def test_parts_under_each_other_are_matrices_of_their_own(lead: tuple[int, ...]) -> None:
    whole, heights = noise(*lead, 20, 8).requires_grad_(), (8, 12)
    parts = [part.clone().requires_grad_() for part in noise(*lead, 20, 8).split(heights, -2)]
    grads = [noise(*lead, 20, 8, seed=step) for step in range(1, 4)]
    follow(ours([whole], parts={whole: heights}), [whole], [[grad] for grad in grads])
    follow(ours(parts), parts, [list(grad.split(heights, -2)) for grad in grads])
    torch.testing.assert_close(whole, torch.cat(parts, -2), rtol=0, atol=0)
    fused = noise(*lead, 20, 8).requires_grad_()
    follow(ours([fused]), [fused], [[grad] for grad in grads])
    assert not torch.allclose(whole, fused, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_orthogonal_update_has_singular_values_about_one(shape: tuple[int, int]) -> None:
    values = torch.linalg.svdvals(orthogonal(noise(4, *shape), 5).float())
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_a_gradient_of_nothing_moves_nothing() -> None:
    assert orthogonal(torch.zeros(2, 4, 4), 5).abs().max() == 0


def test_the_scalings_are_those_of_their_papers() -> None:
    assert [factor("original", *shape) for shape in SHAPES] == [1, math.sqrt(3), 1]
    assert [factor("match_rms_adamw", *shape) for shape in SHAPES] == pytest.approx(
        [0.8, 0.2 * math.sqrt(24), 0.2 * math.sqrt(24)]
    )
    update = orthogonal(noise(1, 64, 128), 5).float() * factor("match_rms_adamw", 64, 128)
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
