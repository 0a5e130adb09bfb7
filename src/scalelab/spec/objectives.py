"""What a guided search can be asked for: objectives that trials report, and samplers and pruners
that suit them.
"""

from collections.abc import Mapping

from scalelab.core.errors import UserError, nearest
from scalelab.spec.experiment import Experiment
from scalelab.spec.load import Document
from scalelab.spec.reported import OF_MODELS, concluded, measured
from scalelab.spec.space import Float, Int, Space

PLAN_FACTS = (
    "flops",
    "flops_per_token",
    "params.total",
    "params.non_embedding",
    "params.active",
    "params.used",
)
"""Objectives that the plan knows: training FLOPs, forward FLOPs of a token, parameters under a
convention (`used` where the task tells which tokens occur).
"""


def planned_value(
    objective: str, params: Mapping[str, int], flops: float, tokens: int
) -> float | None:
    """A fact of a plan, such as `params.total`; None for any other objective."""
    if objective.startswith("params."):
        return params.get(objective.removeprefix("params."))
    if objective == "flops":
        return flops
    if objective == "flops_per_token" and tokens:
        return flops / (3 * tokens)  # a third of training is the forward pass
    return None


def check_objectives(space: Space, experiment: Experiment, document: Document) -> None:
    """Raises UserError for an objective that no trial reports, or that a pruner could not watch."""
    task = experiment.task
    # Where the task or the model is searched, some of the trials may report what the base does not.
    searched = {path.partition(".")[0] for path in space.search}
    varied = [
        *(task.sometimes if "task" in searched else ()),
        *(OF_MODELS if "model" in searched else ()),
    ]
    planned = [name for name in PLAN_FACTS if name != "params.used" or task.knows_used]
    known = [*dict.fromkeys((*concluded(experiment), *varied, *planned))]
    for name in space.objectives:
        if name not in known:
            what = f"no trial of the task `{task.kind}` ends with a metric `{name}`"
            raise UserError(
                what, cure=nearest(name, known), where=document.place(("objectives", name))
            )
    if not space.pruner.compares:
        return
    where = document.place(("pruner",))
    if len(space.objectives) > 1:
        what = (
            f"the pruner `{space.pruner.kind}` compares trials by one number, and there are"
            f" {len(space.objectives)} objectives"
        )
        raise UserError(what, cure="write `pruner: none`, or keep one objective", where=where)
    [name] = space.objectives
    if name not in measured(experiment):
        shown = ", ".join(f"`{one}`" for one in measured(experiment))
        what = (
            f"the pruner `{space.pruner.kind}` compares evaluations on the way, and none of them"
            f" measures `{name}`"
        )
        raise UserError(what, cure=f"write `pruner: none`, or take one of {shown}", where=where)


def check_sampler(space: Space, document: Document) -> None:
    """Raises UserError if the sampler can't search this space."""
    numbers = sum(
        isinstance(given, Float | Int) and not given.when for given in space.search.values()
    )
    try:
        space.sampler.check(len(space.objectives), numbers)
    except UserError as error:
        raise error.at(document.place(("sampler",))) from error
