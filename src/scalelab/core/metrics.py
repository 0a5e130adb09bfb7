"""The metric catalogue: for each kind of metric its unit and the values that it can take."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import inf, isfinite

ROUNDING = 1e-6
"""Sums of float32 may leave a range by this much."""


@dataclass(frozen=True)
class Metric:
    """What is known of the metrics whose name matches `pattern` as a whole."""

    pattern: str
    unit: str
    low: float
    high: float
    usual: float = inf
    """A larger value is possible, but more often it is another unit, or another column."""

    def describe(self) -> str:
        """The range in words."""
        if self.high == inf:
            return f"at least {self.low:g}"
        return f"at most {self.high:g}" if self.low == -inf else f"{self.low:g} to {self.high:g}"


_SHARE = r"(.+_)?(acc|accuracy|recall|chance|precision|f1|auc|auroc|auprc|exact_match|em)"
_OTHER = r"delta|diff|difference|gain|gap|change|rank|steps|count|n|epochs?"
"""Endings of what is no share, though its name begins like one: `accuracy_delta`."""

CATALOGUE = (
    Metric(r".*tokens_per_second.*", "tokens per second", 0, inf),
    Metric(r"(.+_)?seconds", "seconds", 0, inf),
    Metric(r"flops_per_(token|second)|tokens|exposures|flops", "count", 0, inf),
    Metric(r"mfu", "share of the measured peak", 0, 2),
    Metric(r".+_ms", "milliseconds", -inf, inf),
    Metric(rf"{_SHARE}(_.+)?_(pct|percent)", "percent", 0, 100),
    Metric(r".+_(std|stdev|stderr|se|sem)", "the unit of its metric, as a spread", 0, inf),
    Metric(r"(.+_)?loss|loss_step_\d+|test_loss_floor", "nats per target", 0, inf, usual=100),
    Metric(r"(.+_)?nats", "nats", 0, inf),
    Metric(r"(.+_)?(perplexity|ppl)", "e to the nats per token", 1, inf),
    Metric(r"(.+_)?(bits_per_byte|bpb|bpc)", "bits", 0, inf, usual=20),
    Metric(r"(.+_)?[wc]er", "errors per word or character", 0, inf, usual=2),
    Metric(r"(.+_)?entropy(_\d+)?", "nats", 0, inf),
    Metric(r"(test_)?max_vio(_\d+)?|steps_mean", "count", 0, inf),
    Metric(r"bits_max", "bits", 0, inf, usual=1e15),
    # Bits learned are negative for a model that is worse than a guess, and so is their share.
    Metric(r"bits(_mean)?", "bits", -inf, inf, usual=1e15),
    Metric(r"bits_per_param(_.+)?", "bits per parameter", -inf, inf, usual=32),
    Metric(r"bits_per_fact(_.+)?", "bits per fact", -inf, inf, usual=1e4),
    Metric(r"share", "share of the bits that there are", -inf, 1),
    Metric(
        rf"(?!.+_({_OTHER})$){_SHARE}(_.+)?|.+_share"
        r"|(error|pass|win|hit|success|failure|drop)_rate|pass_at_\d+"
        r"|(test_)?load_\d+_\d+|(route|transition)_\d+_\d+|identity_(\d+|kind_[a-z]+)"
        r"|steps_\d+|order_(kept|distance)|dropped(_\d+)?",
        "share",
        0,
        1,
    ),
)
"""The first entry that matches is the one that counts."""


@lru_cache(maxsize=1024)
def find(name: str) -> Metric | None:
    """The catalogue's entry of a metric; None for a metric that it does not know."""
    return next((known for known in CATALOGUE if re.fullmatch(known.pattern, name)), None)


_WORDS = sorted({word for known in CATALOGUE for word in re.findall(r"[a-z]{4,}", known.pattern)})
_SHORT = {"parameter": "param", "parameters": "param"}
"""Words that metrics abbreviate."""


def misspelt(name: str, reported: Iterable[str]) -> str | None:
    """The metric that a name is nearly, one of the `reported` or of the catalogue; None for one
    that is known, or like none of them.
    """
    words = [_SHORT.get(word, word) for word in re.split("[_ -]", name.lower())]
    own = sorted(reported)
    if name in own:
        return None
    for known in own:
        if "".join(words) == known.replace("_", "") or _are_near(words, known.split("_")):
            return known
    if find(name) is not None:
        return None
    near = "_".join(
        next((known for known in _WORDS if _is_near(word, known)), word) for word in words
    )
    return near if near != name and find(near) is not None else None


def _are_near(words: list[str], known: list[str]) -> bool:
    return len(words) == len(known) and all(map(_is_near, words, known))


def _is_near(word: str, known: str) -> bool:
    """Whether a word is another one, or a misspelling of it.

    A plural is a word of its own, and so is what begins with another letter or has a number in it:
    `bits_per_bytes`, `recall_seen`, `accuracy_10`.
    """
    if word == known:
        return True
    plural = f"{known}es" if known.endswith("s") else f"{known}s"
    if word == plural or word[:1] != known[:1] or not (word + known).isalpha():
        return False
    return _distance(word, known) <= (1 if len(known) < 8 else 2)


def _distance(first: str, second: str) -> int:
    """Letters to insert, to delete or to swap with the next one: a letter in the place of another
    one counts twice, as it often makes another word (`text_loss`, `change`).
    """
    before, row = [], list(range(len(second) + 1))
    for i, letter in enumerate(first, 1):
        above, before, row = before, row, [i]
        for j, other in enumerate(second, 1):
            best = before[j - 1] if letter == other else 1 + min(before[j], row[j - 1])
            if i > 1 and j > 1 and first[i - 2 : i] == other + second[j - 2]:
                best = min(best, above[j - 2] + 1)
            row.append(best)
    return row[-1]


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
            return f"give `metrics.{name}` a `scale: 0.01` if it is in percent"
        return f"write `metrics.{name}: {{column: {column}, scale: 0.01}}` if it is in percent"
    which = "this one" if column is None else f"`{column}`"
    return f"map another column, or give {which} the name of another metric"
