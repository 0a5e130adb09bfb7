"""`verify` and `doctor`: does a result stand, and is the installation sound?"""

from pathlib import Path
from typing import Annotated

import typer

from scalelab.cli.options import (
    DEFAULT_DATA,
    DEFAULT_STORE,
    DataOption,
    DigestArgument,
    JsonOption,
    StoreOption,
    number,
    print_json,
    print_table,
    spec_file,
)
from scalelab.core.canon import SHORT
from scalelab.core.errors import UserError


def verify(
    digest: DigestArgument,
    data: DataOption = DEFAULT_DATA,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Run a trial again under the same numerics and compare the bits."""
    from scalelab.core.events import FINISHED
    from scalelab.run.pretrained import expected
    from scalelab.run.verify import verify as run_again
    from scalelab.spec.experiment import Trial
    from scalelab.store import open_store
    from scalelab.store.curves import curve

    with open_store(store, mode="read") as opened:
        found = opened.trial(opened.find(digest))
        if found.record.origin != "run" or found.result.state not in FINISHED:
            what = (
                f"trial {found.record.digest[:SHORT]} is {found.result.state}"
                if found.record.origin == "run"
                else "an imported trial has no run"
            )
            raise UserError(
                f"{what}: there is nothing to verify",
                cure="name a finished trial of `scalelab ls`",
                where=store,
            )
        kept = curve(opened, found.record.digest)
        layers = expected(opened, Trial.model_validate(found.record.trial))
    answer = run_again(found, kept, data, layers)
    if as_json:
        print_json(answer.as_dict())
    else:
        print(answer.sentence)
    raise typer.Exit(0 if answer.equal else 1)


def doctor(
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
    compiled: Annotated[
        Path | None,
        typer.Option(
            "--compile",
            help="Trace this spec's trials: graph breaks and recompiles.",
            callback=spec_file(),
        ),
    ] = None,
    widths: Annotated[
        Path | None,
        typer.Option(
            "--coordinates",
            help="Check that this spec's activations keep their size.",
            callback=spec_file(),
        ),
    ] = None,
) -> None:
    """Check the installation, the store and both executors, and say the cure of what is amiss; or a
    spec's trials, by two options.
    """
    if compiled is not None and widths is not None:
        raise UserError(
            "`--compile` and `--coordinates` are two examinations",
            cure="run them one after the other",
        )
    if compiled is not None:
        _trace(compiled, store, as_json)
    elif widths is not None:
        _coordinates(widths, store, as_json)
    else:
        _examine(store, as_json)


def _examine(store: str, as_json: bool) -> None:
    from scalelab.run.doctor import examine

    findings = examine(store)
    if as_json:
        print_json({"checks": [finding.as_dict() for finding in findings]})
    else:
        print_table(
            ["check", "state", "what"],
            [
                [finding.check, "ok" if finding.ok else "AMISS", finding.what]
                for finding in findings
            ],
        )
        for finding in findings:
            if not finding.ok:
                print(f"cure for {finding.check}: {finding.cure}")
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


def _trace(spec: Path, store: str, as_json: bool) -> None:
    """Exit code 1 where a trial breaks its graph, compiles again after warm-up, or does not
    compile.
    """
    from scalelab.cli.planning import compiled_plan
    from scalelab.run.tracing import trace

    traced = list(trace(compiled_plan(spec, [], store)))
    if as_json:
        print_json({"traced": [one.as_dict() for one in traced]})
    else:
        columns = ["trial", "alike", "phase", "graph breaks", "recompiles", "failures"]
        kinds = ("graph break", "recompile", "failure")
        rows = []
        for one in traced:
            for phase in one.phases:
                found = [fault.kind for fault in one.faults if fault.phase == phase]
                counts = [str(found.count(kind)) for kind in kinds]
                rows.append([one.name, str(one.trials), phase, *counts])
        print_table(columns, rows)
        for one in traced:
            for fault in one.faults:
                print(
                    f"{one.name}, {fault.phase}:"
                    f" {fault.kind}{f' at {fault.where}' if fault.where else ''}: {fault.reason}"
                )
    raise typer.Exit(1 if any(one.faults for one in traced) else 0)


def _coordinates(spec: Path, store: str, as_json: bool) -> None:
    """Exit code 1 where activations move further in wider models, or their weights move them less,
    although the spec asks for muP.
    """
    from scalelab.cli.planning import compiled_plan
    from scalelab.run.tracing import coordinates

    plan = compiled_plan(spec, [], store)
    found = coordinates(plan)
    if as_json:
        print_json(
            {"digest": plan.trials[0].digest, "coordinates": [one.as_dict() for one in found]}
        )
    else:
        widths = list(found[0].moved)
        rows = [
            [
                one.name,
                *(number(one.moved[width]) for width in widths),
                f"{one.slope:.2f}",
                f"{one.own_slope:.2f}",
                "grows" if one.grows else "vanishes" if one.vanishes else "",
            ]
            for one in found
        ]
        print(
            "mean change of an activation after some updates, by width; the power of the width that"
            " it goes as; and that of what the sublayer's own weights change in the first update"
        )
        print_table(["activation", *map(str, widths), "slope", "own slope", ""], rows)
    parametrised = plan.trials[0].trial.model.uses_mup
    failed = any(one.grows or one.vanishes for one in found)
    raise typer.Exit(1 if parametrised and failed else 0)
