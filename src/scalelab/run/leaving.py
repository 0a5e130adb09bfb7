"""Trials that a spec takes out of its experiment: an experiment is what its spec says now."""

from dataclasses import dataclass

from scalelab.core.errors import UserError
from scalelab.core.events import FINISHED
from scalelab.plan.plan import Plan
from scalelab.spec.load import Document
from scalelab.store.reader import Reader


@dataclass(frozen=True)
class Leaving:
    """What would leave an experiment, and whose spec put it there."""

    experiment: str
    trials: int = 0
    results: int = 0
    """Those of the trials that have a result, or are being run."""
    other: str | None = None
    """The spec file that the experiment comes from, where that is another one."""

    @property
    def is_refused(self) -> bool:
        """Whether results of another spec would leave: its name may have been copied with it."""
        return self.other is not None and self.results > 0

    @property
    def note(self) -> str:
        """The sentence for what leaves; empty where nothing does."""
        if not self.trials:
            return ""
        return (
            f"{self.trials:,} trials leave the experiment {self.experiment} because the spec no"
            " longer plans them; they stay in the store"
        )

    @property
    def question(self) -> str:
        """What `run` will ask; empty where it just runs."""
        if not self.is_refused:
            return ""
        return (
            f"the experiment {self.experiment} comes from {self.other}: `scalelab run` asks for"
            " another `name`, or for --replace"
        )

    def refuse(self, document: Document) -> None:
        """Raises UserError where it is refused."""
        if self.is_refused:
            raise UserError(
                f"{self.results:,} trials with results would leave the experiment"
                f" `{self.experiment}`, which comes from {self.other}",
                cure="give this spec another `name`, or add --replace",
                where=document.place(("name",)),
            )


def leaving(store: Reader, plan: Plan) -> Leaving:
    """What a run of the whole plan takes out of its experiment."""
    name, planned = plan.experiment.name, {planned.digest for planned in plan.trials}
    members = store.members(name) if store.has(name) else []
    states = [one.result.state for one in members if one.record.digest not in planned]
    results = sum(state in FINISHED or state == "running" for state in states)
    spec = plan.experiment.model_dump(mode="json")
    return Leaving(name, len(states), results, store.other_source(name, plan.document.path, spec))
