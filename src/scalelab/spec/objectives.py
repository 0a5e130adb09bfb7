"""What a guided search can be asked for: objectives that trials report, and samplers and pruners
that suit them.
"""

from scalelab.core.errors import UserError, nearest
from scalelab.spec.experiment import Experiment
from scalelab.spec.guides import Cmaes, NoPruner
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
    if isinstance(space.pruner, NoPruner):
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
    """Raises UserError where CMA-ES has nothing to adapt: it needs one objective, and two numbers
    that are searched at every point.
    """
    if not isinstance(space.sampler, Cmaes):
        return
    where = document.place(("sampler",))
    if len(space.objectives) > 1:
        what = (
            f"the sampler `cmaes` minimises one number, and there are {len(space.objectives)}"
            " objectives"
        )
        raise UserError(
            what, cure="take `tpe`, `nsga2` or `gp`, or keep one objective", where=where
        )
    numbers = [
        path
        for path, given in space.search.items()
        if isinstance(given, Float | Int) and not given.when
    ]
    if len(numbers) < 2:
        what = (
            "the sampler `cmaes` adapts ranges of numbers without conditions, and of these the"
            f" space has {len(numbers) or 'none'}"
        )
        raise UserError(what, cure="take `tpe`, or search two or more such paths", where=where)
