"""The facts task: every dialog about every person, the order in which they are shown, and the
questions of the recall test.

R rows (fact * templates + template)
T tokens of a window (context + 1)
M loss positions of a row
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import chain, product
from typing import Literal

import numpy as np
import numpy.typing as npt

from scalelab.data.tokens import Tokens
from scalelab.tasks.facts.database import Database
from scalelab.tasks.facts.dialogs import (
    names,
    prompts,
    render,
    turn_lengths,
    turns,
    value_lengths,
    values,
)
from scalelab.tasks.facts.order import Order
from scalelab.tasks.facts.people import Ids, cast, shares
from scalelab.tasks.facts.pools import ATTRIBUTES
from scalelab.tasks.facts.sizes import describe
from scalelab.tasks.facts.spec import Facts
from scalelab.tasks.facts.tokens import ASSISTANT

People = Literal["seen", "unseen"]
Values = Literal["true", "permuted", "empty"]


@dataclass(frozen=True)
class Rows:
    """Every dialog, as arrays."""

    tokens_RT: Tokens
    """The dialog, padded with EOD."""
    targets_RM: npt.NDArray[np.int64]
    """Positions whose next token bears loss: the assistant's turns, and the token after each.

    Padded with 0.
    """
    weights_RM: npt.NDArray[np.float32]
    """1 where `targets_RM` is a loss position, 0 where it is padding."""
    values_RM: npt.NDArray[np.bool_]
    """True where the next token belongs to the answer's value or is the full stop that ends it."""
    given_R: npt.NDArray[np.int64]
    """Tokens up to and with the first ASSISTANT: what a prefix mask shows in both directions."""


@dataclass(frozen=True)
class Questions:
    """Questions as prompts, and the values that answer them."""

    prompts: list[Tokens]
    """Tokens up to and with the opening ASSISTANT token."""
    answers: list[str]
    """The value that the final answer must end in."""
    fact: npt.NDArray[np.int64]
    """The fact that is asked for: 4 * person + attribute."""
    template: npt.NDArray[np.int64]
    """The question's template."""


class FactsData:
    """The data of one task. Raises UserError if `task.context` does not hold the longest dialog."""

    def __init__(self, task: Facts) -> None:
        self.task = task
        self.shape = describe(task)

    def rows(self) -> Rows:
        """Every dialog that is trained on; rendered at the first call."""
        return self._rows

    @cached_property
    def _rows(self) -> Rows:
        people, task = cast(self.task, "seen"), self.task
        shape, targets = (len(people), len(ATTRIBUTES), task.templates), self.shape.targets
        tokens = np.empty((*shape, self.shape.context + 1), np.uint16)
        positions, weights = (
            np.empty((*shape, targets), np.int64),
            np.empty((*shape, targets), np.float32),
        )
        spans, given = np.empty((*shape, targets), np.bool_), np.empty(shape, np.int64)
        slots = np.arange(targets)
        for (column, attribute), template in product(enumerate(ATTRIBUTES), range(task.templates)):
            at = np.s_[:, column, template]
            openings = [opening for opening, _ in turns(attribute, template, task.recall)]
            lengths = turn_lengths(people, attribute, template, task.recall)
            tokens[at] = render(people, attribute, template, task.recall, self.shape.context + 1)
            positions[at], count = _loss_positions(lengths, openings, targets)
            weights[at] = slots < count
            # The last loss position predicts EOD, the one before it the full stop, those before
            # that the value.
            value = value_lengths(people, attribute)[:, None]
            spans[at] = (slots >= count - 2 - value) & (slots <= count - 2)
            given[at] = lengths[0] + 2
        return Rows(
            tokens_RT=tokens.reshape(given.size, -1),
            targets_RM=positions.reshape(given.size, -1),
            weights_RM=weights.reshape(given.size, -1),
            values_RM=spans.reshape(given.size, -1),
            given_R=given.ravel(),
        )

    def order(self, seed: int, batch: int) -> Order:
        """The order of training under a seed."""
        return Order(self.shape.facts, self.task.templates, seed, batch)

    def questions(
        self, people: People = "seen", values_of: Literal["true", "permuted"] = "true"
    ) -> Questions:
        """Every question of every template about these people, in the order of the rows.

        With permuted values only those are asked whose answer changes: the others could be known by
        heart.
        """
        asked = cast(self.task, people)
        answering = asked.permuted() if values_of == "permuted" else asked
        texts = [
            [prompts(asked, attribute, template) for template in range(self.task.templates)]
            for attribute in ATTRIBUTES
        ]
        answers = [values(answering, attribute) for attribute in ATTRIBUTES]
        differs = [
            asked.values[attribute] != answering.values[attribute] for attribute in ATTRIBUTES
        ]
        keys = [
            (person, column, template)
            for person, column, template in product(
                range(len(asked)), range(len(ATTRIBUTES)), range(self.task.templates)
            )
            if values_of == "true" or differs[column][person]
        ]
        return Questions(
            prompts=[texts[column][template][person] for person, column, template in keys],
            answers=[answers[column][person] for person, column, _ in keys],
            fact=np.array(
                [person * len(ATTRIBUTES) + column for person, column, _ in keys], np.int64
            ),
            template=np.array([template for *_, template in keys], np.int64),
        )

    def database(self, values_of: Values = "true") -> Database:
        """Everyone the task asks about, seen or not: with their values, with the values exchanged,
        or nobody.
        """
        seen, unseen = cast(self.task, "seen"), cast(self.task, "unseen")
        everyone = {
            "true": (seen, unseen),
            "permuted": (seen.permuted(), unseen.permuted()),
            "empty": (),
        }[values_of]
        records = (
            zip(names(people), *(values(people, column) for column in ATTRIBUTES), strict=True)
            for people in everyone
        )
        return Database(list(ATTRIBUTES), chain.from_iterable(records))

    def shares(self) -> npt.NDArray[np.float64]:
        """What part of its value's information each fact counts for (see `people.shares`), in the
        order of `Questions.fact`.
        """
        return self._shares

    @cached_property
    def _shares(self) -> npt.NDArray[np.float64]:
        return shares(self.task)

    def fact_bits(self) -> npt.NDArray[np.float64]:
        """Bits that each fact holds, in the order of `Questions.fact`: log2 of its attribute's
        pool, times its share.

        They sum to the entropy of the table, given the names and which facts follow from the family
        name: of a family's value, which all who follow have in common, log2 of its pool, once; of
        each other value log2 of its pool. All draws are uniform and independent, so this is exact.
        What is not counted is the pattern of who follows, a property of the task and not of its
        values: the entropy given the names alone is larger by at most that pattern's.
        """
        pool_bits = np.log2([len(pool) for pool in ATTRIBUTES.values()])
        return np.tile(pool_bits, self.task.people) * self.shares()

    def chance(self) -> float:
        """Recall of a model that draws each answer from the right pool."""
        return sum(1 / len(pool) for pool in ATTRIBUTES.values()) / len(ATTRIBUTES)

    def questions_with_answers(self) -> list[tuple[str, str]]:
        """None: `questions` has them as tokens, for the recall test."""
        return []


def build(task: Facts, folder: str) -> FactsData:
    """The data of a task; nothing is read from a folder."""
    return FactsData(task)


def _loss_positions(lengths: Ids, openings: list[int], targets: int) -> tuple[Ids, Ids]:
    """Positions from each ASSISTANT token to the last of its turn, [people, targets], and their
    number, [people, 1].
    """
    slots, people = np.arange(targets), lengths.shape[1]
    positions, count, start = (np.zeros((people, width), np.int64) for width in (targets, 1, 1))
    for opening, length in zip(openings, lengths[..., None] + 1, strict=True):
        if opening == ASSISTANT:
            here = (slots >= count) & (slots < count + length)
            positions = np.where(here, start + slots - count, positions)
            count = count + length
        start = start + length
    return positions, count
