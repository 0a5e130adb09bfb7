"""The parts of an attentive architecture, and the plain transformer."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from scalelab.core.errors import UserError
from scalelab.core.spec import default_kind
from scalelab.core.units import Count, Number
from scalelab.families.cost import Bounds
from scalelab.families.family import Family
from scalelab.families.transformer import cost
from scalelab.layers.spec import (
    MOST_LAYERS,
    Ffn,
    Init,
    LearnedPositions,
    Moe,
    NoPositions,
    Norm,
    Rope,
    Solved,
)

FFN_STEP = 8
"""Hidden widths, of experts too, come in steps of 8: fast kernels want rows of 16 bytes in bf16."""


class Architecture(Family):
    """What every family of attentive models has in common: its layers, and how tokens go in and
    logits come out.
    """

    layers: Annotated[Count, Field(le=MOST_LAYERS)] = 2
    """Number of layers."""
    width: Solved = 16
    """Width of the residual stream; `solve` finds it for `budget.params`."""
    heads: Solved = 2
    """Query heads; `solve` finds them for `budget.params`, in steps of `kv_heads`."""
    kv_heads: Count | None = None
    """Key and value heads: as many as `heads` (MHA, the default), fewer (GQA), or 1 (MQA)."""
    head_width: Count | None = None
    """Width of a head; width / heads where it is not given."""
    ffn: Annotated[Ffn | Moe, Field(discriminator="kind"), default_kind("swiglu")] = Ffn()
    """The feed-forward network: `swiglu`, `gelu`, `relu2`, or `moe`."""
    norm: Norm = Norm()
    """Normalisation."""
    qk_norm: bool = False
    """Normalise queries and keys in each head."""
    position: Annotated[
        Rope | LearnedPositions | NoPositions, Field(discriminator="kind"), default_kind("rope")
    ] = Rope()
    """Positional signal: `rope`, `learned` or `none`."""
    tied: bool = False
    """Use the embedding as the output head."""
    mask: Literal["causal", "prefix", "full"] = "causal"
    """`causal`; `prefix`: the given text sees itself in both directions; `full`: every position
    sees all, for masked prediction.
    """
    window: Count | None = None
    """Positions that a token sees, itself counted in (a sliding window); all of them where it is
    not given.
    """
    embedding_norm: bool = False
    """Normalise the embedding."""
    embedding_dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """Share of the embedding's features that are dropped while training."""
    logit_softcap: Annotated[Number, Field(gt=0)] | None = None
    """Logits are c tanh(logits / c) (Gemma 2, arXiv 2408.00118)."""
    init: Init = Init()
    """How weights begin."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.heads == "solve":
            if self.kv_heads is None or self.head_width is None:
                raise UserError(
                    "`heads: solve` needs `kv_heads` and `head_width`", cure="give both"
                )
        elif self.kv_heads is not None and self.heads % self.kv_heads:
            raise UserError(
                f"{self.kv_heads} kv_heads do not divide {self.heads} heads",
                cure="take a divisor of heads",
            )
        elif isinstance(self.width, int) and self.head_width is None and self.width % self.heads:
            raise UserError(
                f"{self.heads} heads do not divide the width {self.width}",
                cure=f"take a multiple of {self.heads} as width, or set head_width",
            )
        head_width = self.resolved_head_width
        if self.position.kind == "rope" and head_width is not None and head_width % 2:
            raise UserError(
                f"rope turns pairs, and a head of width {head_width} is odd",
                cure="take an even head width",
            )
        return self

    @model_validator(mode="after")
    def _window_slides(self) -> Self:
        if self.window is not None and self.mask != "causal":
            raise UserError(
                f"a `window` slides over a causal mask, and the mask is `{self.mask}`",
                cure="leave one of them out",
            )
        return self

    def check_text(self, objective: str, documents: str) -> None:
        """The mask follows from the objective."""
        wanted = {"causal": "causal", "prefix": "prefix", "masked": "full"}[objective]
        if self.mask != wanted:
            raise UserError(
                f"the {objective} objective needs the mask `{wanted}`, and `model.mask`"
                f" is `{self.mask}`",
                cure=f"write `model.mask: {wanted}`",
                paths=["model.mask"],
            )

    @property
    def is_autoregressive(self) -> bool:
        """Unless every position sees all."""
        return self.mask != "full"

    @property
    def mixture(self) -> Moe | None:
        """The mixture of experts in its layers, or None."""
        return self.ffn if isinstance(self.ffn, Moe) else None

    @property
    def couples_batch(self) -> bool:
        """Whether experts are balanced over a micro-batch."""
        return self.mixture is not None and self.mixture.couples_batch

    @property
    def resolved_head_width(self) -> int | None:
        """Width of a head, or None while it is to be solved."""
        if self.head_width is not None:
            return self.head_width
        return (
            self.width // self.heads
            if isinstance(self.width, int) and isinstance(self.heads, int)
            else None
        )

    @property
    def sizes(self) -> Mapping[str, Solved | None]:
        """Width, heads and hidden width."""
        return {
            "model.width": self.width,
            "model.heads": self.heads,
            "model.ffn.width": self.ffn.width,
        }

    def step_of(self, path: str) -> int:
        """Whole groups of heads; a width that all heads divide, into pairs under rope."""
        if path == "model.heads":
            assert self.kv_heads is not None, "a spec whose heads are solved gives its key heads"
            return self.kv_heads
        if path == "model.ffn.width":
            return FFN_STEP
        if self.head_width is not None:
            return 1
        assert isinstance(self.heads, int)
        return self.heads * (2 if self.position.kind == "rope" else 1)

    def scaled(self, factor: float) -> Self:
        """More heads of the same width where that leaves whole heads, else wider heads."""
        assert (
            isinstance(self.width, int)
            and isinstance(self.heads, int)
            and isinstance(self.ffn.width, int)
            and self.kv_heads is not None
            and self.head_width is not None
        ), "a resolved model is scaled"
        heads, kv_heads = self.heads * factor, self.kv_heads * factor
        if heads == int(heads) and kv_heads == int(kv_heads):
            scaled = {"heads": int(heads), "kv_heads": int(kv_heads)}
        else:
            scaled = {"head_width": round(self.head_width * factor)}
        hidden = max(1, round(self.ffn.width * factor))
        return self.model_copy(
            update={
                "width": round(self.width * factor),
                **scaled,
                "ffn": self.ffn.model_copy(update={"width": hidden}),
            }
        )

    def resolved(self) -> Self:
        """The same model with every size that follows from others written down.

        Width and heads must be known.
        """
        assert isinstance(self.width, int) and isinstance(self.heads, int), "solve the sizes first"
        hidden = (
            self.ffn.width
            if self.ffn.width is not None
            else max(1, round(self.ffn.ratio * self.width))
        )
        assert isinstance(hidden, int), "solve the hidden width first"
        return self.model_copy(
            update={
                "kv_heads": self.kv_heads or self.heads,
                "head_width": self.resolved_head_width,
                # The ratio has done its work: two specs that meet at one width are one trial.
                "ffn": self.ffn.model_copy(
                    update={"width": hidden, "ratio": type(self.ffn)().ratio}
                ),
            }
        )


class Transformer(Architecture):
    """A decoder-only transformer."""

    kind: Literal["transformer"] = "transformer"
    global_every: Count | None = None
    """Under a `window`, every layer of this number sees all positions (5 local layers and a global
    one: 6).
    """
    value_embeddings: bool = False
    """In every second layer, counted from the last, each token adds a learned vector to its values,
    by a learned gain (value embeddings of the NanoGPT speed-runs, after arXiv 2410.17897).
    """
    residual_gains: bool = False
    """Each layer's input is g x + h x0, with x0 the embedding and learned gains that begin at 1 and
    0.
    """
    mup: Count | None = None
    """Maximal update parametrisation (arXiv 2203.03466), with this as its base width: learning
    rates found there hold at every width. The hidden width and heads times head_width are taken to
    grow with the width.
    """

    @model_validator(mode="after")
    def _globals_fit(self) -> Self:
        if self.global_every is not None and self.window is None:
            raise UserError(
                "`global_every` says which layers see past the window, and there is no `window`",
                cure="give one",
            )
        return self

    @property
    def uses_mup(self) -> bool:
        """With a base width."""
        return self.mup is not None

    @property
    def mup_factor(self) -> float:
        """The width by the base width of muP; 1 without muP."""
        return 1.0 if self.mup is None or self.width == "solve" else self.width / self.mup

    def parameter_groups(self, vocab: int, context: int) -> dict[str, int]:
        """See `cost.parameter_groups`."""
        return cost.parameter_groups(self, vocab, context)

    def idle_parameters(self) -> int:
        """See `cost.idle_parameters`."""
        return cost.idle_parameters(self)

    def forward_bounds(self, vocab: int, context: int, targets: int) -> Bounds:
        """See `cost.forward_flops`."""
        flops = cost.forward_flops(self, vocab, context, targets)
        return Bounds(flops, flops)
