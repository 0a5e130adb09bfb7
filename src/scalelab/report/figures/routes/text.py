"""What fig. 11 says: the four questions of the campaign, each with its intervals, or why these
trials cannot tell.
"""

from collections.abc import Callable, Sequence

from scalelab.core.metrics import column_of, is_lower_better, metric_of
from scalelab.fit.estimate import Estimate
from scalelab.fit.warned import Warned
from scalelab.report.arms import Arm, Arms
from scalelab.report.averages import averages, labelled
from scalelab.report.figure import Rows
from scalelab.report.figures.routes.arms import (
    away,
    counterpart,
    first_settings,
    halts,
    identities,
    learns_routes,
    plain_of,
    pool_of,
)
from scalelab.report.figures.routes.data import Routed
from scalelab.report.judging import METHOD, Judged, judged, left_out
from scalelab.report.numbers import MINUS, about
from scalelab.report.runs import state_counts

_ALIKE = 0.05
"""Budgets that differ by a larger share are not equal."""


def verdict(arms: Arms, found: Sequence[Routed], column: str) -> list[str]:
    """Does a router beat the plain transformer; which order does it find; does it skip, and when;
    does halting pay?
    """
    metric, first = metric_of(column), first_settings(arms)
    label = labelled(metric, arms.found[0].trials) if arms.found else metric
    return [
        _said(
            f"Does a router beat the plain transformer in {label}?",
            _each(arms.settings, lambda setting: _beats(arms, setting, column)),
            "no setting has both, with a pair of equal seeds",
        ),
        _said(
            "Which order of layers does it find? (The most used one of each step in the first seed,"
            " and how much of 1 to n is kept.)",
            _each(first, lambda setting: ", ".join(map(_order, _choosing(found, setting)))),
            "no finished trial learned one",
        ),
        _said(
            "Does it use identity layers, and when?",
            _each(
                first,
                lambda setting: ", ".join(_skipped(arms, found, setting, column)),
            ),
            "no finished arm that learns its routes has one",
        ),
        _said(
            "Does adaptive computation pay?",
            _each(
                arms.settings,
                lambda setting: ", ".join(_payoffs(arms, setting, column)),
            ),
            "no finished arm may halt",
        ),
    ]


def _said(question: str, answers: Sequence[str], lacking: str) -> str:
    """The question with the answers, or with why there is none."""
    text = ". ".join(_begun(answer) for answer in answers) or f"it cannot tell: {lacking}"
    return f"{question} {_begun(text)}."


def _begun(text: str) -> str:
    return text[0].upper() + text[1:]


def _each(settings: Sequence[str], tell: Callable[[str], str]) -> list[str]:
    """What there is to tell of each setting, behind its name."""
    said = [(setting, sentence) for setting in settings if (sentence := tell(setting))]
    return [f"{setting}: {sentence}" if setting else sentence for setting, sentence in said]


def _within(found: Sequence[Routed], setting: str) -> list[Routed]:
    """The arms of a setting that learn their routes."""
    return [one for one in found if one.arm.setting == setting and learns_routes(one.arm)]


def _choosing(found: Sequence[Routed], setting: str) -> list[Routed]:
    """Those of them whose orders are told: without identity layers and halting, where there are
    such.
    """
    told = [one for one in _within(found, setting) if one.orders()]
    return [one for one in told if not identities(one.arm) and not halts(one.arm)] or told


def _beats(arms: Arms, setting: str, column: str) -> str:
    """How many of the arms that learn their routes are better than the plain one, and the best of
    them.
    """
    compared, less = beating(arms, setting, column), is_lower_better(metric_of(column))
    if not compared:
        return ""
    told, vague = ([one for one in compared if one.is_told is is_told] for is_told in (True, False))
    better = [one for one in told if (one.found.value < 0) == less]
    worse = len(told) - len(better)
    best, likeliest = (
        min(group, key=lambda one: one.found.value if less else -one.found.value, default=None)
        for group in (better or compared, vague)
    )
    assert best is not None, "some arm was compared"
    counted = f"{len(better) or 'none'} better and {worse or 'none'} worse beyond the error"
    answer = "yes" if better else "no" if likeliest is None else _cannot(likeliest, column)
    routed = f"of {len(compared)} routed arm{'s' if len(compared) > 1 else ''}"
    return (
        f"{answer} ({routed} {counted}); the best is `{best.arm.name}`,"
        f" {_differs(best.found, best.correction)}"
    )


def beating(arms: Arms, setting: str, column: str) -> list[Judged]:
    """The arms of a setting that learn their routes against the plain one, judged together."""
    return judged(
        [
            (arm, plain, found)
            for arm in arms.of_setting(setting)
            if learns_routes(arm)
            and (plain := plain_of(arms, arm))
            and (found := away(arm, plain, column))
        ]
    )


def skipping(arms: Arms, setting: str, column: str) -> list[Judged]:
    """The arms of a setting that learn their routes and have identity layers, against those that
    have none, judged together.
    """
    return _beside(arms, setting, column, lambda arm: learns_routes(arm) and bool(identities(arm)))


def paying(arms: Arms, setting: str, column: str) -> list[Judged]:
    """The arms of a setting that may halt, against those that don't, judged together."""
    return _beside(arms, setting, column, halts)


def _beside(arms: Arms, setting: str, column: str, is_one: Callable[[Arm], bool]) -> list[Judged]:
    return judged(
        [
            (arm, other, found)
            for arm in arms.of_setting(setting)
            if is_one(arm)
            and (other := counterpart(arms, arm))
            and (found := away(arm, other, column))
        ]
    )


def _cannot(one: Judged, column: str) -> str:
    """Why the sign of a difference is open."""
    pairs, ends = (
        len(one.arm.by_seed(column).keys() & one.base.by_seed(column).keys()),
        one.found.ci95,
    )
    why = (
        "there is no interval"
        if ends is None
        else "the interval holds zero"
        if ends[0] <= 0 <= ends[1]
        else one.correction
    )
    return f"it cannot tell, {why} with {pairs} pair{'s' if pairs > 1 else ''} of seeds"


def _differs(found: Estimate, correction: str = "") -> str:
    """`0.012 above (95 %: 0.003 to 0.021; p = 0.03 corrected for 5 arms)`."""
    sign = -1 if found.value < 0 else 1
    ends = "no interval: it needs two different pairs of equal seed"
    if found.ci95 is not None:
        low, high = sorted(sign * end for end in found.ci95)
        ends = f"95 %: {low:.2g} to {high:.2g}".replace("-", MINUS)
    inside = "; ".join(filter(None, (ends, correction)))
    return f"{abs(found.value):.3g} {'above' if sign > 0 else 'below'} ({inside})"


def _order(one: Routed) -> str:
    """The layers of the drawn trial, and how much of the original order the arm keeps."""
    kept, order = one.arm.mean("metrics.order_kept"), next(iter(one.orders().values()))
    assert kept is not None, "an arm is routed where this is known"
    return (
        f"`{one.arm.name}` {' '.join(order)},"
        f" {_percent(kept, f'{100 * one.by_chance():.0f} by chance')}"
    )


def _percent(found: Estimate, beside: str = "") -> str:
    """`31 % (95 %: 12 to 50; 25 % by chance)`; no share is below 0 or above 1, whatever Student's t
    says.
    """
    interval = (
        ""
        if found.ci95 is None
        else f"95 %: {100 * max(0.0, found.ci95[0]):.0f} to {100 * min(1.0, found.ci95[1]):.0f}"
    )
    inside = "; ".join(filter(None, (interval, beside)))
    return f"{100 * found.value:.0f} %{f' ({inside})' if inside else ''}"


def _skipped(arms: Arms, found: Sequence[Routed], setting: str, column: str) -> list[str]:
    """Every arm of a setting that learns its routes and has identity layers."""
    compared = {one.arm.name: one for one in skipping(arms, setting, column)}
    return [
        _skips(one, compared.get(one.arm.name), column)
        for one in _within(found, setting)
        if identities(one.arm)
    ]


def _skips(one: Routed, beside: Judged | None, column: str) -> str:
    """How often an identity layer is chosen, when, and what that does to the metric."""
    share = one.arm.mean("metrics.identity_share")
    if share is None:
        return f"`{one.arm.name}` does not say"
    even = f"even use would be {100 * (1 - one.pool.layers / one.pool.size):.0f} %"
    told = (
        f"`{one.arm.name}` in {_percent(share, even)} of its"
        f" choices{_when(one) if share.value > 0 else ''}"
    )
    if beside is None:
        return told
    label = labelled(metric_of(column), one.arm.trials)
    differs = _differs(beside.found, beside.correction)
    return f"{told}, with a {label} {differs} that of `{beside.base.name}`"


def _when(one: Routed) -> str:
    steps, kinds = one.by_step("identity"), one.by_kind()
    step, most = max(steps, key=lambda pair: pair[1].value)
    told = f", most at step {step} ({100 * most.value:.0f} %)"
    if len(kinds) < 2:
        return told
    (often, high), (seldom, low) = kinds[0], kinds[-1]
    return (
        f"{told}, by kind of token from {100 * low.value:.0f} % ({seldom}) to"
        f" {100 * high.value:.0f} % ({often})"
    )


def _payoffs(arms: Arms, setting: str, column: str) -> list[str]:
    """Every arm of a setting that may halt."""
    compared = {one.arm.name: one for one in paying(arms, setting, column)}
    return [
        _pays(arm, compared.get(arm.name), column) for arm in arms.of_setting(setting) if halts(arm)
    ]


def _pays(arm: Arm, one: Judged | None, column: str) -> str:
    """Against the same arm without halting."""
    used, pool = arm.mean("metrics.steps_mean"), pool_of(arm)
    assert pool is not None, "only routes end early"
    steps = "" if used is None else f", using {about(used, '.2f')} of {pool.steps} steps"
    if one is None:
        return f"it cannot tell, nothing stands beside `{arm.name}` that does not halt{steps}"
    is_better = (one.found.value < 0) == is_lower_better(metric_of(column))
    answer = ("yes" if is_better else "no") if one.is_told else _cannot(one, column)
    differs = _differs(one.found, one.correction)
    return f"{answer}; `{arm.name}` is {differs} `{one.base.name}`{steps}"


def reading() -> list[str]:
    """How to read the charts."""
    return [
        (
            "Differences are paired by seed: replicates of equal seed see the same data in the same"
            " order. Where an interval reaches over zero, these replicates do not tell the two arms"
            " apart. The best of several arms looks better than it is: an interval holds for an arm"
            " that was named before, and the answers above are corrected for the number of arms."
        ),
        (
            "In a heat map a column adds up to what was chosen at one step; a bright cell on the"
            " diagonal is a step that keeps the original layer. `id` is an identity layer, which"
            " leaves a token as it is."
        ),
        (
            "Layers that begin at random have no names: layer 2 of one seed is not layer 2 of"
            " another. So heat maps and orders show one trial."
        ),
        (
            "An entropy near its start is a router that has not decided; one near zero chooses the"
            " same layer for every token."
        ),
        (
            "Point at a mark to see its values; click it for its trials; `scalelab show DIGEST`"
            " tells all of one."
        ),
    ]


def methods(rows: Rows, arms: Arms, found: Sequence[Routed], column: str) -> list[str]:
    """Where the numbers come from."""
    asked = [
        f"{name}: {spec['about']}" for name, spec in sorted(rows.specs.items()) if spec.get("about")
    ]
    states = ", ".join(f"{count:,} {state}" for state, count in state_counts(rows.trials).items())
    drawn = ", ".join(f"{one.arm.label}: seed {one.seed} (`{one.digest[:10]}`)" for one in found)
    return [
        *asked,
        (
            f"Trials by state: {states}. Done and stopped trials count with their final"
            f" {metric_of(column)}."
        ),
        (
            f"Arms are told apart by {', '.join(arms.axes) or 'nothing'}. `equal parameters` is at"
            " equal tokens too; `equal FLOPs` at equal parameters and equal training FLOPs,"
            " metered where they depend on the data."
        ),
        (
            "The held-out loss is the test loss of text, a mean over its predictions; in arithmetic"
            " it is the loss on questions that were never trained on, a mean over the lengths that"
            " are trained on."
        ),
        (
            "Routes are counted over the whole validation split, or over all questions, with the"
            " most probable layers and no noise. Of several layers that are mixed the most probable"
            " one counts."
        ),
        ("Intervals are Student's t over the replicates, n - 1 degrees of freedom."),
        METHOD,
        *averages(rows.trials),
        f"Heat maps show one replicate of each arm: {drawn}.",
    ]


def warnings(rows: Rows, arms: Arms) -> list[Warned]:
    """What keeps these arms from being compared as they stand."""
    found = []
    fewest = min((len(arm.digests) for arm in arms.found), default=0)
    if fewest < 3:
        text = (
            f"Some arm has {fewest} replicate{'s' if fewest > 1 else ''}: an interval worth its"
            " name needs three."
        )
        found.append(Warned("few_replicates", text))
    found += [warned for setting in arms.settings for warned in _unequal(arms, setting)]
    return [*found, *left_out(rows.trials)]


def _unequal(arms: Arms, setting: str) -> list[Warned]:
    """Arms of a setting that have not what is said to be equal."""
    group, found = arms.of_setting(setting), []
    equal = "flops" if any("FLOPs" in str(arm.first("budget.equal")) for arm in group) else "tokens"
    for name, column in (
        ("parameters", "params.total"),
        ("training FLOPs" if equal == "flops" else "tokens", column_of(equal)),
    ):
        sizes = {arm.name: mean.value for arm in group if (mean := arm.mean(column))}
        if len(sizes) > 1 and max(sizes.values()) > (1 + _ALIKE) * min(sizes.values()):
            small, large = (
                min(sizes, key=lambda one: sizes[one]),
                max(sizes, key=lambda one: sizes[one]),
            )
            share = 100 * (sizes[large] / sizes[small] - 1)
            where = f" ({setting})" if setting else ""
            found.append(
                Warned(
                    "unequal_budgets",
                    f"`{large}` has {share:.0f} % more {name} than `{small}`{where}.",
                )
            )
    return found
