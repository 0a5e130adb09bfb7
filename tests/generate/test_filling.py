"""Gaps of a text are filled from left to right, each given everything else."""

from typing import Any

import pytest
import torch
from torch import Tensor

from scalelab.core.errors import UserError
from scalelab.data.text.prepare import prepare
from scalelab.families import build
from scalelab.families.layout import Layout
from scalelab.families.transformer.spec import Transformer
from scalelab.generate import GREEDY, Sampling, fill
from scalelab.tasks import build as build_data
from scalelab.tasks import vocabulary
from scalelab.tasks.text.prompts import Gapped
from scalelab.tasks.text.spec import Text

CONTEXT = 48


@pytest.fixture(scope="module")
def gapped(tmp_path_factory: pytest.TempPathFactory) -> Gapped:
    """The vocabulary of masked text that has signs of several bytes."""
    folder = tmp_path_factory.mktemp("masked")
    (folder / "text.txt").write_text("née, 漢字 and so it goes. " * 99, encoding="utf-8")
    corpus = {"source": str(folder / "text.txt"), "validation": 0.2}
    task = Text.model_validate({"corpus": corpus, "objective": "masked", "context": CONTEXT})
    prepare(task.corpus, task.tokens, str(folder))
    found = vocabulary(build_data(task, str(folder)))
    assert isinstance(found, Gapped)
    return found


class Alphabet:
    """Likeliest is the letter after the one before, and almost as likely the mask itself."""

    context = CONTEXT

    def run(self, tokens_BT: Tensor, layout: Layout) -> tuple[Tensor, None]:
        at_BM = layout.targets_BM
        self.read_BT = tokens_BT.clone()
        return tokens_BT.gather(1, at_BM - 1), None

    def head(self, x: Tensor) -> Tensor:
        logits_BMV = torch.nn.functional.one_hot(x + 1, 258).float()
        logits_BMV[..., 256:] = 2.0
        return logits_BMV


def test_each_gap_is_filled_given_those_before_it(gapped: Gapped) -> None:
    ids, model = gapped.encode("ab[MASK][MASK]ef[MASK]."), Alphabet()
    (found,) = fill(model, gapped, ids, 1, limit=9, sampling=GREEDY)  # type: ignore[arg-type]
    assert (found.text, found.tokens, found.end) == ("abcdefg.", 3, "end")
    assert model.read_BT.tolist()[0].count(gapped.mask) == 1
    (part,) = fill(model, gapped, ids, 1, limit=2, sampling=GREEDY)  # type: ignore[arg-type]
    assert (part.text, part.tokens, part.end) == ("abcdef[MASK].", 2, "limit")


def test_a_real_model_fills_what_is_hidden_and_nothing_else(gapped: Gapped) -> None:
    model: Any = build(Transformer(mask="full").resolved(), 258, CONTEXT).initialise(0).eval()
    ids = gapped.encode("so it goes, and so it went")
    sampling = Sampling(temperature=2.0, repetition_penalty=1.5, seed=3)
    one, two = fill(model, gapped, ids, 2, limit=99, sampling=sampling)
    assert one.tokens == ids.count(gapped.mask) == 4
    assert one.text != two.text
    assert [one] == fill(model, gapped, ids, 1, limit=99, sampling=sampling)
    with pytest.raises(UserError, match="the prompt has 49 tokens"):
        fill(model, gapped, [0] * 49, 1, limit=9, sampling=sampling)


def test_a_prompt_is_read_with_its_gaps_or_gets_some(gapped: Gapped) -> None:
    text = "[MASK]so it[MASK][MASK] goes"
    assert gapped.decode(gapped.encode(text)) == text
    drawn = gapped.encode("so it goes")
    assert drawn.count(gapped.mask) == 2
    assert gapped.encode(gapped.decode(drawn)) == drawn
    assert gapped.encode("") == gapped.encode("[MASK]") == [gapped.mask]
    assert 10 < len(gapped.encode(gapped.example())) <= CONTEXT
