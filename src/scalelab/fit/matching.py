"""Which rows of a frame a filter names: by every column, and by the lengths that follow from the
others.
"""

import numpy as np
import polars as pl

from scalelab.core.filter import compile_filter


def matching(frame: pl.DataFrame, text: str) -> np.ndarray:
    """[N] mask of the rows that match.

    `flops` and `tokens` may be asked for where 6 N D gives them, in float64.

    Raises UserError where the text is no filter, or names no column.
    """
    keep, found = compile_filter(text), list[bool]()
    for row in frame.iter_rows(named=True):
        params = row.get("params.total")
        tokens, flops = (row.get(name) or row.get(f"budget.{name}") for name in ("tokens", "flops"))
        if params and tokens and not flops:
            flops = 6.0 * float(params) * float(tokens)
        if params and flops and not tokens:
            tokens = float(flops) / (6.0 * float(params))
        lengths = {"tokens": tokens, "flops": flops}
        found.append(keep({"budget.tokens": tokens, "budget.flops": flops, **row, **lengths}))
    return np.array(found, dtype=bool)
