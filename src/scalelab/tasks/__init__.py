"""Tasks: one folder each (see `tasks.task`), and one entry in `Task`."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import Field

from scalelab.core.spec import default_kind
from scalelab.tasks.arithmetic.spec import Arithmetic
from scalelab.tasks.biography.spec import Biography
from scalelab.tasks.facts.spec import Facts
from scalelab.tasks.task import Batches, TaskData, TaskShape, TaskSpec, Test
from scalelab.tasks.text.spec import Text

if TYPE_CHECKING:
    import torch

    from scalelab.generate.vocabulary import Vocabulary
    from scalelab.spec.experiment import Trial

Task = Annotated[
    Facts  # the default
    | Biography
    | Text
    | Arithmetic,
    Field(discriminator="kind"),
    default_kind("facts"),
]
"""The spec of a task, told apart by `kind`, which is the name of its folder."""

KINDS: dict[str, type[TaskSpec]] = {
    spec.model_fields["kind"].default: spec for spec in get_args(get_args(Task)[0])
}
"""Every task's spec by its `kind`."""

FOLDER = "results/data"
"""Where prepared corpora are kept unless an execution says otherwise."""


def describe(task: Task, folder: str = FOLDER) -> TaskShape:
    """The sizes of a task, counted without building a batch; cached.

    Raises UserError where `build` does.
    """
    return _part(task, "data").describe(task, folder)


def build(task: Task, folder: str = FOLDER) -> TaskData:
    """The data of a task.

    Raises UserError if `task.context` does not suit it, or its corpus is not prepared in `folder`.
    """
    return _part(task, "data").build(task, folder)


def open_batches(trial: "Trial", data: TaskData, device: "torch.device") -> Batches:
    """The batches that a trial is trained on."""
    return _part(trial.task, "batches").open_batches(trial, data, device)


def open_test(
    trial: "Trial", data: TaskData, device: "torch.device", stopping: Callable[[], bool]
) -> Test:
    """What a trial's model is measured by. It raises Interrupted once `stopping()` is true."""
    return _part(trial.task, "evaluate").open_test(trial, data, device, stopping)


def vocabulary(data: TaskData) -> "Vocabulary":
    """The prompts and texts of a task."""
    return _part(data.task, "prompts").vocabulary(data)


def _part(task: Task, name: str) -> Any:
    # Imported here: specs and plans need no torch, and reports no data.
    return import_module(f"{__name__}.{task.kind}.{name}")
