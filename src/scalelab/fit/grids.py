"""Published grids of starts: a fit takes one by its name in place of starts that it draws."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scalelab.fit.formula import Floats


@dataclass(frozen=True)
class Grid:
    """Every combination of these values is a start."""

    about: str
    """Whose it is and for which law, as the beginning of a sentence."""
    values: Mapping[str, Floats]
    """Coefficient -> its values. The grid is for laws of exactly these coefficients."""
    source: str
    says: str
    """The values in words."""


GRIDS = {
    "hoffmann": Grid(
        about="Hoffmann's grid of starts is for Chinchilla's law",
        values={
            "A": np.exp(np.arange(0.0, 26.0, 5.0)),
            "B": np.exp(np.arange(0.0, 26.0, 5.0)),
            "E": np.exp(np.arange(-1.0, 1.1, 0.5)),
            "alpha": np.arange(0.0, 2.1, 0.5),
            "beta": np.arange(0.0, 2.1, 0.5),
        },
        source="Hoffmann et al. 2022",  # arXiv 2203.15556, appendix D.3
        says=(
            "log A and log B in {0, 5 .. 25}, log E in {-1, -0.5 .. 1}, alpha and beta in"
            " {0, 0.5 .. 2}"
        ),
    ),
}
"""Every grid by name."""
