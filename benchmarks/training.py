"""Training speed: positions a second of the training loop's own update, on one thread.

    taskset -c 1 python benchmarks/training.py
    taskset -c 1 python benchmarks/training.py --width 32 --people 64 --recall in_tool --compile

Without flags: 16 people, in-weight, width 16, batch 128, fp32.

A position is one the model runs over, padding included. Reported are the median over windows of
updates, and the fastest window: on a shared machine the second is the steadier one. No evaluation,
no checkpoint.
"""

import argparse
import os
import statistics
import time
from typing import get_args

from scalelab.families.transformer.spec import Transformer
from scalelab.spec.budget import Budget
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial
from scalelab.tasks.facts.spec import Facts
from scalelab.train.attempt import Attempt
from scalelab.train.process import prepare

TOY = "SCALELAB_TOY" in os.environ


def windows(attempt: Attempt, num: int, updates: int) -> list[float]:
    """Seconds of one update, as the mean of each of `num` windows of `updates` updates."""
    found: list[float] = []
    for _ in range(num):
        began = time.perf_counter()
        for _ in range(updates):
            attempt.update()
        found.append((time.perf_counter() - began) / updates)
    return found


def main() -> None:
    """Measure and print one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument(
        "--recall", choices=get_args(Facts.model_fields["recall"].annotation), default="in_weight"
    )
    parser.add_argument("--templates", type=int, default=4)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument(
        "--precision", choices=get_args(Trial.model_fields["precision"].annotation), default="fp32"
    )
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--windows", type=int, default=1 if TOY else 20)
    parser.add_argument("--updates", type=int, default=1 if TOY else 20)
    args = parser.parse_args()

    prepare(1)
    trial = Trial(
        task=Facts(people=args.people, recall=args.recall, templates=args.templates),
        model=Transformer(width=args.width).resolved(),
        budget=Budget(steps=10**6),
        batch=args.batch,
        precision=args.precision,
    )
    began = time.perf_counter()
    attempt = Attempt(
        trial, Execution(device="cpu", compile=args.compile), None, stopping=lambda: False
    )
    attempt.update()
    first = time.perf_counter() - began
    windows(attempt, 1, args.updates)
    seconds = windows(attempt, args.windows, args.updates)
    assert attempt.is_finite(), "the loss is no number"
    positions, middle, best = (
        args.batch * attempt.shape.context,
        statistics.median(seconds),
        min(seconds),
    )
    print(
        f"people {args.people} {args.recall} width {args.width} batch {args.batch} context"
        f" {attempt.shape.context} targets {attempt.shape.targets} {args.precision}"
        f" {'compiled' if args.compile else 'eager'}: {positions / middle:,.0f} positions/s,"
        f" fastest window {positions / best:,.0f} ({1e3 * middle:.1f} and {1e3 * best:.1f} ms an"
        f" update of {args.batch:,} dialogs; the first took {first:.1f} s)"
    )


if __name__ == "__main__":
    main()
