"""What is asked and what the answer is, for each operation.

R problems, P characters of a question, A digits of an answer, N digits of a number or numbers of a
chain.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from scalelab.data.hashing import Words, mix
from scalelab.tasks.arithmetic import numbers
from scalelab.tasks.arithmetic.numbers import Ids
from scalelab.tasks.arithmetic.spec import Arithmetic

ZERO, EQUALS = ord("0"), ord("=")


@dataclass(frozen=True)
class Problems:
    """Questions with their answers."""

    question_RP: Ids
    """The characters up to and with `=`; what comes behind means nothing."""
    length_R: Ids
    """Characters of each question."""
    answer_RA: Ids
    """The digits of the answer, the last one first."""
    digits_R: Ids
    """Digits of each answer."""
    key_R: Words
    """A number for each problem; problems that are the same but for the order of two numbers have
    the same.
    """

    def replaced(self, at: Ids, others: "Problems") -> None:
        """Put other problems of the same width in these rows."""
        for name, array in vars(self).items():
            array[at] = getattr(others, name)


class Operation(Protocol):
    """One kind of problem."""

    def drawn(
        self, length_R: Ids, counter_R: Ids, width: int, seed: int, *names: str | int
    ) -> Problems:
        """A problem of each length for each counter; `width` is the greatest length, and changes
        nothing but the arrays' widths.
        """
        ...

    def shortest(self) -> Problems:
        """Every problem of length 1."""
        ...

    def count(self, length: int) -> int:
        """How many problems there are of at most this length."""
        ...

    def window(self, length: int) -> int:
        """Tokens of the longest problem of a length, its answer and end counted in."""
        ...

    def answer(self, length: int) -> int:
        """Most digits of an answer to a problem of a length."""
        ...


def operation(task: Arithmetic) -> Operation:
    """The operation of a task."""
    return (
        Chain()
        if task.operation == "chain"
        else TwoNumbers(multiplied=task.operation == "multiplication")
    )


class TwoNumbers:
    """`12+7=19` and `12*7=84`.

    The length is that of the longer number, which stands first or second; the shorter one's is
    drawn too.
    """

    def __init__(self, *, multiplied: bool) -> None:
        self.multiplied = multiplied

    def drawn(
        self, length_R: Ids, counter_R: Ids, width: int, seed: int, *names: str | int
    ) -> Problems:
        shorter_R = (
            1 + numbers.symbols(1 << 62, counter_R, 1, seed, *names, "shorter")[:, 0] % length_R
        )
        a_RN = numbers.drawn(length_R, counter_R, width, seed, *names, "longer")
        b_RN = numbers.drawn(shorter_R, counter_R, width, seed, *names, "shorter")
        turned_R1 = numbers.symbols(2, counter_R, 1, seed, *names, "turned") == 1
        return self._asked(np.where(turned_R1, b_RN, a_RN), np.where(turned_R1, a_RN, b_RN))

    def shortest(self) -> Problems:
        first_R, second_R = np.divmod(np.arange(100), 10)
        return self._asked(first_R[:, None], second_R[:, None])

    def count(self, length: int) -> int:
        return 10 ** (2 * length)

    def window(self, length: int) -> int:
        return 2 * length + 2 + self.answer(length) + 1

    def answer(self, length: int) -> int:
        return 2 * length if self.multiplied else length + 1

    def _asked(self, a_RN: Ids, b_RN: Ids) -> Problems:
        answer_RA = (numbers.product if self.multiplied else numbers.total)(a_RN, b_RN)
        a_R, b_R, row_R = numbers.length(a_RN), numbers.length(b_RN), np.arange(len(a_RN))
        question_RP = np.zeros((len(a_RN), 2 * a_RN.shape[1] + 2), np.int64)
        write(question_RP, a_RN, a_R, 0 * a_R)
        write(question_RP, b_RN, b_R, a_R + 1)
        question_RP[row_R, a_R] = ord("*" if self.multiplied else "+")
        question_RP[row_R, a_R + 1 + b_R] = EQUALS
        key_R = mix(numbers.value(a_RN) + np.uint64(1)) + mix(numbers.value(b_RN) + np.uint64(1))
        return Problems(question_RP, a_R + b_R + 2, answer_RA, numbers.length(answer_RA), key_R)


class Chain:
    """`3+4*2-1=3`: numbers of one digit, worked through from left to right, each result modulo 10
    (here 7, 4, 3).
    """

    def drawn(
        self, length_R: Ids, counter_R: Ids, width: int, seed: int, *names: str | int
    ) -> Problems:
        number_RN = numbers.symbols(10, counter_R, width + 1, seed, *names, "number")
        return self._asked(
            number_RN, numbers.symbols(3, counter_R, width, seed, *names, "sign"), length_R
        )

    def shortest(self) -> Problems:
        first_R, sign_R, second_R = np.unravel_index(np.arange(300), (10, 3, 10))
        return self._asked(
            np.stack([first_R, second_R], 1), sign_R[:, None], np.ones(300, np.int64)
        )

    def count(self, length: int) -> int:
        return sum(10 * 30**operations for operations in range(1, length + 1))

    def window(self, length: int) -> int:
        return 2 * length + 4

    def answer(self, length: int) -> int:
        return 1

    def _asked(self, number_RN: Ids, sign_RN: Ids, length_R: Ids) -> Problems:
        result_R = number_RN[:, 0]
        for place in range(sign_RN.shape[1]):
            operand_R, sign_R = number_RN[:, place + 1], sign_RN[:, place]
            next_R = (
                np.choose(
                    sign_R, [result_R + operand_R, result_R - operand_R, result_R * operand_R]
                )
                % 10
            )
            result_R = np.where(place < length_R, next_R, result_R)
        question_RP = np.empty((len(length_R), 2 * sign_RN.shape[1] + 2), np.int64)
        question_RP[:, ::2] = ZERO + number_RN
        question_RP[:, 1:-1:2] = np.array([ord(sign) for sign in "+-*"])[sign_RN]
        question_RP[np.arange(len(length_R)), 2 * length_R + 1] = EQUALS
        inside_RN = np.arange(sign_RN.shape[1]) < length_R[:, None]
        steps_RN = np.where(inside_RN, 1 + sign_RN + 3 * number_RN[:, 1:], 0)
        key_R = mix(numbers.value(np.concatenate([number_RN[:, :1], steps_RN], 1), base=31))
        return Problems(
            question_RP, 2 * length_R + 2, result_R[:, None], np.ones_like(length_R), key_R
        )


def write(
    text_RP: npt.NDArray[np.integer],
    digit_RN: Ids,
    length_R: Ids,
    start_R: Ids,
    *,
    reversed: bool = False,
) -> None:
    """Write numbers into rows of characters from `start` on; `reversed` with the last
    digit first.
    """
    row, column = np.nonzero(np.arange(digit_RN.shape[1]) < length_R[:, None])
    place = start_R[row] + (column if reversed else length_R[row] - 1 - column)
    text_RP[row, place] = ZERO + digit_RN[row, column]
