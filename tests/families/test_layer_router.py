"""Routers over layers: what they choose by, what they predict from, who learns, and what it costs.

Each policy goes through the conformance suites besides; dispatch, choices and halting have tests of
their own.
"""

from typing import Any

import pytest
import torch
from tests.families.variants import CONTEXT, LANES, VOCAB, made, scalar
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from scalelab.families import build
from scalelab.families.language_model import RouterOutput
from scalelab.families.layer_router.model import LayerRouter
from scalelab.families.layer_router.spec import LayerRouter as Spec
from scalelab.families.layout import Layout
from scalelab.families.transformer.model import Transformer

CLOSE = {"rtol": 1e-4, "atol": 2e-5}
GIVEN_B = torch.tensor([4, 9, 1])
DECIDES: dict[str, dict[str, Any]] = {
    "random": {"policy": "random"},
    "learned": {"policy": "learned"},
    "closed_linear": {"policy": "closed"},
    "open_mlp": {"router": {"kind": "mlp", "width": 8}, "top": 2},
    "open_gru": {"router": {"kind": "gru", "width": 8, "step_embedding": False}},
    "open_lstm": {"router": {"kind": "lstm", "width": 8, "temperature": 0.5}},
}
HALTS: dict[str, dict[str, Any]] = {
    "all_steps": {},
    "act": {"halting": {"kind": "act", "epsilon": 0.3}},
    "ponder": {"halting": {"kind": "ponder", "prior": 0.4}},
    "threshold": {"halting": {"kind": "threshold", "threshold": 0.6}},
}
SELECTS: dict[str, dict[str, Any]] = {
    "straight_through": {"selection": {"noise": 0.3}, "layer_dropout": 0.3},
    "gumbel": {"selection": {"kind": "gumbel"}},
    "soft": {"selection": {"kind": "soft"}, "layer_dropout": 0.3},
    "reinforce": {"selection": {"kind": "reinforce", "rollouts": 3}},
}
GRAINS = ["token", "sequence"]
PAIRS = [
    *((name, "all_steps") for name in DECIDES),
    *(("open_gru", name) for name in HALTS if name != "all_steps"),
]
"""Every way to decide, and one of them with every way to halt."""


def router(**given: Any) -> LayerRouter:
    model = made(Spec(**{"layers": 3, "identity": 1, "steps": 4, **given}))
    assert isinstance(model, LayerRouter)
    return model


def routes(reading: RouterOutput) -> Tensor:
    """[S, B, T, K]."""
    return torch.stack([route.chosen_BTK for route in reading.routes])


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"tied": True, "mask": "prefix"},
        {"norm": {"kind": "layer", "place": "sandwich"}, "window": 5},
    ],
)
def test_the_fixed_order_is_the_plain_transformer(
    given: dict[str, Any], tokens_BT: Tensor, at_BM: Tensor
):
    """Bit for bit, from the same weights by the same names, and in its gradients."""
    model = router(policy="fixed", layers=3, identity=0, steps=None, **given)
    plain = build(model.config.plain(), VOCAB, CONTEXT).initialise(0)
    assert isinstance(plain, Transformer)
    fresh = build(model.config, VOCAB, CONTEXT).initialise(0)
    assert all(
        torch.equal(weight, fresh.state_dict()[name]) for name, weight in plain.state_dict().items()
    )
    plain.load_state_dict(model.state_dict())
    for prefix_B, at in ((None, None), (GIVEN_B, None), (GIVEN_B, at_BM)):
        layout = Layout(at, prefix_B)
        found, expected = model.trunk(tokens_BT, layout), plain.trunk(tokens_BT, layout)
        assert torch.equal(found, expected)
        grads = (
            torch.autograd.grad(scalar(x), list(m.parameters()), allow_unused=True)
            for x, m in ((found, model), (expected, plain))
        )
        assert all(
            one is other is None or torch.equal(one, other)
            for one, other in zip(*grads, strict=True)
        )
    cache, own = plain.new_cache(LANES, CONTEXT), model.new_cache(LANES, CONTEXT)
    assert cache.nbytes == own.nbytes
    layout = Layout(prefix_B=GIVEN_B)
    with torch.inference_mode():
        assert torch.equal(
            model.decode(tokens_BT, own, layout), plain.decode(tokens_BT, cache, layout)
        )


def test_a_fixed_order_applies_the_layers_that_it_names(tokens_BT: Tensor):
    model, expected = router(policy="fixed", order=(3, 1, 4, 1)), []
    x_BTD = model.embed(tokens_BT, torch.arange(CONTEXT)[None])
    context = model.attention_context(tokens_BT, None, Layout(), None)
    for layer in (2, 0, None, 0):
        x_BTD = x_BTD if layer is None else model.layers[layer](x_BTD, x_BTD, context, (0, 0))[0]
        expected.append(model.norm(x_BTD))
    reading = model.run_steps(tokens_BT, each_step=True)
    assert all(
        torch.equal(one, other) for one, other in zip(reading.each_step, expected, strict=True)
    )
    assert torch.equal(reading.final_BMD, expected[-1])
    assert routes(reading)[:, 0, 0, 0].tolist() == [2, 0, 3, 0]
    assert [route.routing.load_E.argmax().item() for route in reading.routes] == [2, 0, 3, 0]


@pytest.mark.parametrize("mask", ["causal", "prefix"])
@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize(("decides", "halts"), PAIRS)
@torch.no_grad()
def test_neither_logits_nor_routes_depend_on_later_tokens(
    decides: str, halts: str, grain: str, mask: str, tokens_BT: Tensor
):
    model = router(**DECIDES[decides], **HALTS[halts], granularity=grain, mask=mask)
    before = model.run_steps(tokens_BT, Layout(prefix_B=GIVEN_B))
    for place in (9, CONTEXT - 1):
        changed = tokens_BT.clone()
        changed[:, place] = (changed[:, place] + 1) % VOCAB
        after = model.run_steps(changed, Layout(prefix_B=GIVEN_B))
        torch.testing.assert_close(after.final_BMD[:, :place], before.final_BMD[:, :place], **CLOSE)
        assert torch.equal(routes(after)[:, :, :place], routes(before)[:, :, :place])
        assert torch.equal(after.steps_BT[:, :place], before.steps_BT[:, :place])


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("halts", HALTS)
@pytest.mark.parametrize("selects", SELECTS)
def test_nor_do_they_while_training(selects: str, halts: str, grain: str, tokens_BT: Tensor):
    model = router(**SELECTS[selects], **HALTS[halts], granularity=grain).train()
    found = []
    for step in (0, 1):
        torch.manual_seed(3)
        changed = tokens_BT.clone()
        changed[:, 9:] = (changed[:, 9:] + step) % VOCAB
        found.append(model.run_steps(changed))
    torch.testing.assert_close(found[1].final_BMD[:, :9], found[0].final_BMD[:, :9], **CLOSE)
    assert torch.equal(routes(found[1])[:, :, :9], routes(found[0])[:, :, :9])
    assert not torch.allclose(found[1].final_BMD[:, 9:], found[0].final_BMD[:, 9:])


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize(
    "decides", ["learned", "closed_linear", "open_mlp", "open_gru", "open_lstm"]
)
def test_routes_are_those_of_training_without_noise(decides: str, grain: str, tokens_BT: Tensor):
    model = router(**DECIDES[decides], granularity=grain)
    trained, used = model.train().run_steps(tokens_BT), model.eval().run_steps(tokens_BT)
    assert torch.equal(routes(trained), routes(used))
    torch.testing.assert_close(trained.final_BMD, used.final_BMD, **CLOSE)
    with torch.no_grad():
        assert torch.equal(routes(model.train().run_steps(tokens_BT)), routes(used))


def test_a_sequence_goes_by_what_all_of_it_may_see(tokens_BT: Tensor):
    """The first position; the given text, or where there is none the first position; everything."""
    seen = {}
    for mask in ("causal", "prefix", "full"):
        model = router(granularity="sequence", mask=mask)
        before = torch.stack(
            [
                route.probability_BTE[:, 0]
                for route in model.run_steps(tokens_BT, Layout(prefix_B=GIVEN_B)).routes
            ]
        )
        for place in (0, 3, 8):
            changed = tokens_BT.clone()
            changed[:, place] = (changed[:, place] + 1) % VOCAB
            after = torch.stack(
                [
                    route.probability_BTE[:, 0]
                    for route in model.run_steps(changed, Layout(prefix_B=GIVEN_B)).routes
                ]
            )
            seen[mask, place] = (~torch.isclose(after, before).all(-1).all(0)).tolist()
    assert all(seen[mask, 0] == [True] * LANES for mask in ("causal", "prefix", "full"))
    assert seen["causal", 3] == seen["causal", 8] == [False] * LANES
    assert (seen["prefix", 3], seen["prefix", 8]) == ([True, True, False], [False, True, False])
    assert seen["full", 3] == seen["full", 8] == [True] * LANES


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("selects", SELECTS)
@pytest.mark.parametrize("policy", ["random", "learned", "open"])
def test_micro_batches_take_the_routes_of_the_batch(
    policy: str, selects: str, grain: str, tokens_BT: Tensor
):
    model = router(policy=policy, granularity=grain, **SELECTS[selects]).train()
    rollouts = model.num_rollouts
    torch.manual_seed(5)
    whole = routes(model.run_steps(tokens_BT)).unflatten(1, (rollouts, LANES))
    torch.manual_seed(5)
    parts = [
        routes(model.run_steps(part)).unflatten(1, (rollouts, -1))
        for part in tokens_BT.split([1, 2])
    ]
    assert torch.equal(torch.cat(parts, 2), whole)


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("halts", HALTS)
@pytest.mark.parametrize("selects", SELECTS)
def test_everything_that_should_learn_does(
    selects: str, halts: str, grain: str, tokens_BT: Tensor, at_BM: Tensor
):
    """Only a layer that nobody chose has no gradient."""
    model = router(
        granularity=grain,
        balance={"loss": 0.01},
        similarity=0.1,
        **SELECTS[selects],
        **HALTS[halts],
    ).train()
    torch.manual_seed(0)
    reading = model.run_steps(tokens_BT, Layout(at_BM))
    idle = tuple(
        f"layers.{layer}." for layer in set(range(3)) - set(routes(reading).flatten().tolist())
    )
    rewards = torch.stack([scalar(route.log_prob_BT) for route in reading.routes]).sum()
    steps = sum(
        (
            scalar(weight_BM[..., None] * x)
            for x, weight_BM in zip(reading.each_step, reading.weights, strict=True)
        ),
        torch.zeros(()),
    )
    penalties = reading.penalty + sum(route.routing.penalty for route in reading.routes)
    (steps + scalar(reading.final_BMD) + rewards + penalties).backward()
    for name, weight in model.named_parameters():
        if not name.startswith(("output", *idle)):
            assert weight.grad is not None, name
            assert weight.grad.isfinite().all(), name
            assert weight.grad.any(), name


@pytest.mark.parametrize("selects", SELECTS)
def test_a_recomputed_pass_has_the_same_bits(selects: str, tokens_BT: Tensor):
    found = []
    for recompute in (False, True):
        model = router(**SELECTS[selects]).train()
        model.recompute = recompute
        torch.manual_seed(1)
        scalar(model.trunk(tokens_BT)).backward()
        found.append([weight.grad for weight in model.parameters()])
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


def test_roll_outs_stand_one_after_the_other(tokens_BT: Tensor, at_BM: Tensor):
    model = router(selection={"kind": "reinforce", "rollouts": 3}, mask="prefix").train()
    reading = model.run_steps(tokens_BT, Layout(at_BM, GIVEN_B))
    assert reading.final_BMD.shape[:2] == (3 * LANES, at_BM.shape[1])
    chosen_SRBT = routes(reading)[..., 0].unflatten(1, (3, LANES))
    assert not torch.equal(chosen_SRBT[:, 0], chosen_SRBT[:, 1])
    for route in reading.routes:
        expected = route.probability_BTE.gather(-1, route.chosen_BTK)[..., 0].log()
        torch.testing.assert_close(route.log_prob_BT, expected)
    first = torch.stack([route.probability_BTE[:LANES, 0] for route in reading.routes[:1]])
    again = torch.stack(
        [route.probability_BTE[LANES : 2 * LANES, 0] for route in reading.routes[:1]]
    )
    torch.testing.assert_close(first, again)
    with torch.no_grad():
        assert len(model.run_steps(tokens_BT).final_BMD) == LANES


def test_a_mean_loss_weighs_all_steps_alike(tokens_BT: Tensor, at_BM: Tensor):
    model = router(loss="mean")
    reading = model.run_steps(tokens_BT, Layout(at_BM))
    assert [weight.unique().item() for weight in reading.weights] == [0.25] * 4
    assert torch.equal(reading.each_step[-1], reading.final_BMD)
    used = model.eval().run_steps(tokens_BT)
    assert not used.weights
    assert not used.each_step


def test_a_cumulated_loss_adds_up_logits(tokens_BT: Tensor):
    model = router(loss="cumulated", top=2)
    cumulated = model.run_steps(tokens_BT, each_step=True)
    alone = router(loss="last", top=2).run_steps(tokens_BT, each_step=True)
    logits = [model.head(x) for x in alone.each_step]
    torch.testing.assert_close(model.head(cumulated.final_BMD), torch.stack(logits).sum(0), **CLOSE)
    torch.testing.assert_close(model.head(cumulated.each_step[1]), logits[0] + logits[1], **CLOSE)


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("halts", ["act", "ponder", "threshold"])
def test_one_who_halted_stays_as_it_is_and_stays_visible(halts: str, grain: str, tokens_BT: Tensor):
    model = router(**HALTS[halts], granularity=grain, norm={"place": "post"}).eval()
    states = []
    routed = model.begin(tokens_BT, Layout())
    for step in range(4):
        routed.step(step)
        states.append(routed.x_BTD)
    reading = model.run_steps(tokens_BT, each_step=True)
    steps_BT = reading.steps_BT
    assert 1 <= steps_BT.min() < steps_BT.max() <= 4
    for step in range(1, 4):
        stays_BT = steps_BT <= step
        assert torch.equal(states[step][stays_BT], states[step - 1][stays_BT])
        assert torch.equal((routes(reading)[step] < 0).all(-1), stays_BT)
        assert (
            reading.routes[step].routing.tokens
            == reading.routes[step].routing.load_E.sum()
            == (~stays_BT).sum()
        )
    # What follows from all that was decided when it halted is what is predicted from in the end.
    for step in range(4):
        stays_BT = steps_BT <= step + 1
        torch.testing.assert_close(
            reading.each_step[step][stays_BT], reading.final_BMD[stays_BT], **CLOSE
        )


@pytest.mark.parametrize("halts", ["act", "ponder", "threshold"])
def test_weights_of_the_steps_are_a_mean(halts: str, tokens_BT: Tensor, at_BM: Tensor):
    model = router(**HALTS[halts]).train()
    reading = model.run_steps(tokens_BT, Layout(at_BM))
    assert len(reading.weights) == len(reading.each_step) == (4 if halts == "ponder" else 0)
    if reading.weights:
        torch.testing.assert_close(
            torch.stack(list(reading.weights)).sum(0), torch.ones(at_BM.shape)
        )
    assert reading.penalty > 0


@pytest.mark.parametrize("somewhere", [False, True], ids=["everywhere", "somewhere"])
@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize(("decides", "halts"), PAIRS)
@torch.no_grad()
def test_flops_are_those_that_run(
    decides: str, halts: str, grain: str, somewhere: bool, tokens_BT: Tensor, at_BM: Tensor
):
    """Lane by lane, since a lane alone has no padding, and in all lanes together."""
    model, alone = router(**DECIDES[decides], **HALTS[halts], granularity=grain), 0
    layout = Layout(at_BM if somewhere else None)
    for lane in range(LANES):
        with FlopCounterMode(display=False) as counter:
            reading = model.run_steps(
                tokens_BT[lane : lane + 1], layout.rows(slice(lane, lane + 1))
            )
            model.head(reading.final_BMD)
        assert reading.flops == counter.get_total_flops()
        alone += reading.flops
    assert model.run_steps(tokens_BT, layout).flops == alone


@pytest.mark.parametrize("selects", ["straight_through", "gumbel", "soft"])
@pytest.mark.parametrize("loss", ["last", "mean"])
def test_flops_of_training_are_those_that_run(selects: str, loss: str, tokens_BT: Tensor):
    model = router(**SELECTS[selects], loss=loss).train()
    with FlopCounterMode(display=False) as counter:
        reading = model.run_steps(tokens_BT[:1])
        for x in reading.each_step or [reading.final_BMD]:
            model.head(x)
    assert reading.flops == counter.get_total_flops()


def test_flops_stay_within_the_plans_bounds(tokens_BT: Tensor):
    for given in ({}, {"granularity": "sequence"}, {"policy": "random"}, {"top": 2}, HALTS["act"]):
        model = router(**given).eval()
        bounds = model.config.forward_bounds(VOCAB, CONTEXT, CONTEXT) * LANES
        assert bounds.least <= model.run_steps(tokens_BT).flops <= bounds.most
    model = router(selection={"kind": "reinforce", "rollouts": 3}).train()
    bounds = model.config.train_bounds(VOCAB, CONTEXT, CONTEXT) * LANES
    assert bounds.least <= 3 * model.run_steps(tokens_BT).flops <= bounds.most


def test_layers_keep_their_distance(tokens_BT: Tensor):
    near, far = router(similarity=0.5), router()
    assert far.run_steps(tokens_BT).penalty == 0
    assert near.run_steps(tokens_BT).penalty > 0
    assert near.eval().run_steps(tokens_BT).penalty == 0


def test_biases_move_towards_an_even_load():
    model = router(balance={"bias": 0.1})
    assert model.chooser is not None
    model.rebalance(torch.tensor([[10.0, 1, 1, 9]] * 4))
    assert (model.chooser.bias_SE[:, 0] < 0).all()
    assert (model.chooser.bias_SE[:, 1:3] > 0).all()


def test_a_policy_minds_only_what_it_has(tokens_BT: Tensor):
    """What is said of a router does nothing where there is none."""
    spoken = router(policy="random", top=2, selection={"kind": "reinforce"}).train()
    torch.manual_seed(0)
    found = spoken.run_steps(tokens_BT)
    torch.manual_seed(0)
    expected = router(policy="random").train().run_steps(tokens_BT)
    assert torch.equal(found.final_BMD, expected.final_BMD)


def test_a_cache_has_room_for_every_layer_that_may_be_chosen():
    """Keys and values, 2 heads of width 8, 4 bytes: 3 layers at each of 4 steps; under a closed
    policy two.
    """
    assert router().new_cache(5, 16).nbytes == 5 * 4 * 3 * 16 * 2 * 2 * 8 * 4
    assert router(policy="closed").new_cache(5, 16).nbytes == 5 * 4 * 2 * 16 * 2 * 2 * 8 * 4
    cache = router(window=4).new_cache(5, 16)
    assert (cache.lanes, cache.length, cache.select(torch.tensor([1, 3])).lanes) == (5, 16, 2)
    assert cache.nbytes == 5 * 4 * 3 * 4 * 2 * 2 * 8 * 4


@torch.inference_mode()
def test_a_sequence_keeps_the_route_that_its_first_token_settled(tokens_BT: Tensor):
    model = router(granularity="sequence", halting={"kind": "act", "epsilon": 0.3}).eval()
    cache, begin_B = model.new_cache(LANES, CONTEXT), torch.zeros(LANES, dtype=torch.long)
    model.decode(tokens_BT[:, :1], cache)
    settled = {name: kept.clone() for name, kept in cache.settled.items()}
    model.decode(tokens_BT[:, 1:3], cache, Layout(start_B=begin_B + 1))
    # A lane that reads nothing, and begins, settles nothing.
    model.decode(tokens_BT[:, :1], cache, Layout(length_B=begin_B))
    assert settled.keys() == {"chosen", "mix", "alive", "weight"}
    assert all(torch.equal(cache.settled[name], kept) for name, kept in settled.items())
    chosen_SB = routes(model.run_steps(tokens_BT))[:, :, 0, 0]
    alive_SB = chosen_SB >= 0
    assert torch.equal(settled["alive"][..., 0].t(), alive_SB)
    assert torch.equal(settled["chosen"][..., 0, 0].t()[alive_SB], chosen_SB[alive_SB])
