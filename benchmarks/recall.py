"""The recall test: seconds to ask 4,096 in-weight facts, on one thread.

    taskset -c 1 python benchmarks/recall.py

The model is not trained: its lanes go on to the end of the context, where those of a trained one
leave early. `full` asks every fact, 1,024 questions about people never trained on, and counts the
bits of every fact; the first part alone is the bar's.
"""

import os
import statistics
import time
from collections.abc import Callable

from scalelab.families import build as build_model
from scalelab.families.transformer.spec import Transformer
from scalelab.generate import complete
from scalelab.tasks.facts.data import FactsData
from scalelab.tasks.facts.evaluate import RecallTest, is_exact
from scalelab.tasks.facts.spec import Facts
from scalelab.tasks.facts.tokens import TURNS
from scalelab.train.process import prepare

TOY = "SCALELAB_TOY" in os.environ
PEOPLE, REPEATS = (16, 1) if TOY else (1024, 5)


def main() -> None:
    """Measure and print two lines."""
    prepare(1)
    data = FactsData(Facts(people=PEOPLE, templates=1))
    model = (
        build_model(Transformer(width=16).resolved(), data.shape.vocab, data.shape.context)
        .initialise(0)
        .eval()
    )
    questions, test = data.questions("seen"), RecallTest(data)
    found = test.full(model)  # what is built once is built
    assert 0 <= found["recall"] <= 1, found

    def ask() -> None:
        texts = complete(model, questions.prompts, room=data.shape.context, ends=TURNS)
        assert (
            len(
                [
                    is_exact(text, answer)
                    for text, answer in zip(texts, questions.answers, strict=True)
                ]
            )
            == 4 * PEOPLE
        )

    print(
        f"every fact asked, and nothing else: {seconds(ask):.2f} s for {len(questions.prompts):,}"
        " questions"
    )
    print(f"the whole of the final test:        {seconds(lambda: test.full(model)):.2f} s")


def seconds(action: Callable[[], object]) -> float:
    """The median of some repetitions."""
    found: list[float] = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        action()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


if __name__ == "__main__":
    main()
