"""Misspelt names of metrics."""

import pytest

from scalelab.core.spelling import misspelt
from scalelab.spec.reported import NAMES


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
    assert misspelt(name, NAMES) == meant


def test_what_trials_report_is_not_misspelt() -> None:
    assert {name: misspelt(name, NAMES - {name}) for name in NAMES} == dict.fromkeys(NAMES)
