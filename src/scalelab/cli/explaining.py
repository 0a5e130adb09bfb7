"""`schema` and `explain`: what a spec may say."""

from typing import Annotated

import typer

from scalelab.cli.options import JsonOption, print_json
from scalelab.core.errors import UserError, nearest


def schema() -> None:
    """Print the JSON schema of a spec file, for editors."""
    from scalelab.spec.explain import schema as spec_schema

    print_json(spec_schema())


def explain(
    path: Annotated[
        str, typer.Argument(help="A spec path, such as model.width; empty for the first level.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Say what a field of a spec means, its type and its default."""
    from scalelab.spec.experiment import Experiment
    from scalelab.spec.explain import describe

    entries = describe(path, Experiment)
    if not entries:
        from scalelab.spec.explain import paths_below

        raise UserError(f"no field `{path}` in a spec", cure=nearest(path, paths_below(Experiment)))
    if as_json:
        print_json({"path": path, "fields": entries})
        return
    for entry in entries:
        print(
            f"{entry['path']}: {entry['type']}"
            + (f" = {entry['default']}" if entry["default"] is not None else "")
        )
        print(f"    {entry['help']}")
