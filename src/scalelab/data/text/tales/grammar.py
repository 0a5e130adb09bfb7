"""The grammar of tales, written once for the two who use it: a writer, who chooses by chance, and a
reader, who finds the choices in a text.

Every choice writes its option at once, and no option of a choice is the beginning of another one.
So a text has one derivation at most, and its probability is the product of those of its choices.
What a tale has said decides what may follow: who is meant by `she`, how many coins are left, where
a lamp was put, whether a verb far from its subject is singular.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from scalelab.data.text.tales import words

MOST = len(words.NUMBERS) - 1
"""The largest number that a tale counts to."""

_SCENES = 14
"""Scenes of a tale at most."""

_BETWEEN = 3
"""Nouns between a subject and its verb at most."""


class Voice(Protocol):
    """Who goes through the grammar."""

    def say(self, text: str) -> None:
        """Text that must follow."""
        ...

    def choose(self, options: Sequence[str], weights: Sequence[float] | None = None) -> int:
        """One of the options, by its number; they are equally likely without weights."""
        ...


class Writer:
    """Chooses by chance, and writes."""

    def __init__(self, chance: Random) -> None:
        self._chance, self._parts = chance, list[str]()

    @property
    def text(self) -> str:
        """What was written."""
        return "".join(self._parts)

    def say(self, text: str) -> None:
        """See `Voice`."""
        self._parts.append(text)

    def choose(self, options: Sequence[str], weights: Sequence[float] | None = None) -> int:
        """See `Voice`."""
        at = self._chance.random() * (len(options) if weights is None else sum(weights))
        index = int(at) if weights is None else 0
        while weights is not None and at >= weights[index] and index < len(options) - 1:
            at, index = at - weights[index], index + 1
        self._parts.append(options[index])
        return index


class NoTale(ValueError):
    """A text that the grammar does not write."""


class Reader:
    """Finds the choices of a text, and adds up -log of their probabilities.

    Raises NoTale where the grammar does not go on like the text.
    """

    def __init__(self, text: str) -> None:
        self._text, self.at, self.nats = text, 0, 0.0

    def say(self, text: str) -> None:
        """See `Voice`."""
        if not self._text.startswith(text, self.at):
            raise NoTale(f"{text!r} does not follow at {self.at}")
        self.at += len(text)

    def choose(self, options: Sequence[str], weights: Sequence[float] | None = None) -> int:
        """See `Voice`."""
        found = [
            index for index, option in enumerate(options) if self._text.startswith(option, self.at)
        ]
        if not found:
            raise NoTale(f"none of {len(options)} options follows at {self.at}")
        [index] = found
        self.at += len(options[index])
        share = 1 / len(options) if weights is None else weights[index] / sum(weights)
        self.nats -= math.log(share)
        return index


@dataclass
class _Person:
    name: str
    is_woman: bool

    @property
    def she(self) -> str:
        return "she" if self.is_woman else "he"

    @property
    def her(self) -> str:
        return "her" if self.is_woman else "him"

    @property
    def hers(self) -> str:
        return "her" if self.is_woman else "his"


@dataclass
class _World:
    """What a tale has said so far."""

    hero: _Person
    place: str
    friends: list[_Person] = field(default_factory=list)
    look: str = ""
    thing: str = ""
    """What the hero has some of; empty as long as that is nothing."""
    count: int = 0
    hidden: dict[str, str] = field(default_factory=dict)
    """Thing -> the place where it was left."""


def tell(voice: Voice) -> None:
    """A tale, from its first word to the line feed behind its last."""
    voice.choose([f"{opening}, " for opening in words.OPENINGS])
    world = _World(_person(voice, [], " "), "")
    voice.choose(["lived near", "walked to", "was on the way to", "looked for", "came to"])
    voice.say(" the ")
    world.place = _place(voice, world, ".")
    for scene in range(_SCENES):
        if not _scene(voice, world, scene == _SCENES - 1):
            break
    voice.say("\n")


def _scene(voice: Voice, world: _World, last: bool) -> bool:
    """One more scene; False after the one that ends the tale."""
    hero, count = world.hero, world.count
    scenes = {
        f" So {hero.name} went home": (_end, 1.0),
        f" There {hero.she} found ": (_find, 2.0 if not count else 0.0),
        " A stranger came by and gave ": (_gain, 2.0 if 0 < count <= MOST - 5 else 0.0),
        f" {hero.she.capitalize()} gave ": (_give, 2.0 if count and world.friends else 0.0),
        f" Then {hero.she} counted: ": (_recount, 1.0 if count else 0.0),
        " On the way ": (_meet, 1.5 if len(world.friends) < 3 else 0.0),
        f" {hero.name} left ": (_hide, 1.0 if len(world.hidden) < 3 else 0.0),
        ' "Where is ': (_ask_where, 2.0 if world.hidden and world.friends else 0.0),
        ' "How many ': (_ask_how_many, 1.5 if count and world.friends else 0.0),
        f" After that {hero.she} went to the ": (_move, 1.5),
        " The ": (_describe, 3.0),
        " Suddenly ": (_weather, 0.7),
        f" {hero.name} was ": (_feel, 1.0),
    }
    if last:
        scenes = {opening: scene for opening, scene in scenes.items() if scene[0] is _end}
    possible = {opening: scene for opening, scene in scenes.items() if scene[1]}
    chosen = voice.choose(list(possible), [weight for _, weight in possible.values()])
    act, _ = list(possible.values())[chosen]
    act(voice, world)
    return act is not _end


def _find(voice: Voice, world: _World) -> None:
    counts = range(2, 10)
    world.count = counts[voice.choose([f"{words.NUMBERS[count]} " for count in counts])]
    world.look = words.LOOKS[voice.choose([f"{look} " for look in words.LOOKS])]
    things = [thing for thing in words.THINGS if thing not in world.hidden]
    world.thing = things[voice.choose([words.THINGS[thing] for thing in things])]
    voice.choose([".", " under a stone.", " in the grass.", " behind a wall."])


def _gain(voice: Voice, world: _World) -> None:
    more = range(1, 6)
    count = more[voice.choose([f"{world.hero.her} {words.NUMBERS[count]} " for count in more])]
    world.count += count
    voice.say(f"more. Now {world.hero.she} had {_counted(world)}.")


def _give(voice: Voice, world: _World) -> None:
    friend = world.friends[voice.choose([f"{friend.name} " for friend in world.friends])]
    counts = range(1, min(world.count, 9) + 1)
    given = counts[voice.choose([f"{words.NUMBERS[count]} " for count in counts])]
    voice.say(f"of the {words.THINGS[world.thing]}, and {friend.she} thanked {world.hero.her}.")
    world.count -= given
    voice.say(f" That left {_counted(world)}.")
    if not world.count:
        world.thing = world.look = ""


def _recount(voice: Voice, world: _World) -> None:
    voice.say(_counted(world))
    voice.choose([".", f", as {world.hero.she} had thought.", ", no more and no fewer."])


def _counted(world: _World) -> str:
    thing = world.thing if world.count == 1 else words.THINGS[world.thing]
    return f"{words.NUMBERS[world.count]} {world.look} {thing}"


def _meet(voice: Voice, world: _World) -> None:
    voice.say(f"{world.hero.she} met ")
    friend = _person(voice, [world.hero, *world.friends], ", ")
    world.friends.append(friend)
    voice.choose(["an old friend", "a cousin", "a neighbour", "a traveller", "a clever guest"])
    voice.say(f" of {world.hero.hers} family")
    voice.choose([".", f", and {friend.she} was glad to see {world.hero.her}."])


def _hide(voice: Voice, world: _World) -> None:
    things = [thing for thing in words.THINGS if thing not in (*world.hidden, world.thing)]
    phrases = [f"{'an' if thing[0] in 'aeiou' else 'a'} {thing} in the " for thing in things]
    thing = things[voice.choose(phrases)]
    world.hidden[thing] = _place(voice, world, "")
    voice.choose([".", f" and told nobody about the {thing}.", " for another day."])


def _ask_where(voice: Voice, world: _World) -> None:
    hero, hidden = world.hero, list(world.hidden)
    thing = hidden[voice.choose([f'the {thing}?" ' for thing in hidden])]
    friend = world.friends[voice.choose([f"asked {friend.name}. " for friend in world.friends])]
    voice.choose(['"Look', '"I left it', '"It must be', '"You will find it'])
    voice.say(f' in the {world.hidden[thing]}," said {hero.name}')
    voice.choose([".", f", and {friend.she} went there to fetch the {thing}."], [2, 1])


def _ask_how_many(voice: Voice, world: _World) -> None:
    hero = world.hero
    voice.say(f'{words.THINGS[world.thing]} are there?" asked ')
    friend = world.friends[voice.choose([f"{friend.name}" for friend in world.friends])]
    voice.choose([". ", ", who could not see them. ", ", counting on the fingers of one hand. "])
    answer = words.NUMBERS[world.count].capitalize()
    voice.say(f'"{answer}," {hero.she} said')
    voice.choose([".", f", and {friend.she} nodded.", f" and showed {friend.her} all of them."])


def _move(voice: Voice, world: _World) -> None:
    world.place = _place(voice, world, "")
    company = [f", and {_all_friends(world)} came along."] if world.friends else []
    voice.choose([".", *company])


def _describe(voice: Voice, world: _World) -> None:
    """A sentence whose verb agrees with a subject that stands before other nouns."""
    subjects = [form for pair in words.LIVING.items() for form in pair]
    is_plural = voice.choose([f"{form} " for form in subjects]) % 2 == 1
    verb, objects = "were " if is_plural else "was ", [*words.THINGS, *words.THINGS.values()]
    for _ in range(_BETWEEN):
        if not voice.choose([verb, "near the ", "behind the ", "with the "], [2, 1, 1, 1]):
            break
        voice.choose([f"{form} " for form in objects])
    else:
        voice.say(verb)
    voice.choose([f"{state}." for state in words.STATES])


def _weather(voice: Voice, world: _World) -> None:
    voice.choose(words.WEATHER)
    voice.choose([".", f" over the {world.place}."], [2, 1])


def _feel(voice: Voice, world: _World) -> None:
    voice.choose(words.FEELINGS)
    reasons = [".", f", for the {world.place} was far from home."]
    if world.count:
        reasons.append(f" because of the {words.THINGS[world.thing]}.")
    if world.friends:
        reasons.append(f", and {world.friends[-1].name} saw it.")
    voice.choose(reasons)


def _end(voice: Voice, world: _World) -> None:
    """What the hero has, whom the hero met, and where things were left, once more."""
    if world.count:
        voice.say(f" with {_counted(world)}")
    if world.friends:
        voice.say(f", and {_all_friends(world)} waved")
    endings = [".", " in the evening light.", " under the stars."]
    endings += [
        f", and the {thing} is still in the {place}." for thing, place in world.hidden.items()
    ]
    voice.choose(endings)


def _all_friends(world: _World) -> str:
    """Every friend, in the order in which they came."""
    *others, last = [friend.name for friend in world.friends]
    return f"{', '.join(others)} and {last}" if others else last


def _person(voice: Voice, known: Sequence[_Person], after: str) -> _Person:
    """Somebody new."""
    taken = {person.name for person in known}
    people = [
        _Person(name, is_woman)
        for names, is_woman in ((words.WOMEN, True), (words.MEN, False))
        for name in names
        if name not in taken
    ]
    return people[voice.choose([f"{person.name}{after}" for person in people])]


def _place(voice: Voice, world: _World, after: str) -> str:
    """Another place than the one where the hero is."""
    places = [place for place in words.PLACES if place != world.place]
    return places[voice.choose([f"{place}{after}" for place in places])]
