"""Rows: the dialogs themselves, where their loss falls, and where the value stands."""

from typing import Literal

import numpy as np
import pytest

from scalelab.tasks import build
from scalelab.tasks.facts.data import FactsData
from scalelab.tasks.facts.spec import Facts
from scalelab.tasks.facts.tokens import ASSISTANT, DATABASE, EOD, USER, decode

Recall = Literal["in_weight", "in_tool"]
MARKS = {USER: "<user>", ASSISTANT: "<assistant>", DATABASE: "<database>", EOD: "<eod>"}
MODES: list[Recall] = ["in_weight", "in_tool"]


def text(tokens: np.ndarray) -> str:
    return "".join(MARKS.get(token) or chr(token) for token in tokens.tolist())


def dialog(data: FactsData, row: int) -> str:
    return text(data.rows().tokens_RT[row]).split("<eod>")[0]


def test_in_weight_dialogs() -> None:
    data = build(Facts(people=2))
    assert dialog(data, 0) == "<user>When was Astrid Johnson born?<assistant>On 5/7/1983."
    assert (
        dialog(data, 16 + 4 * 3 + 2) == "<user>Ursula Gamble works as what?<assistant>A forester."
    )


def test_in_tool_dialogs() -> None:
    data = build(Facts(people=2, recall="in_tool", templates=1))
    query = "SELECT birth_place FROM people WHERE name='Astrid Johnson'"
    assert (
        dialog(data, 1)
        == f"<user>Where was Astrid Johnson born?<assistant>{query}<database>Norway<assistant>In"
        " Norway."
    )


def speaks(tokens: list[int]) -> list[int]:
    """Positions whose next token the assistant must predict, told by reading the dialog aloud."""
    found, speaker = [], USER
    for position, token in enumerate(tokens[:-1]):
        if token >= USER:
            speaker = token
        if speaker == EOD:
            break
        if speaker == ASSISTANT:
            found.append(position)
    return found


@pytest.mark.parametrize("recall", MODES)
def test_loss_falls_on_the_assistants_turns_and_the_token_after_each(recall: Recall) -> None:
    rows = build(Facts(people=30, recall=recall)).rows()
    for tokens, targets, weights in zip(
        rows.tokens_RT, rows.targets_RM, rows.weights_RM, strict=True
    ):
        assert targets[weights > 0].tolist() == speaks(tokens.tolist())
        assert not targets[weights == 0].any()
        assert set(weights.tolist()) <= {0.0, 1.0}
        predicted = tokens[targets[weights > 0] + 1].tolist()
        assert predicted.count(EOD) == 1
        assert predicted.count(DATABASE) == (recall == "in_tool")
        assert USER not in predicted
        assert ASSISTANT not in predicted


@pytest.mark.parametrize("recall", MODES)
def test_value_spans_are_the_answers_value_and_its_full_stop(recall: Recall) -> None:
    data = build(Facts(people=30, recall=recall))
    rows, questions = data.rows(), data.questions()
    for row, answer in enumerate(questions.answers):
        spanned = rows.tokens_RT[row][rows.targets_RM[row][rows.values_RM[row]] + 1]
        assert decode(spanned) == f"{answer}."
        assert (
            rows.targets_RM[row][rows.values_RM[row]].min()
            > np.flatnonzero(rows.tokens_RT[row] == ASSISTANT)[-1]
        )


@pytest.mark.parametrize("recall", MODES)
def test_questions_are_the_beginnings_of_the_rows(recall: Recall) -> None:
    data = build(Facts(people=10, recall=recall, templates=3))
    rows, questions = data.rows(), data.questions()
    assert np.array_equal(questions.fact * 3 + questions.template, np.arange(len(rows.tokens_RT)))
    for row, prompt in enumerate(questions.prompts):
        assert len(prompt) == rows.given_R[row]
        assert prompt[-1] == ASSISTANT
        assert np.array_equal(prompt, rows.tokens_RT[row, : len(prompt)])


@pytest.mark.parametrize("people", ["seen", "unseen"])
def test_the_database_answers_the_queries_of_the_rows(people: Literal["seen", "unseen"]) -> None:
    """Every query is real SQL, apostrophes included: its reply is what the dialog goes on with."""
    data = build(Facts(people=200, recall="in_tool", templates=1))
    database = data.database()
    asked = data.questions(people)
    for prompt, fact, answer in zip(asked.prompts, asked.fact, asked.answers, strict=True):
        name = (
            decode(prompt[1:-1])
            .removesuffix(" do?")
            .removesuffix(" born?")
            .removesuffix(" live?")
            .split(maxsplit=2)[2]
        )
        column = ["birth_date", "birth_place", "current_address", "occupation"][fact % 4]
        quoted = name.replace("'", "''")
        assert database.query(f"SELECT {column} FROM people WHERE name='{quoted}'") == answer


def test_apostrophes_are_doubled_in_the_query() -> None:
    data = build(Facts(people=200, recall="in_tool", templates=1))
    database = data.database()
    turns = [
        dialog(data, row).replace("<database>", "<assistant>").split("<assistant>")
        for row in range(800)
    ]
    marked = [turn for turn in turns if "'" in turn[0]]
    assert marked
    for _, query, reply, answer in marked:
        assert "''" in query
        assert database.query(query) == reply
        assert answer.endswith(f" {reply}.")


def test_permuted_databases_reply_other_values() -> None:
    data = build(Facts(people=50, recall="in_tool"))
    permuted, true = data.questions(values_of="permuted"), data.questions()
    place = {
        (fact, template): index
        for index, (fact, template) in enumerate(zip(true.fact, true.template, strict=True))
    }
    assert len(permuted.prompts) > 0.8 * len(true.prompts)
    database = data.database("permuted")
    rows = data.rows()
    for prompt, answer, fact, template in zip(
        permuted.prompts, permuted.answers, permuted.fact, permuted.template, strict=True
    ):
        index = place[fact, template]
        assert answer != true.answers[index]
        assert np.array_equal(prompt, true.prompts[index])
        query = text(rows.tokens_RT[index]).split("<assistant>")[1].split("<database>")[0]
        assert database.query(query) == answer
    assert data.database("empty").query(query) == "no result"


def test_the_rows_of_a_few_people_begin_those_of_many() -> None:
    few, many = (build(Facts(people=count)).rows().tokens_RT for count in (8, 64))
    width = few.shape[1]
    assert np.array_equal(few, many[: len(few), :width])
