"""What evens the load: each penalty against its formula, and the bias."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalelab.layers import spec
from scalelab.layers.balance import entropy_of_mean, load_per_batch, load_per_sequence, penalty
from scalelab.layers.moe import Moe
from scalelab.layers.parameters import initialise
from scalelab.layers.router import Router, Scores
from scalelab.layers.spec import Balance, Init

LANES, LENGTH, WIDTH, EXPERTS, CHOSEN = 3, 5, 8, 6, 2


def built(balance: Balance = Balance(), width: int = WIDTH, seed: int = 0, **given: object) -> Moe:  # noqa: B008
    module = Moe(
        spec.Moe.model_validate(
            {"experts": EXPERTS, "chosen": CHOSEN, "width": 8, "balance": balance, **given}
        ),
        width,
    )
    initialise(module, Init(), depth=1, seed=seed)
    return module


@torch.no_grad()
def scored(lanes: int = LANES) -> tuple[Scores, Tensor]:
    """A router's scores, and the load [B, E]."""
    router = Router(spec.Moe(experts=EXPERTS, chosen=CHOSEN), WIDTH)
    initialise(router, Init(), depth=1, seed=1)
    scores = router(tokens(lanes))
    return scores, router.send(scores, torch.zeros(EXPERTS)).load_BE


def tokens(lanes: int = LANES) -> Tensor:
    return torch.randn(lanes, LENGTH, WIDTH, generator=torch.Generator().manual_seed(4))


def uneven(scores_TE: list[list[float]]) -> float:
    """DeepSeek-V3, equations 17 to 20, for one sequence, written out."""
    length, experts = len(scores_TE), len(scores_TE[0])
    total = 0.0
    for expert in range(experts):
        taken = sum(
            expert in sorted(range(experts), key=lambda e, row=row: -row[e])[:CHOSEN]
            for row in scores_TE
        )
        f = experts / (CHOSEN * length) * taken
        p = sum(row[expert] / sum(row) for row in scores_TE) / length
        total += f * p
    return total


def test_load_per_sequence_is_deepseeks():
    scores, load_BE = scored()
    expected = sum(uneven(lane) for lane in scores.score_BTE.tolist()) / LANES
    assert float(load_per_sequence(scores.share_BTE, load_BE)) == pytest.approx(expected, rel=1e-5)


def test_load_per_batch_counts_all_sequences_together():
    scores, load_BE = scored()
    assert float(load_per_batch(scores.share_BTE, load_BE)) == pytest.approx(
        uneven(scores.score_BTE.flatten(0, 1).tolist()), rel=1e-5
    )


def test_an_even_load_costs_1_and_a_collapsed_one_all_there_are():
    even_BTE, collapsed_BTE = (
        torch.full((1, 6, 6), 1 / 6),
        F.one_hot(torch.zeros(1, 6, dtype=torch.int64), 6).float(),
    )
    assert float(load_per_batch(even_BTE, torch.full((1, 6), 1.0))) == pytest.approx(1)
    assert float(
        load_per_batch(collapsed_BTE, torch.tensor([[6.0, 0, 0, 0, 0, 0]]))
    ) == pytest.approx(6)


def test_entropy_is_that_of_the_mean_gate():
    scores, _ = scored()
    mean = [
        sum(column) / (LANES * LENGTH)
        for column in zip(*scores.logits_BTE.softmax(-1).flatten(0, 1).tolist(), strict=True)
    ]
    assert float(entropy_of_mean(scores.logits_BTE)) == pytest.approx(
        -sum(p * math.log(p) for p in mean), rel=1e-5
    )


def test_each_coefficient_weighs_its_own_penalty():
    scores, load_BE = scored()

    def of(balance: Balance) -> float:
        return float(penalty(balance, scores, load_BE))

    z = sum(
        math.log(sum(map(math.exp, row))) ** 2 for row in scores.logits_BTE.flatten(0, 1).tolist()
    ) / (LANES * LENGTH)
    parts = {
        "loss": (Balance(loss=0.5), 0.5 * float(load_per_batch(scores.share_BTE, load_BE))),
        "sequence": (
            Balance(loss=0.25, per="sequence"),
            0.25 * float(load_per_sequence(scores.share_BTE, load_BE)),
        ),
        "entropy": (Balance(entropy=0.1), -0.1 * float(entropy_of_mean(scores.logits_BTE))),
        "z": (Balance(z_loss=0.2), 0.2 * z),
        "bias": (Balance(bias=0.1), 0.0),
    }
    assert {name: of(balance) for name, (balance, _) in parts.items()} == pytest.approx(
        {name: value for name, (_, value) in parts.items()}, rel=1e-5
    )
    both = Balance(loss=0.5, entropy=0.1, z_loss=0.2)
    assert of(both) == pytest.approx(
        sum(parts[name][1] for name in ("loss", "entropy", "z")), rel=1e-5
    )


@pytest.mark.parametrize("per", ["batch", "sequence"])
@torch.no_grad()
@pytest.mark.parametrize("extra", [{}, {"z_loss": 0.1}, {"entropy": 0.1}])
def test_the_spec_knows_what_couples_sequences(per: str, extra: dict[str, float]):
    """Penalties that do not couple are the mean of each sequence's own."""
    module = built(Balance(loss=0.3, per=per, **extra))  # pyright: ignore[reportArgumentType]
    x_BTD = tokens()
    together = float(module(x_BTD)[1].penalty)
    alone = sum(float(module(lane_1TD)[1].penalty) for lane_1TD in x_BTD.split(1)) / LANES
    assert (together == pytest.approx(alone, rel=1e-4)) == (not module.config.couples_batch)


def test_penalties_pull_the_router_towards_an_even_load():
    for balance in (Balance(loss=1.0), Balance(loss=1.0, per="sequence"), Balance(entropy=1.0)):
        module = built(balance)
        with torch.no_grad():
            module.router.linear.weight[0] += 10 * tokens().mean((0, 1))  # tokens like expert 0
        before = module(tokens())[1]
        optimizer = torch.optim.SGD(module.router.parameters(), lr=2.0)
        for _ in range(40):
            optimizer.zero_grad()
            module(tokens())[1].penalty.backward()
            optimizer.step()
        assert max_vio(module(tokens())[1].load_E) < max_vio(before.load_E)


def max_vio(load_E: Tensor) -> float:
    return float(load_E.max() / load_E.mean() - 1)


def test_the_bias_moves_by_the_sign_of_what_is_missing():
    module = built(Balance(bias=0.25))
    module.rebalance(torch.tensor([4.0, 0.0, 2.0, 2.0, 1.0, 3.0]))
    assert module.bias_E.tolist() == [-0.25, 0.25, 0.0, 0.0, 0.25, -0.25]
    module.rebalance(torch.tensor([9.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
    assert module.bias_E.tolist() == [-0.5, 0.5, 0.25, 0.25, 0.5, 0.0]


def test_without_a_rate_the_bias_stays():
    module = built()
    module.rebalance(torch.tensor([4.0, 0.0, 2.0, 2.0, 1.0, 3.0]))
    assert not module.bias_E.any()


def test_loss_free_balancing_lowers_max_vio_in_training():
    """A layer learns a map of its input; with the bias on, the load that it ends with is far more
    even than without.
    """
    last = {}
    for rate in (0.0, 0.01):
        module = built(Balance(bias=rate), experts=8, shared=0)
        generator = torch.Generator().manual_seed(0)
        goal = nn.Linear(WIDTH, WIDTH)
        initialise_goal(goal)
        optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
        loads = []
        for _ in range(150):
            x_BTD = (
                torch.randn(4, 32, WIDTH, generator=generator) + 1
            )  # off centre: a router begins uneven
            y_BTD, routing = module(x_BTD)
            optimizer.zero_grad()
            F.mse_loss(y_BTD, goal(x_BTD).detach()).backward()
            optimizer.step()
            module.rebalance(routing.load_E)
            loads.append(routing.load_E)
        last[rate] = max_vio(torch.stack(loads[-30:]).sum(0))
    assert last[0.01] < 0.2 < last[0.0]


def initialise_goal(goal: nn.Linear) -> None:
    generator = torch.Generator().manual_seed(7)
    for parameter in goal.parameters():
        nn.init.normal_(parameter, generator=generator)
