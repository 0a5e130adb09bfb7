"""People: person i has the same name and values for every number of people and on every machine."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from scalelab.core.errors import UserError
from scalelab.data.hashing import words
from scalelab.tasks.facts.pools import ATTRIBUTES, FAMILY_NAMES, FIRST_NAMES
from scalelab.tasks.facts.spec import Facts

Ids = npt.NDArray[np.int64]

NAMES = len(FIRST_NAMES) * len(FAMILY_NAMES)
"""How many people have a name of their own."""

MOST_UNSEEN = 256
"""Most people who are asked about and never trained on."""

_ROUNDS = 6


def name_ids(index: Ids, world: int) -> tuple[Ids, Ids]:
    """First and family name of each person: a bijection on the product of the pools (an unbalanced
    Feistel network).
    """
    first, family = np.divmod(index, len(FAMILY_NAMES))
    for turn in range(_ROUNDS):
        first = (
            first + _shifts(world, f"first/{turn}", len(FAMILY_NAMES), len(FIRST_NAMES))[family]
        ) % len(FIRST_NAMES)
        family = (
            family + _shifts(world, f"family/{turn}", len(FIRST_NAMES), len(FAMILY_NAMES))[first]
        ) % len(FAMILY_NAMES)
    return first, family


@lru_cache(maxsize=64)
def _shifts(world: int, stream: str, inputs: int, outputs: int) -> Ids:
    return (words(world, "name", stream, at=np.arange(inputs)) % np.uint64(outputs)).astype(
        np.int64
    )


def value_ids(index: Ids, family: Ids, attribute: str, *, world: int, dependence: float) -> Ids:
    """Each person's value of an attribute, as its place in the pool.

    Values are uniform and independent, but for a share `dependence` of them that the family name
    decides.
    """
    size = np.uint64(len(ATTRIBUTES[attribute]))
    own = words(world, "value", attribute, at=index) % size
    if not dependence:
        return own.astype(np.int64)
    of_family = words(world, "family", attribute, at=np.arange(len(FAMILY_NAMES)))[family] % size
    follows = _follows(index, attribute, world, dependence)
    return np.where(follows, of_family, own).astype(np.int64)


def holders(index: Ids, family: Ids, attribute: str, *, world: int, dependence: float) -> Ids:
    """How many of these people have each one's value of an attribute from the same draw: 1 where it
    is the person's own, else the relatives whose value is the family's, the person included.

    Two draws that happen to give the same value are two draws.
    """
    follows = _follows(index, attribute, world, dependence)
    relatives = np.bincount(family[follows], minlength=len(FAMILY_NAMES))[family]
    return np.where(follows, relatives, 1)


def _follows(index: Ids, attribute: str, world: int, dependence: float) -> npt.NDArray[np.bool_]:
    """Whether a person's value of an attribute is the family's."""
    return (words(world, "follows", attribute, at=index) >> np.uint64(11)) < dependence * 2.0**53


@dataclass(frozen=True, eq=False)
class Cast:
    """People who are asked about, as places in the pools; every array has one entry a person."""

    first: Ids
    family: Ids
    values: dict[str, Ids]

    def __len__(self) -> int:
        return len(self.first)

    def permuted(self) -> "Cast":
        """The same people with their values exchanged, so that a value differs from the true one
        wherever that can be.

        People in order of their value are turned by the commonest value's count. Values of one
        length stand together in that order, so the longest dialog hardly grows.
        """
        return replace(
            self,
            values={attribute: _turned(attribute, ids) for attribute, ids in self.values.items()},
        )


def _turned(attribute: str, ids: Ids) -> Ids:
    order = np.argsort(_length_ranks(attribute)[ids], kind="stable")
    exchanged = np.empty_like(ids)
    exchanged[order] = np.roll(ids[order], -np.bincount(ids).max())
    return exchanged


@lru_cache
def _length_ranks(attribute: str) -> Ids:
    pool = ATTRIBUTES[attribute]
    ranks = np.empty(len(pool), np.int64)
    ranks[np.argsort([len(value) for value in pool], kind="stable")] = np.arange(len(pool))
    return ranks


def cast(task: Facts, people: Literal["seen", "unseen"]) -> Cast:
    """The people of a task: the seen ones from the start of all names, the unseen ones from the far
    end.

    Raises UserError if there are not enough names for both.
    """
    unseen = min(task.people, MOST_UNSEEN)
    if task.people + unseen > NAMES:
        raise UserError(
            f"{task.people} people need more names than there are",
            cure=f"take at most {NAMES - MOST_UNSEEN} people",
        )
    index = np.arange(task.people) if people == "seen" else NAMES - 1 - np.arange(unseen)
    first, family = name_ids(index, task.world)
    values = {
        name: value_ids(index, family, name, world=task.world, dependence=task.dependence)
        for name in ATTRIBUTES
    }
    return Cast(first, family, values)


def shares(task: Facts) -> npt.NDArray[np.float64]:
    """What part of its value's information each fact about the seen people counts for, by fact
    (4 * person + attribute): one over the `holders` of the value, so that every value that was
    drawn counts once. All 1 where facts are independent.
    """
    index = np.arange(task.people)
    _, family = name_ids(index, task.world)
    held = [
        holders(index, family, name, world=task.world, dependence=task.dependence)
        for name in ATTRIBUTES
    ]
    return (1 / np.stack(held, 1)).ravel()
