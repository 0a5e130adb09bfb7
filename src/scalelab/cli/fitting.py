"""`fit`: fit a law to an experiment or to a published table."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from scalelab.cli.options import (
    DEFAULT_STORE,
    SEEDS,
    ExperimentOption,
    FilterOption,
    JsonOption,
    StoreOption,
    count_option,
    describe_counts,
    number,
    place_option,
    print_json,
    print_table,
    print_warnings,
)
from scalelab.core.errors import UserError
from scalelab.core.jsonable import with_nulls
from scalelab.core.metrics import metric_of
from scalelab.core.secrets import masked

if TYPE_CHECKING:
    import polars as pl

    from scalelab.fit.estimate import Estimate
    from scalelab.fit.fit import Fit
    from scalelab.fit.holdout import Holdout


def fit(
    law: Annotated[
        str | None,
        typer.Argument(
            help=(
                "A law by name, a formula, or a YAML file that declares one, see --list; or"
                " `isoflop`: a parabola for each compute budget."
            )
        ),
    ] = None,
    experiment: ExperimentOption = None,
    csv: Annotated[
        Path | None, place_option("--csv", "A published table; nothing is stored.")
    ] = None,
    mapping: Annotated[
        Path | None,
        place_option("--mapping", "YAML that says which column of the table is what."),
    ] = None,
    filter_: FilterOption = None,
    bootstrap: Annotated[
        int,
        count_option("--bootstrap", "Refits behind the intervals.", least=0, most=100_000),
    ] = 4000,
    tie: Annotated[list[str] | None, typer.Option("--tie", help="--tie beta=alpha")] = None,
    fix: Annotated[list[str] | None, typer.Option("--fix", help="--fix E=1.69")] = None,
    bound: Annotated[list[str] | None, typer.Option("--bound", help="--bound alpha=0:1")] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="--column N=params.non_embedding")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", help="The column that is predicted, such as metrics.loss."),
    ] = None,
    residual: Annotated[
        Literal["log", "linear"] | None, typer.Option("--residual", help="log or linear.")
    ] = None,
    loss: Annotated[str | None, typer.Option("--loss", help="huber:1e-3 or squared.")] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", help="What multiplies each row's loss: a column, or --weights '1/sd^2'."
        ),
    ] = None,
    starts: Annotated[
        str, typer.Option("--starts", help="How many starts are drawn, or hoffmann.")
    ] = "500",
    seed: Annotated[
        int,
        count_option("--seed", "Seed of the starts and of the draws.", least=0, most=SEEDS),
    ] = 0,
    holdout: Annotated[
        str | None,
        typer.Option(
            "--holdout",
            help="largest_params, largest_flops, expanding, or a filter of the rows to predict.",
        ),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", help="Ask the law: --at flops=1e24, --at N=70B,D=1.4T"),
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="List the laws that are known by name.")
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Fit a scaling law, with intervals and warnings."""
    if list_:
        _list(as_json)
        return
    if law is None:
        raise UserError(
            "no law is named",
            cure="name one, as `scalelab fit chinchilla`; `scalelab fit --list` shows them",
        )
    if law == "isoflop":
        given = {
            "--tie": tie,
            "--fix": fix,
            "--bound": bound,
            "--residual": residual,
            "--loss": loss,
            "--weights": weights,
            "--holdout": holdout,
            "--at": at,
        }
        for option, value in given.items():
            if value:
                raise UserError(
                    f"isoFLOP parabolas have no {option}", cure="leave it out, or name a law"
                )
        frame, source = _filtered(*_rows(experiment, csv, mapping, store), filter_)
        _isoflop(frame, source, _pairs(column, "--column", str), target, bootstrap, seed, as_json)
        return
    from scalelab.fit.columns import usual_target
    from scalelab.fit.fit import fit_law
    from scalelab.fit.law import Choices, Loss
    from scalelab.fit.laws import find

    choices = Choices(
        tie=_pairs(tie, "--tie", str),
        fix=_pairs(fix, "--fix", _float),
        bounds=_pairs(bound, "--bound", _bounds),
        residual=residual,
        loss=None if loss is None else Loss.parse(loss),
        weights=weights,
        columns=_pairs(column, "--column", str),
        starts=_starts(starts),
        seed=seed,
    )
    found, places = find(law), [_pairs(place.split(","), "--at", _float) for place in at or []]
    frame, source = _filtered(*_rows(experiment, csv, mapping, store), filter_)
    choices = replace(choices, target=target or usual_target(frame, found.target))
    with _progress() as tell:
        fitted = fit_law(
            frame,
            found,
            choices,
            bootstrap=bootstrap,
            holdout=holdout,
            at=places,
            about={"source": source},
            tell=tell,
        )
    kept = experiment is not None and _keep(fitted, experiment[0], store)
    if as_json:
        plain = fitted.to_json()
        warnings = [*source.get("warnings", []), *plain["warnings"]]
        print_json(plain | {"warnings": warnings, "kept": kept})
    else:
        _show(fitted, f"kept in {masked(store)}" if kept else "")


def _isoflop(
    frame: "pl.DataFrame",
    source: dict[str, Any],
    columns: dict[str, str],
    target: str | None,
    draws: int,
    seed: int,
    as_json: bool,
) -> None:
    """Approach 2 of Hoffmann et al. 2022, as figure 5 draws it."""
    from scalelab.fit.columns import usual_target
    from scalelab.fit.isoflop import isoflop
    from scalelab.fit.sample import run_table

    target = target or usual_target(frame, "metrics.loss")
    rows = run_table(frame, target, columns)
    params_N, tokens_N, flops_N = (rows.columns[symbol] for symbol in "NDC")
    found = isoflop(params_N, tokens_N, flops_N, rows.y_N, draws=draws, seed=seed)
    if as_json:
        used = {"given": rows.rows, "used": len(rows.y_N), "dropped": dict(rows.dropped)}
        record = {"target": target, "rows": used, "bootstrap": draws, "seed": seed}
        record |= {"conventions": list(rows.notes), "source": source}
        print_json({"law": "isoflop"} | found.to_json() | {"record": record})
        return
    print(f"isoFLOP parabolas: {target} in log N, one for each budget\n")
    cells = [
        [
            f"{budget.flops:.4g}",
            str(len(budget.rows_R)),
            _found(budget.params.value),
            _ends(budget.params.ci95),
            _found(budget.tokens.value),
            _ends(budget.tokens.ci95),
            _found(budget.loss.value),
            "yes" if budget.determined else "no",
        ]
        for budget in found.budgets
    ]
    header = ["FLOPs", "runs", "N*", "95 % of N*", "D*", "95 % of D*", "loss", "used"]
    print_table(header, cells)
    powers = {
        f"{name} ~ C^{letter}": line.exponent
        for name, letter, line in (("N*", "a", found.params), ("D*", "b", found.tokens))
        if line is not None
    }
    if powers:
        print()
        _estimates("exponent", powers)
    for warned in found.warnings:
        print(f"\nwarning {warned.code}: {warned.text}")


def _found(value: float) -> str:
    """A number, or a dash where a parabola has no minimum."""
    return number(with_nulls(value))


def _list(as_json: bool) -> None:
    from scalelab.fit.laws import LAWS

    if as_json:
        print_json({"laws": [law.to_json() | {"about": law.about} for law in LAWS.values()]})
        return
    for law in LAWS.values():
        where = "".join(f", {name} = {text}" for name, text in law.let.items())
        columns = ", ".join(f"{symbol} = {column}" for symbol, column in law.columns.items())
        print(
            f"{law.name}\n  {metric_of(law.target)} = {law.formula}{where}\n "
            f" {columns}\n  {law.about}\n  {law.source}\n"
        )


def _rows(
    experiment: list[str] | None, csv: Path | None, mapping: Path | None, store: str
) -> "tuple[pl.DataFrame, dict[str, Any]]":
    """The rows, and where they come from for the record."""
    if (experiment is None) == (csv is None):
        raise UserError(
            "the rows to fit are not named",
            cure="give --experiment NAME, or --csv FILE with --mapping M.yaml; not both",
        )
    from scalelab.store import frames, open_store

    if experiment is not None:
        with open_store(store, mode="read") as opened:
            return frames.trials(opened, experiment), {"experiments": experiment}
    from scalelab.store.table import read_published

    assert csv is not None
    if mapping is None:
        raise UserError(
            "a table needs a mapping of its columns",
            cure="give it with --mapping M.yaml",
            where=str(csv),
        )
    published = read_published(csv, mapping, repeats=True)
    print_warnings(published.warnings)
    source: dict[str, Any] = {
        "table": csv.name,
        "table_sha256": published.source["table_sha256"],
        "mapping": mapping.name,
    }
    if published.left_out:
        source["left_out"] = dict(published.left_out)
        print("rows left out: " + describe_counts(published.left_out), file=sys.stderr)
    if published.warnings:
        source["warnings"] = published.warnings
    return frames.published(published), source


def _filtered(
    frame: "pl.DataFrame", source: dict[str, Any], text: str | None
) -> "tuple[pl.DataFrame, dict[str, Any]]":
    import polars as pl

    from scalelab.fit.matching import matching

    kept = frame if text is None else frame.filter(pl.Series(matching(frame, text)))
    if text is not None and kept.is_empty() and not frame.is_empty():
        raise UserError(
            f"no row matches `{text}`", cure=f"loosen the filter: there are {frame.height} rows"
        )
    return kept, source | {"filter": text, "filtered_out": frame.height - kept.height}


def _keep(fitted: "Fit", experiment: str, store: str) -> bool:
    """Keep the fit with its draws; a store that can't be written is no reason to lose what was
    fitted.
    """
    import time

    from scalelab.fit.kept import to_store
    from scalelab.store import open_store

    try:
        with open_store(store, mode="write") as opened:
            opened.keep_fit(to_store(fitted, experiment, time.time()))
    except UserError as error:
        print(f"the fit is not kept: {error}", file=sys.stderr)
        return False
    return True


def _pairs(texts: list[str] | None, option: str, parse: Callable[[str], Any]) -> dict[str, Any]:
    """`name=value` -> value by name."""
    found: dict[str, Any] = {}
    for text in texts or []:
        name, sign, value = (part.strip() for part in text.partition("="))
        if not (name and sign and value):
            raise UserError(
                f"`{text}` is no name=value",
                cure=f"write it like {option} NAME=VALUE",
                where=option,
            )
        if name in found:
            raise UserError(f"`{name}` is given twice", cure="keep one of them", where=option)
        try:
            found[name] = parse(value)
        except UserError as error:
            raise error.at(option) from error
    return found


def _float(text: str) -> float:
    from scalelab.core.units import parse_number

    return parse_number(text)


def _bounds(text: str) -> tuple[float, float]:
    low, colon, high = text.partition(":")
    if not colon:
        raise UserError(
            f"{text!r} are no bounds", cure="write them like 0:1, or 0: for no upper one"
        )
    return (_float(low) if low else float("-inf"), _float(high) if high else float("inf"))


def _starts(text: str) -> int | str:
    from scalelab.core.units import parse_count

    try:
        return parse_count(text) if text[:1].isdigit() else text
    except UserError as error:
        raise error.at("--starts") from error


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each part of the work on a terminal, a line for each when piped; always
    on stderr.
    """
    if not sys.stderr.isatty():
        said = set[str]()

        def line(what: str, done: int, count: int) -> None:
            if what not in said:
                said.add(what)
                print(f"fitting: {count:,} {what}", file=sys.stderr)

        yield line
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def bar(what: str, done: int, count: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=count)
            bars.update(tasks[what], completed=done)

        yield bar


def _show(fitted: "Fit", kept: str) -> None:
    law, optimum, record = fitted.law, fitted.optimum, fitted.record
    print(f"{law.name}: {law.target} = {law.formula}")
    print("".join(f"  {name} = {text}\n" for name, text in law.let.items()), end="")
    print("  " + ", ".join(f"{symbol} = {name}" for symbol, name in law.columns.items()) + "\n")
    _estimates("coefficient", fitted.estimates)
    if fitted.derived:
        print()
        _estimates("derived", fitted.derived)
    rows, left_out = record["rows"], record["source"]["filtered_out"]
    filtered = f", {left_out} left out by the filter" if left_out else ""
    print(
        f"\n{rows['used']} of {rows['given']} rows in {rows['configurations']}"
        f" configurations{filtered}"
    )
    print(f"objective {optimum.objective:.10g} (sum of {law.loss}, {law.residual} residuals)")
    print(
        f"{optimum.at_best} of {optimum.tried} starts at the best, gradient norm"
        f" {optimum.gradient_norm:.2g}"
    )
    if fitted.holdout is not None:
        print(
            f"\nhold-out {fitted.holdout.rollout}: mean absolute error {fitted.holdout.error:.4%}"
        )
        _held(fitted.holdout)
    for warned in fitted.warnings:
        print(f"\nwarning {warned.code}: {warned.text}")
    if kept:
        print(f"\n{kept}")


def _estimates(title: str, found: "Mapping[str, Estimate]") -> None:
    estimates = list(found.items())
    predicted = any(one.prediction95 for _, one in estimates)
    columns = [title, "value", "se", "95 % interval"] + ["of one more run"] * predicted
    cells = [
        [name, number(one.value), number(one.se), _ends(one.ci95)]
        + [_ends(one.prediction95)] * predicted
        for name, one in estimates
    ]
    print_table(columns, cells)


def _held(holdout: "Holdout") -> None:
    cells = [
        [fold.about, f"{actual:.6g}", f"{predicted:.6g}", f"{error:+.4%}"]
        for fold in holdout.folds
        for actual, predicted, error in zip(
            fold.actual_T, fold.predicted_T, fold.error_T, strict=True
        )
    ]
    print_table(["fitted on", "actual", "predicted", "error"], cells)


def _ends(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.4g} to {interval[1]:.4g}"
