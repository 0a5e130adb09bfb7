"""What a label says that a metric is the mean of, and of whose metric it does not."""

import polars as pl

from scalelab.report.averages import averages, labelled


def test_the_accuracy_of_sums_is_named_for_what_it_is_and_no_other() -> None:
    sums = pl.DataFrame({"task.kind": ["text", "arithmetic"]})
    assert labelled("accuracy", sums) == "accuracy (mean over lengths)"
    assert labelled("accuracy_questions", sums) == "accuracy_questions (of all questions)"
    assert labelled("loss", sums) == "loss"
    assert len(averages(sums)) == 1
    for others in (pl.DataFrame({"task.kind": ["text", None]}), pl.DataFrame({"digest": ["a"]})):
        assert labelled("accuracy", others) == "accuracy"  # a table of somebody else's benchmark
        assert averages(others) == []
