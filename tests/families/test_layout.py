"""What is said of tokens besides the tokens."""

import pytest
import torch
from tests.families.variants import CONTEXT, LANES, made
from torch import Tensor

from scalelab.families.layout import PLAIN, Layout
from scalelab.families.objective import Batch
from scalelab.families.transformer.spec import Transformer

LAYOUT = Layout(
    targets_BM=torch.tensor([[3, 5], [1, 0], [7, 9]]),
    prefix_B=torch.tensor([2, 1, 4]),
    length_B=torch.tensor([6, 2, 10]),
)


def values(layout: Layout) -> list[list[int] | None]:
    return [None if part is None else part.tolist() for part in vars(layout).values()]


def test_lanes_are_taken_from_every_field() -> None:
    expected = [[[7, 9], [3, 5]], [4, 2], None, [10, 6], None]
    assert values(LAYOUT.rows(torch.tensor([2, 0]))) == expected
    assert values(LAYOUT.rows(slice(2, 3))) == [[[7, 9]], [4], None, [10], None]


def test_repeated_lanes_stand_one_batch_after_the_other() -> None:
    assert values(LAYOUT.repeated(2)) == values(LAYOUT.rows(torch.tensor([0, 1, 2] * 2)))


def test_what_is_behind_a_length_is_padding() -> None:
    assert PLAIN.real(CONTEXT) is None
    real_BT = LAYOUT.real(8)
    assert real_BT is not None
    assert real_BT.sum(1).tolist() == [6, 2, 8]
    assert real_BT[0].tolist() == [True] * 6 + [False] * 2


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_batch_is_split_with_its_layout(size: int, tokens_BT: Tensor) -> None:
    batch = Batch(tokens_BT, tokens_BT[:, :2], torch.ones(LANES, 2), LAYOUT)
    parts = list(batch.split(size))
    assert [len(part.tokens_BT) for part in parts] == [len(x) for x in tokens_BT.split(size)]
    targets = [part.layout.targets_BM for part in parts]
    assert torch.equal(torch.cat([x for x in targets if x is not None]), batch.layout.targets_BM)
    model = made(Transformer(mask="prefix"))
    together = model.loss(batch).nats
    torch.testing.assert_close(sum(model.loss(part).nats for part in parts), together)
