"""Mutations of text: its tokens are replaced, dropped, repeated and swapped."""

import re
from collections.abc import Sequence
from random import Random

_TOKEN = re.compile(r"\n *|[A-Za-z_]+|[\d.eE+-]+|.", re.DOTALL)

NUMBERS = [
    *("1", "2", "4", "16", "100", "0.5", "1e-3"),
    *("0", "-1", "-0", "010", "0o17", "0x1F", "1_000", "1e3", "1e308", "-1e308", "1e-320", "1e999"),
    *("1e99999999999999999999", "1" * 5000, ".inf", "-.inf", ".nan", "nan", "1:30", "2024-11-03"),
    *("10M", "10Q", "3.5k", "1.5", "1,5", "1,000,000", "9223372036854775808", "60000000000"),
]
"""What stands where a number is meant."""

WORDS = [
    *(
        "null",
        "~",
        "true",
        "no",
        "on",
        "''",
        '""',
        "[]",
        "{}",
        "[[]]",
        "[1, 2, 3]",
        "{a: 1}",
        "inf",
    ),
    *(
        "{kind: x}",
        "{range: [0, 1, 1e-9]}",
        "{logspace: [1, 2, 1e9]}",
        "{zip: [1]}",
        "{product: x}",
    ),
    *("&a", "*a", "&a [*a]", "<<: *a", "<<", "!!bool x", "!!python/name:os.system", "!!binary x"),
    *("solve", "extends", "axes", "arms", "budget", "kind", "seed", "name", "model.width", "task"),
    *(
        "exp(1)",
        "log(0)",
        "N",
        "D",
        "C",
        "metrics.loss",
        "params.total",
        "__import__('os')",
        "../..",
    ),
    *("\ufeff", "\u00a0", "\u2028", "é", "日本", "😀", "\x07", "\x1b[31m", "x" * 20_000),
]
"""What stands where a word is meant."""

SIGNS = [
    *("? ", ": ", "- ", "|", ">", "%", "@", "`", "#", "---", "...", "\t", "'", '"', "\\", ";", ","),
    *(
        "(",
        ")",
        "((((",
        "[[[[",
        "{{{{",
        "^",
        "**",
        "-",
        "+",
        "*",
        "/",
        "==",
        "<=",
        "in",
        "and",
        "not",
    ),
]
"""What stands between numbers and words."""


def mutated(text: str, others: Sequence[str], chance: Random) -> str:
    """The text after one mutation or a few; tokens are also taken from the `others`."""
    tokens = _TOKEN.findall(text)
    for _ in range(chance.choice([1, 1, 1, 1, 1, 2, 3])):
        _mutate(tokens, others, chance)
    return "".join(tokens)


def _mutate(tokens: list[str], others: Sequence[str], chance: Random) -> None:
    places = [at for at, token in enumerate(tokens) if not token.isspace()]
    if not places:
        tokens.append(chance.choice(WORDS))
        return
    at, other = chance.choice(places), chance.choice(places)
    match chance.randrange(12):
        case 0 | 1 | 2 | 3 | 4:
            tokens[at] = chance.choice(_alike(tokens[at]))
        case 5 | 6:
            alike = [token for token in _TOKEN.findall(chance.choice(others)) if token.strip()]
            tokens[at] = chance.choice(alike)
        case 7:
            tokens.insert(at, chance.choice(SIGNS))
        case 8:
            tokens[at], tokens[other] = tokens[other], tokens[at]
        case 9:
            del tokens[at : at + chance.choice([1, 1, 2, 5])]
        case 10:
            tokens[at:at] = tokens[at : at + chance.choice([1, 3, 10, 200])]
        case _:
            tokens[at] = tokens[at] * chance.choice([2, 3, 1000])


def _alike(token: str) -> list[str]:
    """Tokens of the same sort."""
    if token[0].isdigit():
        return NUMBERS
    return WORDS if token[0].isalpha() else SIGNS
