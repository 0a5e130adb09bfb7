"""What other packages may ask of a task.

A task is a folder:

    tasks/<kind>/spec.py      its options: a subclass of `TaskSpec`
    tasks/<kind>/data.py      `describe(task, folder)` and `build(task, folder)`, without torch
    tasks/<kind>/batches.py   `open_batches(trial, data, device)`: what is trained on
    tasks/<kind>/evaluate.py  `open_test(trial, data, device, stopping)`: what is measured
    tasks/<kind>/prompts.py   `vocabulary(data)`: from prompts to tokens, and from tokens to text

and one entry in the union `Task` of `tasks/__init__.py`. Every spec has the fields `kind` and
`context` (tokens of a window, or None if the data decide).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from scalelab.core.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

    from scalelab.families import Model
    from scalelab.families.language_model import LanguageModel
    from scalelab.families.objective import Batch


@dataclass(frozen=True)
class TaskShape:
    """Sizes that parameters, FLOPs and budgets are counted from."""

    vocab: int
    """Number of distinct tokens."""
    context: int
    """Positions the model runs over: the tokens of a window, less the last, which is only
    predicted.
    """
    facts: int
    """Number of facts."""
    sequences: float
    """Sequences shown in one pass over every fact; where windows are packed, as many as are
    expected, junk counted in.
    """
    targets: int
    """Most positions of one row whose next token bears loss."""
    mean_tokens: float
    """Mean positions of a row without padding."""
    used: int | None = None
    """Number of tokens that occur in the text, special ones included; None if that is unknown."""
    shards: str | None = None
    """Digest of the prepared text that the sizes were read from; None for a task that makes its
    own.
    """


class TaskSpec(Spec):
    """A task's options, and what follows from them without data."""

    main_metric: ClassVar[str]
    """The metric that tells good from bad trials."""
    sometimes: ClassVar[tuple[str, ...]] = ()
    """Metrics that a trial may report besides `measures` and `concludes`, depending on its model
    and data.
    """
    knows_used: ClassVar[bool] = False
    """Whether it tells which tokens occur, so that `params.used` is known."""
    temperature: ClassVar[float] = 1.0
    """Sampling temperature unless one is given; 0 if answers are right or wrong."""
    measures_routes: ClassVar[bool] = False
    """Whether its test counts the routes of tokens through a pool of layers."""
    measures_load: ClassVar[bool] = False
    """Whether its test measures how evenly experts are used."""

    @property
    @abstractmethod
    def measures(self) -> tuple[str, ...]:
        """Metrics of every evaluation, whatever the model."""

    @property
    @abstractmethod
    def concludes(self) -> tuple[str, ...]:
        """Metrics that a trial ends with, whatever the model."""

    @property
    def generates_text(self) -> bool:
        """Whether a trained model writes running text, so that its speed can be timed."""
        return False

    def check_model(self, model: "Model") -> None:
        """Raise ValueError if the model cannot be trained on this task."""
        if not model.is_autoregressive:
            raise ValueError(
                "under the mask `full` a token sees what it should predict; it is for text with the"
                " masked objective"
            )

    def settled(self, shape: TaskShape) -> Self:
        """The task with every field that follows from its data written down: two specs that mean
        the same data are one trial.
        """
        return self.model_copy(update={"context": shape.context + 1})


class TaskData(Protocol):
    """The data of one task: deterministic, and the same on every machine."""

    @property
    def task(self) -> Any:
        """The spec that it was built from."""
        ...

    @property
    def shape(self) -> TaskShape:
        """Its sizes."""
        ...

    def questions_with_answers(self) -> Sequence[tuple[str, str]]:
        """Prompts that are never trained on, with their right answers; empty if the task has no
        right answers to show.
        """
        ...


class Batches(Protocol):
    """The batches of a trial: a pure function of the update's number, so that a resumed run needs
    no state.
    """

    def draw(self, step: int, size: int) -> "tuple[Tensor, Iterator[Batch]]":
        """Targets of update number `step` (from 0), as a number on the device, and its sequences,
        `size` of them at a time.
        """
        ...


class Test(ABC):
    """What a trained model is measured by. Its methods raise Interrupted if they are stopped."""

    @abstractmethod
    def quick(self, model: "LanguageModel[Any]") -> dict[str, float]:
        """Metrics of an evaluation during training, by name."""

    @abstractmethod
    def full(self, model: "LanguageModel[Any]") -> dict[str, float]:
        """The final metrics of a model, by name."""

    def notes(self, model: "LanguageModel[Any]") -> dict[str, str]:
        """Texts about a model that stay with its trial in the store, as `data:` URLs by name."""
        return {}
