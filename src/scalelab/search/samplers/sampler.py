"""What a sampler is: options that a space names by `kind`, and Optuna's sampler for them.

A sampler is one file in this folder and one entry in the union `Sampler` (`samplers/__init__.py`).
Optuna is imported where a sampler is built: a spec is read without it.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from scalelab.core.spec import Spec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial


class SamplerSpec(Spec):
    """The options of a sampler. Subclasses have a field `kind` with their name."""

    is_windowed: ClassVar[bool] = False
    """Whether it is shown only the best and the latest trials, because the time that it takes for a
    proposal grows with their number.
    """
    replays: ClassVar[Literal["nothing", "own", "everything"]] = "nothing"
    """Trials whose points are drawn once more when a study is rebuilt from a store, because the
    sampler keeps its state with the trials that it drew: none; those that its search asked for; or
    also those from elsewhere.
    """

    def check(self, objectives: int, numbers: int) -> None:
        """Raises UserError if it can't search for so many objectives, or among so many paths that
        are numbers without a condition.
        """

    @abstractmethod
    def build(
        self,
        seed: int,
        unconditional: "Mapping[str, BaseDistribution]",
        warm: "Sequence[FrozenTrial]",
    ) -> "BaseSampler":
        """A fresh sampler. What it proposes must depend only on the seed and on the study's trials.

        `unconditional` are the searched paths that every trial has, by name; `warm` are finished
        trials from elsewhere.
        """
