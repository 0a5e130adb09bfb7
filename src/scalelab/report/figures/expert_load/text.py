"""What fig. 10 says: how uneven the load ends, and whether an expert died."""

from collections.abc import Sequence

import numpy as np

from scalelab.fit.warned import Warned
from scalelab.report.figure import Rows, Table
from scalelab.report.figures.expert_load.data import DEAD, Experts
from scalelab.report.numbers import NONE, value

CAPTIONS = {
    "max_vio": (
        "How much more than an even load the busiest expert of a layer takes in an update: (max"
        " - mean) / mean. 0 is even. Mean over the updates since the last evaluation, and over"
        " the replicates."
    ),
    "router_entropy": (
        "Mean over tokens of the entropy of the gates: high where a token's gates are alike,"
        " low where the router is sure."
    ),
    "dropped": "Share of the tokens that no expert took. Mean over the replicates.",
}
"""Captions of the quantities' charts."""

_NAMED = 4
"""Dead experts that are named."""


def verdict(found: Sequence[Experts]) -> list[str]:
    """For each arm the worst layer at the end, and the experts that died."""
    return [sentence for one in found for sentence in _said(one)]


def _said(one: Experts) -> list[str]:
    if one.shown.experts == 1:
        return [f"`{one.arm.label}` has one expert in a layer, which takes every token."]
    return [*_balance(one), _deaths(one)]


def _balance(one: Experts) -> list[str]:
    ends = one.ends("max_vio")
    if not ends:
        return []
    worst, count = max(ends, key=lambda layer: ends[layer]), len(one.loads)
    over = f"mean of {count} trials" if count > 1 else "one trial"
    mean = (
        f", {value(float(np.mean(list(ends.values()))))} over all layers" if len(ends) > 1 else ""
    )
    return [
        f"`{one.arm.label}` ends with a MaxVio of {value(ends[worst])} at worst, in layer"
        f" {worst}{mean} ({over})."
    ]


def _deaths(one: Experts) -> str:
    every = sum(load.end_LX.size for load in one.loads)
    least = min(float(np.nanmin(load.end_LX)) for load in one.loads)
    dead = [(load.seed, layer, expert) for load in one.loads for layer, expert in load.dead]
    where = (
        f"{every:,} experts of {len(one.loads)} trials"
        if len(one.loads) > 1
        else f"{every:,} experts"
    )
    if not dead:
        return f"No expert died: of the {where} the least used ends at {least:.2f} of an even load."
    named = "; ".join(
        f"layer {layer}, expert {expert} (seed {seed})" for seed, layer, expert in dead[:_NAMED]
    )
    more = f"; and {len(dead) - _NAMED} more" if len(dead) > _NAMED else ""
    return f"{len(dead)} of the {where} died, ending below {DEAD:g} of an even load: {named}{more}."


def layers_table(one: Experts) -> Table:
    """Every layer at the last evaluation."""
    ends = {kind: one.ends(kind) for kind in one.curves}
    worst = {curve.layer: max(curve.mean_S) for curve in one.curves.get("max_vio", ())}
    columns = (
        "layer",
        "MaxVio",
        "most while training",
        "entropy",
        "of ln experts",
        "dropped",
        "least load",
        "most load",
        "dead experts",
    )
    rows = []
    for at, layer in enumerate(one.shown.layers):
        loads = np.concatenate([load.end_LX[at] for load in one.loads])
        entropy = ends.get("router_entropy", {}).get(layer)
        told = [_told(ends.get("max_vio", {}).get(layer)), _told(worst.get(layer)), _told(entropy)]
        told += [
            _of_even(entropy, one.even),
            _told(ends.get("dropped", {}).get(layer)),
        ]
        dead = sum(1 for load in one.loads for found, _ in load.dead if found == layer)
        rows.append(
            [
                f"{layer}",
                *told,
                value(float(np.nanmin(loads))),
                value(float(np.nanmax(loads))),
                f"{dead}",
            ]
        )
    note = (
        "At the last evaluation: means over the replicates; loads and dead experts are those of all"
        " of them together."
    )
    return Table("The layers", columns, rows, frozenset(range(len(columns))), note)


def _told(found: float | None) -> str:
    return NONE if found is None else value(found)


def _of_even(entropy: float | None, even: float) -> str:
    """The entropy as a share of that of even gates.

    One expert has no such share: its gate is 1 for every token, so the entropy of its load and
    that of even gates are both ln 1 = 0.
    """
    return NONE if entropy is None or even == 0 else f"{100 * entropy / even:.0f} %"


def reading() -> list[str]:
    """How to read the charts."""
    return [
        (
            "A row of a heat map is one expert, a column what it took between one evaluation and"
            " the next; steps are about evenly spaced on a log axis. Neutral is an even load, blue"
            " less, orange more. A row that stays blue is an expert that does not learn."
        ),
        (
            "MaxVio is 0 for an even load, and a little above it where tokens are sent at random:"
            " the fewer an update has, the more. So compare it between trials whose batches have"
            " the same number of tokens."
        ),
        (
            "A load that is even and a router that is unsure (an entropy near that of even gates)"
            " go together early in training; late in it, experts that differ have an even load and"
            " a lower entropy."
        ),
        "Layers and experts are counted from 0, as in the metrics `load_LAYER_EXPERT`.",
        (
            "Point at a mark to see its values; click it for its trials; `scalelab show DIGEST`"
            " tells all of one."
        ),
    ]


def methods(rows: Rows, found: Sequence[Experts]) -> list[str]:
    """Where the numbers come from."""
    asked = [
        f"{name}: {spec['about']}" for name, spec in sorted(rows.specs.items()) if spec.get("about")
    ]
    drawn = ", ".join(
        f"{one.arm.label}: seed {one.shown.seed} (`{one.shown.digest[:10]}`)" for one in found
    )
    return [
        *asked,
        (
            "Loads are shares of the tokens' assignments to routed experts in training, counted"
            " from one evaluation to the next; shared experts take every token and are not among"
            " them."
        ),
        (
            "MaxVio is of the load of each update, all its micro-batches together, averaged over"
            " the updates (MaxVio_batch of arXiv 2408.15664). The loads that are drawn are summed"
            " over the updates, and more even."
        ),
        (
            f"Heat maps show one replicate of each arm, that of the first seed: {drawn}. Curves are"
            " means over the replicates, whose range is in the tooltip."
        ),
        (
            f"An expert counts as dead where it takes less than {DEAD:g} of an even load from the"
            " evaluation before the last to the last."
        ),
    ]


def warnings(found: Sequence[Experts]) -> list[Warned]:
    """Dead experts, and arms with few evaluations."""
    dead = sum(len(load.dead) for one in found for load in one.loads)
    many = "s end" if dead > 1 else " ends"
    text = (
        f"{dead} expert{many} nearly unused, and learn{'s' if dead == 1 else ''} nothing more:"
        " raise `model.ffn.balance.bias` or `.loss`."
    )
    said = (
        [
            Warned(
                "dead_experts",
                text,
            )
        ]
        if dead
        else []
    )
    chosen = [one for one in found if one.shown.experts > 1]
    few = sorted({one.arm.label for one in chosen if len(one.shown.steps_S) < 3})
    if few:
        said.append(
            Warned(
                "few_evaluations",
                f"{', '.join(few)}: fewer than three evaluations; lower `evaluation.first` or"
                " `ratio`.",
            )
        )
    return said
