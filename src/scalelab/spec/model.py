"""Model families: what a user may say of an architecture. Each class here has its module in `models/`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from scalelab.core.units import Count, Number
from scalelab.spec.base import Spec, default_kind

Solved = Count | Literal["solve"]
"""A size, or `solve`: found for `budget.params`."""


class Ffn(Spec):
    """The feed-forward network of a layer."""

    kind: Literal["gelu", "swiglu", "relu2"] = "swiglu"
    """`gelu` and `relu2` (squared ReLU) have two matrices, `swiglu` three."""
    ratio: Annotated[Number, Field(gt=0)] = 4.0
    """Hidden width as a multiple of the model's width, where `width` is not given."""
    width: Solved | None = None
    """Hidden width; `solve` finds it for `budget.params`, in steps of 8."""


class Norm(Spec):
    """Normalisation and where it stands."""

    kind: Literal["rms", "layer"] = "rms"
    """`rms` (a gain) or `layer` (a gain and a bias)."""
    place: Literal["pre", "post", "peri", "sandwich"] = "pre"
    """`pre`: x + F(n(x)). `post`: n(x + F(x)). `peri`: x + n(F(n(x))). `sandwich`: n(x + F(n(x)))."""
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
    """`normal`: N(0, std^2) everywhere. `fan_in`: N(0, 1/fan_in) for matrices, N(0, std^2) for embeddings. `xavier`: Glorot's uniform."""
    std: Annotated[Number, Field(gt=0)] = 0.02
    """Standard deviation of `normal`, and of the embeddings under every kind."""
    depth_scaled: bool = True
    """Divide the projections that write to the residual stream by sqrt(2 * layers) (Radford et al. 2019)."""


class Transformer(Spec):
    """A decoder-only transformer."""

    kind: Literal["transformer"] = "transformer"
    layers: Count = 2
    """Number of layers."""
    width: Solved = 16
    """Width of the residual stream; `solve` finds it for `budget.params`."""
    heads: Count = 2
    """Query heads."""
    kv_heads: Count | None = None
    """Key and value heads: as many as `heads` (MHA, the default), fewer (GQA), or 1 (MQA)."""
    head_width: Count | None = None
    """Width of a head; width / heads where it is not given."""
    ffn: Ffn = Ffn()
    """The feed-forward network."""
    norm: Norm = Norm()
    """Normalisation."""
    qk_norm: bool = False
    """Normalise queries and keys in each head."""
    position: Annotated[Rope | LearnedPositions | NoPositions, Field(discriminator="kind"), default_kind("rope")] = Rope()
    """Positional signal: `rope`, `learned` or `none`."""
    tied: bool = False
    """Use the embedding as the output head."""
    mask: Literal["causal", "prefix"] = "causal"
    """`causal`, or `prefix`: the given text sees itself in both directions."""
    init: Init = Init()
    """How weights begin."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise ValueError(f"{self.kv_heads} kv_heads do not divide {self.heads} heads; take a divisor of heads")
        if isinstance(self.width, int) and self.head_width is None and self.width % self.heads:
            raise ValueError(
                f"{self.heads} heads do not divide the width {self.width}; take a multiple of {self.heads} as width, or set head_width"
            )
        head_width = self.resolved_head_width
        if self.position.kind == "rope" and head_width is not None and head_width % 2:
            raise ValueError(f"rope turns pairs, and a head of width {head_width} is odd; take an even head width")
        return self

    @property
    def resolved_head_width(self) -> int | None:
        """Width of a head, or None while the width is to be solved."""
        if self.head_width is not None:
            return self.head_width
        return self.width // self.heads if isinstance(self.width, int) else None

    def resolved(self) -> "Transformer":
        """The same model with every size that follows from others written down. The width must be known."""
        assert isinstance(self.width, int), "solve the width first"
        hidden = self.ffn.width if self.ffn.width is not None else max(1, round(self.ffn.ratio * self.width))
        assert isinstance(hidden, int), "solve the hidden width first"
        return self.model_copy(
            update={
                "kv_heads": self.kv_heads or self.heads,
                "head_width": self.resolved_head_width,
                # The ratio has done its work: two specs that meet at one width are one trial.
                "ffn": self.ffn.model_copy(update={"width": hidden, "ratio": Ffn().ratio}),
            }
        )


Model = Transformer
"""Every model family, told apart by `kind`."""
