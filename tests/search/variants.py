"""The searches that the conformance suite runs on. A new search goes through all of it by being
added here.
"""

from scalelab.search import Frontier, Grid, Search

SEARCHES: dict[str, Search] = {
    "grid": Grid(),
    "frontier": Frontier(),
    "frontier_of_a_loss": Frontier(metric="loss", at_most=0.5),
}
