"""Canonical JSON and the digest that names a trial."""

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """Sorted, compact, ASCII JSON; raises TypeError for what JSON has no form for, ValueError for
    NaN.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def sha256(value: Any) -> str:
    """The full hex digest of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


SHORT = 10
"""How many hex digits of a digest people see; any unique prefix is accepted back."""
