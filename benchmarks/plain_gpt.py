"""Training tokens a second against a plain PyTorch GPT of the same shape, in turns in one run, on
one core.

    taskset -c 1 python benchmarks/plain_gpt.py

The shape is that of the bar: 4 layers, 4 heads, width 128, context 64, batch 12, vocabulary 65,
GELU of 4 times the width, layer norm, learned positions, AdamW, gradients clipped to a norm of 1. B
sequences, T positions, D width.
"""

import os
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalelab.families import build
from scalelab.families.objective import Batch, Loss, mean_loss, summed_loss
from scalelab.families.transformer.spec import Transformer
from scalelab.layers.spec import Ffn, LearnedPositions, Norm
from scalelab.spec.optim import AdamW
from scalelab.train.compiling import compiled
from scalelab.train.optimizer import Optimizer
from scalelab.train.process import prepare

LAYERS, HEADS, WIDTH, CONTEXT, BATCH, VOCAB = 4, 4, 128, 64, 12, 65
TOY = "SCALELAB_TOY" in os.environ
ROUNDS, UPDATES = (1, 1) if TOY else (15, 20)
OURS = Transformer(
    layers=LAYERS,
    heads=HEADS,
    width=WIDTH,
    ffn=Ffn(kind="gelu"),
    norm=Norm(kind="layer"),
    position=LearnedPositions(),
    tied=True,
)
Update = Callable[[int], Tensor]
"""Returns the loss."""


class PlainLayer(nn.Module):
    """Attention and a feed-forward network out of torch's own modules."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = (
            nn.Linear(WIDTH, 3 * WIDTH, bias=False),
            nn.Linear(WIDTH, WIDTH, bias=False),
        )
        self.up, self.down = (
            nn.Linear(WIDTH, 4 * WIDTH, bias=False),
            nn.Linear(4 * WIDTH, WIDTH, bias=False),
        )

    def forward(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        heads = (
            part.unflatten(2, (HEADS, -1)).transpose(1, 2)
            for part in self.qkv(self.norm_1(x_BTD)).split(WIDTH, dim=2)
        )
        x_BTD = x_BTD + self.out(
            F.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).flatten(2)
        )
        return x_BTD + self.down(F.gelu(self.up(self.norm_2(x_BTD))))


class PlainGpt(nn.Module):
    """A GPT as one writes it in torch."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.layers = nn.ModuleList(PlainLayer() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens_BT: Tensor, labels_BT: Tensor) -> Tensor:
        """The mean loss, in nats."""
        x_BTD = self.tokens(tokens_BT) + self.positions(torch.arange(tokens_BT.shape[1]))
        for layer in self.layers:
            x_BTD = layer(x_BTD)
        return F.cross_entropy(self.head(self.norm(x_BTD)).flatten(0, 1), labels_BT.flatten())


def main() -> None:
    """Measure in turns, and print a line each."""
    prepare(1)
    torch.manual_seed(0)
    updates = {
        "plain, eager": plain(),
        "ours, eager": ours(summed_loss),
        "ours, compiled": ours(compiled(summed_loss)),
        "ours, compiled, bf16": ours(compiled(summed_loss), bf16=True),
    }
    seconds = {name: [] for name in updates}
    for turn in range(ROUNDS + 1):  # the first one warms up
        for name, update in updates.items():
            seconds[name].append(timed(update, turn))
    for name, update in updates.items():
        assert update(UPDATES * (ROUNDS + 1)).isfinite(), f"{name}: the loss is no number"
    medians = {name: statistics.median(found[1:]) for name, found in seconds.items()}
    for name, median_s in medians.items():
        faster = medians["plain, eager"] / median_s
        print(
            f"{name:22}{median_s * 1e3:6.2f} ms an update {BATCH * CONTEXT / median_s:9,.0f}"
            f" tokens/s {faster:5.2f} x plain"
        )


def timed(update: Update, turn: int) -> float:
    """Seconds of one update, as the mean over some."""
    began = time.perf_counter()
    for step in range(UPDATES):
        update(UPDATES * turn + step)
    return (time.perf_counter() - began) / UPDATES


def drawn() -> tuple[Tensor, Tensor]:
    """Tokens and their labels, [B, T] each."""
    tokens_BS = torch.randint(0, VOCAB, (BATCH, CONTEXT + 1))
    return tokens_BS[:, :-1], tokens_BS[:, 1:]


def plain() -> Update:
    """An update as one writes it in torch."""
    model = PlainGpt()
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=True)

    def update(step: int) -> Tensor:
        loss = model(*drawn())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad(set_to_none=True)
        return loss

    return update


def ours(loss_of: Callable[..., Loss], bf16: bool = False) -> Update:
    """An update as `scalelab run` does it."""
    model = build(OURS.resolved(), VOCAB, CONTEXT).initialise(0)
    adamw, targets = (
        Optimizer(AdamW(), model, torch.device("cpu")),
        torch.tensor(float(BATCH * CONTEXT)),
    )

    def update(step: int) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = loss_of(model, Batch(*drawn()))
        mean_loss(loss, targets, share=1.0).backward()
        adamw.update(step, steps=10**6)
        return loss.nats

    return update


if __name__ == "__main__":
    main()
