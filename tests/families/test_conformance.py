"""What every model family keeps: counts, causality, saving, equal bits.

Decoding and compiling have suites of their own.
"""

import io
import json
from typing import Any

import pytest
import torch
from tests.families.variants import (
    DECODERS,
    LANES,
    TARGETS,
    VARIANTS,
    made,
    scalar,
    sees_the_future,
    value_and_grads,
)
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from scalelab.families import Model, build, read
from scalelab.families.cost import forward_flops, parameters
from scalelab.families.language_model import LanguageModel
from scalelab.families.layout import Layout
from scalelab.families.lstm.spec import Lstm
from scalelab.layers.parameters import roles
from scalelab.plan.diff import flatten
from scalelab.store.frames import part_of

CLOSE = {"rtol": 1e-4, "atol": 2e-5}
EXACT = {"rtol": 0, "atol": 0}


def test_a_stored_spec_is_read_back(variant: Model):
    fields = flatten(variant.model_dump(mode="json"), "model.")
    row = {path: json.dumps(v) if isinstance(v, list) else v for path, v in fields.items()}
    assert read(part_of({**row, "task.kind": "text", "digest": "a"}, "model")) == variant


def test_parameters_are_as_counted_on_the_meta_device(variant: Model, vocab: int, context: int):
    with torch.device("meta"):
        model = build(variant, vocab, context)
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    counted = parameters(variant, vocab, context)
    assert counted.total == sum(counted.groups.values()) == sum(sizes.values())
    role_of = roles(model)
    outside = sum(size for name, size in sizes.items() if role_of[name] in ("embedding", "head"))
    assert counted.non_embedding == counted.total - outside
    assert counted.groups.get("norm", 0) == sum(
        size for name, size in sizes.items() if "norm" in name
    )
    assert counted.groups.get("ffn", 0) == sum(
        size for name, size in sizes.items() if ".ffn." in name and "router" not in name
    )
    assert counted.groups.get("router", 0) == sum(
        size for name, size in sizes.items() if role_of[name] == "router"
    )
    assert counted.groups.get("gains", 0) == sum(
        size for name, size in sizes.items() if "_gain." in name
    )
    assert counted.groups.get("value_embeddings", 0) == sum(
        size for name, size in sizes.items() if "value_embedding." in name
    )


def _experts_flops(
    x: tuple[int, ...],
    up: tuple[int, ...],
    down: tuple[int, ...],
    gate: tuple[int, ...],
    *_: Any,
    **__: Any,
) -> int:
    """FLOPs of the routed experts, from the shapes [N, D], [E, G, D], [E, D, F] and [R]: two of a
    token's features with each matrix.
    """
    return 2 * gate[0] * x[1] * (up[1] + down[2])


EXPERTS = {
    torch.ops.scalelab.expert_loop: _experts_flops,
    torch.ops.scalelab.expert_loop_backward: lambda grad, *shapes, **__: (
        2 * _experts_flops(*shapes)
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_flops_are_as_counted(name: str, vocab: int, context: int):
    """On the meta device, where all of attention counts; a mixture on the CPU, where it routes."""
    variant = VARIANTS[name].resolved()
    if variant.mixture is not None and variant.mixture.choice == "expert":
        pytest.skip("how many tokens its experts take is rounded up")
    if variant.layer_pool is not None and variant.layer_pool.policy != "fixed":
        pytest.skip(
            "what it runs depends on the tokens; it counts that itself, see test_layer_router.py"
        )
    with torch.device("meta" if variant.mixture is None else "cpu"):
        model = build(variant, vocab, context).initialise(0)
        tokens_BT, at_BM = (
            torch.zeros(LANES, context, dtype=torch.long),
            torch.zeros(LANES, TARGETS, dtype=torch.long),
        )
    with FlopCounterMode(display=False, custom_mapping=EXPERTS) as forward:
        logits = model.head(model.trunk(tokens_BT, Layout(at_BM)))
    with FlopCounterMode(display=False, custom_mapping=EXPERTS) as backward:
        logits.sum().backward()
    with FlopCounterMode(display=False, custom_mapping=EXPERTS) as everywhere:
        model(tokens_BT)
    assert forward.get_total_flops() == LANES * forward_flops(variant, vocab, context, TARGETS)
    # An LSTM's empty state has no gradient: for each layer there is a product less than is counted.
    spared = (
        variant.layers * 2 * LANES * 4 * model.head_weight.shape[1] ** 2
        if isinstance(variant, Lstm)
        else 0
    )
    assert (
        forward.get_total_flops() + backward.get_total_flops() + spared
        == LANES * variant.train_bounds(vocab, context, TARGETS).most
    )
    assert everywhere.get_total_flops() == LANES * forward_flops(variant, vocab, context, context)


def _mask(model: LanguageModel) -> str:
    """A model without masks is causal."""
    return getattr(model.config, "mask", "causal")


def _bits(model: LanguageModel) -> dict[str, float]:
    """Equal bits, but where an expert's or a layer's batch has another size, and its products
    another order of summing.
    """
    pool = model.config.layer_pool
    routes = pool is not None and pool.policy != "fixed"
    return CLOSE if routes or model.config.mixture is not None else EXACT


def test_no_position_sees_a_later_token(
    decoder: LanguageModel, tokens_BT: Tensor, vocab: int, context: int
):
    """Under a prefix mask too, where no text is given."""
    before = decoder(tokens_BT)
    for place in (1, context // 2, context - 1):
        changed = tokens_BT.clone()
        changed[:, place] = (changed[:, place] + 1) % vocab
        after = decoder(changed)
        torch.testing.assert_close(after[:, :place], before[:, :place], **_bits(decoder))
        assert not torch.allclose(after[:, place], before[:, place])


@pytest.mark.parametrize("name", sorted(VARIANTS.keys() - DECODERS.keys()))
def test_what_is_said_to_see_the_future_does(
    name: str, tokens_BT: Tensor, vocab: int, context: int
):
    model = made(VARIANTS[name])
    changed = tokens_BT.clone()
    changed[:, context // 2 :] = (changed[:, context // 2 :] + 1) % vocab
    assert not torch.allclose(
        model(changed)[:, : context // 2], model(tokens_BT)[:, : context // 2]
    )


def test_a_prefix_mask_opens_the_given_text_and_nothing_else(
    decoder: LanguageModel, tokens_BT: Tensor, vocab: int
):
    model = decoder
    layout = Layout(prefix_B=torch.tensor([4, 9, 1]))
    before = model(tokens_BT, layout)
    changed = tokens_BT.clone()
    changed[:, 3] = (changed[:, 3] + 1) % vocab
    sees = ((model(changed, layout)[:, 0] - before[:, 0]).abs().amax(-1) > 1e-5).tolist()
    assert sees == ([True, True, False] if _mask(model) == "prefix" else [False] * 3)
    changed = tokens_BT.clone()
    changed[:, 9] = (changed[:, 9] + 1) % vocab
    torch.testing.assert_close(model(changed, layout)[:, :9], before[:, :9], **_bits(model))


def test_the_trunk_gives_the_positions_asked_for(
    decoder: LanguageModel, tokens_BT: Tensor, at_BM: Tensor
):
    model = decoder
    for prefix_B in (None, torch.tensor([4, 9, 1])):
        whole_BTD = model.trunk(tokens_BT, Layout(prefix_B=prefix_B))
        expected = whole_BTD.gather(1, at_BM.unsqueeze(-1).expand(-1, -1, whole_BTD.shape[-1]))
        torch.testing.assert_close(
            model.trunk(tokens_BT, Layout(at_BM, prefix_B)), expected, **CLOSE
        )


def test_gradients_do_not_depend_on_the_way(
    decoder: LanguageModel, tokens_BT: Tensor, at_BM: Tensor, monkeypatch: pytest.MonkeyPatch
):
    """By hand and at some positions, or by the fused kernels and everywhere."""
    model = decoder
    scalar(model.trunk(tokens_BT, Layout(at_BM))).backward()
    by_hand = {
        name: weight.grad.clone()
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }
    model.zero_grad()
    monkeypatch.setattr("scalelab.layers.attention.DENSE", 0)
    whole_BTD = model.trunk(tokens_BT)
    scalar(whole_BTD.gather(1, at_BM.unsqueeze(-1).expand(-1, -1, whole_BTD.shape[-1]))).backward()
    assert by_hand
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(
                by_hand[name],
                weight.grad,
                rtol=1e-3,
                atol=1e-4 * float(weight.grad.abs().max()) + 1e-7,
            )


def test_a_document_does_not_depend_on_the_others(
    model: LanguageModel, tokens_BT: Tensor, at_BM: Tensor, vocab: int
):
    document_BT = torch.tensor([0] * 6 + [1] * 9 + [2] * 5).expand_as(tokens_BT)
    inside_T = document_BT[0] == 1
    changed = torch.where(inside_T, tokens_BT, (tokens_BT + 1) % vocab)
    if model.config.mixture is not None and model.config.mixture.choice == "expert":
        pytest.skip("an expert chooses among the tokens of all documents")
    objective = {"causal": "causal", "prefix": "prefix", "full": "masked"}[_mask(model)]
    try:
        model.config.check_text(objective, "apart")
    except ValueError as refused:
        pytest.skip(str(refused))
    before, after = (
        model.trunk(tokens, Layout(document_BT=document_BT)) for tokens in (tokens_BT, changed)
    )
    torch.testing.assert_close(after[:, inside_T], before[:, inside_T], **_bits(model))
    assert not torch.allclose(after[:, ~inside_T], before[:, ~inside_T])
    expected = before.gather(1, at_BM.unsqueeze(-1).expand(-1, -1, before.shape[-1]))
    torch.testing.assert_close(
        model.trunk(tokens_BT, Layout(at_BM, document_BT=document_BT)), expected, **CLOSE
    )


def test_what_is_out_of_reach_changes_nothing(
    model: LanguageModel, tokens_BT: Tensor, vocab: int, context: int
):
    """Each layer carries a token as far as its window, and to the end where it is global."""
    given = model.config
    changed = tokens_BT.clone()
    changed[:, 2] = (changed[:, 2] + 1) % vocab
    far = ((model.trunk(changed) - model.trunk(tokens_BT)).abs().amax((0, 2)) > 1e-6).tolist()
    window = getattr(given, "window", None)
    if window is not None and not getattr(given, "global_every", None):
        assert far == [2 <= place <= 2 + given.depth * (window - 1) for place in range(context)]
    elif not sees_the_future(given):
        assert far == [place >= 2 for place in range(context)]


def test_recomputed_activations_have_the_same_bits(
    model: LanguageModel, tokens_BT: Tensor, at_BM: Tensor
):
    found = []
    for model.recompute in (False, True):
        x_BMD, routings = model.run(tokens_BT, Layout(at_BM))
        penalty = sum((routing.penalty for routing in routings), torch.zeros(()))
        found.append(
            (
                x_BMD.detach(),
                *value_and_grads(model, scalar(x_BMD) + penalty),
                [routing.load_E for routing in routings],
            )
        )
    torch.testing.assert_close(found[1], found[0], **EXACT)


def test_a_mixture_says_how_it_routed(model: LanguageModel, tokens_BT: Tensor):
    if model.config.layer_pool is not None:
        pytest.skip("it says how its steps routed the tokens, see test_layer_router.py")
    routings = model.run(tokens_BT)[1]
    mixture = model.config.mixture
    assert len(routings) == (0 if mixture is None else model.config.layers)
    for routing in routings:
        assert mixture is not None
        assert routing.load_E.sum() == tokens_BT.numel() * mixture.chosen


def test_saved_weights_load_into_a_fresh_model(
    model: LanguageModel, variant: Model, tokens_BT: Tensor, vocab: int, context: int
):
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    fresh = build(variant, vocab, context).initialise(1).train(model.training)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh(tokens_BT), model(tokens_BT))


@pytest.mark.gpu
@pytest.mark.parametrize("scores_by_hand", [0, 2**24])
def test_a_gpu_computes_the_same(
    model: LanguageModel,
    tokens_BT: Tensor,
    at_BM: Tensor,
    scores_by_hand: int,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("scalelab.layers.attention.DENSE", scores_by_hand)
    value, grads = value_and_grads(model, scalar(model.head(model.trunk(tokens_BT, Layout(at_BM)))))
    model = model.cuda()
    found, found_grads = value_and_grads(
        model, scalar(model.head(model.trunk(tokens_BT.cuda(), Layout(at_BM.cuda()))))
    )
    torch.testing.assert_close(found.cpu(), value, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close([grad.cpu() for grad in found_grads], grads, rtol=1e-3, atol=1e-4)
    with torch.autocast("cuda", torch.bfloat16):
        assert model(tokens_BT.cuda()).isfinite().all()


def test_bf16_stays_near_fp32(model: LanguageModel, tokens_BT: Tensor, at_BM: Tensor):
    expected = model.trunk(tokens_BT, Layout(at_BM))
    with torch.autocast("cpu", torch.bfloat16):
        found = model.trunk(tokens_BT, Layout(at_BM))
        assert model.head(found).dtype == torch.bfloat16
    scalar(found.float()).backward()
    assert all(
        weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None
    )
    assert float(((found - expected).abs().mean() / expected.abs().mean()).detach()) < 0.05


def test_weights_follow_from_the_seed_alone(variant: Model, vocab: int, context: int):
    first = build(variant, vocab, context).initialise(3).state_dict()
    torch.rand(5)
    again, other = (build(variant, vocab, context).initialise(seed).state_dict() for seed in (3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
