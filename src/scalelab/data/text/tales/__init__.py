"""`tales`: an embedded corpus of short stories from a grammar, whose entropy is known exactly."""

from collections.abc import Iterator
from random import Random

from scalelab.core.seeds import derive
from scalelab.data.text.tales.grammar import NoTale, Reader, Writer, tell

COUNT = 8192
"""Tales of the corpus."""

__all__ = ["COUNT", "NoTale", "nats", "tale", "tales"]


def tale(seed: int, number: int) -> str:
    """The tale of this number under a seed; the same on every machine."""
    writer = Writer(Random(derive(seed, "tale", number)))
    tell(writer)
    return writer.text


def tales(seed: int = 0, start: int = 0, count: int = COUNT) -> Iterator[str]:
    """The tales from number `start` on."""
    return (tale(seed, number) for number in range(start, count))


def nats(text: str) -> float:
    """-log of the probability that the grammar writes this tale, in nats.

    The grammar is unambiguous, so this is exact, and no model can expect a lower loss on tales than
    its mean. Raises NoTale where the grammar does not write the text.
    """
    reader = Reader(text)
    tell(reader)
    if reader.at != len(text):
        raise NoTale(f"{len(text) - reader.at} characters follow the end of the tale")
    return reader.nats
