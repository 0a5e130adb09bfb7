"""Stored trials that a spec names: by the first digits of a digest, wherever the path may stand."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

from scalelab.spec.document import Document, Loc

PATHS = ("model.pretrained.trial",)
"""Spec paths whose values are digests of stored trials."""

Resolve = Callable[[str, str], str]
"""(first digits of a digest, `file:line` where they stand) -> the full digest of a stored trial.

Raises UserError if there is no such trial.
"""


def resolved(document: Document, resolve: Resolve) -> Document:
    """The document with full digests; the same document if it names no trial."""
    changed = Document(copy.deepcopy(document.data), document.places, document.path)
    named = list(_named(changed.data, (), ""))
    for loc, within, key in named:
        within[key] = resolve(within[key], document.place(loc))
    return changed if named else document


def _named(node: Any, loc: Loc, path: str) -> Iterator[tuple[Loc, Any, str | int]]:
    """Every place below a node where a trial is named: where it stands, what it stands in, and
    under which key.

    A key may be a whole path (of an axis, an arm, a searched field), and what is below it a list,
    or choices.
    """
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        below = f"{path}.{key}" if isinstance(node, dict) else path
        if isinstance(value, dict | list):
            yield from _named(value, (*loc, key), below)
        elif isinstance(value, str) and any(f".{one}." in f"{below}." for one in PATHS):
            yield (*loc, key), node, key
