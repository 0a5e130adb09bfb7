"""The experiment: one spec file; and the trial: one fully resolved training run of it."""

from collections.abc import Callable
from itertools import product
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from scalelab.core.canon import sha256
from scalelab.core.errors import UserError
from scalelab.core.spec import Spec
from scalelab.core.units import Count, Whole
from scalelab.families import Model
from scalelab.families.transformer.spec import Transformer
from scalelab.search import Grid, Search
from scalelab.spec.budget import Budget
from scalelab.spec.evaluation import Evaluation
from scalelab.spec.execution import Execution
from scalelab.spec.optim import AdamW, Optim
from scalelab.tasks import Task
from scalelab.tasks.facts.spec import Facts

Precision = Literal["fp32", "bf16"]


class Trial(Spec):
    """One training run: everything that can change its numbers, and nothing else."""

    task: Task = Facts()
    """What is learned."""
    model: Model = Transformer()
    """What learns it."""
    budget: Budget
    """How long it trains."""
    optim: Optim = AdamW()
    """How it is trained."""
    batch: Count = 128
    """Sequences in an update."""
    micro_batch: Count | None = None
    """Sequences in one forward pass, where the loss couples them (experts balanced over a batch);
    elsewhere it is `execution.micro_batch`, which moves no number. The whole batch where it is not
    given.
    """
    precision: Precision = "fp32"
    """Arithmetic of the forward and backward pass and of Muon's Newton-Schulz steps; parameters and
    optimizer states are fp32.
    """
    evaluation: Evaluation = Evaluation()
    """When it is evaluated, and when it may stop."""
    seed: Annotated[Whole, Field(lt=2**62)] = 0
    """Seed of the initial weights and of the order of the data."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.micro_batch is not None and not self.model.couples_batch:
            raise UserError(
                "`micro_batch` changes no number of this trial",
                cure="write `execution.micro_batch`",
                paths=["micro_batch"],
            )
        self.task.check_model(self.model)
        self._check_decoding()
        return self

    def _check_decoding(self) -> None:
        if self.evaluation.decoding is None:
            return
        if not (self.task.has_running_text and self.model.is_autoregressive):
            raise UserError(
                "`evaluation.decoding` times how text is written, which this task does not do",
                cure="leave it out",
                paths=["evaluation.decoding"],
            )
        if self.model.leaks_future:
            raise UserError(
                "experts that choose their tokens see whole texts, so the model writes none",
                cure="leave `evaluation.decoding` out",
            )
        contexts, context = self.evaluation.decoding.contexts, self.task.context
        if context is not None and any(asked > context for asked in contexts):
            raise UserError(
                f"`evaluation.decoding` asks for {max(contexts)} positions, and `task.context` is"
                f" {context}",
                cure="ask for less",
                paths=["evaluation.decoding", "task.context"],
            )

    def identity(self) -> dict[str, Any]:
        """What the digest covers: defaults left out, every `kind` written, a recipe above 1
        written.
        """
        return _identity(self, lambda part, path: part.recipe_in(self))

    def digest(self) -> str:
        """The sha256 of the canonical JSON of the identity."""
        return sha256(self.identity())

    def older_digests(self) -> dict[str, list[str]]:
        """What the digest was under older recipes -> spec paths of the parts that were older then.

        Such a trial was asked for in the same words, and its numbers are others.
        """
        now, found = _recipes(self, self), dict[str, list[str]]()
        for recipes in product(*(range(1, recipe + 1) for recipe in now.values())):
            then = dict(zip(now, recipes, strict=True))
            if then != now:
                identity = _identity(self, lambda part, path, then=then: then.get(path, 1))
                found[sha256(identity)] = [path for path in now if then[path] < now[path]]
        return found


class Experiment(Trial):
    """One spec file: a trial with axes."""

    outside: ClassVar[frozenset[str]] = frozenset(
        {"name", "about", "extends", "arms", "axes", "replicates", "search", "execution"}
    )
    """Fields that are not a trial's."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """Name of the experiment; figures and filters use it."""
    about: str = ""
    """What it asks, for the reports."""
    arms: dict[str, dict[str, Any]] = {}
    """Name -> what it sets (spec path -> value): alternatives with names, such as a base and its
    variants. Each runs at every point of `axes`, and its name stands in the axis `arm`.
    """
    axes: dict[str, Any] = {}
    """Spec path -> values: a list, `{range: [from, to, step]}` or `{logspace: [from, to, num]}`;
    `zip` lets axes go in step.
    """
    replicates: Count = 1
    """The same trial under this many seeds, from `seed` on."""
    search: Search = Grid()
    """Which of the trials are run: `grid` or `frontier`."""
    execution: Execution = Execution()
    """Where and how fast the trials run."""


def _identity(part: Spec, recipe_of: Callable[[Spec, str], int], path: str = "") -> dict[str, Any]:
    found, implied = dict[str, Any](), part.implied()
    for name, field in type(part).model_fields.items():
        if name in implied:
            continue
        value = getattr(part, name)
        if isinstance(value, Spec):
            found[name] = _identity(value, recipe_of, _below(path, name))
        elif name == "kind" or value != field.default:
            found[name] = list(value) if isinstance(value, tuple) else value
    if (recipe := recipe_of(part, path)) > 1:
        found["recipe"] = recipe
    return found


def _recipes(part: Spec, trial: Trial, path: str = "") -> dict[str, int]:
    """Spec path -> recipe of the part and of the parts in it, where it is above 1. The trial's own
    path is empty.
    """
    recipe, implied = part.recipe_in(trial), part.implied()
    found = {path: recipe} if recipe > 1 else dict[str, int]()
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, Spec) and name not in implied:
            found |= _recipes(value, trial, _below(path, name))
    return found


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
