"""The metric catalogue."""

from math import inf, nan

import pytest

from scalelab.core import metrics
from scalelab.spec.reported import NAMES

KINDS = {
    "speed": """
        seconds tokens_per_second flops_per_second mfu decode_tokens_per_second_b1_t256
        uncached_tokens_per_second_b8_t1024 prefill_tokens_per_second_b1_t16
        train_tokens_per_second
    """,
    "detail": """
        order_3 identity_2 identity_kind_digit identity_kind_space steps_4 route_entropy_1
        router_entropy_0 max_vio_0 max_vio_11 dropped_2 load_0_7 load_11_255 test_load_0_7
        route_1_2 transition_3_4
    """,
    "detail, lower is better": """
        loss_step_1 loss_step_12
    """,
    "lower is better": """
        loss validation_loss test_loss test_loss_floor perplexity pseudo_perplexity
        bits_per_byte first_nats name_nats value_nats train_loss val_loss eval_loss eval/loss
        val/loss valid_loss cross_entropy_loss loss_val loss_ema loss_delta best_loss zloss
        testloss logloss losses held-out_loss mean_squared_error error error_rate test_error
        top1_error accuracy_error perplexity_test gloss nats eval_nats loss_step
    """,
    "": """
        recall recall_unseen recall_permuted chance share bits bits_max bits_per_fact
        bits_per_param bits_per_param_total accuracy accuracy_longer accuracy_questions
        accuracy_1 accuracy_12 order_kept order_distance identity_share steps_mean
        sequence_entropy router_entropy max_vio test_max_vio dropped flops_per_token tokens
        exposures flops cache_bytes_per_token pruned accuracy_std accuracy_se acc val_acc
        accuracy_pct f1 f1_macro auroc em exact_match pass_at_1 win_rate drop_rate recall_ms
        eval_seconds step_seconds samples_per_second bleu rouge_l mmlu reward lr learning_rate
        grad_norm epoch step steps load load_3 load_a_b order_first identity_kind_2
        route_entropy entropy_3 test_max_vio_3 dropped_rate
    """,
}
"""What was said of metrics before they had a catalogue: of those that trials report, and of names
that tables bring.
"""
DIRECTIONS = {
    "lower": """
        ppl val_ppl bpb val_bpb bpc cross_entropy nll wer cer val_wer failure_rate mse rmse mae
    """,
    "higher": "bits_per_byte_gain loss_reduction",
    "none": "terror loss_std loss_se loss_ms",
}
"""Names of which the rule before, a search for `loss`, `nats`, `perplexity`, `bits_per_byte` and
`error`, said the wrong thing.
"""


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
    "name", ["order_first", "mmlu", "loss_delta", "accuracy_gap", "grad_acc_steps", "system"]
)
def test_other_metrics_may_have_any_value(name: str) -> None:
    assert not metrics.is_known(name)
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
    ("name", "kind"), [(name, kind) for kind, names in KINDS.items() for name in names.split()]
)
def test_the_catalogue_says_what_was_said_before(name: str, kind: str) -> None:
    assert metrics.is_speed(name) == ("speed" in kind)
    assert metrics.is_detail(name) == ("detail" in kind)
    assert metrics.is_lower_better(name) == ("lower" in kind)


@pytest.mark.parametrize(
    ("name", "better"),
    [(name, better) for better, names in DIRECTIONS.items() for name in names.split()],
)
def test_other_directions_follow_from_the_meaning(name: str, better: str) -> None:
    known = metrics.find(name)
    assert ((known and known.better) or "none") == better


def test_what_trials_report_is_in_the_catalogue() -> None:
    assert {name for name in NAMES if not metrics.is_known(name)} == set()
    assert {"tokens", "exposures", "flops"} == metrics.POSITIONS
    assert {"seconds", "mfu", "flops_per_second", "tokens_per_second"} == metrics.SPEEDS


@pytest.mark.parametrize(
    ("name", "stem", "indices"),
    [
        ("load_3_17", "load", {"layer": "3", "expert": "17"}),
        ("test_load_0_7", "test_load", {"layer": "0", "expert": "7"}),
        ("max_vio_2", "max_vio", {"layer": "2"}),
        ("route_1_4", "route", {"step": "1", "layer": "4"}),
        ("transition_2_3", "transition", {"layer": "2", "next": "3"}),
        ("loss_step_12", "loss_step", {"step": "12"}),
        ("identity_kind_space", "identity_kind", {"kind": "space"}),
        (
            "decode_tokens_per_second_b8_t1024",
            "",
            {"timed": "decode", "lanes": "8", "context": "1024"},
        ),
        ("accuracy_3", "", {}),
        ("max_vio", "", {}),
        ("mmlu", "", {}),
    ],
)
def test_a_name_has_its_indices(name: str, stem: str, indices: dict[str, str]) -> None:
    assert metrics.stem_of(name) == stem
    assert metrics.indices_of(name) == indices


def test_a_metric_has_a_label_and_a_column() -> None:
    assert metrics.label_of("max_vio") == "MaxVio"
    assert metrics.label_of("recall") == "recall"
    assert metrics.label_of("mmlu") == "mmlu"
    assert metrics.column_of("recall") == "metrics.recall"
    assert metrics.metric_of("metrics.recall") == metrics.metric_of("recall") == "recall"
    assert metrics.metrics_in(["digest", "metrics.loss", "params.total", "metrics.bits"]) == [
        "loss",
        "bits",
    ]
