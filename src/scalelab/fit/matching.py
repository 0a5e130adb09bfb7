"""Which rows of a frame a filter names: by every column, and by the lengths that follow from the
others.
"""

from typing import Any

import numpy as np
import polars as pl

from scalelab.core.filter import compile_filter


def matching(frame: pl.DataFrame, text: str) -> np.ndarray:
    """[N] mask of the rows that match.

    `flops` and `tokens` may be asked for where 6 N D gives them, in float64.

    Raises UserError where the text is no filter, or names no column.
    """
    keep = compile_filter(text)
    return np.array([keep(_with_lengths(row)) for row in frame.iter_rows(named=True)], dtype=bool)


def _with_lengths(row: dict[str, Any]) -> dict[str, Any]:
    params = row.get("params.total")
    tokens, flops = (row.get(name) or row.get(f"budget.{name}") for name in ("tokens", "flops"))
    if params and tokens and not flops:
        flops = 6.0 * float(params) * float(tokens)
    if params and flops and not tokens:
        tokens = float(flops) / (6.0 * float(params))
    return {"budget.tokens": tokens, "budget.flops": flops, **row, "tokens": tokens, "flops": flops}
