"""Searches: which of the planned trials run. One file each (see `search.base`), and one entry in
`Search`.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

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

_SEARCH: TypeAdapter[Search] = TypeAdapter(Search)


def stored_threshold(spec: Mapping[str, Any]) -> Threshold | None:
    """What trials must reach to pass, by the search in a stored spec (`SearchSpec.threshold`)."""
    try:
        return _SEARCH.validate_python(spec.get("search") or {}).threshold
    except ValidationError:  # A space, or a search that this version does not know.
        return None
