"""The arithmetic test, held against answers that are really decoded, token by token."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pytest
import torch
from torch import Tensor

from scalelab import families as spec
from scalelab.core.events import Interrupted
from scalelab.evaluate.excerpt import QUESTIONS
from scalelab.evaluate.routes import Tally
from scalelab.evaluate.token_kinds import kinds
from scalelab.families import build as build_model
from scalelab.families.cost import forward_flops
from scalelab.families.layer_router.model import LayerRouter
from scalelab.families.layout import Layout
from scalelab.spec.experiment import Trial
from scalelab.tasks.arithmetic.data import ASKED, END, VOCAB, ArithmeticData, Sums
from scalelab.tasks.arithmetic.evaluate import SAMPLE, ArithmeticTest
from scalelab.tasks.arithmetic.spec import Arithmetic

TASKS = {
    "addition": Arithmetic(length=2, longest=4),
    "reversed": Arithmetic(length=2, longest=3, reversed=True),
    "multiplication": Arithmetic(operation="multiplication", length=1, longest=2),
    "chain": Arithmetic(operation="chain", length=2, longest=3),
}


@dataclass
class Calculator:
    """In the model's place: works a problem out, and errs now and then: always with the same text
    in front of it.
    """

    task: Arithmetic
    errs: Callable[[str], bool] = lambda text: False

    def trunk(self, tokens_BT: Tensor, layout: Layout) -> Tensor:
        prefix_B, at_BM = layout.prefix_B, layout.targets_BM
        assert prefix_B is not None
        assert at_BM is not None
        logits_BMV = torch.zeros(*at_BM.shape, VOCAB)
        for row, places in enumerate(at_BM.tolist()):
            assert tokens_BT[row, prefix_B[row] - 1] == ord(
                "="
            )  # a prefix mask shows the question, and no more
            for column, place in enumerate(places):
                logits_BMV[row, column, self.follows(tokens_BT[row, : place + 1].tolist())] = 1
        return logits_BMV

    def head(self, x: Tensor) -> Tensor:
        return x

    def follows(self, tokens: list[int]) -> int:
        text = "".join(map(chr, tokens))
        question, _, begun = text.partition("=")
        if "=" not in text or begun != self.answer(question)[: len(begun)] or self.errs(text):
            return ord("?")
        return (
            ord(self.answer(question)[len(begun)])
            if len(begun) < len(self.answer(question))
            else END
        )

    def answer(self, question: str) -> str:
        if self.task.operation != "chain":
            answer = str(eval(question))  # digits and one sign
            return answer[::-1] if self.task.reversed else answer
        value = int(question[0])
        for sign, digit in zip(question[1::2], question[2::2], strict=True):
            value = int(eval(f"{value}{sign}{digit}")) % 10
        return str(value)


def trial(task: Arithmetic, **changes: Any) -> Trial:
    found = Trial.model_validate({"task": task.model_dump(), "budget": {"steps": 1}, **changes})
    return found.model_copy(update={"model": found.model.resolved()})


def measuring(
    task: Arithmetic, stopping: Callable[[], bool] = lambda: False, **changes: Any
) -> ArithmeticTest:
    return ArithmeticTest(trial(task, **changes), ArithmeticData(task), "cpu", stopping)


def decoded(model: Calculator, question: str, limit: int) -> str:
    """What greedy decoding writes after a question, its own tokens in front of it."""
    tokens: list[int] = list(map(ord, question))
    for _ in range(limit):
        tokens.append(model.follows(tokens))
        if tokens[-1] == END:
            return "".join(map(chr, tokens[len(question) : -1]))
    return ""


def hashed(share: float) -> Callable[[str], bool]:
    return lambda text: hashlib.sha256(text.encode()).digest()[0] < 256 * share


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_a_calculator_answers_everything(task: Arithmetic) -> None:
    found = measuring(task).full(Calculator(task))
    shares = {
        "accuracy",
        "accuracy_questions",
        "accuracy_longer",
        *(f"accuracy_{length}" for length in range(1, task.longest + 1)),
    }
    assert {name: found[name] for name in shares} == dict.fromkeys(shares, 1.0)
    assert found.keys() == shares | {"validation_loss", "flops_per_token"}
    assert {*task.concludes} - {"loss"} == found.keys()
    quick = measuring(task).quick(Calculator(task))
    assert {*task.measures} - {"loss"} == quick.keys()
    assert quick["accuracy"] == 1
    sure = math.log(math.e + VOCAB - 1) - 1  # one logit of 1 among zeros
    assert (quick["validation_loss"], found["validation_loss"]) == pytest.approx((sure, sure))


@pytest.mark.parametrize("share", [0.05, 0.3])
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_an_answer_counts_where_greedy_decoding_writes_it(task: Arithmetic, share: float) -> None:
    model, data = Calculator(task, hashed(share)), ArithmeticData(task)
    found = measuring(task).full(model)
    shares: dict[int, float] = {}
    count: dict[int, int] = {}
    for length in range(1, task.longest + 1):
        texts = [text.partition("=") for text in data.questions(length).texts()]
        right = [
            decoded(model, f"{question}=", data.shape.context) == answer
            for question, _, answer in texts
        ]
        shares[length], count[length] = sum(right) / len(right), len(right)
        assert found[f"accuracy_{length}"] == shares[length]
    assert 0 < min(shares.values()) < max(shares.values()) <= 1
    trained = [shares[length] for length in range(1, task.length + 1)]
    longer = [shares[length] for length in range(task.length + 1, task.longest + 1)]
    assert found["accuracy"] == pytest.approx(sum(trained) / len(trained))
    assert found["accuracy_longer"] == pytest.approx(sum(longer) / len(longer))
    right = sum(shares[length] * count[length] for length in range(1, task.length + 1))
    asked = sum(count[length] for length in range(1, task.length + 1))
    assert found["accuracy_questions"] == pytest.approx(right / asked)
    assert {count[length] for length in count if length > 1} == {ASKED}


def test_a_model_that_knows_the_ten_shortest_alone_answers_half_of_the_lengths() -> None:
    """And 10 of 510 questions, whether all or a sample of them is asked."""
    task = Arithmetic(length=2, longest=2)
    test = measuring(task)
    model = Calculator(task, lambda text: len(text.partition("=")[0]) > len("1+2"))
    for found in (test.full(model), test.quick(model)):
        assert found["accuracy"] == 0.5
        assert found["accuracy_questions"] == pytest.approx(10 / 510)


def test_the_loss_is_the_mean_nats_of_an_answers_token_over_the_lengths_that_are_trained_on() -> (
    None
):
    task = Arithmetic(length=2, longest=3)
    given, data = trial(task, model={"width": 32, "layers": 1}), ArithmeticData(task)
    model = build_model(given.model, VOCAB, data.shape.context).initialise(0)
    by_length: list[float] = []
    for length in (1, 2):
        rows = data.questions(length)
        tokens_RS, targets_RM = (
            torch.from_numpy(rows.tokens_RS.astype("int64")),
            torch.from_numpy(rows.targets_RM),
        )
        with torch.no_grad():
            logits_RTV = model(tokens_RS[:, :-1]).double()
        nats_RT = torch.nn.functional.cross_entropy(
            logits_RTV.mT, tokens_RS[:, 1:], reduction="none"
        )
        bears_RM = torch.from_numpy(rows.weights_RM) > 0
        by_length.append(nats_RT.gather(1, targets_RM)[bears_RM].mean().item())
    found = ArithmeticTest(given, data).full(model)
    assert found["validation_loss"] == pytest.approx(sum(by_length) / 2, rel=1e-6)
    few = ArithmeticTest(given, data).quick(model)["validation_loss"]
    assert few == pytest.approx(found["validation_loss"], rel=0.1)
    assert few != found["validation_loss"]
    targets = data.questions(1).targets_RM.shape[1]
    assert (
        found["flops_per_token"]
        == forward_flops(given.model, VOCAB, data.shape.context, targets) / data.shape.context
    )


def test_a_missing_end_is_no_answer() -> None:
    """The digits of a sum that goes on are another number."""
    task = TASKS["addition"]

    class Endless(Calculator):
        def follows(self, tokens: list[int]) -> int:
            following = super().follows(tokens)
            return ord("0") if following == END else following

    assert measuring(task).full(Endless(task))["accuracy"] == 0


def test_without_longer_lengths_none_are_told() -> None:
    task = Arithmetic(length=2, longest=2)
    assert measuring(task).full(Calculator(task)).keys() >= {"accuracy", "accuracy_1", "accuracy_2"}
    assert "accuracy_longer" not in measuring(task).full(Calculator(task))


def test_a_quick_look_asks_a_sample_of_the_lengths_that_are_trained_on() -> None:
    task = TASKS["addition"]
    model = Calculator(task, hashed(0.2))
    asked: list[str] = []

    def errs(text: str) -> bool:
        asked.append(text)
        return hashed(0.2)(text)

    test = measuring(task)
    quick = test.quick(Calculator(task, errs))
    assert quick == test.quick(model)
    questions = {text.partition("=")[0] for text in asked}
    assert max(len(question) for question in questions) <= len("99+99")
    assert len(questions) <= 2 * SAMPLE
    assert quick["accuracy"] == pytest.approx(test.full(model)["accuracy"], abs=0.1)


@pytest.mark.parametrize("mask", ["causal", "prefix"])
def test_a_transformer_is_scored_as_it_decodes(mask: str) -> None:
    """A model that has learned some of the questions by heart: what it writes by itself
    says which.
    """
    task = Arithmetic(length=1, longest=2)
    given, data = trial(task, model={"mask": mask, "width": 64, "layers": 1}), ArithmeticData(task)
    model = build_model(given.model.resolved(), VOCAB, data.shape.context).initialise(0)
    taught(model, data.questions(2), steps=50)
    found = ArithmeticTest(given, data).full(model)
    for length in (1, 2):
        rows = data.questions(length)
        assert found[f"accuracy_{length}"] == sum(written(model, rows)) / len(rows.tokens_RS)
    assert 0.1 < found["accuracy_2"] < 0.5


def written(model: torch.nn.Module, rows: Sums) -> list[bool]:
    """Whether each question's answer is what the model writes, its own tokens in front of it."""
    tokens_RS = torch.from_numpy(rows.tokens_RS.astype("int64"))
    text_RS, asked_R, row_R = (
        tokens_RS.clone(),
        torch.from_numpy(rows.targets_RM[:, 0] + 1),
        torch.arange(len(tokens_RS)),
    )
    ended_R = torch.zeros(len(tokens_RS), dtype=torch.bool)
    for more in range(rows.targets_RM.shape[1]):
        place_R = (asked_R + more).clamp(max=tokens_RS.shape[1] - 1)
        with torch.no_grad():
            token_R = model(text_RS[:, :-1], Layout(prefix_B=asked_R))[row_R, place_R - 1].argmax(
                -1
            )
        text_RS[row_R, place_R] = torch.where(ended_R, text_RS[row_R, place_R], token_R)
        text_RS[row_R] = torch.where(
            torch.arange(tokens_RS.shape[1]) > place_R[:, None], END, text_RS
        )
        ended_R = ended_R | (token_R == END)
    return (ended_R & (text_RS == tokens_RS).all(1)).tolist()


def taught(model: torch.nn.Module, rows: Sums, steps: int) -> None:
    tokens_RS = torch.from_numpy(rows.tokens_RS[:100].astype("int64"))
    targets_RM, weights_RM = (
        torch.from_numpy(rows.targets_RM[:100]),
        torch.from_numpy(rows.weights_RM[:100]),
    )
    labels_RM = tokens_RS.gather(1, targets_RM + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        logits_RMV = model(tokens_RS[:, :-1], Layout(prefix_B=targets_RM[:, 0] + 1)).take_along_dim(
            targets_RM[..., None], 1
        )
        nats_RM = torch.nn.functional.cross_entropy(logits_RMV.mT, labels_RM, reduction="none")
        ((nats_RM * weights_RM).sum() / weights_RM.sum()).backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("lanes", [64, 100_000])
def test_the_routes_are_those_of_all_questions_without_what_fills_their_windows(
    lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalelab.tasks.arithmetic.evaluate._LANES", {"cpu": lanes})
    task = TASKS["chain"]
    given, data = (
        trial(
            task,
            model={
                "kind": "layer_router",
                "layers": 3,
                "identity": 1,
                "halting": {"kind": "act", "epsilon": 0.6},
            },
        ),
        ArithmeticData(task),
    )
    router = build_model(given.model, VOCAB, data.shape.context).initialise(0)
    assert isinstance(router, LayerRouter)
    assert isinstance(given.model, spec.LayerRouter)
    for weight in router.parameters():
        weight.data *= 2  # far from even
    found, tally, losses = (
        ArithmeticTest(given, data).full(router),
        Tally(given.model.layer_pool, kinds(data.tokenizer, VOCAB)),
        list[list[float]](),
    )
    for length in range(1, task.longest + 1):
        rows = data.questions(length)
        tokens_RT, targets_RM = (
            torch.from_numpy(rows.tokens_RS.astype("int64"))[:, :-1],
            torch.from_numpy(rows.targets_RM),
        )
        with torch.no_grad():
            reading = router.eval().run_steps(
                tokens_RT, Layout(targets_RM, targets_RM[:, 0] + 1), each_step=True
            )
        ends_R = torch.tensor([len(text) for text in rows.texts()])
        tally.add(reading, tokens_RT, torch.arange(tokens_RT.shape[1]) < ends_R[:, None])
        label_RM = torch.from_numpy(rows.tokens_RS.astype("int64")).gather(1, targets_RM + 1)
        bears_RM = torch.from_numpy(rows.weights_RM) > 0
        features = [reading.final_BMD, *reading.each_step]
        nats = [
            torch.nn.functional.cross_entropy(
                router.head(x_RMD).detach()[bears_RM], label_RM[bears_RM]
            ).item()
            for x_RMD in features
        ]
        losses += [nats] if length <= task.length else []
    told = tally.values()
    # Queries are filled up to the most of a batch: other batches run a little more or less.
    assert found["flops_per_token"] == pytest.approx(told.pop("flops_per_token"), rel=0.1)
    assert {name: found[name] for name in told} == pytest.approx(told, rel=1e-4, abs=1e-9)
    wanted = [sum(nats) / len(nats) for nats in zip(*losses, strict=True)]
    assert [
        found["validation_loss"],
        *(found[f"loss_step_{step}"] for step in (1, 2, 3)),
    ] == pytest.approx(wanted, rel=1e-5)
    assert 1 < found["steps_mean"] < 3


def test_a_router_leaves_some_questions_of_every_length_with_their_routes() -> None:
    task = TASKS["addition"]
    given, data = trial(task, model={"kind": "layer_router", "layers": 2}), ArithmeticData(task)
    router = build_model(given.model, VOCAB, data.shape.context).initialise(0)
    told = json.loads(
        unquote(ArithmeticTest(given, data).notes(router)["routes"].partition(",")[2])
    )
    each = QUESTIONS // task.longest
    asked = [
        text
        for length in range(1, task.longest + 1)
        for text in data.questions(length).texts()[:each]
    ]
    assert ["".join(row["tokens"]) for row in told["rows"]] == asked
    assert {count for row in told["rows"] for count in row["used"]} == {2}
    plain = trial(task)
    assert (
        ArithmeticTest(plain, data).notes(
            build_model(plain.model, VOCAB, data.shape.context).initialise(0)
        )
        == {}
    )


def test_the_test_stops_when_it_is_asked_to() -> None:
    left = iter([False, False])
    model: Any = Calculator(TASKS["addition"])
    with pytest.raises(Interrupted):
        measuring(TASKS["addition"], lambda: next(left, True)).full(model)
