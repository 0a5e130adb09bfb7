"""Training tokens a second of a mixture of experts against a dense network of as many active
parameters, in turns in one run.

    taskset -c 1 python benchmarks/moe.py
    taskset -c 1 python benchmarks/moe.py --bf16 --compile

The shape is that of the laptop campaign: 4 layers, 4 heads, width 128, context 128, batch 16,
vocabulary 257, AdamW. Dense: SwiGLU of hidden width 512. Mixture: 1 shared and 15 routed experts of
128, of which a token takes 3, balanced by a bias. An update is forward, backward, clipping, AdamW
and the move of the bias. Below the updates stand the feed-forward layers alone, forward and
backward.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from scalelab.families import build
from scalelab.families.objective import Batch, mean_loss, summed_loss
from scalelab.families.transformer.spec import Transformer
from scalelab.layers import spec
from scalelab.layers.ffn import ffn
from scalelab.layers.moe import Moe
from scalelab.layers.parameters import initialise
from scalelab.layers.spec import Init
from scalelab.train.process import prepare

TOY = "SCALELAB_TOY" in os.environ
LAYERS, HEADS, WIDTH, VOCAB = 4, 4, 128, 257
CONTEXT, BATCH = (16, 2) if TOY else (128, 16)
TOKENS = BATCH * CONTEXT
DENSE = spec.Ffn(kind="swiglu", width=512)
MIXTURE = spec.Moe(experts=15, chosen=3, shared=1, width=128, balance=spec.Balance(bias=0.001))
Step = Callable[[], Tensor]
"""Returns what it computed."""


def main() -> None:
    """Measure in turns, and print a line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=1 if TOY else 40)
    args = parser.parse_args()

    prepare(1)
    torch.manual_seed(0)
    half = (lambda: torch.autocast("cpu", torch.bfloat16)) if args.bf16 else nullcontext
    for what, steps in {
        "update": {
            "dense": updates(DENSE, args.compile, half),
            "mixture": updates(MIXTURE, args.compile, half),
        },
        "layer": {
            "dense": layer(DENSE, args.compile, half),
            "mixture": layer(MIXTURE, args.compile, half),
        },
    }.items():
        medians = measured(steps, args.rounds)
        for name, median_s in medians.items():
            share = medians["dense"] / median_s
            print(
                f"{what:7}{name:8}{median_s * 1e3:8.2f} ms {TOKENS / median_s:9,.0f} tokens/s"
                f" {share:5.2f} x dense"
            )


def measured(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Median seconds of each, taken in turns; the first three warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 3):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - began)
    for name, step in steps.items():
        assert step().isfinite().all(), f"{name} computes what is no number"
    return {name: statistics.median(found[3:]) for name, found in seconds.items()}


def updates(given: spec.Ffn | spec.Moe, compiled: bool, half: Callable) -> Step:
    """One update of a whole model."""
    model = build(
        Transformer(layers=LAYERS, heads=HEADS, width=WIDTH, ffn=given).resolved(), VOCAB, CONTEXT
    ).initialise(0)
    loss_of = torch.compile(summed_loss, fullgraph=True, dynamic=False) if compiled else summed_loss
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=True)
    targets = torch.tensor(TOKENS)

    def update() -> Tensor:
        tokens_BS = torch.randint(0, VOCAB, (BATCH, CONTEXT + 1))
        with half():
            loss = loss_of(model, Batch(tokens_BS[:, :-1], tokens_BS[:, 1:]))
        mean_loss(loss, targets, share=1.0).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad(set_to_none=True)
        if loss.routings:
            model.rebalance(torch.stack([routing.load_E for routing in loss.routings]))
        return loss.nats

    return update


def layer(given: spec.Ffn | spec.Moe, compiled: bool, half: Callable) -> Step:
    """One pass forward and backward of the feed-forward network alone."""
    module = Moe(given, WIDTH) if isinstance(given, spec.Moe) else ffn(given, WIDTH)
    initialise(module, Init(), LAYERS, seed=0)
    run = torch.compile(module, fullgraph=True, dynamic=False) if compiled else module
    x_BTD, grad_BTD = torch.randn(2, BATCH, CONTEXT, WIDTH)
    x_BTD.requires_grad_()

    def both_ways() -> Tensor:
        with half():
            out = run(x_BTD)
        out_BTD: Tensor = out[0] if isinstance(out, tuple) else out
        out_BTD.backward(grad_BTD.to(out_BTD.dtype))
        module.zero_grad()
        x_BTD.grad = None
        return out_BTD

    return both_ways


if __name__ == "__main__":
    main()
