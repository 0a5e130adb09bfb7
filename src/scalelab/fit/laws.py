"""The laws known by name, each with its source; `find` also takes a formula or a YAML file that
declares one.
"""

import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from scalelab.core.errors import UserError, nearest
from scalelab.core.locations import expanded_path
from scalelab.core.spec import fault_of
from scalelab.core.units import Number, parse_number
from scalelab.fit import formula
from scalelab.fit.law import Law, Loss, Residual
from scalelab.spec.document import Document, dump, parse

_N, _D = "params.total", "budget.tokens"
COLUMNS = {"N": _N, "D": _D, "C": "budget.flops"}
"""What these names stand for in a formula given as text."""

_SQUARED = Loss("squared")

_ALL = [
    Law(
        "power",
        "A*N^-alpha",
        {"N": _N},
        about="a power of one column, no floor",
        source="Hestness et al. 2017 (arXiv 1712.00409)",
    ),
    Law(
        "power_offset",
        "E + A*N^-alpha",
        {"N": _N},
        about="a power of one column above an irreducible term",
        source="Henighan et al. 2020 (arXiv 2010.14701)",
    ),
    Law(
        "chinchilla",
        "E + A*N^-alpha + B*D^-beta",
        {"N": _N, "D": _D},
        about="loss from parameters and tokens",
        source=(
            "Hoffmann et al. 2022 (arXiv 2203.15556), approach 3; refitted by Besiroglu et al. 2024"
            " (arXiv 2404.10102)"
        ),
    ),
    Law(
        "kaplan",
        "((Nc/N)^(alphaN/alphaD) + Dc/D)^alphaD",
        {"N": "params.non_embedding", "D": _D},
        about="loss from non-embedding parameters and tokens, no floor",
        source="Kaplan et al. 2020 (arXiv 2001.08361), equation 1.5",
    ),
    Law(
        "width_depth",
        "E + A*W^-alpha + B*L^-beta + F*N^-gamma + G*D^-zeta",
        {"W": "model.width", "L": "model.layers", "N": _N, "D": _D},
        about="loss from width, depth, parameters and tokens",
        source="McLeish et al. 2025, Gemstones (arXiv 2502.06857)",
    ),
    Law(
        "width_depth_tokens",
        "E + A*W^-alpha + B*L^-beta + G*D^-zeta",
        {"W": "model.width", "L": "model.layers", "D": _D},
        about="loss from width, depth and tokens",
        source="McLeish et al. 2025, Gemstones (arXiv 2502.06857)",
    ),
    Law(
        "overtraining",
        "E + (a*M^eta + b*M^-eta)*C^-eta",
        {"N": _N, "D": _D},
        let={"M": "D/N", "C": "6*N*D"},
        residual="linear",
        loss=_SQUARED,
        about="Chinchilla's law with tied exponents, in tokens per parameter M and compute C",
        source="Gadre et al. 2024 (arXiv 2403.08540), equation 4",
    ),
    Law(
        "data_constrained",
        "E + A*N^-alpha + B*Deff^-beta",
        {"N": _N, "D": _D, "U": "extra.unique_tokens"},
        let={"V": "min(U, D)", "Deff": "V*(1 + R*(1 - exp(-(D/V - 1)/R)))"},
        about=(
            "Chinchilla's law where D tokens repeat U unique ones; a repetition is worth less, by R"
            " (parameters do not wear out here)"
        ),
        source="Muennighoff et al. 2023 (arXiv 2305.16264), equation 5",
    ),
    Law(
        "repeated_data",
        "E + A*Neff^-alpha + B*Deff^-beta",
        {"N": _N, "D": _D, "U": "extra.unique_tokens"},
        let={
            "V": "min(U, D)",
            "Deff": "V*(1 + RD*(1 - exp(-(D/V - 1)/RD)))",
            "G": "(alpha*A/(beta*B))^(1/(alpha + beta))",
            "M": "min(N, G*(G*V)^(beta/alpha))",
            "Neff": "M*(1 + RN*(1 - exp(-(N/M - 1)/RN)))",
        },
        bounds={"RN": (1e-3, 1e3)},
        about=(
            "`data_constrained` in both halves: parameters beyond M, the best number for U tokens,"
            " are worth less too, by RN"
        ),
        source="Muennighoff et al. 2023 (arXiv 2305.16264), equations 5 and 6; they tie beta=alpha",
    ),
    Law(
        "routing",
        "exp(log(10)*(d + a*n + b*x + c*n*x))",
        {"N": "params.active", "X": "extra.experts"},
        let={
            "n": "log(N)/log(10)",
            "Xeff": "1/(1/(X - 1 + 1/(1/Xstart - 1/Xmax)) + 1/Xmax)",
            "x": "log(Xeff)/log(10)",
        },
        real=frozenset({"a", "b", "c", "d"}),
        bounds={"Xstart": (1.0, 10.0), "Xmax": (10.0, 1e5)},
        about=(
            "routed models of X experts at equal tokens: log10 of the loss from those of N and of"
            " the experts that count, which saturate at Xmax"
        ),
        source="Clark et al. 2022 (arXiv 2202.01169), equation 1",
    ),
    Law(
        "moe_granularity",
        "c + (g*G^-gamma + a)*N^-alpha + b*D^-beta",
        {"N": _N, "D": _D, "G": "extra.granularity"},
        loss=Loss("huber", 0.1),
        about="mixture of experts with granularity G",
        source="Krajewski et al. 2024 (arXiv 2402.07871)",
    ),
    Law(
        "moe_experts",
        "c + a*X^delta*N^(-alpha - gamma*log(X)) + b*X^omega*D^(-beta - zeta*log(X))",
        {"N": "params.active", "D": _D, "X": "extra.experts"},
        about="mixture of experts with X experts and N active parameters",
        source="Ludziejewski et al. 2025 (arXiv 2502.05172)",
    ),
    Law(
        "moe_sparsity",
        "e + a*N^-alpha + b*D^-beta + c*K^-lam + d*K^-delta*N^-gamma",
        {"N": _N, "D": _D, "S": "extra.sparsity"},
        let={"K": "1 - S"},
        about="mixture of experts with a share S of the experts idle",
        source="Abnar et al. 2025 (arXiv 2501.12370)",
    ),
    Law(
        "precision",
        "E + A*Neff^-alpha + B*D^-beta",
        {"N": _N, "D": _D, "P": "extra.bits"},
        let={"Neff": "N*(1 - exp(-P/gamma))"},
        about="Chinchilla's law where weights of P bits count as fewer parameters",
        source="Kumar et al. 2024 (arXiv 2411.04330), equation 3",
    ),
    Law(
        "broken_power",
        "a + b*N^-c0*(1 + (N/d)^(1/f))^(-c1*f)",
        {"N": _N},
        bounds={"f": (0.02, 10.0)},
        about="a power law that bends once, at d, over a width f",
        source="Caballero et al. 2022 (arXiv 2210.14891), one break",
    ),
    Law(
        "sigmoid",
        "low + rise/(1 + (mid/N)^slope)",
        {"N": _N},
        target="metrics.recall",
        residual="linear",
        loss=_SQUARED,
        about="an accuracy that rises from `low` by `rise`, half-way at `mid`: a logistic in log N",
        source="Ruan et al. 2024 (arXiv 2405.10938), logistic link",
    ),
    Law(
        "capacity",
        "intercept + bits_per_param*P",
        {"P": "params.used"},
        target="metrics.bits",
        residual="linear",
        loss=_SQUARED,
        real=frozenset({"intercept"}),
        about="learned bits against parameters, a line",
        source="Allen-Zhu and Li 2024 (arXiv 2404.05405)",
    ),
    Law(
        "error_from_loss",
        "eps - k*exp(-gamma*L)",
        {"L": "metrics.loss"},
        target="metrics.error",
        residual="linear",
        loss=_SQUARED,
        about="downstream error from validation loss",
        source="Gadre et al. 2024 (arXiv 2403.08540), equation 5",
    ),
]

LAWS: dict[str, Law] = {law.name: law for law in _ALL}
"""Every law known by name."""

_CURE = "see docs/fits.md for how to declare a law"


def find(text: str) -> Law:
    """The law of this name; or the one that a YAML file of this path declares; or a formula in N, D
    and C.

    Raises UserError for an unknown name, naming the nearest, and for a file or formula that
    declares no law.
    """
    if text in LAWS:
        return LAWS[text]
    if text.endswith((".yaml", ".yml")):
        return _from_file(expanded_path(text))
    if any(sign in text for sign in "+-*/^("):
        used = formula.names(formula.parse(text))
        return Law(
            "formula",
            text,
            {name: column for name, column in COLUMNS.items() if name in used},
            about="declared on the command line",
        )
    raise UserError(f"there is no law `{text}`", cure=nearest(text, list(LAWS)))


def _end(value: Any) -> float:
    """An end of a range; an infinite one is none."""
    return value if value in (math.inf, -math.inf) else parse_number(value)


def _whole_text(value: Any) -> Any:
    if not isinstance(value, str):
        raise UserError(
            "an empty formula, or one that is no text", cure="write it like E + A*N^-alpha"
        )
    return value


_End = Annotated[float, BeforeValidator(_end)]
_Formula = Annotated[str, Field(coerce_numbers_to_str=True)]
"""A formula, which may be a number alone."""


class _Declared(BaseModel):
    """What a file says of a law; see `Law`."""

    model_config = ConfigDict(extra="forbid")

    formula: Annotated[str, BeforeValidator(_whole_text)]
    name: str | None = None
    columns: dict[str, str] | None = None
    target: str = "metrics.loss"
    about: str = ""
    source: str = ""
    residual: Residual = "log"
    loss: str = str(Loss())
    let: dict[str, _Formula] = {}
    real: list[str] = []
    bounds: dict[str, tuple[_End, _End]] = {}
    fixed: dict[str, Number] = {}
    tied: dict[str, _Formula] = {}
    weights: str | None = None

    def law(self, name: str) -> Law:
        """The law, called `name` where the file does not say. Raises UserError."""
        used = formula.names(Law("", self.formula, {}, let=self.let).tree)
        usual = {name: column for name, column in COLUMNS.items() if name in used}
        return Law(
            name=self.name or name,
            columns=usual if self.columns is None else self.columns,
            loss=Loss.parse(self.loss),
            real=frozenset(self.real),
            **self.model_dump(exclude={"name", "columns", "loss", "real"}),
        )


def _from_file(path: Path) -> Law:
    document = parse(path)
    if "formula" not in document.data:
        raise UserError(
            "the file declares no law", cure="give it `formula:` and `columns:`", where=str(path)
        )
    try:
        return _Declared.model_validate(document.data).law(path.stem)
    except ValidationError as error:
        raise _explained(error, document) from error
    except UserError as error:
        raise error.at(str(path)) from error


def _explained(error: ValidationError, document: Document) -> UserError:
    """The first fault of a declared law, with its line."""
    first = error.errors(include_url=False)[0]
    loc, where = first["loc"], document.place([*first["loc"]])
    if first["type"] == "extra_forbidden":
        key, known = str(loc[-1]), sorted(_Declared.model_fields)
        return UserError(f"a law has no `{key}`", cure=nearest(key, known), where=where)
    if first["type"] == "string_type" and isinstance(first["input"], bool | int | float):
        text = dump(first["input"]).split()[0]
        what = f"`{'.'.join(map(str, loc))}` is {text}, and takes text"
        return UserError(what, cure=f'put it in quotes: "{text}"', where=where)
    about = f"the file declares no law: `{'.'.join(map(str, loc))}`: "
    return fault_of(first).at(where, about=about, cure=_CURE)
