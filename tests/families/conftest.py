"""What the suites of the models share. The variants stand in variants.py."""

import pytest
import torch
from tests.families.variants import CONTEXT, DECODERS, LANES, TARGETS, VARIANTS, VOCAB, made
from torch import Tensor

from scalelab.families import Model
from scalelab.families.language_model import LanguageModel


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def variant(request: pytest.FixtureRequest) -> Model:
    """A resolved model spec."""
    return request.param.resolved()


@pytest.fixture
def vocab() -> int:
    """Tokens that the models know."""
    return VOCAB


@pytest.fixture
def context() -> int:
    """Positions that the models run over."""
    return CONTEXT


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def model(variant: Model) -> LanguageModel:
    """The variant, with embeddings larger than they begin, so that tokens and positions tell."""
    return made(variant)


@pytest.fixture(params=DECODERS.values(), ids=DECODERS.keys())
def decoder(request: pytest.FixtureRequest) -> LanguageModel:
    """A model of those that see no later position."""
    return made(request.param)


@pytest.fixture
def tokens_BT() -> Tensor:
    return torch.randint(0, VOCAB, (LANES, CONTEXT), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def at_BM() -> Tensor:
    """Positions asked for; one of them twice, as padding does."""
    found = torch.stack(
        [
            torch.randperm(CONTEXT, generator=torch.Generator().manual_seed(lane))[:TARGETS]
            for lane in range(LANES)
        ]
    )
    found[:, -1] = found[:, 0]
    return found
