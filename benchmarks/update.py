"""One update at the shape of the training bar: dialogs of 78 tokens, 38 of which bear loss, width
16, batch 128, fp32, one thread.

    taskset -c 1 python benchmarks/update.py

Tokens are random: our own dialogs are shorter (`benchmarks/training.py` trains on those). Compiled
and eager in one run.
"""

import os
import statistics
import time
from collections.abc import Callable

import torch

from scalelab.families import build
from scalelab.families.layout import Layout
from scalelab.families.objective import Batch, Loss, summed_loss
from scalelab.families.transformer.spec import Transformer
from scalelab.spec.optim import AdamW
from scalelab.train.optimizer import Optimizer
from scalelab.train.process import prepare

TOY = "SCALELAB_TOY" in os.environ
SEQUENCES, POSITIONS, TARGETS, VOCAB = 128, 77, 38, 260
WINDOWS, UPDATES = (1, 1) if TOY else (12, 10)


def main() -> None:
    """Measure and print a line each."""
    prepare(1)
    for name, loss_of in (
        ("eager", summed_loss),
        ("compiled", torch.compile(summed_loss, fullgraph=True, dynamic=False)),
    ):
        update_s = statistics.median(windows(loss_of))
        rates = (
            f"{SEQUENCES * POSITIONS / update_s:,.0f} positions/s, {SEQUENCES / update_s:,.0f}"
            " dialogs/s"
        )
        print(f"{name:9} {update_s * 1e3:.1f} ms an update: {rates}")


def windows(loss_of: Callable[..., Loss]) -> list[float]:
    """Seconds of one update, as the mean of each of some windows."""
    model, batch = (
        build(Transformer(width=16).resolved(), VOCAB, POSITIONS).initialise(0),
        random_batch(),
    )
    optimizer = Optimizer(AdamW(), model, torch.device("cpu"))
    found: list[float] = []
    for _ in range(WINDOWS + 1):  # the first one warms up
        began = time.perf_counter()
        for step in range(UPDATES):
            (loss_of(model, batch).nats / (SEQUENCES * TARGETS)).backward()
            optimizer.update(step, steps=10**6)
        found.append((time.perf_counter() - began) / UPDATES)
    assert loss_of(model, batch).nats.isfinite(), "the loss is no number"
    return found[1:]


def random_batch() -> Batch:
    """Random tokens; the loss falls in the second half of each row."""
    torch.manual_seed(0)
    targets_BM = torch.arange(POSITIONS - TARGETS, POSITIONS).expand(SEQUENCES, -1).contiguous()
    return Batch(
        torch.randint(0, 256, (SEQUENCES, POSITIONS)),
        torch.randint(0, 256, targets_BM.shape),
        torch.ones(targets_BM.shape),
        Layout(targets_BM, prefix_B=torch.zeros(SEQUENCES, dtype=torch.long)),
    )


if __name__ == "__main__":
    main()
