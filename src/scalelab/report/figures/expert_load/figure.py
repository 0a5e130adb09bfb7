"""Fig. 10: how evenly the experts of a mixture are used while it trains, layer by layer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scalelab.core.metrics import label_of
from scalelab.report.figure import Drawing, Figure, Panel, Rows
from scalelab.report.figures.expert_load.charts import CELLS, curve_chart, curve_rows, load_chart
from scalelab.report.figures.expert_load.data import (
    Experts,
    experts_of,
    is_drawn,
)
from scalelab.report.figures.expert_load.text import (
    CAPTIONS,
    layers_table,
    methods,
    reading,
    verdict,
    warnings,
)
from scalelab.report.numbers import rounded

_PAGE = 2 * CELLS
"""Most cells of all charts of a page."""


@dataclass(frozen=True)
class ExpertLoad(Figure):
    """Experts over evaluations as heat maps, and MaxVio, the router's entropy and dropped tokens as
    curves.
    """

    recipe: int = 2
    needs_curves: bool = True

    def curves_of(self, names: Sequence[str]) -> list[str]:
        """Loads of experts, and what is measured of each layer's router."""
        return [name for name in names if is_drawn(name)]

    def lacks(self, rows: Rows) -> str:
        """Nothing, where some trial told the load of its experts."""
        if experts_of(rows):
            return ""
        return "no trial has told the load of experts (`model.ffn.kind: moe`)"

    def draw(self, rows: Rows) -> Drawing:
        """The drawing."""
        found = experts_of(rows)
        return Drawing(
            title=self.title,
            verdict=verdict(found),
            panels=[panel for one in found for panel in _panels(one, len(found))],
            metric="metrics.max_vio",
            tables=[],
            reading=reading(),
            methods=methods(rows, found),
            data={"experts": [_json(one) for one in found]},
            warnings=warnings(found),
        )


def _panels(one: Experts, arms: int) -> list[Panel]:
    after, name = (f": {one.arm.label}", _anchor(one.arm.label)) if arms > 1 else ("", "")
    chart, is_thinned = load_chart(one, min(CELLS, _PAGE // arms))
    left_out = (
        " Some evaluations or layers are left out of the picture; the JSON file has all."
        if is_thinned
        else ""
    )
    caption = (
        "The share of the tokens that each expert took since the last evaluation, times the"
        f" number of experts, {one.shown.experts}: 1 is even. One trial, seed {one.shown.seed} of"
        f" {one.arm.label} ({len(one.loads)}"
        f" replicate{'s' if len(one.loads) > 1 else ''}).{left_out}"
    )
    panels = [
        Panel(f"load{name}", f"Load of the experts{after}", chart, caption, layers_table(one))
    ]
    # The router of one expert has nothing to choose, so that its curves are all zero.
    for kind, curves in one.curves.items() if one.shown.experts > 1 else ():
        if kind == "dropped" and not any(value > 0 for curve in curves for value in curve.high_S):
            continue
        title = label_of(kind)
        even = (one.even, f"even: ln {one.shown.experts}") if kind == "router_entropy" else None
        chart = curve_chart(rounded({"curves": curve_rows(one, kind)}), title, even)
        panels.append(
            Panel(f"{kind.replace('_', '-')}{name}", f"{title}{after}", chart, CAPTIONS[kind], None)
        )
    return panels


def _anchor(label: str) -> str:
    return "-" + re.sub(r"[^A-Za-z0-9]+", "-", label).strip("-")


def _json(one: Experts) -> dict[str, Any]:
    """The drawn trial's loads [layer][evaluation][expert], and every curve."""
    shown = one.shown
    load = {
        "digest": shown.digest,
        "seed": shown.seed,
        "layers": list(shown.layers),
        "steps": list(shown.steps_S),
    }
    curves = [
        {
            "metric": f"{kind}_{curve.layer}",
            "steps": curve.steps_S,
            "mean": curve.mean_S,
            "low": curve.low_S,
            "high": curve.high_S,
        }
        for kind, lines in one.curves.items()
        for curve in lines
    ]
    dead = [
        {"digest": load.digest, "layer": layer, "expert": expert}
        for load in one.loads
        for layer, expert in load.dead
    ]
    whose = {
        "arm": one.arm.name,
        "setting": one.arm.setting,
        "digests": [load.digest for load in one.loads],
    }
    return rounded(
        {
            **whose,
            "load": {**load, "values": shown.load_LSX.tolist()},
            "dead": dead,
            "curves": curves,
        }
    )
