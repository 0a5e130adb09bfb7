"""What routing over layers costs: a step forward and backward against the same FLOPs in the plain
transformer. On one thread.

    taskset -c 1 python benchmarks/router.py                         half a minute or two
    taskset -c 1 python benchmarks/router.py --layers 8 --rounds 15

The shape: width 128, 4 heads, SwiGLU of 512, context 256, batch 16, vocabulary 257, fp32, as many
steps as layers. Tokens are random, and routers are drawn wide enough that tokens part. Each is
measured between two passes of the plain one, and medians of the ratios are given; processor time is
counted and not that of the clock. The FLOPs are those of the tokens, without the padding of
queries.
"""

import argparse
import os
import statistics
import time
from typing import Any

import torch

from scalelab import families as spec
from scalelab.families import build
from scalelab.families.cost import forward_flops
from scalelab.families.layer_router.chooser import Router
from scalelab.families.layer_router.model import LayerRouter
from scalelab.families.transformer.model import Transformer
from scalelab.layers.cross_entropy import summed_cross_entropy
from scalelab.train.process import prepare

TOY = "SCALELAB_TOY" in os.environ
WIDTH, HEADS, VOCAB = 128, 4, 257
CONTEXT, BATCH = (16, 2) if TOY else (256, 16)

KINDS: dict[str, dict[str, Any]] = {
    "fixed": {"policy": "fixed"},
    "random": {"policy": "random"},
    "open": {},
    "open, gru": {"router": {"kind": "gru"}},
    "open, 2 identity": {"identity": 2},
    "open, act": {"halting": {"kind": "act"}},
    "random, sequences": {"policy": "random", "granularity": "sequence"},
    "open, sequences": {"granularity": "sequence"},
}


def models(layers: int) -> dict[str, Transformer | LayerRouter]:
    """Untrained, the plain one first."""
    sizes: dict[str, Any] = {"layers": layers, "width": WIDTH, "heads": HEADS}
    found: dict[str, Any] = {"plain": spec.Transformer(**sizes)}
    found |= {
        name: spec.LayerRouter.model_validate({**sizes, **given}) for name, given in KINDS.items()
    }
    return {
        name: spread(build(given.resolved(), VOCAB, CONTEXT).initialise(0))
        for name, given in found.items()
    }


def spread(model: Any) -> Any:
    """With routers whose scores differ from token to token."""
    for part in model.modules():
        if isinstance(part, Router):
            torch.nn.init.normal_(part.out.weight)
    return model


def step(model: Transformer | LayerRouter, tokens_BT: torch.Tensor) -> int:
    """One forward and backward pass; returns the FLOPs of the forward one."""
    model.zero_grad(set_to_none=True)
    if isinstance(model, LayerRouter):
        reading = model.run_steps(tokens_BT)
        x_BTD, flops = reading.final_BMD, reading.flops
    else:
        x_BTD, flops = (
            model.trunk(tokens_BT),
            BATCH * forward_flops(model.config, VOCAB, CONTEXT, CONTEXT),
        )
    nats = summed_cross_entropy(
        x_BTD.flatten(0, 1), model.head_weight, tokens_BT.roll(-1, 1).flatten()
    )
    (nats / tokens_BT.numel()).backward()
    assert nats.isfinite(), "the loss is no number"
    return flops


def main() -> None:
    """Measure and print a line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1 if TOY else 7)
    args = parser.parse_args()
    prepare(1)
    torch.manual_seed(0)
    tokens_BT, built = torch.randint(0, VOCAB, (BATCH, CONTEXT)), models(args.layers)
    plain, flops = built.pop("plain"), dict.fromkeys(built, 0)
    seconds: dict[str, list[float]] = {name: [] for name in built}
    ratios: dict[str, list[float]] = {name: [] for name in built}
    for _ in range(args.rounds + 1):  # the first one warms up
        before, plain_flops = timed(plain, tokens_BT)
        for name, model in built.items():
            taken, flops[name] = timed(model, tokens_BT)
            after, _ = timed(plain, tokens_BT)
            seconds[name].append(taken)
            ratios[name].append(taken / flops[name] / ((before + after) / 2 / plain_flops))
            before = after
    for name in built:
        each, ratio = (
            statistics.median(seconds[name][1:]) / (BATCH * CONTEXT),
            statistics.median(ratios[name][1:]),
        )
        mega = flops[name] / BATCH / CONTEXT / 1e6
        print(
            f"{name:18}{1e6 * each:7.1f} us a token {mega:6.2f} MFLOPs forward {ratio:6.2f} x"
            " plain's time of a FLOP"
        )


def timed(model: Transformer | LayerRouter, tokens_BT: torch.Tensor) -> tuple[float, int]:
    """Processor seconds of a pass, and its FLOPs forward."""
    began = time.process_time()
    flops = step(model, tokens_BT)
    return time.process_time() - began, flops


if __name__ == "__main__":
    main()
