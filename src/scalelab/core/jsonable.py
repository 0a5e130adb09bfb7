"""NaN and infinity in JSON, which has no numbers for them: as null where people and programs read,
as words where the value is read back.
"""

import json
import math
from collections.abc import Callable
from typing import Any

_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def compact_json(value: Any) -> str:
    """ASCII JSON without blanks, keys in their order. Raises ValueError for NaN and infinity."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def with_nulls(value: Any) -> Any:
    """The value with null for every NaN and infinity in it."""
    return mapped(value, lambda number: number if math.isfinite(number) else None)


def with_words(value: Any) -> Any:
    """The value with `nan`, `inf` and `-inf` for the numbers that JSON has none for."""
    return mapped(value, lambda number: number if math.isfinite(number) else str(number))


def from_word(value: float | str) -> float:
    """A number that `with_words` wrote. Raises KeyError for another word."""
    return _WORDS[value] if isinstance(value, str) else value


def mapped(value: Any, form: Callable[[float], Any]) -> Any:
    """The value with every float in its lists and mappings in another form; tuples become lists."""
    if isinstance(value, float):
        return form(value)
    if isinstance(value, dict):
        return {key: mapped(inner, form) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [mapped(inner, form) for inner in value]
    return value
