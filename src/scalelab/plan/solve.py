"""Solve a model's size for a parameter budget."""

from collections.abc import Callable

from scalelab.core.errors import UserError
from scalelab.families import Model
from scalelab.families.cost import parameters
from scalelab.spec.budget import Params


def solve(
    model: Model,
    vocab: int,
    context: int,
    budget: Params | None,
    *,
    used: int | None = None,
    where: str = "",
) -> Model:
    """The model with its field that says `solve` replaced by the size that meets the budget best.

    Raises UserError where the nearest reachable size is out of tolerance, where there is a field to
    solve and no budget or the reverse does not fit, and where two fields would have to be solved
    from one number. `used` is how many tokens occur.
    """
    if budget is not None and budget.convention == "used" and used is None:
        raise UserError(
            "this task does not tell how many of its tokens occur",
            cure="take the convention `total`",
            where=where,
        )
    sized = _size_to_solve(model, where)
    if sized is None:
        _check(model, vocab, context, budget, used, where)
        return model
    if budget is None:
        raise UserError(
            "a size says `solve`, and there is no parameter budget",
            cure="give `budget.params`, such as 1M",
            where=where,
        )
    step = model.step_of(sized)

    def count(size: int) -> int:
        return _count(model.with_size(sized, size), vocab, context, budget, used)

    below, above = _around(budget.target, step, count)
    best = min((below, above), key=lambda size: abs(count(size) - budget.target))
    if not _fits(count(best), budget):
        reachable = " and ".join(
            f"{count(size):,} ({sized} {size})" for size in sorted({below, above})
        )
        raise UserError(
            f"no {sized} gives {budget.target:,} parameters ({budget.convention}) within"
            f" {budget.tolerance:.3g}",
            cure=(
                f"the nearest reachable are {reachable}; take one of them as target, or a wider"
                " tolerance"
            ),
            where=where,
        )
    return model.with_size(sized, best)


def _size_to_solve(model: Model, where: str) -> str | None:
    """The path of the size to solve, or None where every size is given."""
    asked = solved_sizes(model)
    if len(asked) > 1:
        raise UserError(
            f"`{asked[0]}` and `{asked[1]}` both say `solve`", cure="solve one of them", where=where
        )
    return asked[0] if asked else None


def solved_sizes(model: Model) -> list[str]:
    """The paths of the sizes that say `solve`."""
    return [path for path, size in model.sizes.items() if size == "solve"]


def _around(target: int, step: int, count: Callable[[int], int]) -> tuple[int, int]:
    """The largest size that counts at most the target (or the smallest there is), and the next one.

    Counts grow with the size.
    """
    high = 1
    while count(high * step) <= target:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle * step) <= target else (low, middle)
    return max(1, low) * step, high * step


def _count(model: Model, vocab: int, context: int, budget: Params, used: int | None) -> int:
    count = parameters(model.resolved(), vocab, context, used).by(budget.convention)
    assert count is not None, "a convention that the task can't count was refused"
    return count


def _fits(count: int, budget: Params) -> bool:
    return abs(count - budget.target) <= budget.tolerance * budget.target


def _check(
    model: Model, vocab: int, context: int, budget: Params | None, used: int | None, where: str
) -> None:
    if budget is None:
        return
    count = _count(model, vocab, context, budget, used)
    if not _fits(count, budget):
        *others, last = (f"`{path}`" for path in model.sizes)
        sizes = f"{', '.join(others)} or {last}" if others else last
        raise UserError(
            f"the model has {count:,} parameters ({budget.convention}) and the budget asks"
            f" {budget.target:,}",
            cure=f"write `solve` for {sizes}, or leave `budget.params` out",
            where=where,
        )
