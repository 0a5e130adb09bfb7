"""The metric catalogue: what is known of each metric, declared once.

A new metric gets one line in `CATALOGUE`. Its range, direction, label and level follow from there,
and nothing else lists metrics by these properties.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import inf, isfinite
from typing import Literal

ROUNDING = 1e-6
"""Sums of float32 may leave a range by this much."""

_FIELDS = {"kind": "[a-z]+", "timed": "decode|uncached|prefill"}
"""Fields of patterns that are words; the others are numbers."""
_LEVELS = frozenset({"layer", "expert", "step", "next", "kind"})
"""Fields that number parts of a model or of a route, or name a kind of token."""


@dataclass(frozen=True)
class Metric:
    """What is known of the metrics whose name matches `pattern` as a whole."""

    pattern: str
    """A regular expression with fields in it: `load_{layer}_{expert}`."""
    unit: str = ""
    """Empty where only the direction is known."""
    low: float = -inf
    high: float = inf
    usual: float = inf
    """A larger value is possible, but more often it is another unit, or another column."""
    better: Literal["lower", "higher"] | None = None
    """Which values are better; None where that depends, or where neither is."""
    label: str = ""
    """What charts and tables call it, where the name alone says too little."""
    speed: bool = False
    """Whether it tells how fast, not what: two equal runs differ in it."""
    position: bool = False
    """Whether it tells how far a trial has come: the x of a learning curve."""

    @cached_property
    def levels(self) -> frozenset[str]:
        """What the metric has a value for each of, such as layers; empty for one of the whole
        trial.
        """
        return _LEVELS.intersection(re.findall(r"\{(\w+)\}", self.pattern))

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """The pattern with a named group for each field."""
        return re.compile(
            re.sub(
                r"\{(\w+)\}",
                lambda field: f"(?P<{field[1]}>{_FIELDS.get(field[1], '[0-9]+')})",
                self.pattern,
            )
        )

    def describe(self) -> str:
        """The range in words."""
        if self.high == inf:
            return f"at least {self.low:g}"
        return f"at most {self.high:g}" if self.low == -inf else f"{self.low:g} to {self.high:g}"


_SHARE = r"(.+_)?(acc|accuracy|recall|chance|precision|f1|auc|auroc|auprc|exact_match|em)"
_OTHER = r"delta|diff|difference|gain|gap|change|rank|steps|count|n|epochs?"
"""Endings of what is no share, though its name begins like one: `accuracy_delta`."""
_WORDS = r"errors?|nats|perplexity|bits_per_byte|nll|r?mse|mae"
"""Words of names that stand for an error of the model, besides `loss`."""

CATALOGUE = (
    # How far a trial has come, and how fast.
    Metric("tokens", "count", 0, position=True),
    Metric("exposures", "count", 0, position=True),
    Metric("flops", "count", 0, position=True),
    Metric("flops_per_token", "count", 0),
    Metric("pruned", "the step at which a search ended the trial", 0),
    Metric("seconds", "seconds", 0, speed=True),
    Metric("mfu", "share of the measured peak", 0, 2, speed=True),
    Metric("flops_per_second", "count", 0, speed=True),
    Metric("tokens_per_second", "tokens per second", 0, speed=True),
    Metric("{timed}_tokens_per_second_b{lanes}_t{context}", "tokens per second", 0, speed=True),
    Metric(r".*tokens_per_second.*", "tokens per second", 0, speed=True),
    Metric("cache_bytes_per_token", "bytes", 0, label="bytes of cache for a token"),
    Metric(r".+_seconds", "seconds", 0),
    Metric(r".+_ms", "milliseconds"),
    Metric(rf"{_SHARE}(_.+)?_(pct|percent)", "percent", 0, 100, better="higher"),
    # A spread says how sure another metric is, which is neither good nor bad.
    Metric(r".+_(std|stdev|stderr|se|sem)", "the unit of its metric, as a spread", 0),
    # Losses and other errors.
    Metric("loss_step_{step}", "nats per target", 0, usual=100, better="lower"),
    Metric(r"(.+_)?loss|test_loss_floor", "nats per target", 0, usual=100, better="lower"),
    Metric(r"(.+_)?(nats|cross_entropy)", "nats", 0, better="lower"),
    Metric(r"(.+_)?(perplexity|ppl)", "e to the nats per token", 1, better="lower"),
    Metric(r"(.+_)?(bits_per_byte|bpb|bpc)", "bits", 0, usual=20, better="lower"),
    Metric(r"(.+_)?[wc]er", "errors per word or character", 0, usual=2, better="lower"),
    Metric(rf"(error|failure)_rate|{_SHARE}_errors?", "share", 0, 1, better="lower"),
    # What a model knows. Bits learned are negative for a model that is worse than a guess, and so
    # is their share.
    Metric("bits_max", "bits", 0, usual=1e15),
    Metric(r"bits(_mean)?", "bits", usual=1e15, better="higher"),
    Metric(r"bits_per_param(_.+)?", "bits per parameter", usual=32, better="higher"),
    Metric(r"bits_per_fact(_.+)?", "bits per fact", usual=1e4, better="higher"),
    Metric("share", "share of the bits that there are", high=1, better="higher"),
    Metric("chance", "share", 0, 1),
    Metric(
        "recall_unseen", "share", 0, 1, better="higher", label="recall of people never trained on"
    ),
    Metric("recall_permuted", "share", 0, 1, better="higher", label="recall of exchanged values"),
    Metric(rf"(?!.+_({_OTHER})$){_SHARE}(_.+)?", "share", 0, 1, better="higher"),
    Metric(r"(pass|win|hit|success)_rate|pass_at_\d+", "share", 0, 1, better="higher"),
    # Experts, and layers that a router chooses from.
    Metric("load_{layer}_{expert}", "share", 0, 1),
    Metric("test_load_{layer}_{expert}", "share", 0, 1),
    Metric("max_vio_{layer}", "excess over an even load", 0),
    Metric(r"(test_)?max_vio", "excess over an even load", 0, label="MaxVio"),
    Metric("router_entropy_{layer}", "nats", 0),
    Metric("router_entropy", "nats", 0, label="Entropy of the router, nats"),
    Metric("dropped_{layer}", "share", 0, 1),
    Metric("dropped", "share", 0, 1, label="Dropped tokens"),
    Metric("route_{step}_{layer}", "share", 0, 1),
    Metric("transition_{layer}_{next}", "share", 0, 1),
    Metric("route_entropy_{step}", "nats", 0),
    Metric("order_{step}", "number of a layer", 1),
    Metric(r"order_(kept|distance)", "share", 0, 1),
    Metric("identity_{step}", "share", 0, 1),
    Metric("identity_kind_{kind}", "share", 0, 1),
    Metric("steps_{step}", "share", 0, 1),
    Metric("steps_mean", "count", 0),
    # What other tools report.
    Metric(r"(.+_)?entropy(_\d+)?", "nats", 0),
    Metric(r".+_share|drop_rate", "share", 0, 1),
    Metric(rf".*(loss|{_WORDS}).*_(gain|reduction|improvement)", better="higher"),
    Metric(rf".*loss(es)?([^a-z].*)?|(.*[^a-z])?({_WORDS})([^a-z].*)?", better="lower"),
)
"""The first entry that matches is the one that counts."""

POSITIONS = frozenset(known.pattern for known in CATALOGUE if known.position)
"""Metrics that tell how far a trial has come."""
SPEEDS = frozenset(
    known.pattern for known in CATALOGUE if known.speed and known.pattern.isidentifier()
)
"""Metrics that tell how fast it came there."""


@lru_cache(maxsize=2**16)
def find(name: str) -> Metric | None:
    """The catalogue's entry of a metric; None for a metric that it does not know."""
    # A mixture has thousands of names that differ in their numbers alone.
    return _first_match(re.sub(r"_[0-9]+(?=_|$)", "_0", name))


@lru_cache(maxsize=2**10)
def _first_match(name: str) -> Metric | None:
    return next((known for known in CATALOGUE if known.regex.fullmatch(name)), None)


def is_known(name: str) -> bool:
    """Whether more than the direction of a metric is known."""
    known = find(name)
    return known is not None and known.unit != ""


def is_speed(name: str) -> bool:
    """Whether a metric tells how fast, not what: two equal runs differ in it."""
    known = find(name)
    return known is not None and known.speed


def is_lower_better(name: str) -> bool:
    """Whether the smaller value of a metric is the better one."""
    known = find(name)
    return known is not None and known.better == "lower"


def is_detail(name: str) -> bool:
    """Whether a metric is of one layer, one expert, one step or one kind of token: there may be
    hundreds of a sort.
    """
    known = find(name)
    return known is not None and bool(known.levels)


def stem_of(name: str) -> str:
    """The name of a detail without its indices: `load_3_17` -> `load`; empty for other metrics."""
    known = find(name)
    return known.pattern.partition("_{")[0] if known is not None and known.levels else ""


def indices_of(name: str) -> dict[str, str]:
    """The fields of a metric's name: `load_3_17` -> layer 3, expert 17; none for most metrics."""
    known = find(name)
    match = None if known is None else known.regex.fullmatch(name)
    return match.groupdict() if match else {}


def label_of(name: str) -> str:
    """What charts and tables call a metric."""
    known = find(name)
    return name if known is None else known.label or name


def is_possible(name: str, value: float) -> bool:
    """Whether a metric can have this value. NaN, infinity and unknown metrics can."""
    known = find(name)
    if known is None or not isfinite(value):
        return True
    return known.low - ROUNDING <= value <= known.high + ROUNDING


def cure(name: str, column: str | None = None) -> str:
    """What to write in a mapping where a metric of a table has values that it cannot have.

    `column` is that of the table, where it is known.
    """
    known = find(name)
    if known is not None and known.high == 1:
        if column is None:
            return f"give `{column_of(name)}` a `scale: 0.01` if it is in percent"
        mapped = f"{column_of(name)}: {{column: {column}, scale: 0.01}}"
        return f"write `{mapped}` if it is in percent"
    which = "this one" if column is None else f"`{column}`"
    return f"map another column, or give {which} the name of another metric"


_PREFIX = "metrics."


def column_of(name: str) -> str:
    """The column of a metric in a table of trials: `recall` -> `metrics.recall`."""
    return _PREFIX + name


def metric_of(column: str) -> str:
    """The metric of a column: `metrics.recall` -> `recall`; the name itself without a prefix."""
    return column.removeprefix(_PREFIX)


def is_metric(column: str) -> bool:
    """Whether a column of a table of trials is that of a metric."""
    return column.startswith(_PREFIX)


def metrics_in(columns: Iterable[str]) -> list[str]:
    """The metrics among the columns of a table of trials, in order."""
    return [metric_of(column) for column in columns if is_metric(column)]
