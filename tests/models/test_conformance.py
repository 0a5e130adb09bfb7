"""What every model family keeps: counts, causality, cache = no cache, saving, compiling. Variants stand in conftest.py."""

import io

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from scalelab.models import Transformer, build
from scalelab.plan.counts import parameters
from scalelab.plan.flops import forward_flops, train_flops
from scalelab.spec.model import Model

LANES, TARGETS = 3, 7
CLOSE = {"rtol": 1e-4, "atol": 2e-5}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def model(variant: Model, vocab: int, context: int) -> Transformer:
    built = build(variant, vocab, context).initialise(0)
    for name, weight in built.named_parameters():
        if "embedding" in name or "positions" in name:  # larger than they begin, so that tokens and positions tell
            torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(7))
    return built


@pytest.fixture
def tokens_BT(vocab: int, context: int) -> Tensor:
    return torch.randint(0, vocab, (LANES, context), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def at_BM(context: int) -> Tensor:
    """Positions asked for; one of them twice, as padding does."""
    found = torch.stack([torch.randperm(context, generator=torch.Generator().manual_seed(lane))[:TARGETS] for lane in range(LANES)])
    found[:, -1] = found[:, 0]
    return found


def scalar(x: Tensor) -> Tensor:
    """A number that every feature moves (the sum of squares of a normalised vector is constant)."""
    return (x * torch.linspace(-1, 1, x.numel()).sin().view(x.shape)).sum()


def _value_and_grads(model: Transformer, value: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The value, and the gradients of all weights that move it."""
    model.zero_grad()
    value.backward()
    return value.detach(), [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]


def test_parameters_are_as_counted_on_the_meta_device(variant: Model, vocab: int, context: int):
    with torch.device("meta"):
        model = build(variant, vocab, context)
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    counted = parameters(variant, vocab, context)
    assert counted.total == sum(counted.groups.values()) == sum(sizes.values())
    outside = sum(size for name, size in sizes.items() if name.split(".")[0] in ("embedding", "positions", "output"))
    assert counted.non_embedding == counted.total - outside
    assert counted.groups["norm"] == sum(size for name, size in sizes.items() if "norm" in name)
    assert counted.groups["ffn"] == sum(size for name, size in sizes.items() if ".ffn." in name)


def test_flops_are_as_counted_on_the_meta_device(variant: Model, vocab: int, context: int):
    with torch.device("meta"):
        model = build(variant, vocab, context)
        tokens_BT, at_BM = torch.zeros(LANES, context, dtype=torch.long), torch.zeros(LANES, TARGETS, dtype=torch.long)
    with FlopCounterMode(display=False) as forward:
        logits = model.head(model.trunk(tokens_BT, at_BM=at_BM))
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    with FlopCounterMode(display=False) as everywhere:
        model(tokens_BT)
    assert forward.get_total_flops() == LANES * forward_flops(variant, vocab, context, TARGETS)
    assert forward.get_total_flops() + backward.get_total_flops() == LANES * train_flops(variant, vocab, context, TARGETS)
    assert everywhere.get_total_flops() == LANES * forward_flops(variant, vocab, context, context)


def test_no_position_sees_a_later_token(model: Transformer, tokens_BT: Tensor, vocab: int, context: int):
    """Under a prefix mask too, where no text is given."""
    before = model(tokens_BT)
    for place in (1, context // 2, context - 1):
        changed = tokens_BT.clone()
        changed[:, place] = (changed[:, place] + 1) % vocab
        after = model(changed)
        torch.testing.assert_close(after[:, :place], before[:, :place], rtol=0, atol=0)
        assert not torch.allclose(after[:, place], before[:, place])


def test_a_prefix_mask_opens_the_given_text_and_nothing_else(model: Transformer, tokens_BT: Tensor, vocab: int):
    given_B = torch.tensor([4, 9, 1])
    before = model(tokens_BT, given_B)
    changed = tokens_BT.clone()
    changed[:, 3] = (changed[:, 3] + 1) % vocab
    sees = ((model(changed, given_B)[:, 0] - before[:, 0]).abs().amax(-1) > 0).tolist()
    assert sees == ([True, True, False] if model.given.mask == "prefix" else [False] * 3)
    changed = tokens_BT.clone()
    changed[:, 9] = (changed[:, 9] + 1) % vocab
    torch.testing.assert_close(model(changed, given_B)[:, :9], before[:, :9], rtol=0, atol=0)


def test_the_trunk_gives_the_positions_asked_for(model: Transformer, tokens_BT: Tensor, at_BM: Tensor):
    for given_B in (None, torch.tensor([4, 9, 1])):
        whole_BTD = model.trunk(tokens_BT, given_B)
        expected = whole_BTD.gather(1, at_BM.unsqueeze(-1).expand(-1, -1, whole_BTD.shape[-1]))
        torch.testing.assert_close(model.trunk(tokens_BT, given_B, at_BM), expected, **CLOSE)


def test_gradients_do_not_depend_on_the_way(model: Transformer, tokens_BT: Tensor, at_BM: Tensor, monkeypatch: pytest.MonkeyPatch):
    """By hand and at some positions, or by the fused kernels and everywhere."""
    scalar(model.trunk(tokens_BT, at_BM=at_BM)).backward()
    by_hand = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    monkeypatch.setattr("scalelab.models.layers.attend.DENSE", 0)
    whole_BTD = model.trunk(tokens_BT)
    scalar(whole_BTD.gather(1, at_BM.unsqueeze(-1).expand(-1, -1, whole_BTD.shape[-1]))).backward()
    assert by_hand
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(by_hand[name], weight.grad, rtol=1e-3, atol=1e-4 * float(weight.grad.abs().max()) + 1e-7)


@pytest.mark.parametrize("scores_by_hand", [0, 2**24])
def test_decoding_with_a_cache_is_the_forward_pass(
    model: Transformer, tokens_BT: Tensor, context: int, scores_by_hand: int, monkeypatch: pytest.MonkeyPatch
):
    """Prompts of different lengths, padded at the end with tokens that must do no harm; then one token a call."""
    monkeypatch.setattr("scalelab.models.layers.attend.DENSE", scores_by_hand)
    given_B = torch.tensor([5, 11, 8])
    expected = model(tokens_BT, given_B)
    with torch.inference_mode():
        cache = model.new_cache(LANES, context)
        prompt = tokens_BT[:, :11].clone()
        for lane, length in enumerate(given_B.tolist()):
            prompt[lane, length:] = 0
        first = model.decode(prompt, torch.zeros_like(given_B), cache, given_B)
        for lane, length in enumerate(given_B.tolist()):
            torch.testing.assert_close(first[lane, :length], expected[lane, :length], **CLOSE)
        for step in range(context - 11):
            at_B = given_B + step
            found = model.decode(tokens_BT.gather(1, at_B[:, None]), at_B, cache)
            torch.testing.assert_close(found[:, 0], expected[torch.arange(LANES), at_B], **CLOSE)


def test_lanes_leave_the_cache(model: Transformer, tokens_BT: Tensor, context: int):
    kept = torch.tensor([2, 0])
    with torch.inference_mode():
        cache = model.new_cache(LANES, context)
        model.decode(tokens_BT[:, :6], torch.zeros(LANES, dtype=torch.long), cache)
        found = model.decode(tokens_BT[kept, 6:8], torch.full((2,), 6), cache.select(kept))
    torch.testing.assert_close(found, model(tokens_BT)[kept, 6:8], **CLOSE)


def test_saved_weights_load_into_a_fresh_model(model: Transformer, variant: Model, tokens_BT: Tensor, vocab: int, context: int):
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    fresh = build(variant, vocab, context).initialise(1)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh(tokens_BT), model(tokens_BT))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch.compile does that itself
def test_it_compiles_in_one_graph(model: Transformer, tokens_BT: Tensor, at_BM: Tensor):
    """Forward and backward; the code generator itself is tried in a slow test."""
    torch._dynamo.reset()
    compiled = torch.compile(lambda tokens, at: scalar(model.trunk(tokens, at_BM=at)), fullgraph=True, backend="aot_eager")
    found, found_grads = _value_and_grads(model, compiled(tokens_BT, at_BM))
    value, grads = _value_and_grads(model, scalar(model.trunk(tokens_BT, at_BM=at_BM)))
    torch.testing.assert_close(found, value, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found_grads, grads, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiled_code_computes_the_same(model: Transformer, tokens_BT: Tensor, at_BM: Tensor):
    torch._dynamo.reset()
    compiled = torch.compile(lambda tokens, at: scalar(model.head(model.trunk(tokens, at_BM=at))), fullgraph=True)
    found, found_grads = _value_and_grads(model, compiled(tokens_BT, at_BM))
    value, grads = _value_and_grads(model, scalar(model.head(model.trunk(tokens_BT, at_BM=at_BM))))
    torch.testing.assert_close(found, value, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found_grads, grads, rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("scores_by_hand", [0, 2**24])
def test_a_gpu_computes_the_same(
    model: Transformer, tokens_BT: Tensor, at_BM: Tensor, scores_by_hand: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("scalelab.models.layers.attend.DENSE", scores_by_hand)
    value, grads = _value_and_grads(model, scalar(model.head(model.trunk(tokens_BT, at_BM=at_BM))))
    model = model.cuda()
    found, found_grads = _value_and_grads(model, scalar(model.head(model.trunk(tokens_BT.cuda(), at_BM=at_BM.cuda()))))
    torch.testing.assert_close(found.cpu(), value, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close([grad.cpu() for grad in found_grads], grads, rtol=1e-3, atol=1e-4)
    with torch.autocast("cuda", torch.bfloat16):
        assert model(tokens_BT.cuda()).isfinite().all()


def test_bf16_stays_near_fp32(model: Transformer, tokens_BT: Tensor, at_BM: Tensor):
    expected = model.trunk(tokens_BT, at_BM=at_BM)
    with torch.autocast("cpu", torch.bfloat16):
        found = model.trunk(tokens_BT, at_BM=at_BM)
        assert model.head(found).dtype == torch.bfloat16
    scalar(found.float()).backward()
    assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)
    assert float(((found - expected).abs().mean() / expected.abs().mean()).detach()) < 0.05


def test_weights_follow_from_the_seed_alone(variant: Model, vocab: int, context: int):
    first = build(variant, vocab, context).initialise(3).state_dict()
    torch.rand(5)
    again, other = (build(variant, vocab, context).initialise(seed).state_dict() for seed in (3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
