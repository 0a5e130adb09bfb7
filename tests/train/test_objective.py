"""The parts of the training loss against their formulas."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scalelab import families as spec
from scalelab.families import build
from scalelab.families.layout import Layout
from scalelab.families.objective import Batch, mean_loss, summed_loss
from scalelab.families.transformer.model import Transformer
from scalelab.layers.cross_entropy import cross_entropy, cross_entropy_and_partition

VOCAB, CONTEXT = 23, 10


def model(**changes: Any) -> Transformer:
    return build(
        spec.Transformer.model_validate({"width": 16} | changes).resolved(), VOCAB, CONTEXT
    ).initialise(0)


def tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def dense(rows: int = 3) -> Batch:
    """Every position bears loss."""
    tokens_BS = tokens(rows, CONTEXT + 1)
    return Batch(tokens_BS[:, :-1], tokens_BS[:, 1:])


def sparse(rows: int = 3) -> Batch:
    """Some positions do, and some of those are padding."""
    tokens_BS, at_BM = (
        tokens(rows, CONTEXT + 1),
        torch.tensor([[1, 4, 9], [0, 2, 0], [3, 8, 0]])[:rows],
    )
    weights_BM = torch.tensor([[1.0, 1, 1], [1, 1, 0], [1, 1, 0]])[:rows]
    return Batch(tokens_BS[:, :-1], tokens_BS.gather(1, at_BM + 1), weights_BM, Layout(at_BM))


def literal(of: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
    """Sums of -ln p and of (ln Z)^2, from the logits of every position."""
    logits_BTV = of(batch.tokens_BT)
    at_BM = (
        torch.arange(CONTEXT).expand(len(logits_BTV), -1)
        if batch.layout.targets_BM is None
        else batch.layout.targets_BM
    )
    logits_BMV = logits_BTV.gather(1, at_BM[..., None].expand(-1, -1, VOCAB))
    weights_BM = torch.ones(at_BM.shape) if batch.weights_BM is None else batch.weights_BM
    nats_BM = F.cross_entropy(logits_BMV.mT, batch.labels_BM, reduction="none")
    return (nats_BM * weights_BM).sum(), (logits_BMV.logsumexp(-1).square() * weights_BM).sum()


@pytest.mark.parametrize("batch", [dense(), sparse()], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    "changes", [{}, {"logit_softcap": 2.0}, {"mup": 4}], ids=["plain", "softcap", "mup"]
)
def test_the_loss_and_the_z_loss_are_their_formulas(batch: Batch, changes: dict[str, Any]) -> None:
    made = model(**changes)
    nats, z = literal(made, batch)
    expected = torch.autograd.grad(nats / 7 + 0.1 * z / 7, list(made.parameters()))
    loss = summed_loss(made, batch, z_loss=True)
    torch.testing.assert_close((loss.nats, loss.z), (nats, z))
    found = torch.autograd.grad(
        mean_loss(loss, torch.tensor(7.0), 1.0, z_loss=0.1), list(made.parameters())
    )
    for first, second in zip(found, expected, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [dense(), sparse()], ids=["dense", "sparse"])
def test_without_a_z_loss_none_is_computed_and_the_nats_are_the_same(batch: Batch) -> None:
    made = model()
    plain, with_z = summed_loss(made, batch), summed_loss(made, batch, z_loss=True)
    assert plain.z == 0
    torch.testing.assert_close(plain.nats, with_z.nats)
    assert mean_loss(plain, torch.tensor(7.0), 1.0) == plain.nats / 7


def test_a_softcap_bounds_what_the_loss_sees() -> None:
    wild = model(logit_softcap=0.01)
    assert summed_loss(wild, dense()).nats.item() == pytest.approx(
        3 * CONTEXT * torch.tensor(float(VOCAB)).log().item(), rel=0.01
    )


def test_the_log_partition_is_logsumexp_with_its_gradient() -> None:
    logits_NV = (
        (5 * torch.randn(6, VOCAB, generator=torch.Generator().manual_seed(0)))
        .double()
        .float()
        .requires_grad_()
    )
    label_N = tokens(6)
    nats_N, log_partition_N = cross_entropy_and_partition(logits_NV, label_N)
    torch.testing.assert_close(log_partition_N, logits_NV.logsumexp(1))
    torch.testing.assert_close(nats_N, cross_entropy(logits_NV, label_N), rtol=0, atol=0)
    (found,) = torch.autograd.grad((nats_N * 0.3 + log_partition_N.square()).sum(), logits_NV)
    literal = (
        F.cross_entropy(logits_NV, label_N, reduction="none") * 0.3
        + logits_NV.logsumexp(1).square()
    )
    torch.testing.assert_close(found, torch.autograd.grad(literal.sum(), logits_NV)[0])


def test_a_penalty_counts_by_its_share_of_the_sequences() -> None:
    made = model(ffn={"kind": "moe", "experts": 4, "balance": {"loss": 0.1, "per": "sequence"}})
    whole = summed_loss(made, dense(4))
    parts = [
        Batch(dense(4).tokens_BT[rows], dense(4).labels_BM[rows])
        for rows in (slice(0, 3), slice(3, 4))
    ]
    losses = [summed_loss(made, part) for part in parts]
    targets = torch.tensor(4.0 * CONTEXT)
    summed = sum(
        mean_loss(loss, targets, share) for loss, share in zip(losses, (0.75, 0.25), strict=True)
    )
    assert whole.penalty > 0
    torch.testing.assert_close(summed, mean_loss(whole, targets, 1.0))
    for layer in range(2):
        torch.testing.assert_close(
            losses[0].routings[layer].load_E + losses[1].routings[layer].load_E,
            whole.routings[layer].load_E,
        )
