"""Routers over layers: a pool of layers, and who decides which of them is applied at each step."""

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from scalelab.core.errors import UserError
from scalelab.core.spec import Spec, default_kind
from scalelab.core.units import Count, Number, Whole
from scalelab.families.cost import Bounds
from scalelab.families.family import InitialWeights, LayerPool
from scalelab.families.layer_router import cost
from scalelab.families.transformer.spec import Architecture, Transformer
from scalelab.layers.spec import MOST_LAYERS, Balance, Coefficient, Ffn

Share = Annotated[Number, Field(ge=0, lt=1)]

MOST_CHOICES = 20_000
"""Layers that may be chosen, counted at each step."""


class Router(Spec):
    """The network that scores the layers, from a token's current state."""

    kind: Literal["linear", "mlp", "lstm", "gru"] = "linear"
    """`linear`, `mlp` (a hidden layer with GELU), or `lstm` and `gru`, whose state runs over the
    steps, never over positions.
    """
    width: Count = 64
    """Hidden width; a linear router has none."""
    temperature: Annotated[Number, Field(gt=0)] = 1.0
    """What the scores are divided by: below 1 choices are sharper."""
    step_embedding: bool = True
    """Whether the router knows which step it decides: a learned vector for each is added to its
    input.
    """

    def implied(self) -> frozenset[str]:
        """A linear router has no hidden width."""
        return frozenset({"width"}) if self.kind == "linear" else frozenset()


class StraightThrough(Spec):
    """The most probable layers are applied, and the gradient passes to their probabilities (arXiv
    1308.3432).
    """

    kind: Literal["straight_through"] = "straight_through"
    noise: Coefficient = 0.0
    """Standard deviation of normal noise on the scores while training: exploration."""


class Gumbel(Spec):
    """While training a layer is drawn by its probability, with Gumbel noise; the gradient passes
    straight through (arXiv 1611.01144).
    """

    kind: Literal["gumbel"] = "gumbel"
    noise: Coefficient = 0.0
    """Standard deviation of normal noise on the scores besides, while training."""


class Soft(Spec):
    """While training every allowed layer is applied and their outputs are mixed by probability; the
    most probable one afterwards.
    """

    kind: Literal["soft"] = "soft"
    noise: Coefficient = 0.0
    """Standard deviation of normal noise on the scores while training."""


class Reinforce(Spec):
    """Layers are drawn while training, and the router learns from the loss of several roll-outs of
    each sequence (Williams 1992).
    """

    kind: Literal["reinforce"] = "reinforce"
    rollouts: Annotated[Count, Field(ge=2)] = 4
    """Roll-outs of each sequence: the baseline of one is the mean loss of the others."""
    coefficient: Annotated[Number, Field(gt=0)] = 1.0
    """Weight of the policy's loss beside the model's own."""
    noise: Coefficient = 0.0
    """Standard deviation of normal noise on the scores while training."""


class NoHalting(Spec):
    """Every token goes through all steps."""

    kind: Literal["none"] = "none"


class Act(Spec):
    """Adaptive computation time (arXiv 1603.08983): a token halts once its halting probabilities
    sum to 1 - epsilon.
    """

    kind: Literal["act"] = "act"
    epsilon: Annotated[Number, Field(gt=0, lt=1)] = 0.01
    """How far below 1 the sum may end."""
    cost: Coefficient = 0.01
    """Coefficient of the ponder cost, steps plus remainder."""


class Ponder(Spec):
    """PonderNet (arXiv 2107.05407): the loss is expected over the step of halting, whose
    distribution is kept near a geometric one.
    """

    kind: Literal["ponder"] = "ponder"
    prior: Annotated[Number, Field(gt=0, lt=1)] = 0.2
    """The prior's probability of halting at a step."""
    cost: Coefficient = 0.01
    """Coefficient of the divergence from the prior."""
    halts_at: Annotated[Number, Field(gt=0, le=1)] = 0.5
    """When nothing is trained a token halts at the first step by which it would have halted with
    this probability (0.5: the median).
    """


class Threshold(Spec):
    """Stick-breaking (arXiv 2310.07096): a token halts once its probability of having halted
    reaches a threshold.
    """

    kind: Literal["threshold"] = "threshold"
    threshold: Annotated[Number, Field(gt=0, lt=1)] = 0.99
    """The probability of having halted at which a token does."""
    cost: Coefficient = 0.01
    """Coefficient of the expected number of steps."""


class LayerBalance(Balance):
    """What keeps the use of the layers even.

    Each step is balanced for itself; a bias is kept for each step.

    One route of a whole sequence has no load of its own: under that granularity `per: sequence`
    counts over the micro-batch too.
    """

    identity: bool = False
    """Whether the identity layers are counted in."""


class Pretrained(Spec):
    """Weights of a finished plain transformer with the same layers: these become the pool;
    embedding, norm and head are taken too.
    """

    trial: str
    """Digest of that trial; eight or more of its first digits are enough."""
    freeze: bool = True
    """Whether what was taken stays as it is, so that the router alone learns."""

    @field_validator("trial")
    @classmethod
    def _is_a_digest(cls, trial: str) -> str:
        if not re.fullmatch(r"[0-9a-f]{8,64}", trial):
            raise UserError(
                f"`{trial}` is no digest",
                cure="take one of `scalelab ls`, at least eight of its first digits",
            )
        return trial


class LayerRouter(Architecture):
    """A pool of layers of which a policy applies one (or a mixture of some) at each of
    some steps.
    """

    compiles: ClassVar[Literal["model", "layers", "nothing"]] = "layers"
    compared: ClassVar[tuple[str, ...]] = ("embedding",)

    kind: Literal["layer_router"] = "layer_router"
    identity: Annotated[Whole, Field(le=MOST_LAYERS)] = 0
    """Identity layers in the pool, which leave a token as it is.

    They are numbered behind the others: `layers` + 1 and on.
    """
    steps: Annotated[Count, Field(le=MOST_LAYERS)] | None = None
    """How many layers are applied one after the other; as many as `layers` where it is
    not given.
    """
    policy: Literal["fixed", "random", "learned", "closed", "open"] = "open"
    """`fixed`: a given `order`.

    `random`: any layer, drawn evenly. `learned`: one choice for each step, whatever the input.
    `closed`: a router chooses among the `choices` of each step. `open`: a router chooses any layer
    at any step.
    """
    order: Annotated[tuple[Count, ...], Field(fail_fast=True)] | None = None
    """The layers, from 1, of a `fixed` policy, one for each step; 1 to `layers`, again and again,
    where it is not given.
    """
    choices: (
        Annotated[
            tuple[Annotated[tuple[Count, ...], Field(fail_fast=True)], ...], Field(fail_fast=True)
        ]
        | None
    ) = None
    """The layers, from 1, that a `closed` policy may choose at each step.

    Where it is not given: the layer of that step in the order 1 to `layers`, the one behind it, and
    the identity layers.
    """
    router: Router = Router()
    """The network that scores the layers; `closed` and `open` policies have one."""
    top: Count = 1
    """Layers that are applied to a token at a step; the outputs of several are mixed by their
    probabilities.
    """
    granularity: Literal["token", "sequence"] = "token"
    """`token`: each token has a route of its own.

    `sequence`: all tokens of a sequence take one route, chosen from what all of them may see: under
    a causal mask the first token, under a prefix mask the given text, under a full mask everything.
    """
    selection: Annotated[
        StraightThrough | Gumbel | Soft | Reinforce,
        Field(discriminator="kind"),
        default_kind("straight_through"),
    ] = StraightThrough()
    """How a choice is made while training and how the router learns from it: `straight_through`,
    `gumbel`, `soft` or `reinforce`. When nothing is trained the most probable layer is applied.
    """
    loss: Literal["last", "mean", "cumulated"] = "last"
    """Where the loss falls: on the `last` step's prediction, on every step's with equal weight
    (`mean`), or on the sum of all steps' logits (`cumulated`).
    """
    halting: Annotated[
        NoHalting | Act | Ponder | Threshold, Field(discriminator="kind"), default_kind("none")
    ] = NoHalting()
    """Whether a token may think less: `none`, `act`, `ponder` or `threshold`. One that has halted
    stays visible as it is.
    """
    balance: LayerBalance = LayerBalance()
    """What keeps the use of the layers even."""
    similarity: Coefficient = 0.0
    """Coefficient of the mean squared cosine between the weights of two layers: keeps
    layers apart.
    """
    layer_dropout: Share = 0.0
    """Probability that a layer may not be chosen in a sequence at a step, while training; one layer
    always may.
    """
    pretrained: Pretrained | None = None
    """Layers of a trained plain transformer."""

    def implied(self) -> frozenset[str]:
        """What has no meaning under this policy."""
        unrouted = {"router", "selection", "balance", "top"}
        alike = {"granularity"} if self.halting.kind == "none" else set[str]()
        return {
            "fixed": frozenset({*unrouted, *alike, "choices", "layer_dropout"}),
            "random": frozenset({*unrouted, "order", "choices"}),
            "learned": frozenset({"router", "order", "choices"}),
            "closed": frozenset({"order"}),
            "open": frozenset({"order", "choices"}),
        }[self.policy]

    def meant(self) -> Self:
        """The same with what has no meaning at its default, so that it can have none."""
        return self.model_copy(
            update={name: type(self).model_fields[name].default for name in self.implied()}
        )

    @property
    def layer_pool(self) -> LayerPool:
        """Its layers and identity layers."""
        return LayerPool(
            layers=self.layers,
            identity=self.identity,
            steps=self.num_steps,
            halts=self.halting.kind != "none",
            policy=self.policy,
            learned=self.policy not in ("fixed", "random"),
            family="transformer",
            choices=self.choices if self.policy == "closed" else None,
        )

    @property
    def initial_weights(self) -> InitialWeights | None:
        """Those of the plain transformer whose layers are the pool."""
        if self.pretrained is None:
            return None
        free = frozenset({"init", "embedding_dropout"})
        return InitialWeights(self.pretrained.trial, self.pretrained.freeze, self.plain(), free)

    def check_text(self, objective: str, documents: str) -> None:
        """One route of a sequence is chosen by its first document."""
        if self.granularity == "sequence" and documents == "apart":
            raise UserError(
                "one route of a sequence goes by its first document, and `task.documents` is"
                " `apart`",
                cure="take `model.granularity: token`, or `joined` documents",
                paths=["task.documents"],
            )
        super().check_text(objective, documents)

    @property
    def depth(self) -> int:
        """Its steps."""
        return self.num_steps

    @property
    def num_steps(self) -> int:
        """How many layers are applied one after the other."""
        return self.steps or self.layers

    @property
    def pool(self) -> int:
        """Layers that can be chosen, identity layers counted in."""
        return self.layers + self.identity

    @property
    def allowed(self) -> tuple[tuple[int, ...], ...]:
        """The layers, from 0, that each step may choose."""
        steps, cycle = (
            range(self.num_steps),
            [index % self.layers for index in range(self.num_steps)],
        )
        if self.policy == "fixed":
            return (
                tuple((layer - 1,) for layer in self.order)
                if self.order
                else tuple((layer,) for layer in cycle)
            )
        if self.policy != "closed":
            return tuple(tuple(range(self.pool)) for _ in steps)
        if self.choices:
            return tuple(tuple(layer - 1 for layer in choice) for choice in self.choices)
        skips = range(self.layers, self.pool)
        return tuple(tuple(sorted({layer, (layer + 1) % self.layers, *skips})) for layer in cycle)

    def balanced(self, step: int) -> list[int]:
        """The layers, from 0, whose use is kept even at a step."""
        return [
            layer for layer in self.allowed[step] if self.balance.identity or layer < self.layers
        ]

    @property
    def couples_batch(self) -> bool:
        """Whether the loss of one sequence depends on the others of its micro-batch; be it for the
        random numbers, which dropped features and drawn layers take in turns.
        """
        meant = self.meant()
        by_batch = (
            meant.balance.per == "batch" or meant.granularity == "sequence"
        )  # the load of one route is no load
        balanced = (meant.balance.loss > 0 and by_batch) or meant.balance.entropy > 0
        return balanced or (self.embedding_dropout > 0 and meant.draws)

    @property
    def num_rollouts(self) -> int:
        """Roll-outs of each sequence while training: one, but for REINFORCE."""
        return (
            self.selection.rollouts
            if isinstance(self.selection, Reinforce) and "selection" not in self.implied()
            else 1
        )

    @property
    def draws_layers(self) -> bool:
        """Whether layers are drawn while training."""
        return self.policy == "random" or self.selection.kind in ("gumbel", "reinforce")

    @property
    def draws(self) -> bool:
        """Whether random numbers have a part in the routes of training."""
        return self.draws_layers or self.selection.noise > 0 or self.layer_dropout > 0

    def plain(self) -> Transformer:
        """The plain transformer of the same layers, each of them applied once in their order."""
        # Checked as a part of this one already; the budget solver asks for it hundreds of times.
        return Transformer.model_construct(
            **{name: getattr(self, name) for name in Architecture.model_fields}
        )

    def resolved(self) -> Self:
        """With every size, the number of steps, the order and the choices written down."""
        allowed = tuple(tuple(layer + 1 for layer in choice) for choice in self.allowed)
        update = {
            "steps": self.num_steps,
            "order": tuple(choice[0] for choice in allowed) if self.policy == "fixed" else None,
            "choices": allowed if self.policy == "closed" else None,
        }
        return super().resolved().model_copy(update=update)

    def parameter_groups(self, vocab: int, context: int) -> dict[str, int]:
        """See `cost.parameter_groups`."""
        return cost.parameter_groups(self, vocab, context)

    def idle_parameters(self) -> int:
        """See `cost.idle_parameters`."""
        return cost.idle_parameters(self)

    def forward_bounds(self, vocab: int, context: int, targets: int) -> Bounds:
        """See `cost.forward_bounds`."""
        return cost.forward_bounds(self, vocab, context, targets)

    def train_bounds(self, vocab: int, context: int, targets: int) -> Bounds:
        """See `cost.train_bounds`."""
        return cost.train_bounds(self, vocab, context, targets)

    @field_validator("choices", mode="before")
    @classmethod
    def _one_list_a_step(cls, choices: Any) -> Any:
        if isinstance(choices, list | tuple) and not all(
            isinstance(choice, list | tuple) for choice in choices
        ):
            raise UserError(
                "`model.choices` has a list of layers for each step",
                cure="write it as [[1, 2], [2, 3]]",
                paths=["model.choices"],
            )
        return choices

    @model_validator(mode="after")
    def _choices_are_few(self) -> Self:
        if self.num_steps * self.pool > MOST_CHOICES:
            raise UserError(
                f"{self.num_steps:,} steps choose among {self.pool:,} layers each",
                cure=f"take `steps` times layers of at most {MOST_CHOICES:,}",
            )
        return self

    @model_validator(mode="after")
    def _layers_are_there(self) -> Self:
        if not isinstance(self.ffn, Ffn):
            raise UserError(
                "the layers of a pool are experts already",
                cure="give `ffn` a `kind` other than `moe`",
            )
        for name, policy, given in (
            ("order", "fixed", self.order),
            ("choices", "closed", self.choices),
        ):
            if given is not None:
                self._check_layers(f"model.{name}", policy, given)
        return self

    def _check_layers(
        self, path: str, policy: str, given: tuple[int, ...] | tuple[tuple[int, ...], ...]
    ) -> None:
        if self.policy != policy:
            raise UserError(
                f"`{path}` is for the policy `{policy}`, and `model.policy` is `{self.policy}`",
                cure="leave one of them out",
                paths=[path, "model.policy"],
            )
        if len(given) != self.num_steps:
            raise UserError(
                f"`{path}` is for {len(given)} steps, and there are {self.num_steps}",
                cure="give one for each step",
                paths=[path],
            )
        steps = [(one,) if isinstance(one, int) else one for one in given]
        wrong = [number for step in steps for number in step if number > self.pool]
        if wrong:
            raise UserError(
                f"`{path}` names layer {wrong[0]}, and the pool has {self.pool}",
                cure=f"take 1 to {self.pool}",
                paths=[path],
            )
        if any(not step or len(set(step)) < len(step) for step in steps):
            raise UserError(
                f"a step of `{path}` has no layer, or one twice",
                cure="name each layer once",
                paths=[path],
            )

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        routed = self.policy in ("learned", "closed", "open")
        if routed and self.top > min(map(len, self.allowed)):
            raise UserError(
                f"{self.top} layers are mixed and a step may choose among"
                f" {min(map(len, self.allowed))}",
                cure="take a smaller `top`",
            )
        if routed and self.top > 1 and self.selection.kind in ("soft", "reinforce"):
            raise UserError(
                f"`top` mixes chosen layers, and the selection `{self.selection.kind}` does not",
                cure="leave one of them out",
            )
        if (
            self.pretrained is not None
            and self.pretrained.freeze
            and not routed
            and self.halting.kind == "none"
        ):
            raise UserError(
                f"with frozen layers a `{self.policy}` policy has nothing to learn",
                cure="write `pretrained.freeze: false`",
            )
        if self.halting.kind != "none" and self.num_steps == 1:
            raise UserError(
                "with one step there is nothing to halt",
                cure="take more `steps`, or leave `halting` out",
            )
        if self.halting.kind == "ponder" and self.loss != "last":
            raise UserError(
                f"PonderNet's loss is expected over all steps, and `loss` is `{self.loss}`",
                cure="leave it out",
            )
        if self.halting.kind in ("act", "threshold") and self.loss != "last":
            raise UserError(
                f"halting by `{self.halting.kind}` predicts from all steps at once, and `loss` is"
                f" `{self.loss}`",
                cure="leave it out",
            )
        return self
