"""What is frozen, and how an answer is compared with it: the masks and the prose stand here alone.

Strings, keys and whole numbers are compared as they are, floats within a tolerance: their last bits
differ between processors.
"""

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EXPECTED = HERE / "expected"

CLOSE = 1e-5
"""Relative tolerance of what is computed from stored numbers."""
TRAINED = 1e-3
"""Relative tolerance of what a few steps of training give on another processor."""

VOLATILE = {
    ("gradient_norm", ""): "what is left of a zero",
    ("scalelab", ""): "the version",
    ("seconds", "known"): "how long the command took",
}
"""(key, a key beside it by which it is known) -> why its value is never compared."""

MASKED = {
    "seconds": "measured or predicted from what was measured",
    "tokens_per_second": "measured",
    "flops_per_second": "measured",
    "mfu": "measured",
    "started": "when",
    "ended": "when",
    "created": "when",
    "environment": "this machine: packages, commit, host",
    "numerics": "this machine: threads, versions",
    "model_sha256": "weights differ between processors",
    "weights_sha256": "weights differ between processors",
}
"""Keys whose values are not compared where a command trains or runs something (`fresh`), and why;
that the key is there is compared. What a store holds of them is compared.
"""

PROSE = {
    ("text", "code"): "of a warning",
    ("what", "check"): "of a check by `doctor`",
    ("cure", "check"): "of a check by `doctor`",
    ("about", ""): "of a spec or a law that scalelab brings, and of a held-out fold",
    ("description", ""): "of a field in `schema`",
    ("help", "path"): "of a field in `explain`",
    ("source", "formula"): "of a law",
    ("box", "starts"): "of a fit: where its starts were drawn",
    ("profile_noise", ""): "of a fit",
    ("basis", "seconds"): "of a plan: what its time is predicted from",
}
"""Strings that people read, and that may be written better: (key, a key beside it by which it is
known) -> whose it is. Their values are not compared. What a figure says is in its page alone: its
JSON has no prose but the text of its warnings.
"""

FINGERPRINT = "rows"
"""Of a figure's data: a digest of its rows and the recipe of its drawing, not a number."""


def masked(value: Any, *, fresh: bool = False, folder: Path | None = None) -> Any:
    """The answer without what differs between runs or may be rewritten."""
    if isinstance(value, dict):
        found = {}
        for key, inner in value.items():
            if isinstance(inner, str) and _is_in(PROSE, key, value):
                found[key] = "(prose)"
            elif _is_in(VOLATILE, key, value) or (fresh and key in MASKED):
                found[key] = "(masked)"
            else:
                found[key] = masked(inner, fresh=fresh, folder=folder)
        return found
    if isinstance(value, list):
        return [masked(inner, fresh=fresh, folder=folder) for inner in value]
    if isinstance(value, str):
        value = value.replace(str(HERE.parents[1]), "CHECKOUT")
        return value.replace(str(folder), "FOLDER") if folder is not None else value
    return value


def _is_in(listed: Iterable[tuple[str, str]], key: str, beside: dict[str, Any]) -> bool:
    return any(key == name and (not sign or sign in beside) for name, sign in listed)


def differences(found: Any, expected: Any, tolerance: float = CLOSE, at: str = "$") -> list[str]:
    """Each place where an answer is not as it was, in the order of the answer."""
    if isinstance(found, dict) and isinstance(expected, dict):
        gone = [f"{at}.{key} is gone" for key in expected if key not in found]
        new = [f"{at}.{key} is new" for key in found if key not in expected]
        return [
            *gone,
            *new,
            *(
                one
                for key in found
                if key in expected
                for one in differences(found[key], expected[key], tolerance, f"{at}.{key}")
            ),
        ]
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = zip(found, expected, strict=True)
        return [
            one
            for index, (a, b) in enumerate(pairs)
            for one in differences(a, b, tolerance, f"{at}[{index}]")
        ]
    is_close = (
        isinstance(found, int | float)
        and isinstance(expected, int | float)
        and isinstance(found, bool) == isinstance(expected, bool)
        and (isinstance(found, float) or isinstance(expected, float))
        and math.isclose(found, expected, rel_tol=tolerance, abs_tol=1e-9)
    )
    # `1 == True` and `1 == 1.0` in Python, but not in JSON.
    same = json.dumps(found) == json.dumps(expected)
    return [] if is_close or same else [f"{at}: {found!r:.200}, was {expected!r:.200}"]


def to_json(value: Any) -> str:
    """Compact, a line for each element of a list, so that a difference can be read."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    if not isinstance(value, dict | list) or len(text) < 100:
        return text
    if isinstance(value, list):
        lines = ",\n".join(map(_line, value))
        return f"[\n{lines}\n]"
    lines = ",\n".join(f"{json.dumps(key)}:{to_json(value[key])}" for key in sorted(value))
    return f"{{\n{lines}\n}}"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def check(name: str, found: Any, *, freeze: bool, tolerance: float = CLOSE) -> None:
    """Compare an answer with `expected/NAME.json`, or write it there. Raises AssertionError."""
    path = EXPECTED / f"{name}.json"
    if freeze:
        EXPECTED.mkdir(exist_ok=True)
        path.write_text(to_json(found) + "\n", encoding="utf-8")
        return
    expected = json.loads(path.read_text(encoding="utf-8"))
    found = json.loads(json.dumps(found))
    changed = differences(found, expected, tolerance)
    assert not changed, f"{path.name}, {len(changed)} differences:\n" + "\n".join(changed[:20])


def flags(help_text: str) -> list[str]:
    """The flags that a command's `--help` lists."""
    found = re.findall(r"^\s+(--[a-z-]+(?: / --[a-z-]+)?)", help_text, flags=re.MULTILINE)
    return sorted(set(found))
