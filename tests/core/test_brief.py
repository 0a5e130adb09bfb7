"""Values of a spec in few letters."""

import pytest

from scalelab.core.units import brief


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.010750187432634688, "0.01075"),
        (
            {"kind": "text", "context": 256, "corpus": {"source": "shakespeare"}},
            "text, context 256, corpus source shakespeare",
        ),
        (
            {"flops": 165_000_000_000.0, "params": {"target": "100k"}},
            "flops 165B, params target 100k",
        ),
        ([[1, 2], [2]], "[[1, 2], [2]]"),
        ("open", "open"),
        (True, "True"),
        (16, "16"),
    ],
)
def test_values_are_brief(value: object, said: str) -> None:
    assert brief(value) == said
