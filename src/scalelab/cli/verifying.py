"""`verify` and `doctor`: does a result stand, and is the installation sound?"""

import typer

from scalelab.cli.options import DEFAULT_STORE, DigestArgument, JsonOption, StoreOption, print_json, print_table
from scalelab.core.canon import SHORT
from scalelab.core.errors import UserError


def verify(digest: DigestArgument, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Run a trial again under the same numerics and compare the bits."""
    from scalelab.core.events import FINISHED
    from scalelab.run.verify import verify as run_again
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
            raise UserError(f"{what}: there is nothing to verify", cure="name a finished trial of `scalelab ls`", where=store)
        kept = curve(opened, found.record.digest)
    answer = run_again(found, kept)
    if as_json:
        print_json(answer.as_dict())
    else:
        print(answer.sentence)
    raise typer.Exit(0 if answer.equal else 1)


def doctor(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Check the installation, the store and both executors, and say the cure of what is amiss."""
    from scalelab.run.doctor import examine

    findings = examine(store)
    if as_json:
        print_json({"checks": [finding.as_dict() for finding in findings]})
    else:
        print_table(["check", "state", "what"], [[finding.check, "ok" if finding.ok else "AMISS", finding.what] for finding in findings])
        for finding in findings:
            if not finding.ok:
                print(f"cure for {finding.check}: {finding.cure}")
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)
