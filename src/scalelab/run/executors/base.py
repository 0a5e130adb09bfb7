"""What an executor is: it runs the trials that a desk hands out, here or elsewhere, until the desk
is finished.
"""

import gc
import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from scalelab.core.errors import Unreadable, UserError, reason
from scalelab.core.events import (
    Advanced,
    Damaged,
    Ended,
    Event,
    Fenced,
    Interrupted,
    Overtaken,
    Refused,
    Unwritable,
)
from scalelab.core.locations import child, file_system
from scalelab.core.secrets import masked
from scalelab.plan.plan import PlannedTrial
from scalelab.spec.execution import Execution
from scalelab.spec.experiment import Trial


class Worker(Protocol):
    """Runs one trial; `scalelab.train.train` is the one that trains.

    Emits Started, Measured... and, as its last word, the Ended that it returns; Advanced in between
    as it likes. Raises Interrupted, after it has saved its position, where `stopping()` turns true.
    Where `pruned()` is true after a Measured, the search has given the trial up: it saves its
    position and ends `stopped`, with the last Measured's values and `pruned`, its step. Fenced
    gives the trial up; Unwritable and Unreadable stop the run. Any other exception is a failed
    attempt. `layers_sha256`, of the file whose layers the trial takes, is given only where there is
    one. Must survive cloudpickle.
    """

    def __call__(
        self,
        trial: Trial,
        execution: Execution,
        *,
        folder: str | None,
        emit: Callable[[Event], None],
        stopping: Callable[[], bool],
        pruned: Callable[[], bool],
        layers_sha256: str | None = None,
    ) -> Ended: ...


def train_trial(
    trial: Trial,
    execution: Execution,
    *,
    folder: str | None,
    emit: Callable[[Event], None],
    stopping: Callable[[], bool],
    pruned: Callable[[], bool],
    layers_sha256: str | None = None,
) -> Ended:
    """The worker that trains. Torch is imported where the trial runs: the driver needs none."""
    from scalelab.train import train

    return train(
        trial,
        execution,
        folder=folder,
        layers_sha256=layers_sha256,
        emit=emit,
        stopping=stopping,
        pruned=pruned,
    )


@dataclass(frozen=True)
class Job:
    """What all trials of a run have in common."""

    execution: Execution
    folder: str | None = None
    """Path or URL under which every trial has a folder of its own, by digest; None
    keeps nothing.
    """
    worker: Worker = train_trial
    jobs: int | None = None
    """Trials at once; None is as many as the machine, or the cluster, has room for."""
    address: str | None = None
    """Of a Ray cluster; None starts Ray on this machine."""
    prunes: bool = False
    """Whether the search may end trials early: then a trial waits for an answer to
    every Measured.
    """


class Executor(Protocol):
    """A module that runs trials."""

    def ready(self, job: Job) -> AbstractContextManager[None]:
        """Whatever it needs, held while trials run.

        Raises UserError where no trial could: asked before anything is written.
        """
        ...

    def execute(self, desk: "Desk", job: Job) -> None:
        """Run what the desk hands out, until it is finished."""
        ...


class Desk(Protocol):
    """Where an executor gets its work and takes the news."""

    def ask(self) -> PlannedTrial | None:
        """The next trial to run; None where there is nothing to run now.

        Don't wait: ask again in a moment.
        """
        ...

    def tell(self, digest: str, event: Event) -> bool:
        """What a trial told; true asks that the trial be ended now, as its search has given it up.

        A failed one may be handed out again. A trial that ends without Ended was interrupted.
        """
        ...

    def say(self, text: str) -> None:
        """A line for the user, who sees it once."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the executor may go home once the trials that it runs have ended."""
        ...

    @property
    def stopping(self) -> bool:
        """Whether the running trials should save their position and end."""
        ...

    @property
    def overdue(self) -> bool:
        """Whether trials that have not ended by now are to be given up."""
        ...


def check_device(execution: Execution) -> None:
    """Raises UserError where this machine lacks the device that is asked for by name."""
    if execution.device in ("auto", "cpu"):
        return
    import torch

    if not (torch.cuda if execution.device == "cuda" else torch.backends.mps).is_available():
        what = (
            f"`execution.device` is {execution.device}, and this machine has none that torch"
            " can use"
        )
        raise UserError(what, cure="set `execution.device: auto`")


def check_folder(folder: str | None) -> None:
    """Raises UserError where no trial could keep anything in the folder, a path or URL.

    Nothing is written, and no other host is asked.
    """
    if folder is None:
        return
    from fsspec.implementations.local import LocalFileSystem

    try:
        files, path = file_system(folder)
        if not isinstance(files, LocalFileSystem):
            return
        there = next(place for place in (Path(path), *Path(path).parents) if place.exists())
    except ImportError as error:  # fsspec names the package that it lacks
        raise _no_folder(folder, str(error)) from error
    except ValueError as error:
        raise _no_folder(folder, "no such kind of URL is known") from error
    except OSError as error:
        raise _no_folder(folder, reason(error)) from error
    if not there.is_dir():
        raise _no_folder(folder, f"`{there}` is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise _no_folder(folder, f"`{there}` is not writable")


def _no_folder(folder: str, why: str) -> UserError:
    return UserError(
        f"checkpoints and models cannot be kept in `{folder}`: {why}",
        cure="name another folder with `--artifacts`, or another place with `--store`",
    )


def attempt(
    job: Job,
    trial: Trial,
    digest: str,
    emit: Callable[[Event], None],
    stopping: Callable[[], bool],
    pruned: Callable[[], bool],
    layers_sha256: str | None = None,
) -> None:
    """Run one trial; an exception becomes the Ended that records it.

    `layers_sha256` is that of the file whose layers the trial takes, where it is known; a worker
    gets it only then.
    """
    began, step = time.perf_counter(), 0

    def note(event: Event) -> None:
        nonlocal step
        if not isinstance(event, Advanced):
            step = getattr(event, "step", step)
        emit(event)

    folder = None if job.folder is None else child(job.folder, digest)
    worker: Worker = (
        partial(job.worker, layers_sha256=layers_sha256) if layers_sha256 else job.worker
    )
    try:
        worker(trial, job.execution, folder=folder, emit=note, stopping=stopping, pruned=pruned)
    except Interrupted:
        return
    except Fenced:
        emit(Overtaken())
    except Unwritable as fault:
        emit(Refused(masked(fault.place), masked(fault.why)))
    except Unreadable as fault:
        words = (masked(part) for part in (fault.what, fault.cure, fault.where))
        emit(Damaged(*words, home=fault.home))
    except Exception as fault:
        seconds, trace = time.perf_counter() - began, masked(traceback.format_exc())
        is_full = is_out_of_memory(f"{type(fault).__name__}: {fault}")
        error, cause = (f"{trace}{OUT_OF_MEMORY}", "memory") if is_full else (trace, "fault")
        emit(Ended("failed", step, seconds, error=error, cause=cause))
        _free_memory()


OUT_OF_MEMORY = (
    "Out of memory: it is not tried again as it is; make the model, the batch or the context"
    " smaller, set `execution.micro_batch`, or run fewer trials at once with `--jobs`"
)
"""The last line of an error, which the user sees."""


def is_out_of_memory(error: str) -> bool:
    """Whether the text of an error tells of too little memory: Python's, torch's on any device
    (`OutOfMemoryError`, or `can't allocate memory` on a CPU), or Ray's, which ended the worker.
    """
    return (
        re.search(r"\bMemoryError\b|OutOfMemory|can't allocate memory|out of memory", error)
        is not None
    )


def _free_memory() -> None:
    """After a failure, which may have been a lack of memory: the next trial in this process shall
    not fail for it.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
