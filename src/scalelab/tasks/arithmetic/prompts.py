"""Prompts of arithmetic."""

from scalelab.generate.vocabulary import Documents, Vocabulary
from scalelab.tasks.arithmetic.data import ArithmeticData


def vocabulary(data: ArithmeticData) -> Vocabulary:
    """Problems without their answers."""
    return Sums(data)


class Sums(Documents):
    """Arithmetic. What is asked for ends in `=`."""

    def __init__(self, data: ArithmeticData) -> None:
        super().__init__(data.tokenizer)
        self._data = data

    def example(self) -> str:
        return self._data.questions(self._data.task.length).texts()[0].partition("=")[0] + "="
