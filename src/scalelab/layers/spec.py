"""What a spec says of the layers that model families share: norms, positions, initial weights,
feed-forward networks and mixtures of experts. Each class has its module in this folder.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from scalelab.core.errors import UserError
from scalelab.core.spec import Spec
from scalelab.core.units import Count, Number, Whole

Solved = Count | Literal["solve"]
"""A size, or `solve`: found for `budget.params`."""

Activation = Literal["gelu", "swiglu", "relu2"]
"""`gelu` and `relu2` (squared ReLU) have two matrices, `swiglu` three."""

Coefficient = Annotated[Number, Field(ge=0)]


MOST_LAYERS = 10_000
"""Layers of a model."""

Role = Literal["embedding", "head", "matrix", "router", "gain"]
"""What a parameter is for, as its module declares it: embeddings (positions too), the output head,
hidden matrices (stacks of experts too), a router's matrix, gains and biases.
"""


class Norm(Spec):
    """Normalisation and where it stands."""

    kind: Literal["rms", "layer"] = "rms"
    """`rms` (a gain) or `layer` (a gain and a bias)."""
    place: Literal["pre", "post", "peri", "sandwich"] = "pre"
    """`pre`: x + F(n(x)).

    `post`: n(x + F(x)). `peri`: x + n(F(n(x))). `sandwich`: n(x + F(n(x))).
    """
    eps: Annotated[Number, Field(gt=0)] = 1e-5
    """Added to the mean square (or variance) before the root."""


class Rope(Spec):
    """Rotary positions (Su et al. 2021): the first pair turns one radian a token."""

    kind: Literal["rope"] = "rope"
    theta: Annotated[Number, Field(gt=1)] = 10_000.0
    """The base of the geometric series of frequencies."""


class LearnedPositions(Spec):
    """A learned vector for each position, added to the embedding."""

    kind: Literal["learned"] = "learned"


class NoPositions(Spec):
    """No positional signal besides the mask."""

    kind: Literal["none"] = "none"


class Init(Spec):
    """How weights begin."""

    kind: Literal["normal", "fan_in", "xavier"] = "fan_in"
    """`normal`: N(0, std^2) everywhere. `fan_in`: N(0, 1/fan_in) for matrices, N(0, std^2) for
    embeddings. `xavier`: Glorot's uniform.
    """
    std: Annotated[Number, Field(gt=0)] = 0.02
    """Standard deviation of `normal`, and of the embeddings under every kind."""
    depth_scaled: bool = True
    """Divide the projections that write to the residual stream by sqrt(2 * layers) (Radford et al.
    2019).
    """


class Ffn(Spec):
    """The feed-forward network of a layer."""

    kind: Activation = "swiglu"
    """`gelu` and `relu2` (squared ReLU) have two matrices, `swiglu` three."""
    ratio: Annotated[Number, Field(gt=0, le=1e6)] = 4.0
    """Hidden width as a multiple of the model's width, where `width` is not given."""
    width: Solved | None = None
    """Hidden width; `solve` finds it for `budget.params`, in steps of 8."""


class Balance(Spec):
    """What keeps the load of the experts even. Several can be on at once."""

    bias: Coefficient = 0.0
    """Loss-free balancing (arXiv 2408.15664): after each update the score of an expert, for the
    choice alone, moves by this much towards an even load; 0.001 is usual.
    """
    loss: Coefficient = 0.0
    """Coefficient of the auxiliary loss E sum_i f_i P_i (Switch; arXiv 2101.03961, with top-k as in
    DeepSeek-V3): 0.01 is usual per batch, 1e-4 per sequence.
    """
    per: Literal["batch", "sequence"] = "batch"
    """Over what the auxiliary loss counts the load: a whole micro-batch, or each sequence alone."""
    entropy: Coefficient = 0.0
    """Coefficient of the negative entropy of the mean gate over a micro-batch (sigma-MoE, arXiv
    2310.10837).
    """
    z_loss: Coefficient = 0.0
    """Coefficient of the router's z-loss, the mean squared log-sum-exp of its logits (ST-MoE, arXiv
    2202.08906); 0.001 is usual.
    """


class Moe(Spec):
    """A mixture of experts: shared ones see every token, of the routed ones each token chooses some
    (DeepSeekMoE, arXiv 2401.06066).
    """

    kind: Literal["moe"] = "moe"
    expert: Activation = "swiglu"
    """The feed-forward network of an expert."""
    experts: Count = 8
    """Routed experts."""
    chosen: Count = 2
    """Routed experts that a token is sent to (top-k)."""
    shared: Whole = 1
    """Shared experts, of the same width as the routed ones."""
    ratio: Annotated[Number, Field(gt=0, le=1e6)] = 1.0
    """Hidden width of an expert as a multiple of the model's width, where `width` is not given."""
    width: Solved | None = None
    """Hidden width of an expert; `solve` finds it for `budget.params`, in steps of 8."""
    gate: Literal["softmax", "sigmoid"] = "sigmoid"
    """How a router's logits become the weights of the experts."""
    renormalise: bool = True
    """Whether the weights of the chosen experts are made to sum to 1."""
    scale: Annotated[Number, Field(gt=0)] = 1.0
    """Factor on the weights of the chosen experts."""
    choice: Literal["token", "expert"] = "token"
    """`token`: each token chooses its experts; nothing is dropped.

    `expert`: each expert chooses its tokens among all positions of a sequence (arXiv 2202.09368),
    which lets the future leak into the past: for study, not for a language model that decodes.
    """
    balance: Balance = Balance()
    """What keeps the load even."""

    @model_validator(mode="after")
    def _enough_experts(self) -> Self:
        if self.chosen > self.experts:
            raise UserError(
                f"{self.chosen} experts are chosen and there are {self.experts}",
                cure=f"take `chosen: {self.experts}` or fewer",
            )
        return self

    @model_validator(mode="after")
    def _router_learns(self) -> Self:
        if self.chosen == 1 < self.experts and self.renormalise:
            raise UserError(
                "one chosen expert, renormalised, always weighs 1, and the router learns nothing",
                cure="say `renormalise: false`",
            )
        if self.choice == "expert" and self.balance.bias > 0:
            raise UserError(
                "experts that choose their tokens have an even load already",
                cure="leave `balance.bias` out",
            )
        return self

    @property
    def couples_batch(self) -> bool:
        """Whether the loss of one sequence depends on the others of its micro-batch: then the
        micro-batch is identity.
        """
        return (self.balance.loss > 0 and self.balance.per == "batch") or self.balance.entropy > 0
