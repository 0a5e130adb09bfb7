"""The text test, held against the loop that says what it measures, and against models whose loss is
known.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scalelab import families as spec
from scalelab.core.events import Interrupted
from scalelab.core.metrics import is_detail
from scalelab.core.seeds import derive
from scalelab.data.text.tokenizers.bytes import Bytes
from scalelab.evaluate.excerpt import BYTES
from scalelab.evaluate.routes import Tally, routes
from scalelab.evaluate.token_kinds import kinds
from scalelab.families import build as build_model
from scalelab.families.cost import forward_flops
from scalelab.families.language_model import LanguageModel
from scalelab.families.layer_router.model import LayerRouter
from scalelab.families.layout import Layout
from scalelab.spec.experiment import Trial
from scalelab.tasks.text.evaluate import PROBE, SAMPLE, TEST, TextTest
from scalelab.tasks.text.objectives import documents, examples, targets
from scalelab.tasks.text.spec import Text

VOCAB, EOS, CONTEXT = 23, 22, 16
OBJECTIVES: dict[str, tuple[str, dict[str, Any]]] = {
    "causal": ("causal", {}),
    "apart": ("causal", {"documents": "apart"}),
    "prefix": ("prefix", {"objective": {"kind": "prefix"}}),
    "prefix_apart": ("prefix", {"objective": {"kind": "prefix"}, "documents": "apart"}),
    "masked": ("full", {"objective": {"kind": "masked", "share": 0.3}}),
    "masked_apart": ("full", {"objective": {"kind": "masked", "share": 0.3}, "documents": "apart"}),
    "one": ("full", {"objective": {"kind": "masked", "one": True}}),
}


@dataclass
class Corpus:
    """In the place of `TextData`: random tokens as held-out text."""

    task: Text
    windows: int = 50
    vocab: int = VOCAB
    eos: int = EOS
    bytes_per_token_of_the_test: float = 3.5
    asked: list[tuple[str, int | None]] = field(default_factory=list)

    @property
    def manifest(self) -> "Corpus":
        return self

    @property
    def shape(self) -> Any:
        return Shape(
            self.vocab + (self.task.objective.kind == "masked"),
            self.task.context,
            targets(self.task),
        )

    @property
    def tokenizer(self) -> Bytes:
        return Bytes()

    def held_out(self, split: str, limit: int | None = None) -> np.ndarray[Any, Any]:
        self.asked.append((split, limit))
        drawn = np.random.default_rng(["validation", "test"].index(split))
        every = drawn.integers(0, self.vocab, (self.windows, self.task.context + 1), dtype=np.int32)
        return (
            every
            if limit is None or limit >= len(every)
            else every[np.arange(limit) * len(every) // limit]
        )

    def bytes_per_token(self, split: str) -> float:
        assert split == "test"
        return self.bytes_per_token_of_the_test

    def floor(self, split: str) -> float | None:
        assert split == "test"
        return None if self.task.corpus.source == "shakespeare" else math.log(self.vocab)


@dataclass(frozen=True)
class Shape:
    vocab: int
    context: int
    targets: int


def trial(mask: str = "causal", task: dict[str, Any] | None = None, **changes: Any) -> Trial:
    data = {
        "task": {"kind": "text", "context": CONTEXT, **(task or {})},
        "model": {"mask": mask},
        "budget": {"steps": 1},
        "batch": 4,
    }
    found = Trial.model_validate(data | changes)
    return found.model_copy(update={"model": found.model.resolved()})


def corpus(given: Trial, **changes: Any) -> Corpus:
    assert isinstance(given.task, Text)
    return Corpus(given.task, **changes)


def made(given: Trial, data: Corpus) -> LanguageModel:
    model = build_model(given.model.resolved(), data.shape.vocab, CONTEXT).initialise(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2)  # far from uniform
    return model


def measuring(given: Trial, data: Corpus, stopping: Callable[[], bool] = lambda: False) -> TextTest:
    return TextTest(given, data, "cpu", stopping)  # pyright: ignore[reportArgumentType]


def told(model: LanguageModel, given: Trial, data: Corpus, split: str) -> Iterator[float]:
    """Nats of every prediction of a split, one window at a time, in float64."""
    model = model.double()
    for row, window_S in enumerate(data.held_out(split)):
        seen = examples(
            data.task, data, window_S[None], np.array([row]), derive(0, "held out", split)
        )
        tokens_1T = torch.from_numpy(seen.tokens_BT.astype(np.int64))
        prefix_1 = None if seen.prefix_B is None else torch.from_numpy(seen.prefix_B)
        document_1T = None if seen.document_BT is None else torch.from_numpy(seen.document_BT)
        layout = Layout(prefix_B=prefix_1, document_BT=document_1T)
        logits_TV = model.head(model.trunk(tokens_1T, layout))[0]
        at_M = np.arange(CONTEXT) if seen.targets_BM is None else seen.targets_BM[0]
        for column, position in enumerate(at_M):
            if seen.weights_BM is None or seen.weights_BM[0, column]:
                yield F.cross_entropy(
                    logits_TV[position], torch.tensor(int(seen.labels_BM[0, column]))
                ).item()


@pytest.mark.parametrize(("mask", "task"), OBJECTIVES.values(), ids=OBJECTIVES.keys())
def test_the_losses_are_those_of_a_loop_over_the_windows(
    mask: str, task: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalelab.tasks.text.evaluate._POSITIONS", {"cpu": 7 * CONTEXT})
    monkeypatch.setattr("scalelab.tasks.text.evaluate._LOGITS", {"cpu": 5 * VOCAB})
    given = trial(mask, task)
    data = corpus(given)
    model = made(given, data)
    found = measuring(given, data).full(model)
    with torch.no_grad():
        validation, test = (
            np.mean(list(told(model, given, data, split))) for split in ("validation", "test")
        )
    assert found["validation_loss"] == pytest.approx(validation, rel=1e-6)
    assert found["test_loss"] == pytest.approx(test, rel=1e-6)
    assert found["perplexity"] == math.exp(found["test_loss"])
    if task:
        assert "bits_per_byte" not in found  # not every byte is coded
    else:
        assert found["bits_per_byte"] == pytest.approx(
            found["test_loss"] / math.log(2) / 3.5, rel=1e-12
        )
    assert ("pseudo_perplexity" in found) == (mask == "full")
    assert abs(test - math.log(VOCAB)) > 0.05


def test_tokens_of_a_masked_model_are_predicted_one_at_a_time() -> None:
    given = trial("full", {"objective": {"kind": "masked"}, "documents": "apart"})
    data = corpus(given, windows=3)
    model = made(given, data)
    found = measuring(given, data).full(model)["pseudo_perplexity"]
    nats, model = [], model.double()
    for window_S in data.held_out("test"):
        layout = Layout(document_BT=torch.from_numpy(documents(window_S[None, :-1], EOS)))
        for position in range(CONTEXT):
            tokens_1T = torch.from_numpy(window_S[None, :-1].astype(np.int64))
            label, tokens_1T[0, position] = tokens_1T[0, position].clone(), VOCAB
            with torch.no_grad():
                logits_V = model.head(model.trunk(tokens_1T, layout))[0, position]
            nats.append(F.cross_entropy(logits_V, label).item())
    assert found == pytest.approx(math.exp(np.mean(nats)), rel=1e-6)


@dataclass
class Bigrams:
    """In the model's place: the next token depends on the last one alone."""

    logits_VV: Tensor
    most: int = 0

    def trunk(self, tokens_BT: Tensor, layout: Layout) -> Tensor:
        at_BM = layout.targets_BM
        return tokens_BT if at_BM is None else tokens_BT.gather(1, at_BM)

    def head(self, x: Tensor) -> Tensor:
        self.most = max(self.most, x.numel() * self.logits_VV.shape[1])
        return self.logits_VV[x]


@pytest.mark.parametrize(("mask", "task"), OBJECTIVES.values(), ids=OBJECTIVES.keys())
def test_a_uniform_model_is_as_perplexed_as_there_are_tokens(
    mask: str, task: dict[str, Any]
) -> None:
    given = trial(mask, task)
    data = corpus(given)
    found = measuring(given, data).full(Bigrams(torch.zeros(data.shape.vocab, data.shape.vocab)))
    assert found["perplexity"] == pytest.approx(data.shape.vocab, rel=1e-6)
    if not task:
        assert found["bits_per_byte"] == pytest.approx(math.log2(data.shape.vocab) / 3.5, rel=1e-6)
    assert found.get("pseudo_perplexity", data.shape.vocab) == pytest.approx(
        data.shape.vocab, rel=1e-6
    )


def test_no_model_of_random_text_beats_its_entropy() -> None:
    given = trial()
    data = corpus(given, windows=2000)
    uniform = math.log(VOCAB)
    for seed in range(5):
        logits_VV = torch.randn(VOCAB, VOCAB, generator=torch.Generator().manual_seed(seed))
        assert measuring(given, data).full(Bigrams(logits_VV))["test_loss"] > uniform


def test_a_model_that_is_sure_and_wrong_has_a_finite_perplexity() -> None:
    given = trial()
    logits_VV = torch.zeros(VOCAB, VOCAB)
    logits_VV[:, 0] = 1e5
    found = measuring(given, corpus(given)).full(Bigrams(logits_VV))
    assert found["test_loss"] > 1e4
    assert math.isfinite(found["perplexity"])


def test_logits_are_made_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalelab.tasks.text.evaluate._LOGITS", {"cpu": 10 * VOCAB})
    given, model = trial(), Bigrams(torch.zeros(VOCAB, VOCAB))
    measuring(given, corpus(given)).full(model)
    assert model.most == 10 * VOCAB


def test_a_sample_of_the_validation_split_is_scored_whatever_the_batch() -> None:
    given = trial()
    data = corpus(given, windows=5000)
    test, model = (
        measuring(given, data),
        Bigrams(torch.randn(VOCAB, VOCAB, generator=torch.Generator().manual_seed(0))),
    )
    quick, full = test.quick(model), test.full(model)
    assert quick.keys() == {"validation_loss"}
    assert (
        full["validation_loss"] == quick["validation_loss"] == test.quick(model)["validation_loss"]
    )
    assert data.asked == [("validation", SAMPLE // CONTEXT), ("test", TEST // CONTEXT)]
    assert {*Text().concludes} - {"loss"} == full.keys()
    assert measuring(trial(batch=SAMPLE), corpus(given, windows=5000)).quick(model) == quick


def test_a_long_context_is_scored_on_a_window_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalelab.tasks.text.evaluate.SAMPLE", CONTEXT - 1)
    monkeypatch.setattr("scalelab.tasks.text.evaluate.TEST", 3 * CONTEXT + 1)
    given = trial()
    data = corpus(given)
    measuring(given, data).full(Bigrams(torch.zeros(VOCAB, VOCAB)))
    assert sorted(data.asked) == [("test", 3), ("validation", 1)]


@pytest.mark.parametrize("objective", ["causal", "masked"])
def test_the_experts_are_told_of_the_whole_test_split(
    objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "scalelab.tasks.text.evaluate._POSITIONS", {"cpu": 7 * CONTEXT}
    )  # 50 windows: the last batch is short
    mask = "full" if objective == "masked" else "causal"
    given = trial(
        mask,
        {"objective": {"kind": objective}},
        model={"layers": 2, "mask": mask, "ffn": {"kind": "moe", "experts": 4, "chosen": 2}},
    )
    data = corpus(given)
    model = made(given, data)
    found = measuring(given, data).full(model)
    assert measuring(given, data).quick(model).keys() == {"validation_loss"}
    seen = examples(
        data.task, data, data.held_out("test"), np.arange(50), derive(0, "held out", "test")
    )  # pyright: ignore[reportArgumentType]
    at_BM = None if seen.targets_BM is None else torch.from_numpy(seen.targets_BM)
    with torch.no_grad():
        _, routings = model.eval().run(
            torch.from_numpy(seen.tokens_BT.astype(np.int64)), Layout(at_BM)
        )
    load_LE = torch.stack([routing.load_E for routing in routings])
    share_LE = load_LE / load_LE.sum(1, keepdim=True)
    for layer, share_E in enumerate(share_LE.tolist()):
        assert [found[f"test_load_{layer}_{expert}"] for expert in range(4)] == pytest.approx(
            share_E, abs=1e-6
        )
        assert all(is_detail(f"test_load_{layer}_{expert}") for expert in range(4))
    assert found["test_max_vio"] == pytest.approx(
        (4 * share_LE.amax(1) - 1).mean().item(), abs=1e-5
    )
    assert found["test_max_vio"] > 0.01
    assert not is_detail("test_max_vio")


ROUTED: dict[str, dict[str, Any]] = {
    "open": {"policy": "open", "identity": 1, "steps": 4},
    "halting": {"policy": "open", "halting": {"kind": "act", "epsilon": 0.6}},
    "sequence": {"policy": "closed", "granularity": "sequence"},
    "mean": {"policy": "learned", "loss": "mean"},
}


@pytest.mark.parametrize(
    "task",
    [{}, {"documents": "apart"}, {"objective": {"kind": "masked"}}],
    ids=["causal", "apart", "masked"],
)
@pytest.mark.parametrize("model", ROUTED.values(), ids=ROUTED.keys())
def test_the_routes_are_those_of_the_whole_validation_split(
    model: dict[str, Any], task: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "granularity" in model and "documents" in task:
        pytest.skip("the route of a sequence would go by its first document: refused")
    monkeypatch.setattr(
        "scalelab.tasks.text.evaluate._POSITIONS", {"cpu": 7 * CONTEXT}
    )  # 50 windows: the last batch is short
    mask = "full" if "objective" in task else "causal"
    given = trial(mask, task, model={"kind": "layer_router", "layers": 3, "mask": mask, **model})
    data = corpus(given)
    router = made(given, data)
    assert isinstance(router, LayerRouter)
    assert isinstance(given.model, spec.LayerRouter)
    found = measuring(given, data).full(router)
    tally, losses = Tally(given.model.layer_pool, kinds(Bytes(), data.shape.vocab)), list[Tensor]()
    seen = examples(
        data.task,
        data,
        data.held_out("validation"),
        np.arange(50),
        derive(0, "held out", "validation"),
    )  # pyright: ignore[reportArgumentType]
    parts = seen.tokens_BT.astype(np.int64), seen.targets_BM, seen.document_BT
    tokens_BT, at_BM, document_BT = (
        None if part is None else torch.from_numpy(part) for part in parts
    )
    assert tokens_BT is not None
    with torch.no_grad():
        layout = Layout(at_BM, document_BT=document_BT)
        reading = router.eval().run_steps(tokens_BT, layout, each_step=True)
    tally.add(reading, tokens_BT)
    bears_BM = (
        torch.ones(seen.labels_BM.shape, dtype=torch.bool)
        if seen.weights_BM is None
        else torch.from_numpy(seen.weights_BM) > 0
    )
    for x_BMD in reading.each_step:
        logits_BMV, label_BM = (
            router.head(x_BMD).detach().double(),
            torch.from_numpy(seen.labels_BM.astype(np.int64)),
        )
        losses.append(F.cross_entropy(logits_BMV[bears_BM], label_BM[bears_BM]))
    told = tally.values()
    assert {name: found[name] for name in told} == pytest.approx(told, rel=1e-5, abs=1e-9)
    assert found["flops_per_token"] == told["flops_per_token"]
    assert [found[f"loss_step_{step}"] for step in range(1, len(losses) + 1)] == pytest.approx(
        [loss.item() for loss in losses], rel=1e-6
    )
    assert len({round(loss, 6) for loss in map(float, losses)}) > 1
    assert measuring(given, data).quick(router).keys() == {"validation_loss"}


def test_flops_of_a_token_are_the_closed_forms_where_there_is_one() -> None:
    looped = trial(model={"kind": "layer_router", "layers": 2, "policy": "fixed", "steps": 4})
    plain = trial(model={"layers": 4})
    lstm = trial(model={"kind": "lstm"})
    flops: list[float] = []
    for given in (looped, plain, lstm):
        data = corpus(given)
        flops.append(measuring(given, data).full(made(given, data))["flops_per_token"])
        assert flops[-1] == forward_flops(given.model, data.shape.vocab, CONTEXT, CONTEXT) / CONTEXT
    assert flops[0] == flops[1] != flops[2]


def test_a_router_leaves_an_excerpt_and_others_leave_none() -> None:
    given = trial(model={"kind": "layer_router", "layers": 3, "halting": {"kind": "act"}})
    data = corpus(given, windows=80)
    router = made(given, data)
    assert isinstance(router, LayerRouter)
    url = measuring(given, data).notes(router)["routes"]
    told = json.loads(unquote(url.partition(",")[2]))
    shown = data.held_out("validation")[: len(told["rows"])]
    assert sum(len(row["tokens"]) for row in told["rows"]) == BYTES
    with torch.no_grad():
        reading = router.eval().run_steps(torch.from_numpy(shown[:, :-1].astype(np.int64)))
    route_RTS = routes(reading, shown[:, :-1].shape)
    for row, tokens_S, route_TS in zip(told["rows"], shown, route_RTS, strict=True):
        assert row["tokens"] == [chr(token) for token in tokens_S[: len(row["tokens"])]]
        taken = [[layer + 1 for layer in route_S if layer >= 0] for route_S in route_TS.tolist()]
        assert [told["routes"][at] for at in row["route"]] == taken[: len(row["tokens"])]
        assert row["used"] == [len(route) for route in taken[: len(row["tokens"])]]
    assert measuring(trial(), data).notes(Bigrams(torch.zeros(VOCAB, VOCAB))) == {}


def test_probes_are_spread_over_a_long_split() -> None:
    given = trial("full", {"objective": {"kind": "masked"}})
    data = corpus(given, windows=3000)
    seen: list[tuple[int, int]] = []
    test = measuring(given, data)
    for batch in test._one_at_a_time(data.held_out("test")):
        hidden_B, position_B = np.nonzero(batch.tokens_BT == VOCAB)
        assert np.array_equal(hidden_B, np.arange(len(batch.tokens_BT)))
        seen += [
            (int(position), int(label))
            for position, label in zip(position_B, batch.labels_BM[:, 0], strict=True)
        ]
    assert len(seen) == PROBE
    assert {position for position, _ in seen} == set(range(CONTEXT))


def test_the_test_stops_when_it_is_asked_to() -> None:
    given = trial()
    data, model = corpus(given, windows=5000), Bigrams(torch.zeros(VOCAB, VOCAB))
    left = iter([False, False])
    test = measuring(given, data, lambda: next(left, True))
    with pytest.raises(Interrupted):
        test.quick(model)


def test_dropout_is_off_and_the_mode_is_given_back() -> None:
    given = trial(model={"embedding_dropout": 0.5})
    data = corpus(given)
    model = made(given, data).train()
    test = measuring(given, data)
    assert test.full(model) == test.full(model)
    assert model.training
    model.eval()
    test.quick(model)
    assert not model.training


def test_a_bf16_trial_is_evaluated_in_bf16() -> None:
    fp32, bf16 = trial(), trial(precision="bf16")
    data = corpus(fp32)
    model = made(fp32, data)
    exact, rounded = (measuring(given, data).full(model)["test_loss"] for given in (fp32, bf16))
    assert exact != rounded
    assert rounded == pytest.approx(exact, rel=1e-2)
    assert measuring(bf16, data).full(model)["test_loss"] == rounded
