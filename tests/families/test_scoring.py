"""What scores the layers: router networks and the learned table."""

import pytest
import torch
from tests.families.choosers import KINDS, LANES, LENGTH, WIDTH, built, choices, hard, of, states
from torch import nn

from scalelab.families.layer_router.chooser import Gru, Lstm


@pytest.mark.parametrize("kind", KINDS)
def test_a_low_temperature_sharpens_and_chooses_alike(kind: str):
    sharp, plain = (
        hard(built(of("open") | {"router": {"kind": kind, "temperature": t}}), states())
        for t in (0.25, 1.0)
    )
    for one, other in zip(sharp, plain, strict=True):
        assert torch.equal(one.chosen_BTK, other.chosen_BTK)
        torch.testing.assert_close(one.logits_BTE, 4 * other.logits_BTE)
        assert (
            torch.special.entr(one.probability_BTE).sum(-1)
            < torch.special.entr(other.probability_BTE).sum(-1)
        ).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("embedding", [True, False])
def test_a_router_knows_the_step_by_its_embedding_or_by_its_memory(kind: str, embedding: bool):
    first, second, _ = hard(
        built(of("open") | {"router": {"kind": kind, "step_embedding": embedding}}), states()
    )
    assert torch.equal(first.logits_BTE, second.logits_BTE) == (
        not embedding and kind in ("linear", "mlp")
    )


def test_a_learned_policy_takes_one_layer_a_step_whatever_the_input():
    chooser = built(of("learned", layers=6, identity=2, steps=8))
    assert chooser.learned is not None
    assert chooser.learned.weight.eq(0).all()
    begins = torch.stack([choice.chosen_BTK for choice in hard(chooser, states())])
    assert begins.eq(begins[:, :1, :1]).all()
    order = begins[:, 0, 0, 0].tolist()
    assert order != list(range(8)), "a tie is not settled for the original order"
    assert len(set(order)) > 3
    with torch.no_grad():
        chooser.learned.weight[torch.arange(8), torch.arange(8)] = 1e-3
    assert [int(choice.chosen_BTK[0, 0, 0]) for choice in hard(chooser, states())] == list(range(8))


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_recurrent_routers_are_pytorchs_cells(kind: str):
    x_BTD, hidden = states(), 5
    router = built(of("open") | {"router": {"kind": kind, "width": hidden}}).router
    assert router is not None
    state, ours = router.start(LANES, LENGTH, x_BTD), router.hidden
    assert state is not None
    assert isinstance(ours, Gru | Lstm)
    theirs = (nn.GRUCell if kind == "gru" else nn.LSTMCell)(WIDTH, hidden, bias=False)
    order = (
        (1, 0, 2) if kind == "gru" else (0, 1, 3, 2)
    )  # PyTorch: reset, update, new; input, forget, cell, output
    for linear, weight in ((ours.new, theirs.weight_ih), (ours.old, theirs.weight_hh)):
        parts = linear.weight.detach().chunk(len(order))
        weight.data = torch.cat([parts[part] for part in order])
    hidden_NW, cell_NW = (part.flatten(0, 1) for part in state)
    for step in range(3):
        state = ours(step + x_BTD, state)
        inputs_ND = (step + x_BTD).flatten(0, 1)
        if isinstance(theirs, nn.LSTMCell):
            hidden_NW, cell_NW = theirs(inputs_ND, (hidden_NW, cell_NW))
        else:
            hidden_NW = theirs(inputs_ND, hidden_NW)
    torch.testing.assert_close(state.hidden_BTW.flatten(0, 1), hidden_NW)
    torch.testing.assert_close(state.cell_BTW.flatten(0, 1), cell_NW)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_in_fp32_under_autocast(kind: str):
    chooser = built(of("open", kind))
    plain = choices(chooser, states())
    with torch.autocast("cpu", torch.bfloat16):
        under = choices(chooser, states())
    for one, other in zip(plain, under, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:-1], other[:-1], strict=True))
