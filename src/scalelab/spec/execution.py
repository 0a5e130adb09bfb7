"""Where and how fast a trial runs. None of it enters the digest."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from scalelab.core.locations import expanded
from scalelab.core.spec import Spec
from scalelab.core.units import Count, Number, Seconds, Whole


class Execution(Spec):
    """Execution of trials: resources, speed and robustness."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where a trial runs; `auto` takes a GPU where there is one."""
    threads: Annotated[Count, Field(le=1_024)] = 1
    """Threads of a trial on the CPU; more than one is slower for small models."""
    gpus: Annotated[Number, Field(ge=0, le=1_024)] | None = None
    """GPUs of a trial, fractions too (`0.25`: four trials on one GPU); one where the device is a
    GPU and nothing is said.
    """
    compile: bool = False
    """Compile the training step with torch.compile."""
    micro_batch: Count | Literal["auto"] | None = None
    """Sequences in one forward pass; gradients accumulate to the batch.

    The whole batch where it is not given; `auto`: as many as the device has memory for.
    """
    recompute: bool = False
    """Keep each layer's input alone and compute the rest again in the backward pass (activation
    checkpointing): less memory, a third more time.
    """
    data: Annotated[str, AfterValidator(expanded)] = "results/data"
    """Folder or URL where prepared corpora lie."""
    checkpoint_every: Seconds = 30.0
    """Seconds between checkpoints; a killed trial goes on from its last one."""
    patience: Seconds = 600.0
    """How long a run waits for a store that does not answer: a file that another process holds, a
    server that restarts. Then it stops, with a rescue file of what it could not write, and the same
    command goes on later.
    """
    retries: Annotated[Whole, Field(le=1_000)] = 1
    """How often a failed trial is tried again. The death of a worker that had saved a newer
    checkpoint than the attempt before is not counted; what ran out of memory is not repeated.
    """
