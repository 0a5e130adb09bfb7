"""Layers that run on the tokens or sequences that chose them: the same as all layers on everything
and a mask, and less of it.
"""

from typing import Any

import pytest
import torch
from tests.families.variants import CONTEXT, LANES, TARGETS, made, scalar
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from scalelab.families.language_model import pick
from scalelab.families.layer_router.dispatch import Dispatch, by_layer, mix, put_back
from scalelab.families.layer_router.model import LayerRouter
from scalelab.families.layer_router.spec import LayerRouter as Spec
from scalelab.families.layout import Layout

CLOSE = {"rtol": 1e-4, "atol": 2e-5}
LAYERS, POOL = 3, 5
GIVEN_B = torch.tensor([4, 9, 1])
DOCUMENT_BT = torch.tensor([0] * 6 + [1] * 9 + [2] * 5).expand(LANES, CONTEXT)
SIGHTS: dict[str, dict[str, Any]] = {
    "causal": {},
    "window": {"window": 4},
    "prefix": {"mask": "prefix"},
    "full": {"mask": "full"},
    "learned_gqa": {"position": {"kind": "learned"}, "heads": 4, "kv_heads": 2, "qk_norm": True},
}


def pool(**given: Any) -> LayerRouter:
    model = made(Spec(layers=LAYERS, **{"width": 16, "heads": 2, **given}))
    assert isinstance(model, LayerRouter)
    return model


def dispatch_of(
    model: LayerRouter, tokens_BT: Tensor, at_BM: Tensor | None, documents: bool = False
) -> Dispatch:
    """The layers of a pass over these tokens."""
    layout = Layout(at_BM, GIVEN_B, DOCUMENT_BT if documents else None)
    return model.begin(tokens_BT, layout).dispatch


def dense(
    dispatch: Dispatch, x_BTD: Tensor, chosen_BMK: Tensor, weight_BMK: Tensor, at_BM: Tensor | None
) -> Tensor:
    """By the definition: every layer for all tokens, and of the results those that were chosen."""
    here_BMD = x_BTD if at_BM is None else pick(x_BTD, at_BM)
    each_EBMD = [dispatch.whole(x_BTD, (layer, 0), at_BM) for layer in range(LAYERS)]
    new_BMD = torch.zeros_like(here_BMD)
    for k in range(chosen_BMK.shape[2]):
        f_BMD = here_BMD
        for layer, layer_BMD in enumerate(each_EBMD):
            f_BMD = torch.where((chosen_BMK[..., k] == layer)[..., None], layer_BMD, f_BMD)
        weight_BM1 = weight_BMK[..., k, None]
        new_BMD = (
            new_BMD
            + weight_BM1.detach() * f_BMD
            + (weight_BM1 - weight_BM1.detach()) * (f_BMD - here_BMD)
        )
    return torch.where(chosen_BMK[..., :1] < 0, here_BMD, new_BMD)


def choices(lanes: int, length: int, mixed: int) -> tuple[Tensor, Tensor]:
    """Different layers for each unit, some of them none, and weights that sum to 1."""
    generator = torch.Generator().manual_seed(5)
    chosen_BTK = torch.rand(lanes, length, POOL, generator=generator).argsort(-1)[..., :mixed]
    chosen_BTK = torch.where(
        torch.rand(lanes, length, 1, generator=generator) < 0.2, -1, chosen_BTK
    )
    return chosen_BTK, torch.rand(lanes, length, mixed, generator=generator).softmax(
        -1
    ).requires_grad_()


def both(found: Tensor, expected: Tensor, wanted: list[Tensor]) -> None:
    """Values and gradients are alike."""
    torch.testing.assert_close(found, expected, **CLOSE)
    options: dict[str, Any] = {
        "retain_graph": True,
        "allow_unused": True,
        "materialize_grads": True,
    }
    grads = [torch.autograd.grad(scalar(value), wanted, **options) for value in (found, expected)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(
            one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()) + 1e-7
        )


@pytest.fixture
def x_BTD() -> Tensor:
    return torch.randn(
        LANES, CONTEXT, 16, generator=torch.Generator().manual_seed(2)
    ).requires_grad_()


@pytest.mark.parametrize("somewhere", [False, True], ids=["everywhere", "somewhere"])
@pytest.mark.parametrize("mixed", [1, 2])
@pytest.mark.parametrize("documents", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize("name", SIGHTS)
def test_tokens_meet_the_layers_that_they_chose(
    name: str,
    documents: bool,
    mixed: int,
    somewhere: bool,
    x_BTD: Tensor,
    tokens_BT: Tensor,
    at_BM: Tensor,
):
    model, at = pool(**SIGHTS[name]), at_BM if somewhere else None
    dispatch = dispatch_of(model, tokens_BT, at, documents)
    chosen_BMK, weight_BMK = choices(*(tokens_BT if at is None else at).shape, mixed)
    found = dispatch.tokens(x_BTD, chosen_BMK, weight_BMK, 0, (), at)
    expected = dense(dispatch, x_BTD, chosen_BMK, weight_BMK, at)
    both(
        found, expected, [x_BTD, *([weight_BMK] if mixed == 1 else []), *model.layers.parameters()]
    )


@pytest.mark.parametrize("somewhere", [False, True], ids=["everywhere", "somewhere"])
@pytest.mark.parametrize("mixed", [1, 2])
@pytest.mark.parametrize("name", SIGHTS)
def test_sequences_meet_the_layers_that_they_chose(
    name: str, mixed: int, somewhere: bool, x_BTD: Tensor, tokens_BT: Tensor, at_BM: Tensor
):
    model, at = pool(**SIGHTS[name]), at_BM if somewhere else None
    dispatch = dispatch_of(model, tokens_BT, at)
    chosen_B1K, weight_B1K = choices(LANES, 1, mixed)
    found = dispatch.sequences(x_BTD, chosen_B1K[:, 0], weight_B1K[:, 0], 0, at)
    length = found.shape[1]
    expected = dense(
        dispatch, x_BTD, chosen_B1K.expand(-1, length, -1), weight_B1K.expand(-1, length, -1), at
    )
    both(
        found, expected, [x_BTD, *([weight_B1K] if mixed == 1 else []), *model.layers.parameters()]
    )


def test_the_weights_of_mixed_layers_learn_through_their_softmax(x_BTD: Tensor, tokens_BT: Tensor):
    """The baseline of the definition changes no gradient of what makes weights that sum to 1."""
    dispatch, (chosen_BTK, weight_BTK) = (
        dispatch_of(pool(), tokens_BT, None),
        choices(LANES, CONTEXT, 2),
    )
    logits_BTK = weight_BTK.detach().log().requires_grad_()
    found = dispatch.tokens(x_BTD, chosen_BTK, logits_BTK.softmax(-1), 0, ())
    both(found, dense(dispatch, x_BTD, chosen_BTK, logits_BTK.softmax(-1), None), [logits_BTK])


def test_one_layer_for_all_runs_as_it_would_without_a_router(
    x_BTD: Tensor, tokens_BT: Tensor, at_BM: Tensor
):
    for at in (None, at_BM):
        dispatch = dispatch_of(pool(), tokens_BT, at)
        chosen_BM1 = torch.full((*(tokens_BT if at is None else at).shape, 1), 2)
        found = dispatch.tokens(x_BTD, chosen_BM1, torch.ones(chosen_BM1.shape), 0, (), at)
        assert torch.equal(found, dispatch.whole(x_BTD, (2, 0), at))
        one = dispatch.sequences(x_BTD, chosen_BM1[:, 0], torch.ones(LANES, 1), 0, at)
        assert torch.equal(one, found)


@pytest.mark.parametrize("mixed", [1, 2])
def test_who_chose_no_layer_keeps_its_bits(mixed: int, x_BTD: Tensor, tokens_BT: Tensor):
    chosen_BTK, weight_BTK = choices(LANES, CONTEXT, mixed)
    found = dispatch_of(pool(), tokens_BT, None).tokens(x_BTD, chosen_BTK, weight_BTK, 0, ())
    stays_BT = (
        chosen_BTK[..., 0] < 0
        if mixed > 1
        else (chosen_BTK[..., 0] < 0) | (chosen_BTK[..., 0] >= LAYERS)
    )
    assert stays_BT.any()
    assert torch.equal(found[stays_BT], x_BTD[stays_BT])
    assert not torch.isclose(found[~stays_BT], x_BTD[~stays_BT]).all(-1).any() or mixed > 1


@pytest.mark.parametrize("mixed", [1, 2])
@pytest.mark.parametrize("sequences", [False, True], ids=["tokens", "sequences"])
def test_flops_are_those_that_run(
    sequences: bool, mixed: int, x_BTD: Tensor, tokens_BT: Tensor, at_BM: Tensor
):
    """Of each lane, which alone has no padding, and of all together.

    Attention by hand with a bias counts in full, as in a plan.
    """
    model = pool(heads=4, kv_heads=2, ffn={"width": 24})
    for at in (None, at_BM):
        chosen_BMK, weight_BMK = choices(
            LANES, 1 if sequences else CONTEXT if at is None else TARGETS, mixed
        )

        def run(
            lanes: slice,
            at: Tensor | None = at,
            chosen_BMK: Tensor = chosen_BMK,
            weight_BMK: Tensor = weight_BMK,
        ) -> tuple[int, int]:
            at_bM = None if at is None else at[lanes]
            dispatch = dispatch_of(model, tokens_BT[lanes], at_bM)
            with FlopCounterMode(display=False) as counter:
                if sequences:
                    dispatch.sequences(
                        x_BTD[lanes], chosen_BMK[lanes, 0], weight_BMK[lanes, 0], 0, at_bM
                    )
                else:
                    dispatch.tokens(
                        x_BTD[lanes], chosen_BMK[lanes], weight_BMK[lanes], 0, (), at_bM
                    )
            return dispatch.flops, counter.get_total_flops()

        alone = [run(slice(lane, lane + 1)) for lane in range(LANES)]
        assert all(counted == ran for counted, ran in alone)
        assert run(slice(None))[0] == sum(counted for counted, _ in alone) > 0


def test_choices_are_sorted_by_layer_and_put_back():
    chosen = torch.tensor([[2, -1, 0], [4, 2, 0]])
    order_R, counts = by_layer(chosen, 3)
    assert (order_R.tolist(), counts) == ([2, 5, 0, 4, 1, 3], [2, 0, 2, 2])
    rows_R2 = torch.arange(12.0).view(6, 2).requires_grad_()
    pieces = [rows_R2[order_R[:2]], rows_R2[order_R[2:]]]
    back_R2 = put_back(pieces, order_R)
    assert torch.equal(back_R2, rows_R2)
    both(back_R2, rows_R2 * 1, [rows_R2])


def test_the_gradient_of_a_weight_has_the_state_as_its_baseline():
    generator = torch.Generator().manual_seed(0)
    f_U1D, x_UD = (
        torch.randn(shape, generator=generator).requires_grad_() for shape in ((4, 1, 3), (4, 3))
    )
    weight_U1 = torch.ones(4, 1).requires_grad_()
    found = mix(f_U1D, x_UD, torch.zeros(4, 1, dtype=torch.long), weight_U1)
    assert torch.equal(found, f_U1D[:, 0])
    scalar(found).backward()
    expected = torch.autograd.grad(
        scalar(weight_U1 * f_U1D[:, 0] + (1 - weight_U1) * x_UD), weight_U1
    )[0]
    assert weight_U1.grad is not None
    torch.testing.assert_close(weight_U1.grad, expected)
    assert x_UD.grad is None
