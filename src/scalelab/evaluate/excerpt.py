"""An excerpt of what a router over layers was tested on, with the route of each token, as a `data:`
URL that lies in the store itself.

Its JSON: `layers`, `identity` and `steps` of the pool; `routes`, each route that occurs (layers
from 1, the first step's first); `rows`, each with the text of its `tokens`, the steps that each has
`used`, and the `route` of each by its place in `routes`. Ends of documents and hidden tokens have
no text.

R rows, T positions, S steps.
"""

from collections.abc import Iterable
from urllib.parse import quote

from scalelab.core.jsonable import compact_json
from scalelab.core.locations import DATA
from scalelab.data.text.tokenizers.protocol import Tokenizer
from scalelab.evaluate.routes import Counts
from scalelab.families.family import LayerPool

BYTES = 600
"""Bytes of running text in an excerpt, about."""
QUESTIONS = 12
"""Questions in an excerpt, about."""


def excerpt(pool: LayerPool, texts: Iterable[list[str]], route_RTS: Counts) -> str:
    """The URL. There are as many rows as texts, and each shows as many tokens as it has texts."""
    rows, numbers = [], dict[tuple[int, ...], int]()
    for text, route_TS in zip(texts, route_RTS.tolist(), strict=False):
        taken = [
            tuple(layer + 1 for layer in route_S if layer >= 0) for route_S in route_TS[: len(text)]
        ]
        told = {
            "tokens": text,
            "used": list(map(len, taken)),
            "route": [numbers.setdefault(route, len(numbers)) for route in taken],
        }
        rows.append(told)
    shape = {"layers": pool.layers, "identity": pool.identity, "steps": pool.steps}
    content = compact_json({**shape, "routes": [list(route) for route in numbers], "rows": rows})
    return f"{DATA}application/json,{quote(content, safe=',:')}"


def texts_of(tokenizer: Tokenizer, rows: Iterable[Iterable[int]]) -> list[list[str]]:
    """The tokens of rows as texts, one by one, up to `BYTES` bytes of them.

    A part of a character is its byte: `\\xe2`.
    """
    texts, left = list[list[str]](), BYTES
    for row in rows:
        text: list[str] = []
        for token in row:
            if left > 0:
                text.append(_text(tokenizer, token))
                left -= max(1, len(text[-1].encode()))
        texts += [text] if text else []
    return texts


def _text(tokenizer: Tokenizer, token: int) -> str:
    if token >= tokenizer.vocab:
        return ""
    text = tokenizer.decode([token])
    return f"\\x{token:02x}" if "\N{REPLACEMENT CHARACTER}" in text and token < 256 else text
