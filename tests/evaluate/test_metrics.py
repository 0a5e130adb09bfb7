"""The metrics that a spec may name are those that the recall test gives."""

from scalelab.data import build
from scalelab.evaluate import RecallTest
from scalelab.models import build as build_model
from scalelab.spec.model import Transformer
from scalelab.spec.task import Facts


def test_what_a_stop_and_a_search_may_watch_is_measured() -> None:
    data = build(Facts(people=2, recall="in_tool", templates=1))
    model = build_model(
        Transformer(width=4).resolved(), data.shape.vocab, data.shape.context
    ).initialise(0)
    test = RecallTest(data)
    assert set(Facts.measures) == test.quick(model).keys()
    assert set(Facts.concludes) | {"chance"} == test.full(model).keys()
