"""The recall test, held against models whose recall is known: oracles that answer from the table,
from the tool, or not at all.
"""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scalelab.core.events import Interrupted
from scalelab.families import build as build_model
from scalelab.families.layer_router.spec import LayerRouter
from scalelab.families.layout import Layout
from scalelab.families.transformer.spec import Transformer
from scalelab.tasks import build
from scalelab.tasks.facts.bits import missing_bits
from scalelab.tasks.facts.data import FactsData, Values
from scalelab.tasks.facts.database import Database
from scalelab.tasks.facts.dialogs import ANSWERS, QUESTIONS, names
from scalelab.tasks.facts.evaluate import PROBED, SAMPLE, RecallTest, is_exact
from scalelab.tasks.facts.people import cast
from scalelab.tasks.facts.pools import ATTRIBUTES
from scalelab.tasks.facts.spec import Facts
from scalelab.tasks.facts.tokens import ASSISTANT, DATABASE, EOD, USER, VOCAB, decode

Text = tuple[int, ...]
Says = Callable[[Text], dict[int, float]]
SURE = 1e4
PERSON = math.log2(17_136 * 7 * 213 * 100)
"""Bits of one person's independent values, 31.25."""


@dataclass
class Heard:
    tokens_BL: Tensor

    def select(self, lanes: Tensor) -> "Heard":
        return Heard(self.tokens_BL[lanes])


@dataclass
class Oracle:
    """In the model's place: says, for each text, how likely each next token is."""

    says: Says

    def new_cache(self, lanes: int, length: int) -> Heard:
        return Heard(torch.zeros(lanes, length, dtype=torch.int64))

    def decode(self, tokens_BT: Tensor, cache: Heard, layout: Layout) -> Tensor:
        start_B = torch.zeros(1, dtype=torch.int64) if layout.start_B is None else layout.start_B
        at_BT = start_B[:, None] + torch.arange(tokens_BT.shape[1]).expand(len(tokens_BT), -1)
        cache.tokens_BL.scatter_(1, at_BT, tokens_BT)
        return self.trunk(cache.tokens_BL, Layout(at_BT))

    def trunk(self, tokens_BT: Tensor, layout: Layout) -> Tensor:
        at_BM = layout.targets_BM
        assert at_BM is not None
        logits_BMV = torch.full((*at_BM.shape, VOCAB), -SURE)
        for lane, (text, positions) in enumerate(
            zip(tokens_BT.tolist(), at_BM.tolist(), strict=True)
        ):
            for slot, at in enumerate(positions):
                if ASSISTANT not in text[: at + 1] or EOD in text[: at + 1]:
                    continue  # nobody asks what comes next within a question or behind the end
                for token, chance in self.says(tuple(text[: at + 1])).items():
                    logits_BMV[lane, slot, token] = math.log(chance)
        return logits_BMV

    def head(self, x: Tensor) -> Tensor:
        return x


def table(data: FactsData) -> dict[Text, int]:
    """Every beginning of every dialog, and what comes next."""
    found: dict[Text, int] = {}
    for tokens in data.rows().tokens_RT.tolist():
        text = tuple(tokens[: tokens.index(EOD) + 1])
        found |= {text[:end]: text[end] for end in range(1, len(text))}
    return found


def by_heart(data: FactsData) -> Says:
    """Knows every dialog that it was trained on, the database's replies included, and never looks
    at what it is told.
    """
    known = table(data)
    truth = {
        text[: text.index(DATABASE)]: text
        for text in known
        if text[-1] == ASSISTANT and DATABASE in text
    }

    def says(text: Text) -> dict[int, float]:
        if DATABASE in text and ASSISTANT in text[text.index(DATABASE) :]:
            told = text.index(DATABASE)
            answer = told + text[told:].index(ASSISTANT)
            text = truth.get(text[:told], text[: answer + 1]) + text[answer + 1 :]
        return {known.get(text, EOD): 1.0}

    return says


@cache
def asked(question: str) -> tuple[str, str]:
    """The attribute and the name of a question."""
    for attribute, patterns in QUESTIONS.items():
        for pattern in patterns:
            match = re.fullmatch(re.escape(pattern).replace(r"\{name\}", "(.+)"), question)
            if match:
                return attribute, match[1]
    raise AssertionError(question)


def turns(text: Text) -> list[str]:
    """The text of each turn so far."""
    opens = [at for at, token in enumerate(text) if token >= USER]
    return [
        decode(np.array(text[begin + 1 : end], np.uint16))
        for begin, end in zip(opens, [*opens[1:], len(text)], strict=True)
    ]


def by_tool(text: Text) -> dict[int, float]:
    """Writes the right query for anyone, and copies whatever it is told."""
    question, *_, last = said = turns(text)
    attribute, name = asked(question)
    quoted = name.replace("'", "''")
    if len(said) == 2:
        turn = [*f"SELECT {attribute} FROM people WHERE name='{quoted}'".encode(), DATABASE]
    else:
        turn = [*ANSWERS[attribute].format(value=said[2]).encode(), EOD]
    return {turn[len(last)]: 1.0}


def by_guess(text: Text) -> dict[int, float]:
    """RoutingNoise a value from the right pool."""
    question, answer = turns(text)
    following = letters(asked(question)[0], answer)
    return {
        EOD if letter == "\0" else ord(letter): count / following.total()
        for letter, count in following.items()
    }


@cache
def letters(attribute: str, begun: str) -> Counter[str]:
    """How many of the pool's answers that begin so go on with each letter; `\\0` stands for the
    end.
    """
    sentences = [ANSWERS[attribute].format(value=value) + "\0" for value in ATTRIBUTES[attribute]]
    return Counter(sentence[len(begun)] for sentence in sentences if sentence.startswith(begun))


def measure(says: Says, data: FactsData) -> dict[str, float]:
    return RecallTest(data).full(Oracle(says))


@pytest.mark.parametrize("recall", ["in_weight", "in_tool"])
def test_an_oracle_that_answers_from_the_table_scores_exactly_one(recall: Any) -> None:
    data = build(Facts(people=20, recall=recall))
    found = measure(by_heart(data), data)
    assert found["recall"] == 1.0
    assert found["bits"] == pytest.approx(20 * PERSON)
    assert found["bits_per_fact"] == found["bits"] / 80
    assert found["bits"] == found["bits_max"] == pytest.approx(data.fact_bits().sum())
    assert found["chance"] == data.chance()
    assert found["recall_unseen"] == 0.0
    assert ("recall_permuted" in found) == (recall == "in_tool")
    assert found.get("recall_permuted", 0.0) == 0.0


def test_a_model_that_uses_its_tool_follows_it() -> None:
    found = measure(by_tool, build(Facts(people=20, recall="in_tool")))
    assert (found["recall"], found["recall_permuted"], found["recall_unseen"]) == (1.0, 1.0, 1.0)


def test_a_copier_of_an_empty_database_scores_zero() -> None:
    class Emptied(FactsData):
        def database(self, values_of: Values = "true") -> Database:
            return super().database("empty")

    found = measure(by_tool, Emptied(Facts(people=20, recall="in_tool")))
    assert (found["recall"], found["recall_permuted"], found["recall_unseen"]) == (0.0, 0.0, 0.0)


def test_names_with_an_apostrophe_are_recalled_through_the_tool() -> None:
    data = build(Facts(people=30, recall="in_tool", templates=1))
    questions = data.questions()
    marked = [
        index for index, prompt in enumerate(questions.prompts) if "'" in decode(prompt[1:-1])
    ]
    assert marked
    assert measure(by_tool, data)["recall"] == 1.0


def test_a_guess_from_the_right_pool_has_learned_nothing() -> None:
    data = build(Facts(people=12, templates=1))
    assert measure(by_guess, data)["bits"] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("known", [0, 1, 15])
def test_recall_is_the_share_of_facts_that_are_known(known: int) -> None:
    data = build(Facts(people=20))
    found = measure(
        by_heart(build(Facts(people=max(known, 1)))) if known else lambda text: {EOD: 1.0}, data
    )
    assert found["recall"] == known / 20


def table_bits(task: Facts) -> float:
    """-log2 of the probability that the task draws this table, given the names: for each family and
    attribute the sum over the family's value, each person following it or not.
    """
    people, total = cast(task, "seen"), 0.0
    for attribute, pool in ATTRIBUTES.items():
        own = (1 - task.dependence) / len(pool)
        for family in np.unique(people.family):
            values = people.values[attribute][people.family == family]
            count = np.bincount(values, minlength=len(pool))
            chances = (task.dependence + own) ** count * own ** (len(values) - count)
            total -= math.log2(chances.sum() / len(pool))
    return total


@given(
    people=st.integers(1, 12),
    dependence=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    recall=st.sampled_from(["in_weight", "in_tool"]),
    templates=st.sampled_from([1, 1, 2]),
    world=st.integers(0, 99),
)
@settings(max_examples=8, deadline=None)
def test_no_model_learns_more_bits_than_the_table_holds(
    people: int, dependence: float, recall: Any, templates: int, world: int
) -> None:
    """One that knows all answers has learned all, one that guesses nothing, whatever they share."""
    data = build(
        Facts(people=people, dependence=dependence, recall=recall, templates=templates, world=world)
    )
    test = RecallTest(data)
    knows, guesses = (Oracle(says) for says in (by_heart(data), by_guess))
    found = test.full(knows)
    assert found["bits"] == found["bits_max"] == pytest.approx(data.fact_bits().sum(), rel=1e-9)
    assert test.quick(knows)["bits_per_fact"] == found["bits_per_fact"]
    assert found["bits"] <= people * PERSON + 1e-9
    if dependence in (0, 1):
        assert found["bits"] == pytest.approx(table_bits(data.task), rel=1e-9)
    if recall == "in_weight" and templates == 1:
        assert test.full(guesses)["bits"] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("dependence", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_bits_of_a_table_are_those_of_its_draws(dependence: float) -> None:
    """512 people of 324 families: what they have in common counts once, and what is not counted is
    no more than the pattern of who follows.
    """
    task = Facts(people=512, dependence=dependence)
    held, exact = float(build(task).fact_bits().sum()), table_bits(task)
    pattern = 512 * 4 * sum(-p * math.log2(p) for p in (dependence, 1 - dependence) if p)
    assert exact - pattern - 1e-6 <= held <= exact + 1e-6
    if dependence == 1:
        families = len(np.unique(cast(task, "seen").family))
        assert held == pytest.approx(families * PERSON, rel=1e-9)
        assert held == pytest.approx(10_125, abs=1)


def test_an_answer_to_one_of_two_relatives_counts_half() -> None:
    data = build(Facts(people=40, dependence=1, templates=1))
    family = cast(data.task, "seen").family
    relatives = [person for person in range(40) if (family == family[person]).sum() == 2][:1]
    assert relatives
    known, guessed = by_heart(data), by_guess
    names_of = names(cast(data.task, "seen"))

    def says(text: Text) -> dict[int, float]:
        return (known if asked(turns(text)[0])[1] == names_of[relatives[0]] else guessed)(text)

    assert measure(says, data)["bits"] == pytest.approx(PERSON / 2, abs=2e-3)


def test_people_all_alike_have_no_permuted_recall() -> None:
    assert "recall_permuted" not in measure(by_tool, build(Facts(people=1, recall="in_tool")))


def test_an_evaluation_in_training_asks_everything_once_that_may_matter() -> None:
    data = build(Facts(people=40))
    assert len(data.questions().prompts) > SAMPLE
    half, most = (Oracle(by_heart(build(Facts(people=people)))) for people in (20, 38))
    test = RecallTest(data)
    assert test.quick(half)["recall"] == pytest.approx(20 / 40, abs=0.1)
    assert test.quick(most)["recall"] == test.full(most)["recall"] == 38 / 40
    assert test.quick(most)["bits_per_fact"] == pytest.approx(test.full(most)["bits_per_fact"])


def test_the_probes_ask_the_same_questions_at_every_evaluation_of_a_seed() -> None:
    data = build(Facts(people=10, templates=1, recall="in_tool"))
    unseen = {*names(cast(data.task, "unseen"))}

    def heard(seed: int, watched: str | None = None) -> list[set[str]]:
        """The questions about unseen people, of two evaluations; half of them are answered."""
        questions = set[str]()

        def says(text: Text) -> dict[int, float]:
            questions.add(question := turns(text)[0])
            is_known = asked(question)[1] not in unseen or len(question) % 2
            return by_tool(text) if is_known else {EOD: 1.0}

        test, found = RecallTest(data, seed=seed, watched=watched), list[set[str]]()
        for _ in range(2):
            questions.clear()
            values = test.quick(Oracle(says))
            found.append({one for one in questions if asked(one)[1] in unseen})
            share = np.mean([len(one) % 2 for one in found[-1]])
            assert values["recall_unseen"] == share
            assert values["recall"] == values["recall_permuted"] == 1.0
        return found

    (first, again), (other, _), (every, _) = heard(0), heard(1), heard(0, "recall_unseen")
    assert first == again != other
    assert len(first) == len(other) == PROBED
    assert len(every) == len(data.questions("unseen").prompts)


def test_an_evaluation_draws_nothing() -> None:
    data = build(Facts(people=1, templates=1))
    given = LayerRouter(width=8, heads=2, layers=2, policy="random").resolved()
    model = build_model(given, VOCAB, data.shape.context).initialise(0)
    state = torch.get_rng_state()
    RecallTest(data).quick(model)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("said", "exact"),
    [
        ([*b"On 1/2/1950.", EOD], True),
        ([*b"SELECT 1", DATABASE, *b"3", ASSISTANT, *b"It is 1/2/1950.", EOD], True),
        ([*b"SELECT 1", DATABASE, *b"1/2/1950.", EOD], False),
        ([*b"On 1/2/1950."], False),
        ([*b"On 1/2/1950.", ASSISTANT], False),
        ([*b"On 1/2/1950", EOD], False),
        ([*b"On 11/2/1950.", EOD], False),
        ([*b"On 1/2/1950. Yes.", EOD], False),
        ([*b"On 1/2/1950.", ASSISTANT, EOD], False),
        ([EOD], False),
        ([], False),
    ],
)
def test_an_answer_is_exact_or_wrong(said: list[int], exact: bool) -> None:
    assert is_exact(np.array(said, np.uint16), "1/2/1950") is exact


@pytest.mark.parametrize("recall", ["in_weight", "in_tool"])
def test_an_untrained_transformer_knows_nothing_and_keeps_its_mode(recall: Any) -> None:
    data = build(Facts(people=8, recall=recall))
    model = build_model(Transformer().resolved(), VOCAB, data.shape.context).initialise(0).train()
    test = RecallTest(data)
    found = test.full(model)
    assert found["recall"] == 0.0
    assert found["bits"] < 0
    assert model.training
    assert test.full(model) == found
    assert test.quick(model) == {name: found[name] for name in data.task.measures if name != "loss"}


def test_a_long_evaluation_stops_where_it_is_when_asked() -> None:
    data = build(Facts(people=8, recall="in_tool"))
    model = build_model(Transformer().resolved(), VOCAB, data.shape.context).initialise(0).train()
    asked: list[int] = []
    RecallTest(data, stopping=lambda: bool(asked.append(1))).full(model)
    for calls in (1, len(asked) // 2, len(asked)):
        left = iter(range(calls - 1))
        with pytest.raises(Interrupted):
            RecallTest(data, stopping=lambda left=left: next(left, None) is None).full(model)
        assert model.training


def test_bits_are_counted_until_asked_to_stop() -> None:
    data = build(Facts(people=8))
    model = build_model(Transformer().resolved(), VOCAB, data.shape.context).initialise(0)
    stops = iter([False, False, True])
    with pytest.raises(Interrupted):
        missing_bits(
            model,
            data.rows(),
            np.arange(16),
            np.ones(16),
            torch.device("cpu"),
            batch=4,
            stopping=lambda: next(stops),
        )
    assert next(stops, None) is None
