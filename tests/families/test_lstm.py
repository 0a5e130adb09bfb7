"""The LSTM: against torch's own, and what its cache and its spec are for.

What it shares with other families stands in the suites.
"""

import pytest
import torch
import torch.nn.functional as F
from tests.families.variants import CONTEXT, LANES, TARGETS, VOCAB, scalar, value_and_grads
from torch import Tensor, nn

from scalelab.families import build
from scalelab.families.layout import Layout
from scalelab.families.lstm.model import Lstm
from scalelab.families.lstm.spec import Lstm as Spec
from scalelab.generate.lanes import Lanes
from scalelab.generate.sampling import GREEDY
from scalelab.layers.parameters import roles
from scalelab.layers.spec import Init

CLOSE = {"rtol": 1e-4, "atol": 2e-5}
EXACT = {"rtol": 0, "atol": 0}


def made(given: Spec) -> Lstm:
    """A model in which everything tells: large embeddings, and biases that differ."""
    model = build(given, VOCAB, CONTEXT)
    assert isinstance(model, Lstm)
    model.initialise(0)
    generator = torch.Generator().manual_seed(7)
    for name, weight in model.named_parameters():
        if "bias" in name or "embedding" in name:
            torch.nn.init.normal_(weight, generator=generator)
    return model


@pytest.fixture(
    params=[Spec(), Spec(layers=1), Spec(layers=3, width=24, tied=True, init=Init(kind="xavier"))],
    ids=["two", "one", "three"],
)
def lstm(request: pytest.FixtureRequest) -> Lstm:
    return made(request.param)


def by_torch(model: Lstm, tokens_BT: Tensor) -> Tensor:
    """Its features, by nn.LSTM."""
    x_BTD = F.embedding(tokens_BT, model.embedding.weight)
    for index, layer in enumerate(model.layers):
        own = dict(layer.named_parameters())
        module = nn.LSTM(x_BTD.shape[-1], x_BTD.shape[-1], batch_first=True)
        names = {
            "weight_ih_l0": "input",
            "weight_hh_l0": "recurrent",
            "bias_ih_l0": "input_bias",
            "bias_hh_l0": "recurrent_bias",
        }
        module.load_state_dict({torchs: own[f"{name}.weight"] for torchs, name in names.items()})
        y_BTD = module(x_BTD)[0]
        x_BTD = x_BTD + y_BTD if index else y_BTD
    return x_BTD


def test_it_is_torchs_lstm_with_residual_connections(lstm: Lstm, tokens_BT: Tensor):
    torch.testing.assert_close(lstm.trunk(tokens_BT), by_torch(lstm, tokens_BT), **CLOSE)
    torch.testing.assert_close(
        lstm(tokens_BT), lstm.trunk(tokens_BT) @ lstm.head_weight.t(), **CLOSE
    )


def test_a_tied_head_is_the_embedding(lstm: Lstm):
    assert (lstm.head_weight is lstm.embedding.weight) == lstm.config.tied
    assert ("output.weight" in lstm.state_dict()) != lstm.config.tied


@pytest.mark.parametrize("forget", [1.0, -0.5])
def test_forget_gates_begin_where_they_are_told(forget: float):
    model = build(Spec(width=5, forget=forget), VOCAB, CONTEXT).initialise(3)
    biases = {name: weight for name, weight in model.named_parameters() if "bias" in name}
    total_GD = (
        biases["layers.1.input_bias.weight"] + biases["layers.1.recurrent_bias.weight"]
    ).view(4, 5)
    assert total_GD.tolist() == [[0.0] * 5, [forget] * 5, [0.0] * 5, [0.0] * 5]


def test_weights_are_drawn_as_told():
    drawn = build(Spec(width=64, init=Init(std=0.3)), VOCAB, CONTEXT).initialise(0).state_dict()
    assert float(drawn["embedding.weight"].std()) == pytest.approx(0.3, rel=0.1)
    assert float(drawn["layers.0.recurrent.weight"].std()) == pytest.approx(1 / 8, rel=0.05)
    assert float(drawn["layers.1.input.weight"].std()) == pytest.approx(1 / 8, rel=0.05)
    again, other = (
        build(Spec(width=64, init=Init(std=0.3)), VOCAB, CONTEXT).initialise(seed).state_dict()
        for seed in (0, 1)
    )
    assert all(torch.equal(drawn[name], again[name]) for name in drawn)
    assert not torch.equal(drawn["layers.0.input.weight"], other["layers.0.input.weight"])


def test_roles_and_sizes(lstm: Lstm):
    """For each layer 8 D^2 in matrices and 8 D in biases."""
    given, role_of = lstm.config, roles(lstm)
    sizes = {
        role: sum(
            weight.numel() for name, weight in lstm.named_parameters() if role_of[name] == role
        )
        for role in role_of.values()
    }
    assert isinstance(given.width, int)
    assert sizes.pop("matrix") == given.layers * 8 * given.width**2
    assert sizes.pop("gain") == given.layers * 8 * given.width
    assert sizes == {"embedding": VOCAB * given.width} | (
        {} if given.tied else {"head": VOCAB * given.width}
    )


def test_no_position_sees_a_later_token(lstm: Lstm, tokens_BT: Tensor):
    before = lstm(tokens_BT)
    for place in (1, CONTEXT // 2, CONTEXT - 1):
        changed = tokens_BT.clone()
        changed[:, place] = (changed[:, place] + 1) % VOCAB
        after = lstm(changed)
        torch.testing.assert_close(after[:, :place], before[:, :place], **EXACT)
        assert ((after[:, place:] - before[:, place:]).abs().amax(-1) > 1e-7).all()


def test_the_positions_asked_for(lstm: Lstm, tokens_BT: Tensor, at_BM: Tensor):
    x_BTD, routings = lstm.run(tokens_BT, Layout(prefix_B=torch.tensor([4, 9, 1])))
    assert routings == []
    expected = x_BTD.gather(1, at_BM[..., None].expand(LANES, TARGETS, x_BTD.shape[-1]))
    assert torch.equal(lstm.trunk(tokens_BT, Layout(at_BM)), expected)


def test_recomputed_activations_have_the_same_bits(lstm: Lstm, tokens_BT: Tensor, at_BM: Tensor):
    found = []
    for lstm.recompute in (False, True):
        x_BMD = lstm.trunk(tokens_BT, Layout(at_BM))
        found.append((x_BMD.detach(), *value_and_grads(lstm, scalar(lstm.head(x_BMD)))))
    assert len(found[0][2]) == len(list(lstm.parameters()))
    torch.testing.assert_close(found[1], found[0], **EXACT)


def test_bf16_stays_near_fp32(lstm: Lstm, tokens_BT: Tensor):
    expected = lstm.trunk(tokens_BT)
    with torch.autocast("cpu", torch.bfloat16):
        found = lstm.trunk(tokens_BT)
        assert found.dtype == lstm.head(found).dtype == torch.bfloat16
    scalar(found.float()).backward()
    assert all(
        weight.grad is not None and weight.grad.isfinite().all()
        for weight in lstm.layers.parameters()
    )
    assert float(((found - expected).abs().mean() / expected.abs().mean()).detach()) < 0.05


def test_embeddings_are_dropped_in_training_alone(tokens_BT: Tensor):
    model = made(Spec(embedding_dropout=0.5))
    assert not torch.equal(model(tokens_BT), model(tokens_BT))
    with torch.no_grad():
        assert torch.equal(model(tokens_BT), model(tokens_BT))


def test_saved_weights_load_into_a_fresh_model(lstm: Lstm, tokens_BT: Tensor):
    fresh = build(lstm.config, VOCAB, CONTEXT).initialise(1)
    fresh.load_state_dict(lstm.state_dict())
    assert torch.equal(fresh(tokens_BT), lstm(tokens_BT))


def test_chunks_of_any_size_and_lanes_of_their_own_length(lstm: Lstm, tokens_BT: Tensor):
    """With padding behind a lane's real tokens, which must leave no trace, and lanes that pause."""
    expected, generator = lstm(tokens_BT), torch.Generator().manual_seed(3)
    with torch.inference_mode():
        cache, at_B = lstm.new_cache(LANES, CONTEXT), torch.zeros(LANES, dtype=torch.long)
        for size in (6, 3, 9, 1, 1, 4, 9, 9):
            length_B = torch.randint(0, size + 1, (LANES,), generator=generator).minimum(
                CONTEXT - at_B
            )
            place_BT = (at_B[:, None] + torch.arange(size)).clamp(max=CONTEXT - 1)
            chunk_BT = torch.where(
                torch.arange(size) < length_B[:, None], tokens_BT.gather(1, place_BT), VOCAB - 1
            )
            found = lstm.decode(chunk_BT, cache, Layout(length_B=length_B))
            for lane, length in enumerate(length_B.tolist()):
                begin = int(at_B[lane])
                torch.testing.assert_close(
                    found[lane, :length], expected[lane, begin : begin + length], **CLOSE
                )
            at_B = at_B + length_B
        assert 0 < int(at_B.min()) < int(at_B.max())


def test_lanes_leave_the_cache(lstm: Lstm, tokens_BT: Tensor):
    kept = torch.tensor([2, 0])
    with torch.inference_mode():
        cache = lstm.new_cache(LANES, CONTEXT)
        lstm.decode(tokens_BT[:, :6], cache)
        going = cache.select(kept)
        assert (cache.lanes, going.lanes, going.length) == (LANES, 2, CONTEXT)
        found = lstm.decode(tokens_BT[kept, 6:8], going)
    torch.testing.assert_close(found, lstm(tokens_BT)[kept, 6:8], **CLOSE)


def test_bytes_of_a_cache():
    """An output and a cell, fp32, for each layer and lane, however long the text."""
    model = made(Spec(layers=3, width=8))
    assert model.new_cache(5, 4).nbytes == model.new_cache(5, CONTEXT).nbytes == 5 * 3 * 2 * 8 * 4
    with torch.autocast("cpu", torch.bfloat16):
        assert model.new_cache(5, 4).nbytes == 5 * 3 * 2 * 8 * 4


def test_lanes_write_the_same_with_a_cache_and_without(lstm: Lstm):
    """Prompts of different lengths, and a lane that leaves."""
    written: list[list[list[int]]] = []
    for cached in (True, False):
        lanes = Lanes(lstm, [[3], [5, 7, 2], [4, 4]], 8, GREEDY, cached=cached)
        lanes.begin()
        lanes.step()
        lanes.close(1)
        lanes.leave()
        lanes.step()
        written.append(lanes.texts.text_BL[:, :6].tolist())
    assert written[0] == written[1]


def test_decoding_under_autocast(lstm: Lstm, tokens_BT: Tensor):
    expected = lstm(tokens_BT)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = lstm.decode(tokens_BT, lstm.new_cache(LANES, CONTEXT))
    assert float(((found - expected).abs().mean() / expected.abs().mean()).detach()) < 0.05


@pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"
)  # torch.compile does that itself
@pytest.mark.parametrize("recompute", [False, True])
def test_it_compiles(recompute: bool, tokens_BT: Tensor, at_BM: Tensor):
    """Over few positions: the graph holds each of them."""
    model, tokens_BT, at_BM = made(Spec()), tokens_BT[:, :5], at_BM % 5
    model.recompute = recompute

    def value(tokens_BT: Tensor) -> Tensor:
        return scalar(model.head(model.trunk(tokens_BT, Layout(at_BM))))

    torch._dynamo.reset()
    compiled = torch.compile(value, fullgraph=True, dynamic=False, backend="aot_eager")
    found, found_grads = value_and_grads(model, compiled(tokens_BT))
    expected, grads = value_and_grads(model, value(tokens_BT))
    torch.testing.assert_close((found, found_grads), (expected, grads), rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("recompute", [False, True])
def test_a_gpu_computes_the_same(lstm: Lstm, recompute: bool, tokens_BT: Tensor, at_BM: Tensor):
    value, grads = value_and_grads(lstm, scalar(lstm.head(lstm.trunk(tokens_BT, Layout(at_BM)))))
    model = lstm.cuda()
    model.recompute = recompute
    found, found_grads = value_and_grads(
        model, scalar(model.head(model.trunk(tokens_BT.cuda(), Layout(at_BM.cuda()))))
    )
    torch.testing.assert_close(found.cpu(), value, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close([grad.cpu() for grad in found_grads], grads, rtol=1e-3, atol=1e-3)
    with torch.autocast("cuda", torch.bfloat16):
        half_BTD = model.trunk(tokens_BT.cuda())
        assert half_BTD.dtype == torch.bfloat16
        scalar(half_BTD.float()).backward()
    with torch.inference_mode():
        torch.testing.assert_close(
            model.decode(tokens_BT.cuda(), model.new_cache(LANES, CONTEXT)),
            model(tokens_BT.cuda()),
            rtol=1e-3,
            atol=1e-3,
        )
