"""Filters: `task.people <= 64 and 1M <= params.total < 30M`, over values by spec path. Parsed,
never evaluated as code.

    filter      = conjunction ("or" conjunction)*
    conjunction = negation ("and" negation)*
    negation    = "not" negation | "(" filter ")" | comparison
    comparison  = operand (operator operand)+
    operand     = word | quantity | "quoted text" | "[" operand, ... "]"

Of the two operands of a comparison one is a name: the left one, where both may be. A chain such as
`1M <= params.total < 30M` holds where each of its comparisons does.
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from scalelab.core.errors import UserError, nearest
from scalelab.core.text import beginning, is_text
from scalelab.core.units import parse_number, parse_seconds

LENGTH = 100_000
"""Most characters of a filter: a list of 1,000 whole digests fits."""

DEPTH = 50
"""Most brackets inside one another."""

DIGITS = 400
"""Most characters of a number."""

Row = Mapping[str, Any]
Predicate = Callable[[Row], bool]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, many: value in many,
    "not in": lambda value, many: value not in many,
}
_FLIPPED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_KEYWORDS = ("and", "or", "not", "in")
_CONSTANTS = {"true": True, "false": False, "null": None, "none": None}
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<number>[+-]?(?:\d|\.\d)(?:[\w.:]|(?<=[eE])[+-](?=\d))*)
    | (?P<word>[^\W\d]\w*(?:[.-]\w+)*)
    | (?P<sign>[<>=!&|~]+|[^\s\w])
    )""",
    re.VERBOSE | re.DOTALL,
)
_FORM = "write it like `task.people <= 64 and task.recall == in_tool`"
_SIGNS = "compare by ==, !=, <, <=, > or >=, or with `in [8, 16]`; join by and, or, not"
_INSTEAD = {
    "=": "==",
    "===": "==",
    "is": "==` or `!=",
    "=<": "<=",
    "=>": ">=",
    "<>": "!=",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "&": "and",
    "&&": "and",
    "|": "or",
    "||": "or",
    "!": "not",
    "~": "not",
    ",": "30_000_000` or `30M` for a number, and `in [8, 16]` for a list; not `30,000,000",
    **dict.fromkeys("\u201c\u201d\u2018\u2019", "'text'"),
}
"""What other languages write -> what is written here."""


class _Token(NamedTuple):
    kind: str
    text: str


class _Word(NamedTuple):
    """A word without quotes: a name, or a text."""

    text: str


class _Quantity(NamedTuple):
    """A number as it is written: a number, a duration or a text, as its column has it."""

    text: str


def compile_filter(text: str) -> Predicate:
    """A predicate over rows (spec path, `params.*`, `metrics.*`, `state`, ... -> value).

    Quantities are read as in specs: `30M`, `1e6`, and `2h` for a column of seconds. A bare word
    that is no name is a text, so that `task.recall == in_tool` needs no quotes. A comparison with a
    value that is not there is false. Raises UserError where the text is no filter; the predicate
    raises it for an unknown name, and for values that do not compare.
    """
    if len(text) > LENGTH:
        raise UserError(
            f"the filter `{text}` has {len(text):,} characters",
            cure=f"write at most {LENGTH:,}",
        )
    return _Parser(text).whole()


def _tokens(text: str) -> Iterator[_Token]:
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        assert match is not None, "every character begins a token"
        at = match.end()
        kind = str(match.lastgroup)
        yield _Token(kind, match[kind])
        if match[kind] in ("'", '"'):
            return  # a quote that is not closed: what follows is no token


class _Parser:
    """Reads tokens from left to right; a method for each rule of the grammar."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0
        self._tokens = [*_tokens(text), _Token("end", "")]

    def whole(self) -> Predicate:
        """The filter. Raises UserError where anything else follows it."""
        if not is_text(self._text):
            raise self._fault("it is not UTF-8")
        found = self._filter()
        if self._next.kind != "end":
            raise self._unexpected()
        return found

    def _filter(self) -> Predicate:
        parts = [self._conjunction()]
        while self._taken("or"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else lambda row: any(part(row) for part in parts)

    def _conjunction(self) -> Predicate:
        parts = [self._negation()]
        while self._taken("and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else lambda row: all(part(row) for part in parts)

    def _negation(self) -> Predicate:
        negated = False
        while self._taken("not"):
            negated = not negated
        if self._taken("("):
            self._deepen()
            found = self._filter()
            self._expect(")")
            self._depth -= 1
        else:
            found = self._comparison()
        return (lambda row: not found(row)) if negated else found

    def _comparison(self) -> Predicate:
        operands, signs = [self._operand()], list[str]()
        while sign := self._operator():
            signs.append(sign)
            operands.append(self._operand())
        if not signs:
            raise self._unexpected()
        pairs = list(zip(operands, signs, operands[1:], strict=False))
        for left, _, right in pairs if len(pairs) > 1 else []:
            if isinstance(left, _Word) and isinstance(right, _Word):
                raise self._fault(
                    f"`{left.text}` and `{right.text}` may both be names",
                    "put text in quotes",
                )
        parts = [self._pair(*pair) for pair in pairs]
        return parts[0] if len(parts) == 1 else lambda row: all(part(row) for part in parts)

    def _pair(self, left: Any, sign: str, right: Any) -> Predicate:
        if isinstance(left, _Word):
            return _Comparison(left.text, sign, right)
        if isinstance(right, _Word) and sign in _FLIPPED:
            return _Comparison(right.text, _FLIPPED[sign], left)
        if isinstance(left, str):  # a name that is no word: 'val loss' < 3
            return _Comparison(left, sign, right)
        raise self._fault("a comparison needs a spec path")

    def _operator(self) -> str | None:
        kind, text = self._next
        if kind == "sign" and text in _FLIPPED:
            self._at += 1
            return text
        if self._taken("not"):
            self._expect("in")
            return "not in"
        return "in" if self._taken("in") else None

    def _operand(self) -> Any:
        kind, text = self._next
        if kind == "sign" and text in "[(":
            self._at += 1
            return self._list("]" if text == "[" else ")")
        if kind in ("sign", "end") or text in _KEYWORDS:
            raise self._unexpected()
        self._at += 1
        if kind == "quoted":
            return re.sub(r"\\(['\"\\])", r"\1", text[1:-1])
        if kind == "number":
            return self._quantity(text)
        return _CONSTANTS.get(text.lower(), _Word(text))

    def _quantity(self, text: str) -> _Quantity:
        kind, unit = self._next
        if kind == "word" and unit not in _KEYWORDS and _is_quantity(f"{text} {unit}"):
            self._at += 1  # `30 M` is one quantity in a spec as well
            return _Quantity(f"{text} {unit}")
        if len(text) > DIGITS:
            what = f"the number {beginning(text)} has {len(text):,} characters"
            raise self._fault(what, f"write at most {DIGITS}, or it like 1e6")
        return _Quantity(text)

    def _list(self, end: str) -> list[Any]:
        self._deepen()
        found = list[Any]()
        while not self._taken(end):
            if found and re.fullmatch(r"0\d\d", self._next.text):
                raise self._fault(
                    f"`{self._next.text}` in a list may be the end of a number like 30,000",
                    "write large numbers as 30_000 or 30k, and text in quotes",
                )
            found.append(self._operand())
            if not self._taken(","):
                self._expect(end)
                break
        self._depth -= 1
        return found

    def _deepen(self) -> None:
        self._depth += 1
        if self._depth > DEPTH:
            raise self._fault("its brackets are too deep", f"nest at most {DEPTH}")

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _taken(self, text: str) -> bool:
        """Whether this sign or word is the next token, which is passed then."""
        taken = self._next in (("sign", text), ("word", text))
        self._at += taken
        return taken

    def _expect(self, text: str) -> None:
        if not self._taken(text):
            raise self._unexpected(text)

    def _unexpected(self, expected: str = "") -> UserError:
        """The fault of a token that has no place where it stands."""
        kind, text = self._next
        if kind == "end":
            missing = f"`{expected}` is missing at its end" if expected else "it is incomplete"
            return self._fault(missing)
        if text in ("'", '"'):
            return self._fault("a quote is not closed", f"close it with {text}")
        lower = text.lower()
        instead = _INSTEAD.get(lower, lower if lower in _KEYWORDS else text)
        return self._fault(
            f"`{beginning(text)}` has no place there",
            f"write `{instead}`" if instead != text else _SIGNS,
        )

    def _fault(self, what: str, cure: str = _FORM) -> UserError:
        return UserError(f"`{self._text}` is no filter: {what}", cure=cure)


@dataclass(frozen=True)
class _Comparison:
    """A name compared with a value."""

    name: str
    sign: str
    wanted: Any

    def __call__(self, row: Row) -> bool:
        """Whether it holds in a row. Raises UserError for an unknown name."""
        if self.name not in row:
            what = f"unknown name `{self.name}` in the filter"
            raise UserError(what, cure=nearest(self.name, list(row)))
        value = row[self.name]
        if value is None and self.wanted is not None and self.sign not in ("!=", "not in"):
            return False
        try:
            return _COMPARE[self.sign](value, self._wanted_of(value))
        except (TypeError, ValueError) as error:
            what = (
                f"`{self.name}` is {value!r} in the filter, which does not compare with"
                f" {_as_text(self.wanted)!r}"
            )
            cure = "compare numbers with numbers, words with words, and write lists as [8, 16]"
            raise UserError(what, cure=cure) from error

    def _wanted_of(self, value: Any) -> Any:
        """What is compared with: the column decides how a quantity, or one in quotes, is read."""
        if isinstance(value, str):
            is_ordered = self.sign in ("<", "<=", ">", ">=")
            return self._plain if is_ordered else self._text  # text has no order among numbers
        return self._numbers if isinstance(value, int | float) else self._plain

    @cached_property
    def _text(self) -> Any:
        return _as_text(self.wanted)

    @cached_property
    def _plain(self) -> Any:
        return self._read(self.wanted, _Quantity)

    @cached_property
    def _numbers(self) -> Any:
        return self._read(self.wanted, _Quantity | _Word | str)

    def _read(self, wanted: Any, numeric: Any) -> Any:
        """The value with those of its parts as numbers that are of a `numeric` type."""
        if isinstance(wanted, list):
            return [self._read(part, numeric) for part in wanted]
        text = _as_text(wanted)
        if not isinstance(wanted, numeric) or (wanted is self.wanted and "in" in self.sign):
            return text
        return _number(text, is_duration=self.name.endswith("seconds"))


def _as_text(wanted: Any) -> Any:
    """A value with words and quantities as they are written."""
    if isinstance(wanted, list):
        return [_as_text(part) for part in wanted]
    return wanted.text if isinstance(wanted, _Word | _Quantity) else wanted


def _number(text: str, *, is_duration: bool) -> float:
    if re.fullmatch(r"[+-]?\d+", text) and len(text) <= DIGITS:
        return int(text)  # exact beyond 2^53
    if is_duration:
        try:
            return float(text)
        except ValueError:
            return parse_seconds(text)
    return parse_number(text)


def _is_quantity(text: str) -> bool:
    for parse in (parse_number, parse_seconds):
        try:
            parse(text)
        except ValueError:
            continue
        return True
    return False
