"""Fig. 11: which layers routers over layers choose, and whether it pays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scalelab.core.metrics import column_of, metric_of
from scalelab.report.arms import Arm, Arms
from scalelab.report.averages import labelled
from scalelab.report.charts.colours import Palette
from scalelab.report.charts.differences import difference_chart, difference_row, pair_rows
from scalelab.report.figure import Drawing, Figure, Panel, Rows
from scalelab.report.figures.routes.arms import (
    LOSS,
    arms_of,
    away,
    first_settings,
    halts,
    identities,
    plain_of,
    with_settings,
)
from scalelab.report.figures.routes.charts import (
    choices_chart,
    entropy_chart,
    kind_chart,
    kind_rows,
    loss_chart,
    step_chart,
    step_rows,
    transitions_chart,
)
from scalelab.report.figures.routes.data import Routed, is_drawn, routed_of, settings_of
from scalelab.report.figures.routes.passages import passages
from scalelab.report.figures.routes.tables import (
    arms_table,
    orders_table,
    replicates_table,
    saving_table,
)
from scalelab.report.figures.routes.text import (
    beating,
    methods,
    paying,
    reading,
    skipping,
    verdict,
    warnings,
)
from scalelab.report.numbers import rounded
from scalelab.report.runs import check_metric

DRAWN = 48
"""Arms of all settings whose routes are drawn; the JSON file has all."""


@dataclass(frozen=True)
class Routes(Figure):
    """Arms against the plain transformer; what each router chooses at each step, skips,
    and spends.
    """

    recipe: int = 3
    needs_curves: bool = True
    needs_notes: bool = True
    metric: str = LOSS

    @property
    def options(self) -> dict[str, str]:
        """The metric that arms are compared by."""
        return {"metric": self.metric}

    def chosen(self, options: Mapping[str, str]) -> "Routes":
        """With another metric."""
        rest = {name: value for name, value in options.items() if name != "metric"}
        super().chosen(rest)
        return replace(self, metric=metric_of(options.get("metric", self.metric)))

    def curves_of(self, names: Sequence[str]) -> list[str]:
        """The entropy of each step's router."""
        return [name for name in names if is_drawn(name)]

    def lacks(self, rows: Rows) -> str:
        """Nothing, where some finished trial told its routes.

        Raises UserError for a metric that was asked for and that no trial has.
        """
        if self.metric != LOSS:
            check_metric(rows.trials, self.metric)
        placed = with_settings(rows)
        if routed_of(placed, arms_of(placed, column_of(self.metric))):
            return ""
        return "no finished trial has told its routes (`model.kind: layer_router`)"

    def draw(self, rows: Rows) -> Drawing:
        """The drawing."""
        placed, column = with_settings(rows), column_of(self.metric)
        arms = arms_of(placed, column)
        found = routed_of(placed, arms)
        shown, palette = found[:DRAWN], Palette.of_arms(arms, placed)
        return Drawing(
            title=self.title,
            verdict=verdict(arms, found, column),
            panels=[
                *_differences(arms, column),
                *_maps(shown),
                *_savings(shown, palette),
                *_losses(shown, palette),
            ],
            passages=passages(shown, first_settings(arms)),
            metric=column if column in rows.trials.columns else "metrics.validation_loss",
            tables=[
                *(arms_table(arms, setting, column) for setting in arms.settings),
                orders_table(found),
                *saving_table(found),
            ],
            reading=reading(),
            methods=methods(rows, arms, shown, column),
            data={
                "metric": self.metric,
                "arms": [_json(arms, arm, column) for arm in arms.found],
                "judged": {
                    name: [
                        rounded(one.to_json())
                        for setting in arms.settings
                        for one in together(arms, setting, column)
                    ]
                    for name, together in (
                        ("beats_plain", beating),
                        ("identity_pays", skipping),
                        ("halting_pays", paying),
                    )
                },
                "routes": [_routes_json(one) for one in found],
            },
            warnings=warnings(rows, arms),
        )


def _differences(arms: Arms, column: str) -> list[Panel]:
    """For each setting how far the arms are from the plain transformer, side by side."""
    panels, metric = [], metric_of(column)
    for number, setting in enumerate(arms.settings, 1):
        found = [
            (arm, base, gap)
            for arm in arms.of_setting(setting)
            if (base := plain_of(arms, arm)) and (gap := away(arm, base, column))
        ]
        if found:
            rows = [difference_row(arm, base, gap, column, arm.name) for arm, base, gap in found]
            pairs = [
                row for arm, base, _ in found for row in pair_rows(arm, base, column, arm.name)
            ]
            label = labelled(metric, found[0][0].trials)
            title = f"{label} minus that of {found[0][1].name}"
            chart = difference_chart(
                rounded({"differences": rows, "pairs": pairs}), title, [row["arm"] for row in rows]
            )
            caption = (
                f"The difference in {label} to the plain transformer, paired by seed (grey), with"
                " its own 95 % interval, not corrected for the number of arms."
            )
            heading = (
                setting[:1].upper() + setting[1:] if setting else "Against the plain transformer"
            )
            panels.append(
                Panel(
                    f"difference-{number}",
                    heading,
                    chart,
                    caption,
                    replicates_table(arms.of_setting(setting), column),
                )
            )
    return panels


def _maps(found: Sequence[Routed]) -> list[Panel]:
    """Choices and passages of every arm that has a choice, and how sure its router is."""
    chosen = settings_of(found, lambda one: one.pool.policy != "fixed") or settings_of(found)
    panels = [
        Panel(
            "choices",
            "What each step chose",
            choices_chart(chosen),
            "The share of the tokens that each step sent to each layer; `id` is an identity layer."
            " One trial of each arm.",
        )
    ]
    if any(one.pool.steps > 1 for one in found):
        caption = (
            "The share of all passages from one step to the next that went from this layer (row) to"
            " that (column). One trial of each arm."
        )
        panels.append(
            Panel("transitions", "Which layer follows which", transitions_chart(chosen), caption)
        )
    if any(one.entropy for group in chosen.values() for one in group):
        caption = (
            "The mean entropy of the router's probabilities at each step, over training; means over"
            " the replicates."
        )
        panels.append(Panel("entropy", "How sure the routers are", entropy_chart(chosen), caption))
    return panels


def _savings(found: Sequence[Routed], arms: Palette) -> list[Panel]:
    """Where identity layers and halting save computation."""
    skipping, halting = (
        [one for one in found if identities(one.arm)],
        [one for one in found if halts(one.arm)],
    )
    panels = []
    if by_step := step_rows(skipping, "identity"):
        caption = (
            "The share of the choices at each step that were an identity layer; means over the"
            " replicates."
        )
        panels.append(
            Panel(
                "identity",
                "Identity layers, by step",
                step_chart(by_step, "identity layers", arms),
                caption,
            )
        )
    if by_kind := kind_rows(skipping):
        caption = "The same by what the token is that chose."
        panels.append(
            Panel(
                "identity-kinds",
                "Identity layers, by kind of token",
                kind_chart(by_kind, arms),
                caption,
            )
        )
    if used := step_rows(halting, "steps"):
        caption = (
            "The share of the tokens that halted after so many steps; means over the replicates."
        )
        panels.append(Panel("steps", "Steps used", step_chart(used, "tokens", arms), caption))
    return panels


def _losses(found: Sequence[Routed], arms: Palette) -> list[Panel]:
    rows = step_rows([one for one in found if one.pool.steps > 1], "loss_step")
    caption = (
        "The loss on held-out data, were it predicted after each step; means over the replicates."
    )
    return (
        [Panel("loss-by-step", "What each step is worth", loss_chart(rows, "loss", arms), caption)]
        if rows
        else []
    )


def _json(arms: Arms, arm: Arm, column: str) -> dict[str, Any]:
    """What an arm reached, and whose it is."""
    names = (
        "test_loss",
        "validation_loss",
        "accuracy",
        "accuracy_questions",
        "accuracy_longer",
        "flops_per_token",
        "flops",
        "tokens",
        "steps_mean",
        "identity_share",
    )
    shown = [column, *(column_of(name) for name in names)]
    means = {metric_of(name): mean.to_json() for name in shown if (mean := arm.mean(name))}
    gaps = {
        metric_of(name): gap.to_json()
        for name in shown
        if (gap := away(arm, plain_of(arms, arm), name))
    }
    whose = {
        "arm": arm.name,
        "setting": arm.setting,
        "axes": dict(arm.values),
        "params.total": arm.first("params.total"),
    }
    return rounded({**whose, "digests": arm.digests, "means": means, "differences": gaps})


def _routes_json(one: Routed) -> dict[str, Any]:
    """Every number that the charts show."""
    names = ("order_kept", "order_distance", "sequence_entropy", "identity_share", "steps_mean")
    means = {name: mean.to_json() for name in names if (mean := one.arm.mean(column_of(name)))}
    by_step = {
        name: {step: mean.value for step, mean in one.by_step(name)}
        for name in ("identity", "steps", "loss_step", "route_entropy")
    }
    curves = [
        {
            "step": curve.layer + 1,
            "updates": curve.steps_S,
            "mean": curve.mean_S,
            "low": curve.low_S,
            "high": curve.high_S,
        }
        for curve in one.entropy
    ]
    drawn = {"digest": one.digest, "seed": one.seed, "layers": one.names}
    tables = {"chosen": one.chosen_SE.tolist(), "transitions": one.moved_EE.tolist()}
    kinds = {kind: mean.value for kind, mean in one.by_kind()}
    whose = {"arm": one.arm.name, "setting": one.arm.setting}
    orders = {"orders": one.orders(), "by_chance": one.by_chance()}
    return rounded(
        {
            **whose,
            **drawn,
            **tables,
            **orders,
            "means": means,
            **by_step,
            "identity_kind": kinds,
            "entropy": curves,
        }
    )
