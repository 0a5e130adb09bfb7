"""Solving a size for a parameter budget."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.core.errors import UserError
from scalelab.families.cost import parameters
from scalelab.families.lstm.spec import Lstm
from scalelab.families.transformer.spec import Transformer
from scalelab.layers.spec import Ffn, Moe, NoPositions
from scalelab.plan.solve import solve
from scalelab.spec.budget import Params
from scalelab.spec.experiment import Trial

VOCAB, CONTEXT = 260, 77


def test_the_width_of_a_published_size():
    solved = solve(Transformer(width="solve"), VOCAB, CONTEXT, Params(target=16_592))
    assert solved == Transformer(width=16)


def test_a_million_parameters_within_a_per_cent():
    solved = solve(
        Transformer(width="solve", layers=4, heads=4),
        VOCAB,
        CONTEXT,
        Params(target=1_000_000, tolerance=0.05),
    )
    assert isinstance(solved.width, int)
    assert solved.width % 8 == 0  # four heads of an even width
    assert parameters(solved.resolved(), VOCAB, CONTEXT).total == pytest.approx(1_000_000, rel=0.05)


def test_a_hidden_width_comes_in_steps_of_eight():
    model = Transformer(width=64, ffn=Ffn(width="solve"))
    solved = solve(model, VOCAB, CONTEXT, Params(target=200_000))
    assert isinstance(solved.ffn.width, int)
    assert solved.ffn.width % 8 == 0
    assert parameters(solved.resolved(), VOCAB, CONTEXT).total == pytest.approx(200_000, rel=0.01)


def test_another_convention():
    budget = Params(target=100_000, convention="non_embedding", tolerance=0.1)
    solved = solve(Transformer(width="solve"), VOCAB, CONTEXT, budget)
    assert parameters(solved.resolved(), VOCAB, CONTEXT).non_embedding == pytest.approx(
        100_000, rel=0.1
    )


def test_a_budget_of_the_parameters_that_are_used():
    budget = Params(target=100_000, convention="used", tolerance=0.1)
    solved = solve(Transformer(width="solve", tied=True), 2500, CONTEXT, budget, used=800)
    assert parameters(solved.resolved(), 2500, CONTEXT, 800).used == pytest.approx(100_000, rel=0.1)
    with pytest.raises(
        UserError, match="does not tell how many of its tokens occur; take the convention `total`"
    ):
        solve(Transformer(width="solve"), VOCAB, CONTEXT, budget)


@given(target=st.integers(1_000, 10**8), heads=st.sampled_from([1, 2, 3, 8]), rope=st.booleans())
def test_no_step_away_is_nearer(target: int, heads: int, rope: bool):
    model = (
        Transformer(width="solve", heads=heads)
        if rope
        else Transformer(width="solve", heads=heads, position=NoPositions())
    )
    step = 2 * heads if rope else heads

    def distance(width: int) -> int:
        return abs(
            parameters(model.model_copy(update={"width": width}).resolved(), VOCAB, CONTEXT).total
            - target
        )

    try:
        width = solve(model, VOCAB, CONTEXT, Params(target=target, tolerance=0.99)).width
    except UserError:
        assert distance(step) > 0.99 * target
        return
    assert isinstance(width, int)
    assert width % step == 0
    assert distance(width) <= min(distance(max(step, width - step)), distance(width + step))


def of_125m(**sizes: Any) -> Transformer:
    """The 125M preset's model at 123.55M active parameters (GPT-2's vocabulary, tied), with one
    size solved.
    """
    model = Transformer.model_validate(
        {"layers": 12, "width": 768, "heads": 12, "tied": True, **sizes}
    )
    return solve(model, 50_257, 1024, Params(target=123_550_000, convention="active")).resolved()


@pytest.mark.parametrize(("kv_heads", "hidden"), [(12, 2048), (4, 2392), (1, 2520)])
def test_what_shared_key_heads_save_widens_the_ffn(kv_heads: int, hidden: int):
    """2389 and 2517 before they are rounded to steps of 8."""
    assert of_125m(kv_heads=kv_heads, ffn={"width": "solve"}).ffn.width == hidden


def test_or_it_buys_query_heads():
    model = of_125m(heads="solve", kv_heads=4, head_width=64, ffn={"width": 2048})
    assert model.heads == 20
    assert parameters(model, 50_257, 1024).active == pytest.approx(123.55e6, rel=0.01)


def test_or_experts():
    model = of_125m(
        kv_heads=4, ffn={"kind": "moe", "experts": 31, "chosen": 7, "shared": 1, "width": "solve"}
    )
    assert isinstance(model.ffn, Moe)
    assert model.ffn.width == 296
    assert parameters(model, 50_257, 1024).active == pytest.approx(123.55e6, rel=0.01)


def test_nothing_to_solve_and_no_budget():
    assert solve(Transformer(), VOCAB, CONTEXT, None) == Transformer()
    assert solve(Transformer(), VOCAB, CONTEXT, Params(target=16_600)) == Transformer()


@pytest.mark.parametrize(
    ("model", "budget", "words"),
    [
        (
            Transformer(width="solve"),
            Params(target=20_000),
            ["16,592 (model.width 16)", "23,300 (model.width 20)", "tolerance"],
        ),
        (Transformer(width="solve"), Params(target=100), ["2,612 (model.width 4)"]),
        (
            Transformer(width=64, ffn=Ffn(width="solve")),
            Params(target=40_000),
            ["model.ffn.width 8", "nearest"],
        ),
        (Transformer(width="solve"), None, ["no parameter budget", "budget.params"]),
        (
            Transformer(width="solve", ffn=Ffn(width="solve")),
            Params(target=20_000),
            ["both", "solve one"],
        ),
        (Transformer(), Params(target=20_000), ["16,592", "20,000", "`solve`"]),
    ],
)
def test_what_cannot_be_is_said_with_its_cure(
    model: Transformer, budget: Params | None, words: list[str]
):
    with pytest.raises(UserError) as fault:
        solve(model, VOCAB, CONTEXT, budget, where="spec.yaml:3")
    assert fault.value.where == "spec.yaml:3"
    for word in words:
        assert word in str(fault.value)


@pytest.mark.parametrize(
    "model",
    [
        {"kind": "lstm", "width": "solve"},
        {"kind": "layer_router", "width": "solve"},
        {
            "kind": "layer_router",
            "width": 32,
            "ffn": {"width": "solve"},
            "halting": {"kind": "act"},
        },
        {
            "kind": "layer_router",
            "width": 32,
            "heads": "solve",
            "kv_heads": 1,
            "head_width": 8,
            "policy": "learned",
        },
    ],
)
def test_every_family_is_solved(model: dict[str, Any]):
    given = Trial.model_validate({"budget": {"steps": 1}, "model": model}).model
    solved = solve(given, VOCAB, CONTEXT, Params(target=100_000, tolerance=0.05))
    assert parameters(solved.resolved(), VOCAB, CONTEXT).total == pytest.approx(100_000, rel=0.05)


def test_an_lstm_has_one_size_to_solve():
    with pytest.raises(UserError, match=r"write `solve` for `model\.width`, or"):
        solve(Lstm(width=16), VOCAB, CONTEXT, Params(target=100_000))
