"""Fig. 11: a made-up campaign of routers over layers in a store, what is drawn of it, and what is
said.
"""

import hashlib
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from scalelab import report
from scalelab.core.errors import UserError
from scalelab.core.events import Ended, Measured, Started
from scalelab.evaluate.excerpt import excerpt
from scalelab.families.layer_router.spec import LayerRouter
from scalelab.fit.multiple import holm
from scalelab.report.charts.themes import to_svg
from scalelab.report.figure import Drawing, Panel, Rows
from scalelab.report.reading import Reading
from scalelab.report.registry import find
from scalelab.store import TrialRecord, open_store
from scalelab.store.store import Store

LAYERS, STEPS_TRAINED = 4, (50, 80, 128, 205)
ROUTER = {"kind": "layer_router", "layers": LAYERS, "width": 64}
ARMS: dict[str, dict[str, Any]] = {
    "plain": {"model": {"kind": "transformer", "layers": LAYERS, "width": 64}, "loss": 1.80},
    "looped": {"model": {**ROUTER, "layers": 2, "policy": "fixed", "steps": 4}, "loss": 1.85},
    "random": {"model": {**ROUTER, "policy": "random"}, "loss": 1.95},
    "learned": {"model": {**ROUTER, "policy": "learned"}, "loss": 1.86},
    "closed": {
        "model": {**ROUTER, "policy": "closed", "choices": ((1, 2), (2, 3), (3, 4), (4, 1))},
        "loss": 1.83,
    },
    "open": {"model": {**ROUTER, "policy": "open"}, "loss": 1.79},
    "open + identity": {
        "model": {**ROUTER, "policy": "open", "identity": 1, "steps": 5},
        "loss": 1.77,
    },
    "open + ACT": {
        "model": {**ROUTER, "policy": "open", "halting": {"kind": "act", "cost": 0.01}},
        "loss": 1.76,
    },
}
TASKS: dict[str, dict[str, Any]] = {
    "text": {"kind": "text", "corpus": {"source": "shakespeare"}, "context": 256, "shards": "ab12"},
    "chain": {"kind": "arithmetic", "operation": "chain", "length": 8, "context": 20},
}
BUDGETS = {"tokens": "400k", "flops": "500e9"}


def spread(weights: Sequence[float]) -> list[float]:
    return [weight / sum(weights) for weight in weights]


def routed_metrics(model: dict[str, Any], rng: random.Random) -> dict[str, float]:
    """Final metrics of a router: it leans to the original order, and to identity layers at late
    steps.
    """
    layers, steps, identity = (
        model["layers"],
        model.get("steps") or model["layers"],
        model.get("identity", 0),
    )
    pool, found = layers + identity, dict[str, float]()
    allowed = model.get("choices") or [range(1, pool + 1)] * steps
    for step in range(1, steps + 1):
        favour = [
            rng.uniform(0.1, 1)
            + (2 if layer == step else 0)
            + (0.4 * step if layer > layers else 0)
            for layer in range(1, pool + 1)
        ]
        if model["policy"] == "fixed":
            favour = [float(layer == (step - 1) % layers + 1) for layer in range(1, pool + 1)]
        share = spread(
            [
                weight if layer in allowed[step - 1] or model["policy"] == "fixed" else 0.0
                for layer, weight in enumerate(favour, 1)
            ]
        )
        found |= {f"route_{step}_{layer}": one for layer, one in enumerate(share, 1)}
        found[f"order_{step}"] = float(share.index(max(share)) + 1)
        found[f"route_entropy_{step}"] = rng.uniform(0.2, 1.2)
        found[f"loss_step_{step}"] = 1.8 + 1.5 / step + rng.gauss(0, 0.01)
    moved = spread([rng.uniform(0.05, 1) for _ in range(pool * pool)])
    found |= {f"transition_{at // pool + 1}_{at % pool + 1}": one for at, one in enumerate(moved)}
    kept = sum(found[f"route_{step}_{step}"] for step in range(1, min(steps, layers) + 1)) / min(
        steps, layers
    )
    found |= {
        "order_kept": kept,
        "order_distance": 0.8 * (1 - kept),
        "sequence_entropy": rng.uniform(0.6, 1.3),
        "steps_mean": float(steps),
    }
    if identity:
        by_step = [
            sum(found[f"route_{step}_{layer}"] for layer in range(layers + 1, pool + 1))
            for step in range(1, steps + 1)
        ]
        found |= {f"identity_{step}": share for step, share in enumerate(by_step, 1)} | {
            "identity_share": sum(by_step) / steps
        }
        kinds = {"letter": 0.2, "space": 0.5, "punctuation": 0.35, "newline": 0.4}
        found |= {
            f"identity_kind_{kind}": share + rng.gauss(0, 0.01) for kind, share in kinds.items()
        }
    if "halting" in model:
        used = spread([0.1 + rng.uniform(0, 0.05), 0.2, 0.4, 0.3])
        found |= {f"steps_{steps}": share for steps, share in enumerate(used, 1)}
        found["steps_mean"] = sum(steps * share for steps, share in enumerate(used, 1))
    return found


def some_text(model: dict[str, Any], rng: random.Random) -> str:
    """An excerpt of text that is no markup."""
    given = LayerRouter.model_validate(
        {name: value for name, value in model.items() if name != "choices"}
    )
    texts = [
        [*'KING <b>EDWARD</b> & "IV":\nOnce more we sit in England\'s royal throne,\n', ""]
    ] * 3
    route_RTS = np.array(
        [
            [[rng.randrange(given.pool) for _ in range(given.num_steps)] for _ in text]
            for text in texts
        ]
    )
    if given.halting.kind != "none":
        ends_RT1 = np.array([[[rng.randint(1, given.num_steps)] for _ in text] for text in texts])
        route_RTS = np.where(np.arange(given.num_steps) < ends_RT1, route_RTS, -1)
    return excerpt(given.layer_pool, texts, route_RTS)


def record(arm: str, task: str, budget: str, seed: int) -> TrialRecord:
    model = ARMS[arm]["model"]
    if model["kind"] == "layer_router":
        model = {"choices": None, "identity": 0, "steps": model["layers"], **model}
    written = (
        {"steps": 205}
        if budget == "tokens" or arm in ("plain", "looped")
        else {"flops": 500 * 10**9}
    )
    trial = {"task": TASKS[task], "model": model, "budget": written, "batch": 8, "seed": seed}
    axes = {"arm": arm, "task": {"kind": TASKS[task]["kind"]}, "budget": {budget: BUDGETS[budget]}}
    digest = hashlib.sha256(f"{arm}/{task}/{budget}/{seed}".encode()).hexdigest()
    identity = {**trial, "is": budget}
    params = {"total": 200_000 + len(arm), "active": 200_000}
    return TrialRecord(digest, identity, trial, axes, seed, seed, params, 205, 400_000, 1.0, 10**12)


def fill(
    store: Store,
    arms: Sequence[str] = tuple(ARMS),
    tasks: Sequence[str] = tuple(TASKS),
    budgets: Sequence[str] = tuple(BUDGETS),
    seeds: int = 3,
) -> None:
    """The campaign `router`: losses of one seed are alike in all arms, and the arms differ by less
    than the seeds do.
    """
    keys = [
        (arm, task, budget, seed)
        for arm in arms
        for task in tasks
        for budget in budgets
        for seed in range(seeds)
    ]
    records = [record(*key) for key in keys]
    axes = {
        "task": [TASKS[task] for task in tasks],
        "budget": [{budget: BUDGETS[budget]} for budget in budgets],
    }
    spec = {
        "name": "router",
        "about": "Does a router pay?",
        "arms": {arm: {} for arm in arms},
        "axes": axes,
    }
    store.register("router", spec, records)
    for (arm, task, budget, seed), made in zip(keys, records, strict=True):
        rng, model = random.Random(f"{arm}{task}{budget}{seed}"), made.trial["model"]
        attempt = store.begin(made.digest, Started({"device": "cpu"}), {"commit": "abc"}, "me")
        is_router = model["kind"] == "layer_router"
        for step in STEPS_TRAINED:
            entropy = {
                f"router_entropy_{at}": 1.4 - 0.2 * math.log(step / 40) / (1 + at)
                for at in range(model.get("steps", 0))
            }
            store.measure(
                made.digest,
                attempt,
                Measured(step, {"loss": 2.0, **(entropy if is_router else {})}),
            )
        loss = (
            ARMS[arm]["loss"]
            + 0.05 * math.sin(3 * seed)
            + rng.gauss(0, 0.004)
            - (0.3 if task == "chain" else 0)
        )
        metrics = {
            "loss": loss,
            "validation_loss": loss,
            "tokens": 400_000.0,
            "flops": 5e11,
            "flops_per_token": 4e5 + 1000 * len(arm),
        }
        metrics |= (
            {"test_loss": loss + 0.02}
            if task == "text"
            else {"accuracy": 2.3 - loss, "accuracy_questions": 2.2 - loss}
        )
        metrics |= routed_metrics(model, rng) if is_router else {}
        notes = {"routes": some_text(model, rng)} if is_router else {}
        store.end(made.digest, attempt, Ended("done", 205, 60.0, metrics, artifacts=notes))


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(tmp_path_factory.mktemp("router") / "router.db", mode="write") as store:
        fill(store)
        yield store


def rows_of(store: Store) -> Rows:
    return Reading(store).rows(find(11), ["router"])


@pytest.fixture(scope="module")
def rows(campaign: Store) -> Rows:
    return rows_of(campaign)


@pytest.fixture(scope="module")
def drawing(rows: Rows) -> Drawing:
    return find(11).draw(rows)


@pytest.fixture(scope="module")
def page(campaign: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.draw(campaign, "routes", out=tmp_path_factory.mktemp("page"))


def some(fill_with: dict[str, Any], folder: Path) -> Drawing:
    with open_store(folder / "some.db", mode="write") as store:
        fill(store, **fill_with)
        return find(11).draw(rows_of(store))


def panel(drawing: Drawing, name: str) -> Panel:
    (found,) = [panel for panel in drawing.panels if panel.name == name]
    return found


def test_every_setting_has_its_differences_and_every_question_its_panel(drawing: Drawing) -> None:
    names = [panel.name for panel in drawing.panels]
    assert names[:4] == ["difference-1", "difference-2", "difference-3", "difference-4"]
    assert names[4:] == [
        "choices",
        "transitions",
        "entropy",
        "identity",
        "identity-kinds",
        "steps",
        "loss-by-step",
    ]
    titles = [
        "On text, equal parameters",
        "On text, equal FLOPs",
        "On arithmetic chain, equal parameters",
        "On arithmetic chain, equal FLOPs",
    ]
    assert [panel.title for panel in drawing.panels[:4]] == titles


def test_differences_are_to_the_plain_transformer_of_the_same_task_and_budget_seed_by_seed(
    rows: Rows, drawing: Drawing
) -> None:
    data = drawing.panels[3].chart["datasets"]
    assert [row["arm"] for row in data["differences"]] == [name for name in ARMS if name != "plain"]
    mine = rows.trials.filter(
        pl.col("task.kind") == "arithmetic", pl.col("budget.flops") == "500e9"
    )
    open_, plain = (
        mine.filter(pl.col("arm") == name).sort("seed")["metrics.validation_loss"].to_numpy()
        for name in ("open", "plain")
    )
    (found,) = [row for row in data["differences"] if row["arm"] == "open"]
    assert found["value"] == pytest.approx((open_ - plain).mean(), rel=1e-5)
    assert found["low"] < found["value"] < found["high"]
    assert set(found["digests"]) == set(
        mine.filter(pl.col("arm").is_in(["open", "plain"]))["digest"]
    )
    assert len([row for row in data["pairs"] if row["arm"] == "open"]) == 3


def test_the_loss_of_text_is_that_of_the_test_and_arithmetic_tells_its_accuracy_too(
    rows: Rows, drawing: Drawing
) -> None:
    text, _, sums, _, *_ = drawing.tables
    assert text.title == "The arms, on text, equal parameters"
    mine = rows.trials.filter(
        pl.col("arm") == "closed", pl.col("task.kind") == "text", pl.col("budget.flops").is_null()
    )
    (row,) = [row for row in text.rows if row[0] == "closed"]
    assert row[5].startswith(f"{mine['metrics.test_loss'].mean():.3f}")
    assert row[1:5] == ["200,006", "400,000", "5e11", "406,000"]
    for name in ("accuracy (mean over lengths)", "accuracy_questions (of all questions)"):
        assert (name in sums.columns, name in text.columns) == (True, False)
    assert any("In arithmetic, accuracy is the share" in said for said in drawing.methods)
    assert [row[6] == "\N{EN DASH}" for row in text.rows] == [name == "plain" for name in ARMS]
    assert all(len(row) == len(table.columns) for table in drawing.tables for row in table.rows)


def test_heat_maps_hold_one_trials_routes_and_its_digest(rows: Rows, drawing: Drawing) -> None:
    chosen = panel(drawing, "choices").chart
    first = rows.trials.filter(
        pl.col("arm") == "open + identity",
        pl.col("seed") == 0,
        pl.col("task.kind") == "text",
        pl.col("budget.flops").is_null(),
    )
    cells = [
        row for row in chosen["datasets"]["shares"] if row["place"] == 4
    ]  # without plain and looped
    assert {row["layer"] for row in cells} == {"1", "2", "3", "4", "id"}
    (cell,) = [row for row in cells if (row["step"], row["layer"]) == (5, "id")]
    assert cell["share"] == pytest.approx(first["metrics.route_5_5"].item(), rel=1e-5)
    assert first["digest"].item() in json.dumps(chosen)
    (passage,) = [
        row
        for row in panel(drawing, "transitions").chart["datasets"]["shares"]
        if (row["place"], row["layer"], row["next"]) == (4, "id", "2")
    ]
    assert passage["share"] == pytest.approx(first["metrics.transition_5_2"].item(), rel=1e-5)
    picture = to_svg(chosen)
    for text in ("open + identity", "closed", "on arithmetic chain, equal FLOPs"):
        assert f">{text}<" in picture
    assert ">looped<" not in picture  # it has no choice


def test_a_step_that_no_token_reached_is_left_blank(rows: Rows) -> None:
    halting = rows.trials.filter(pl.col("arm") == "open + ACT").with_columns(
        *(pl.lit(0.0).alias(f"metrics.route_4_{layer}") for layer in range(1, 5))
    )
    cells = panel(find(11).draw(replace(rows, trials=halting)), "choices").chart["datasets"][
        "shares"
    ]
    assert {row["step"] for row in cells} == {1, 2, 3}


def test_curves_of_entropy_steps_kinds_and_losses_are_means_over_the_replicates(
    rows: Rows, drawing: Drawing
) -> None:
    def mean(arm: str, column: str) -> float:
        mine = rows.trials.filter(
            pl.col("arm") == arm, pl.col("task.kind") == "text", pl.col("budget.flops").is_null()
        )
        return float(mine[column].to_numpy().mean())

    def value(place: str, **where: Any) -> float:
        found = [
            row["value"]
            for row in panel(drawing, place).chart["datasets"]["places"]
            if where.items() <= row.items()
        ]
        assert len(found) == 1
        return found[0]

    setting = "on text, equal parameters"
    assert value("identity", arm=f"open + identity, {setting}", step=3) == pytest.approx(
        mean("open + identity", "metrics.identity_3"), rel=1e-5
    )
    assert value(
        "identity-kinds", arm=f"open + identity, {setting}", kind="space"
    ) == pytest.approx(mean("open + identity", "metrics.identity_kind_space"), rel=1e-5)
    assert value("steps", arm=f"open + ACT, {setting}", step=2) == pytest.approx(
        mean("open + ACT", "metrics.steps_2"), rel=1e-5
    )
    assert value("loss-by-step", name="learned", setting=setting, step=4) == pytest.approx(
        mean("learned", "metrics.loss_step_4"), rel=1e-5
    )
    curves = panel(drawing, "entropy").chart["datasets"]["curves"]
    (place,) = [row for row in curves if (row["place"], row["at"], row["step"]) == (0, 2, 128)]
    assert place["value"] == pytest.approx(1.4 - 0.2 * math.log(128 / 40) / 2, rel=1e-5)


def test_the_headline_answers_the_four_questions(drawing: Drawing) -> None:
    beats, order, skips, pays = drawing.verdict
    assert beats.startswith(
        "Does a router beat the plain transformer in held-out loss? On text, equal parameters: yes"
        " (of 5 routed arms 2 better"
    )
    assert "the best is `open + ACT`, 0.04" in beats
    assert " below (95 %: 0.0" in beats
    assert beats.count("equal FLOPs: ") == 2
    assert "`closed` 1 2 3 4, 8" in order
    assert "; 50 by chance)" in order
    assert "identity" not in order
    assert "`open + identity` in 3" in skips
    assert "even use would be 20 %" in skips
    assert "most at step 5 (6" in skips
    assert "by kind of token from 20 % (letter) to 49 % (space), with a held-out loss 0.02" in skips
    assert skips.endswith("that of `open`.")
    assert pays.startswith(
        "Does adaptive computation pay? On text, equal parameters: yes; `open + ACT` is 0.03"
    )
    assert "`open`, using 2.89 (" in pays
    assert drawing.warnings == []


def test_what_the_seeds_do_not_tell_is_said_with_the_reason(rows: Rows) -> None:
    some = rows.trials.filter(
        pl.col("arm").is_in(["plain", "open", "open + ACT"]),
        pl.col("task.kind") == "text",
        pl.col("budget.flops").is_null(),
    )
    noisy = some.with_columns(
        pl.lit(1.7).alias("metrics.test_loss")
        + 0.01 * (pl.col("seed") - 1.1) * (pl.col("arm") != "plain").cast(pl.Float64)
    )
    drawn = find(11).draw(replace(rows, trials=noisy))
    beats, _, skips, pays = drawn.verdict
    assert beats.startswith(
        "Does a router beat the plain transformer in held-out loss? It cannot tell, the interval"
        " holds zero with 3 pairs of seeds (of 2"
    )
    assert "none better and none worse" in beats
    assert (
        skips
        == "Does it use identity layers, and when? It cannot tell: no finished arm that learns its"
        " routes has one."
    )
    assert (
        "no interval: it needs two different pairs" in pays
    )  # both differ from the plain one alike
    worse = noisy.with_columns(metrics_worse=pl.col("metrics.test_loss")).with_columns(
        (pl.col("metrics.test_loss") + 0.5 * (pl.col("arm") != "plain").cast(pl.Float64)).alias(
            "metrics.test_loss"
        )
    )
    assert (
        "? No (of 2 routed arms none better and 2 worse beyond the error)"
        in find(11).draw(replace(rows, trials=worse)).verdict[0]
    )


def test_arms_with_identity_layers_are_judged_together(rows: Rows) -> None:
    """Two of them: the smaller p-value of the two is doubled."""
    of_text = rows.trials.filter(
        pl.col("task.kind") == "text",
        pl.col("budget.flops").is_null(),
        pl.col("arm").is_in(["plain", "open", "open + identity"]),
    )
    second = of_text.filter(pl.col("arm") == "open + identity").with_columns(
        pl.lit("open + 2 identities").alias("arm"),
        pl.lit(2, pl.Int64).alias("model.identity"),
        (pl.col("digest") + "2").alias("digest"),
        (pl.col("metrics.test_loss") + 0.01 * pl.col("seed") ** 2).alias("metrics.test_loss"),
    )
    drawn = find(11).draw(
        replace(rows, trials=pl.concat([of_text, second], how="vertical_relaxed"))
    )
    skips = drawn.data["judged"]["identity_pays"]
    assert [one["against"] for one in skips] == ["open", "open"]
    assert [one["judged_together"] for one in skips] == [2, 2]
    assert [one["p_holm"] for one in skips] == pytest.approx(
        holm([one["p"] for one in skips]).tolist(), rel=1e-4
    )
    assert drawn.verdict[2].count("corrected for 2 arms") == 2


def test_an_lstm_beside_the_routers_is_not_what_they_are_compared_to(
    rows: Rows, drawing: Drawing
) -> None:
    lstm = rows.trials.filter(pl.col("arm") == "plain").with_columns(
        pl.lit("lstm").alias("arm"),
        pl.lit("lstm").alias("model.kind"),
        pl.col("digest").str.reverse(),
        pl.col("metrics.test_loss") + 1,
    )
    both = find(11).draw(replace(rows, trials=pl.concat([lstm, rows.trials])))
    assert both.data["judged"]["beats_plain"] == drawing.data["judged"]["beats_plain"]


def test_a_router_that_is_told_apart_alone_is_not_among_five(rows: Rows) -> None:
    """Pairs of -0.02, -0.03 and -0.03 have p = 0.015; five times that is above 0.05."""
    lucky = pl.when(pl.col("seed") == 0).then(-0.02).otherwise(-0.03)
    noise = pl.when(pl.col("arm") == "open").then(lucky).otherwise(0.004 * (pl.col("seed") - 1))
    away = pl.when(pl.col("arm") == "plain").then(0.0).otherwise(noise)
    made = rows.trials.filter(
        pl.col("task.kind") == "text", pl.col("budget.flops").is_null()
    ).with_columns((1.6 + away).alias("metrics.test_loss"))
    drawn = find(11).draw(replace(rows, trials=made))
    assert (
        "It cannot tell, p = 0.076 corrected for 5 arms with 3 pairs of seeds (of 5 routed arms"
        " none better and none worse beyond the error); the best is `open`"
    ) in drawn.verdict[0]
    beats, pays = drawn.data["judged"]["beats_plain"], drawn.data["judged"]["halting_pays"]
    assert [one["judged_together"] for one in (*beats, *pays)] == [5] * 5 + [1]
    (lucky_one,) = [one for one in beats if one["arm"] == "open"]
    assert lucky_one["p_holm"] == pytest.approx(5 * lucky_one["p"], rel=1e-4)
    alone = made.filter(pl.col("arm").is_in(["plain", "open"]))
    assert (
        "? Yes (of 1 routed arm 1 better" in find(11).draw(replace(rows, trials=alone)).verdict[0]
    )


def test_one_seed_gives_no_interval_and_a_warning(tmp_path: Path) -> None:
    drawn = some(
        {
            "arms": ["plain", "open", "open + identity"],
            "tasks": ["chain"],
            "budgets": ["tokens"],
            "seeds": 1,
        },
        tmp_path,
    )
    assert "It cannot tell, there is no interval with 1 pair of seeds" in drawn.verdict[0]
    assert [warned.code for warned in drawn.warnings] == ["few_replicates"]
    assert drawn.panels[0].title == "Against the plain transformer"
    assert (
        drawn.verdict[3]
        == "Does adaptive computation pay? It cannot tell: no finished arm may halt."
    )


def test_a_router_alone_is_drawn_and_nothing_is_claimed_of_it(tmp_path: Path) -> None:
    drawn = some({"arms": ["open + ACT"], "tasks": ["text"], "budgets": ["flops"]}, tmp_path)
    assert [panel.name for panel in drawn.panels] == [
        "choices",
        "transitions",
        "entropy",
        "steps",
        "loss-by-step",
    ]
    assert drawn.verdict[0].endswith(
        "It cannot tell: no setting has both, with a pair of equal seeds."
    )
    assert "nothing stands beside `all trials` that does not halt" in drawn.verdict[3]
    for one in drawn.panels:
        assert to_svg(one.chart)


def test_arms_without_routers_are_no_data(tmp_path: Path, rows: Rows) -> None:
    assert find(11).has_data(rows)
    assert not find(11).has_data(Rows(pl.DataFrame({"digest": []}), {}))
    with open_store(tmp_path / "plain.db", mode="write") as store:
        fill(store, ["plain"], seeds=1)
        assert "routes" not in report.with_data(store)


def test_the_orders_stand_beside_the_original(drawing: Drawing, rows: Rows) -> None:
    (orders,) = [table for table in drawing.tables if table.title == "The orders that were found"]
    assert len(orders.rows) == 7 * 4
    (found,) = [row for row in orders.rows if row[:2] == ["looped", "on text, equal FLOPs"]]
    assert found[2].startswith("1 2 1 2 (seed 0); 1 2 1 2 (seed 1)")
    assert (found[3], found[5]) == ("1 2", "0.5")
    (closed,) = [row for row in orders.rows if row[:2] == ["closed", "on text, equal FLOPs"]]
    mine = rows.trials.filter(
        pl.col("arm") == "closed", pl.col("task.kind") == "text", pl.col("budget.flops") == "500e9"
    )
    assert float(closed[4].partition("\N{NO-BREAK SPACE}")[0]) == pytest.approx(
        mine["metrics.order_kept"].mean(), abs=0.006
    )
    assert closed[5] == "0.5"
    (saving,) = [table for table in drawing.tables if table.title == "Where less is done"]
    assert [row[0] for row in saving.rows[:2]] == ["open + identity", "open + ACT"]


def test_the_excerpt_is_text_in_colours_with_titles_and_no_markup_of_its_own(
    drawing: Drawing, page: Path
) -> None:
    assert [passage.name for passage in drawing.passages] == [
        "text-open-identity-on-text-equal-parameters",
        "text-open-ACT-on-text-equal-parameters",
        "text-open-identity-on-arithmetic-chain-equal-parameters",
        "text-open-ACT-on-arithmetic-chain-equal-parameters",
    ]
    act = drawing.passages[1]
    assert [piece.text for piece in act.legend] == ["1 layer", "2 layers", "3 layers", "4 layers"]
    assert [piece.level for piece in act.legend] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    text = "".join(piece.text for piece in act.rows[0])
    assert (
        text
        == 'KING <b>EDWARD</b> & "IV":\nOnce more we sit in England\'s royal throne,\n\N{LOZENGE}'
    )
    for piece in act.rows[0]:
        steps, _, layers = piece.title.partition(" step")
        assert int(steps) == len(layers.split(","))
        assert piece.level == pytest.approx((int(steps) - 1) / 3)
    assert {
        layer
        for piece in drawing.passages[0].rows[0]
        for layer in piece.title.partition(": ")[2].split(", ")
    } == {
        "1",
        "2",
        "3",
        "4",
        "id",
    }
    content = page.read_text(encoding="utf-8")
    assert "<b>EDWARD" not in content
    assert content.count('<section class="passage"') == 4
    for escaped in ("&lt;", "&gt;", "&amp;", "&quot;"):
        assert escaped in content


def test_the_numbers_beside_the_page_are_traceable(campaign: Store, page: Path) -> None:
    data = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert (len(data["arms"]), len(data["routes"])) == (32, 28)
    assert data["arms"][5]["differences"]["held-out loss"]["ci95"][0] < 0
    open_ = next(one for one in data["routes"] if one["arm"] == "open")
    assert sum(open_["chosen"][0]) == pytest.approx(1, rel=1e-4)
    assert len(open_["entropy"]) == 4
    assert {one["setting"] for one in data["arms"]} == {one["setting"] for one in data["routes"]}
    assert report.check(campaign, page.parent) == []


def test_another_metric_may_decide(rows: Rows) -> None:
    drawn = find(11).chosen({"metric": "accuracy"}).draw(rows)
    assert drawn.verdict[0].startswith(
        "Does a router beat the plain transformer in accuracy (mean over lengths)? Equal"
        " parameters: yes (of 5"
    )
    assert " above (95 %" in drawn.verdict[0]
    assert drawn.metric == "metrics.accuracy"
    with pytest.raises(UserError, match="no trial has a metric `acuracy`; did you mean `accuracy`"):
        find(11).chosen({"metric": "acuracy"}).has_data(rows)
    with pytest.raises(UserError, match="takes no --x"):
        find(11).chosen({"x": "decode"})


def test_unequal_budgets_and_lost_trials_are_warned_of(rows: Rows) -> None:
    flops = (
        pl.when(pl.col("arm") == "open", pl.col("budget.flops").is_not_null())
        .then(7e11)
        .otherwise("metrics.flops")
        .alias("metrics.flops")
    )
    few = rows.trials.filter(pl.col("arm").is_in(["plain", "open"]), pl.col("task.kind") == "text")
    (warned,) = find(11).draw(replace(rows, trials=few.with_columns(flops))).warnings
    assert (warned.code, warned.text) == (
        "unequal_budgets",
        "`open` has 40 % more training FLOPs than `plain` (equal FLOPs).",
    )
    lost = pl.when(pl.col("seed") == 2).then(pl.lit("diverged")).otherwise("state").alias("state")
    assert [
        warned.code
        for warned in find(11).draw(replace(rows, trials=few.with_columns(lost))).warnings
    ] == [
        "few_replicates",
        "left_out",
    ]


def test_the_same_rows_in_any_order_give_the_same_answers(rows: Rows, drawing: Drawing) -> None:
    shuffled = find(11).draw(
        replace(rows, trials=rows.trials.sample(fraction=1.0, shuffle=True, seed=1))
    )
    assert sorted(json.dumps(one, sort_keys=True) for one in shuffled.data["arms"]) == sorted(
        json.dumps(one, sort_keys=True) for one in drawing.data["arms"]
    )


@pytest.mark.parametrize(("dark", "width"), [(False, 1200), (True, 420)])
def test_the_browser_draws_it(
    page: Path, browse: Callable[..., tuple[str, str]], dark: bool, width: int
) -> None:
    document, console = browse(page, dark=dark, width=width)
    assert console == ""
    assert f'data-drawn="{"dark" if dark else "light"}"' in document
    for text in ("open + identity", "held-out loss minus that of plain", "step of the route"):
        assert f">{text}</text>" in document
