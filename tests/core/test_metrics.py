"""The metric catalogue."""

from math import inf, nan

import pytest

from scalelab.core import metrics
from scalelab.spec.reported import NAMES


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("recall", 0, 1),
        ("recall_unseen", 0, 1),
        ("accuracy_3", 0, 1),
        ("identity_share", 0, 1),
        ("chance", 0, 1),
        ("load_0_7", 0, 1),
        ("share", -inf, 1),
        ("loss", 0, inf),
        ("test_loss", 0, inf),
        ("loss_step_2", 0, inf),
        ("perplexity", 1, inf),
        ("pseudo_perplexity", 1, inf),
        ("bits_per_byte", 0, inf),
        ("seconds", 0, inf),
        ("decode_tokens_per_second", 0, inf),
        ("flops_per_token", 0, inf),
        ("mfu", 0, 2),
        ("acc", 0, 1),
        ("val_acc", 0, 1),
        ("acc_norm", 0, 1),
        ("auroc", 0, 1),
        ("f1", 0, 1),
        ("f1_macro", 0, 1),
        ("em", 0, 1),
        ("squad_em", 0, 1),
        ("wer", 0, inf),
        ("val_ppl", 1, inf),
        ("bpb", 0, inf),
        ("val_bpb", 0, inf),
        ("bits_max", 0, inf),
        ("accuracy_std", 0, inf),
        ("recall_se", 0, inf),
    ],
)
def test_a_metric_has_a_range(name: str, low: float, high: float) -> None:
    known = metrics.find(name)
    assert known is not None
    assert (known.low, known.high) == (low, high)
    assert metrics.is_possible(name, low if low > -inf else 0)
    assert not metrics.is_possible(name, low - 0.5 if low > -inf else high + 0.5)
    assert metrics.is_possible(name, high)
    assert metrics.is_possible(name, nan)
    if high < inf:
        assert not metrics.is_possible(name, 50)


@pytest.mark.parametrize(
    "name", ["order_2", "mmlu", "loss_delta", "accuracy_gap", "grad_acc_steps", "system"]
)
def test_other_metrics_may_have_any_value(name: str) -> None:
    assert metrics.find(name) is None
    assert metrics.is_possible(name, -1e9)
    assert metrics.is_possible(name, 1e9)


@pytest.mark.parametrize("name", ["bits", "bits_per_fact", "bits_per_param", "recall_ms"])
def test_what_is_in_another_unit_has_no_bounds(name: str) -> None:
    assert metrics.is_possible(name, -1e3)
    assert metrics.is_possible(name, 1e9)


def test_a_share_may_be_in_percent_by_its_name() -> None:
    assert metrics.is_possible("accuracy_pct", 95.5)
    assert not metrics.is_possible("accuracy_pct", 101)
    assert not metrics.is_possible("val_recall_percent", -1)


def test_what_sums_of_floats_leave_is_no_fault() -> None:
    assert metrics.is_possible("recall", 1 + 1e-7)
    assert metrics.is_possible("max_vio", -1e-9)
    assert not metrics.is_possible("recall", 1.001)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("los", "loss"),
        ("Loss", "loss"),
        ("AUROC", "auroc"),
        ("val_los", "val_loss"),
        ("recal", "recall"),
        ("acuracy_3", "accuracy_3"),
        ("bits_per_pram", "bits_per_param"),
        ("losss", "loss"),
        ("recall_permutted", "recall_permuted"),
        ("recall_unsen", "recall_unseen"),
        ("accuracy_qestions", "accuracy_questions"),
        ("bits_per_fcat", "bits_per_fact"),
        ("bits_per_parameter", "bits_per_param"),
        ("testloss", "test_loss"),
        ("test-loss", "test_loss"),
        ("val loss", "val_loss"),
        ("bits_maxx", "bits_max"),
        ("mfuu", "mfu"),
        *((name, None) for name in ("test_loss", "loss_val", "hits", "class", "bleu", "mse")),
        *((name, None) for name in ("losses", "perplexities", "exact_matches", "bits_per_bytes")),
        *(
            (name, None)
            for name in ("recall@10", "recall_10", "recall_seen", "zloss", "accuracy_7")
        ),
        *((name, None) for name in ("best_loss", "text_loss", "change", "parameter_share")),
    ],
)
def test_a_misspelling_is_told_from_a_metric_of_ones_own(name: str, meant: str | None) -> None:
    assert metrics.misspelt(name, NAMES) == meant


def test_what_trials_report_is_not_misspelt() -> None:
    assert {name: metrics.misspelt(name, NAMES - {name}) for name in NAMES} == dict.fromkeys(NAMES)
