import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.fit.synthetic import TRUE

from scalelab.core.errors import UserError
from scalelab.fit.fit import fit_law
from scalelab.fit.law import Choices, Law, Loss, apply
from scalelab.fit.laws import LAWS, find
from scalelab.fit.optimum import optimise
from scalelab.fit.problem import Problem

CHINCHILLA = LAWS["chinchilla"]


def test_chinchillas_coefficients_have_their_names():
    assert set(CHINCHILLA.coefficients) == {"A", "B", "E", "alpha", "beta"}


def test_the_objective_is_the_sum_of_weighted_hubers():
    problem = Problem.of(
        LAWS["power"], {"N": np.ones(3)}, np.exp([0.0, 5e-4, -0.01]), np.array([1.0, 2.0, 3.0])
    )
    assert problem.objective({"A": 1.0, "alpha": 0.0}) == pytest.approx(
        2 * 0.5 * 5e-4**2 + 3 * 1e-3 * (0.01 - 0.5e-3)
    )
    squared = Problem.of(
        replace(problem.law, loss=Loss("squared")), problem.columns, problem.y_N, problem.weight_N
    )
    assert squared.objective({"A": 1.0, "alpha": 0.0}) == pytest.approx(2 * 5e-4**2 + 3 * 0.01**2)


def test_tied_and_fixed_coefficients_are_reported_with_the_free_ones():
    law = apply(CHINCHILLA, Choices(tie={"beta": "2*alpha"}, fix={"E": 1.69}))
    assert law.free == ["A", "alpha", "B"]
    problem = Problem.of(
        law, {"N": np.array([1e8, 1e9]), "D": np.array([1e9, 1e10])}, np.array([3.0, 2.5])
    )
    found = problem.coefficients(problem.theta({"A": 400.0, "alpha": 0.2, "B": 1000.0}))
    assert found["beta"] == pytest.approx(0.4)
    assert found["E"] == pytest.approx(1.69)


def test_choices_take_the_place_of_a_laws_own():
    law = Law(
        "mine", "E + A*N^-alpha", {"N": "params.total"}, fixed={"E": 1.0}, bounds={"alpha": (0, 1)}
    )
    chosen = apply(
        law,
        Choices(
            bounds={"E": (0, 1)}, fix={"alpha": 0.5}, residual="linear", loss=Loss.parse("squared")
        ),
    )
    assert chosen.fixed == {"E": 1.0, "alpha": 0.5}
    assert chosen.residual == "linear"
    assert str(chosen.loss) == "squared"


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (Choices(fix={"gamma": 1.0}), "no coefficient `gamma`"),
        (Choices(tie={"beta": "alpa"}), "tied to `alpa`"),
        (Choices(tie={"beta": "alpha", "alpha": "beta"}), "is tied to"),
        (Choices(tie={"beta": "alpha"}, bounds={"beta": (0, 1)}), "tied, and"),
        (Choices(bounds={"alpha": (1, 0)}), "hold no number"),
        (Choices(bounds={"alpha": (-1e308, 1e308)}), "bounds of `alpha`"),
        (Choices(bounds={"A": (1e-320, 1.0)}), "bounds of `A`"),
        (Choices(tie={"beta": "+".join(["alpha"] * 2000)}), "at most"),
        (Choices(fix={"A": -1.0}), "fixed at -1"),
        (Choices(fix={"E": float("nan")}), "fixed at nan"),
        (Choices(columns={"M": "budget.tokens"}), "has no `M`"),
    ],
)
def test_choices_that_make_no_sense_are_refused(choices: Choices, said: str):
    with pytest.raises(UserError, match=said):
        apply(CHINCHILLA, choices)


@pytest.mark.parametrize(
    "text", ["hubert", "huber:0", "huber:x", "huber:nan", "squared:1", "", "huber:1e-300"]
)
def test_what_is_no_loss_is_refused(text: str):
    with pytest.raises(UserError, match="loss"):
        Loss.parse(text)


def test_a_law_is_found_by_name_formula_and_file(tmp_path: Path):
    assert find("chinchilla") is CHINCHILLA
    given = find("E + A*C^-alpha")
    assert given.columns == {"C": "budget.flops"}
    assert given.coefficients == ["E", "A", "alpha"]
    file = tmp_path / "mine.yaml"
    file.write_text(
        "formula: E + A*W^-alpha\ncolumns: {W: model.width}\nloss: huber:0.1\nbounds: {alpha: [0,"
        " 1]}\ntied: {}\n"
    )
    mine = find(str(file))
    assert (mine.name, mine.columns, mine.loss, mine.bounds) == (
        "mine",
        {"W": "model.width"},
        Loss("huber", 0.1),
        {"alpha": (0.0, 1.0)},
    )


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("columns: {N: params.total}", "declares no law"),
        ("formula: E + A*N^-alpha\ncolums: {}", "did you mean `columns`"),
        ("formula: E + A*N^-alpha\nbounds: {alpha: 3}", "no law"),
        ("formula: E + A*N^-alpha\nloss: l1", "no loss"),
        ("formula: 3", "empty formula"),
        ("formula: [", "not YAML"),
        ("[1, 2]", "not a mapping"),
        ("formula: A*N^-a\ncolumns: 3", "columns"),
        ("formula: A*N^-a\ncolumns: {N: [1]}", r"columns\.N"),
        ("formula: A*N^-a\nbounds: {a: [0, 1, 2]}", r"bounds\.a"),
        ("formula: A*N^-a\nbounds: {a: [0, one]}", r"bounds\.a\.1"),
        ("formula: A*N^-a\nfixed: {a: .inf}", r"fixed\.a"),
        ("formula: A*N^-a\nreal: a", "real"),
        ("formula: A*N^-a\nresidual: square", "residual"),
        ("formula: A*N^-a\nlet: [N]", "let"),
        ("formula: A*K^-a\nlet: {K: 2N}", "`2N`"),
        ("formula: A*K^-a\nlet: {K: 2*M, M: D}", "`M` is used by a `let`"),
        ("formula: A*K^-a\nlet: {K: 2*K}", "`K` is used by a `let`"),
        ("formula: A*N^-a\nlet: {N: D}\ncolumns: {N: x}", "a column and a `let`"),
        ("formula: A*N^-a\nlet: {exp: D}", "`exp` is a function"),
        ("formula: A*N^-a\nlet: {a b: D}", "a b"),
        ("formula: A*N^-a\nbounds: {a: [0, 1e300]}", "bounds of `a`"),
        ("formula: " + "+".join(f"a{number}" for number in range(51)), "51 coefficients"),
        (
            "formula: x50*A\nlet: {x0: N*N"
            + "".join(f", x{one}: x{one - 1}*x{one - 1}" for one in range(1, 51))
            + "}",
            "parts",
        ),
    ],
)
def test_a_file_that_declares_no_law_is_refused(tmp_path: Path, written: str, said: str):
    file = tmp_path / "law.yaml"
    file.write_text(written)
    with pytest.raises(UserError, match=said) as caught:
        find(str(file))
    assert str(file) in str(caught.value)


def test_a_number_where_a_law_takes_text_is_refused(tmp_path: Path):
    file = tmp_path / "law.yaml"
    for line, cure in (
        ("name: 3", '"3"'),
        ("source: 2203.15560", "quotes"),
        ("about: true", "quotes"),
    ):
        file.write_text(f"formula: A*M^-a\nlet: {{M: N}}\n{line}\n")
        with pytest.raises(UserError, match=rf"law\.yaml:3: `{line.partition(':')[0]}`") as raised:
            find(str(file))
        assert cure in raised.value.cure
    file.write_text("formula: E + A*M^-a\nlet: {M: 3}\ntied: {a: 0.5}\n")
    assert (find(str(file)).let, find(str(file)).tied) == ({"M": "3"}, {"a": "0.5"})


def test_a_fault_of_a_declared_law_has_its_line(tmp_path: Path):
    file = tmp_path / "law.yaml"
    file.write_text("formula: E + A*N^-a\nfixed:\n  E: 1k\n  a: many\n")
    with pytest.raises(UserError, match=r"law\.yaml:4: .*fixed\.a"):
        find(str(file))
    file.write_text("formula: E + A*N^-a\nfixed: {E: 1k}\nbounds: {a: [0, .inf]}\n")
    found = find(str(file))
    assert (found.fixed, found.bounds) == ({"E": 1000.0}, {"a": (0.0, math.inf)})


def test_an_unknown_law_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="did you mean `chinchilla`"):
        find("chinchila")
    with pytest.raises(UserError, match="cannot be read"):
        find("nowhere.yaml")


def test_tokens_that_never_repeat_are_worth_what_they_are():
    rng = np.random.default_rng(0)
    n_N, d_N, u_N = (
        10 ** rng.uniform(7, 10, 80),
        10 ** rng.uniform(9, 11.5, 80),
        10 ** rng.uniform(9, 11, 80),
    )
    fresh_N = np.minimum(u_N, d_N)
    worth_N = fresh_N * (1 + 5 * (1 - np.exp(-(d_N / fresh_N - 1) / 5)))
    problem = Problem.of(
        LAWS["data_constrained"],
        {"N": n_N, "D": d_N, "U": u_N},
        1.8 + 400 * n_N**-0.34 + 1400 * worth_N**-0.35,
    )
    assert (d_N < u_N).mean() > 0.2
    found = optimise(problem, Choices(starts=50)).coefficients
    assert [found[name] for name in ("R", "alpha", "beta")] == pytest.approx(
        [5, 0.34, 0.35], rel=1e-3
    )


@pytest.mark.parametrize(
    "formula", ["N*2", "A*N^99999999999999999999", "A/0 + N", "A*log(D - D)", "A*1e308*1e308*N"]
)
def test_a_law_without_finite_values_is_refused(formula: str):
    frame = pl.DataFrame(
        {
            "params.total": [1e6, 1e7, 1e8, 1e9],
            "budget.tokens": [1e8, 1e9, 1e8, 1e9],
            "metrics.loss": [5.0, 4.0, 3.5, 3.0],
        }
    )
    with pytest.raises(UserError):
        fit_law(frame, find(formula), Choices(starts=5), bootstrap=0)


def test_repeated_data_is_worth_what_was_published():
    """Muennighoff et al. 2023: four epochs are worth 3.73 of fresh data, sixteen 10.58."""
    published = {"alpha": 0.3526596, "beta": 0.3526596, "RD": 15.387756, "RN": 5.309743}
    published |= {"A": np.exp(6.255414), "B": np.exp(7.3049974), "E": np.exp(0.6254804)}
    law = LAWS["repeated_data"]
    best = (published["A"] / published["B"]) ** (2 / (2 * 0.3526596))
    unique_N, epochs_N = np.array([1e9, 1e9, 1e9]), np.array([4.0, 16.0, 4.0])
    params_N = best * unique_N * np.array([1.0, 1.0, 7.0])
    columns = {"N": params_N, "D": epochs_N * unique_N, "U": unique_N}
    loss_N = Problem.of(law, columns, np.ones(3)).predict(published)
    spare = params_N / (best * unique_N) - 1
    worth_N = best * unique_N * (1 + 5.309743 * (1 - np.exp(-spare / 5.309743)))
    fresh_N = (
        (loss_N - published["E"] - published["A"] * worth_N**-0.3526596) / published["B"]
    ) ** (-1 / 0.3526596)
    assert fresh_N / unique_N == pytest.approx([3.73, 10.58, 3.73], abs=0.005)


def test_routing_gains_what_was_published():
    """Clark et al. 2022, S-BASE: 5M parameters with 128 experts are worth about 55M dense ones, and
    dense models follow a power of 0.078. Their coefficients are printed to three digits.
    """
    law, published = LAWS["routing"], TRUE["routing"]
    params_X = np.append(5e6, np.geomspace(1e7, 1e9, 400))
    columns = {"N": params_X, "X": np.append(128.0, np.ones(400))}
    routed, *dense = Problem.of(law, columns, np.ones(401)).predict(published)
    assert np.interp(-routed, -np.array(dense), params_X[1:]) == pytest.approx(55e6, rel=0.07)
    slope = np.log(dense[-1] / dense[0]) / np.log(params_X[-1] / params_X[1])
    assert slope == pytest.approx(-0.078, abs=0.002)
    assert dense[0] == pytest.approx(
        10 ** (1.104 - 7 * 0.082 + np.log10(1.847) * (7 * 0.009 - 0.108))
    )
