"""Searches: which of the planned trials run. One file each (see `search.base`), and one entry in
`Search`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import Field

from scalelab.core.spec import default_kind
from scalelab.core.threshold import Threshold
from scalelab.search.base import Progress, Searcher, SearchSpec, SpaceSearcher
from scalelab.search.frontier import Frontier
from scalelab.search.grid import Grid

__all__ = [
    "Frontier",
    "Grid",
    "Progress",
    "Search",
    "SearchSpec",
    "Searcher",
    "SpaceSearcher",
    "stored_threshold",
]

Search = Annotated[
    Grid  # the default
    | Frontier,
    Field(discriminator="kind"),
    default_kind("grid"),
]
"""The options of a search, told apart by `kind`."""

KINDS: dict[str, type[SearchSpec]] = {
    search.model_fields["kind"].default: search for search in get_args(get_args(Search)[0])
}
"""The options of every search by its `kind`."""


def stored_threshold(spec: Mapping[str, Any]) -> Threshold | None:
    """What trials must reach to pass, by the search in a stored spec (`SearchSpec.threshold`); None
    for a space, and a search that this version does not know.

    A field that the search does not have is passed over: a later version may have written it.
    """
    fields = spec.get("search") or {}
    search = KINDS.get(fields.get("kind", ""))
    if search is None:
        return None
    known = {name: value for name, value in fields.items() if name in search.model_fields}
    return search.model_validate(known).threshold
