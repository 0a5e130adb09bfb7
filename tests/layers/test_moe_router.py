"""Choice and gates of the router, against their formulas."""

import math

import pytest
import torch
from torch import Tensor

from scalelab.layers.parameters import initialise
from scalelab.layers.router import Router, Sent
from scalelab.layers.spec import Init, Moe

LANES, LENGTH, WIDTH = 2, 6, 8


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def built(given: Moe) -> Router:
    router = Router(given, WIDTH)
    initialise(router, Init(), depth=1, seed=0)
    return router


def rows(sent: Sent) -> dict[tuple[int, int], float]:
    """(token, expert) -> gate."""
    expert_R = torch.bucketize(torch.arange(len(sent.token_R)), sent.ends_E, right=True)
    return dict(
        zip(
            zip(sent.token_R.tolist(), expert_R.tolist(), strict=True),
            sent.gate_R.tolist(),
            strict=True,
        )
    )


@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize("renormalise", [True, False])
@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_gates_are_as_the_formula_says(gate: str, renormalise: bool, scale: float):
    given = Moe(experts=5, chosen=3, gate=gate, renormalise=renormalise, scale=scale)  # pyright: ignore[reportArgumentType]
    router, x_BTD = built(given), drawn(LANES, LENGTH, WIDTH)
    bias = [0.0, 0.5, -0.5, 0.2, 0.0]
    found = rows(router.send(router(x_BTD), torch.tensor(bias)))
    expected = {}
    for token, x_D in enumerate(x_BTD.flatten(0, 1)):
        logits = (router.linear.weight @ x_D).tolist()
        partition = sum(map(math.exp, logits))
        scores = [
            math.exp(u) / partition if gate == "softmax" else 1 / (1 + math.exp(-u)) for u in logits
        ]
        best = sorted(range(5), key=lambda e: -(scores[e] + bias[e]))[:3]
        total = sum(scores[e] for e in best) if renormalise else 1
        expected |= {(token, e): scale * scores[e] / total for e in best}
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_bias_moves_the_choice_and_no_gate():
    router, x_BTD = built(Moe(experts=4, chosen=1, renormalise=False)), drawn(LANES, LENGTH, WIDTH)
    scores = router(x_BTD)
    sent = router.send(scores, torch.tensor([0.0, 0.0, 5.0, 0.0]))
    assert sent.load_BE.sum(0).tolist() == [0, 0, LANES * LENGTH, 0]
    torch.testing.assert_close(sent.gate_R, scores.score_BTE[..., 2].flatten())


@pytest.mark.parametrize("choice", ["token", "expert"])
def test_of_equal_scores_the_first_wins(choice: str):
    router = built(Moe(experts=6, chosen=2, choice=choice))  # pyright: ignore[reportArgumentType]
    torch.nn.init.zeros_(router.linear.weight)
    sent = router.send(router(drawn(1, LENGTH, WIDTH)), torch.zeros(6))
    pairs = (
        {(token, expert) for token in range(LENGTH) for expert in (0, 1)}
        if choice == "token"
        else {(t, e) for t in (0, 1) for e in range(6)}
    )
    assert set(rows(sent)) == pairs


def test_scores_are_in_fp32_under_autocast():
    router, x_BTD = built(Moe()), drawn(LANES, LENGTH, WIDTH)
    plain = router(x_BTD)
    with torch.autocast("cpu", torch.bfloat16):
        under = router(x_BTD)
    assert under.logits_BTE.dtype == torch.float32
    assert torch.equal(under.logits_BTE, plain.logits_BTE)
    assert torch.equal(under.score_BTE, plain.score_BTE)


def test_rows_are_sorted_and_counted():
    sent = built(Moe(experts=5, chosen=2)).send(
        built(Moe(experts=5, chosen=2))(drawn(LANES, LENGTH, WIDTH)), torch.zeros(5)
    )
    assert sent.slot_NK is not None
    pairs = rows(sent)
    assert len(pairs) == LANES * LENGTH * 2
    for lane in range(LANES):
        tokens = range(lane * LENGTH, (lane + 1) * LENGTH)
        assert sent.load_BE[lane].tolist() == [
            sum((token, expert) in pairs for token in tokens) for expert in range(5)
        ]
    for token in range(LANES * LENGTH):
        assert sent.token_R[sent.slot_NK[token]].tolist() == [token, token]


def test_experts_choose_up_to_their_capacity():
    given = Moe(experts=4, chosen=2, choice="expert", gate="softmax", renormalise=False)
    router, x_BTD = built(given), drawn(LANES, LENGTH, WIDTH)
    scores = router(x_BTD)
    sent = router.send(scores, torch.zeros(4))
    expected = {}
    for lane in range(LANES):
        for expert in range(4):
            column = scores.score_BTE[lane, :, expert].tolist()
            for position in sorted(range(LENGTH), key=lambda t, column=column: -column[t])[
                :3
            ]:  # ceil(6 * 2 / 4)
                expected[lane * LENGTH + position, expert] = column[position]
    assert rows(sent) == pytest.approx(expected)
    assert sent.load_BE.tolist() == [[3.0] * 4] * LANES
    assert sent.dropped == LANES * LENGTH - len({token for token, _ in expected})


def test_gates_of_experts_that_choose_are_renormalised_over_them():
    router = built(Moe(experts=4, chosen=2, choice="expert", scale=2.0))
    sums: dict[int, float] = {}
    for (token, _), gate in rows(
        router.send(router(drawn(LANES, LENGTH, WIDTH)), torch.zeros(4))
    ).items():
        sums[token] = sums.get(token, 0) + gate
    assert list(sums.values()) == pytest.approx([2.0] * len(sums))


@pytest.mark.parametrize(
    "given",
    [Moe(), Moe(choice="expert"), Moe(gate="softmax", experts=3, chosen=3)],
    ids=["token", "expert", "softmax"],
)
def test_nan_is_no_index_error(given: Moe):
    router, x_BTD = built(given), drawn(LANES, LENGTH, WIDTH)
    x_BTD[0, 2] = math.nan
    sent = router.send(router(x_BTD), torch.zeros(given.experts))
    assert sent.gate_R.isnan().any()
    assert int(sent.ends_E[-1]) == len(sent.token_R)
    assert 0 <= int(sent.token_R.min()) <= int(sent.token_R.max()) < LANES * LENGTH


def test_sigmoids_that_all_underflow_leave_finite_gates():
    router = built(Moe(experts=4, chosen=2))
    torch.nn.init.constant_(router.linear.weight, -1e3)
    sent = router.send(router(torch.ones(1, 2, WIDTH)), torch.zeros(4))
    assert sent.gate_R.isfinite().all()
