"""Specs by name: those in `specs/` of the current folder, then those that come with scalelab.

A name is a path below `specs/` without its suffix: `facts_vs_params`, `recipes/muon`,
`spaces/router`. This module is imported wherever a command takes a spec, so it imports little.
"""

from pathlib import Path

from scalelab.core.errors import UserError, nearest, reason
from scalelab.spec.document import exists, parse

LOCAL = Path("specs")
"""Where a user's own specs lie, in the current folder."""

SPACES = "spaces"
"""The folder of spaces in a folder of specs."""

_SUFFIXES = (".yaml", ".yml")


def shipped_folder() -> Path:
    """The specs that come with scalelab: in the installed package, or in the checkout that an
    editable install runs from.
    """
    package = Path(__file__).parents[1]
    installed = package / "specs"
    return installed if installed.is_dir() else package.parents[1] / "specs"


def is_shipped(path: Path) -> bool:
    """Whether a file is one of scalelab's own, and not found through `specs/` here."""
    return path.is_relative_to(shipped_folder())


def find(named: Path, below: str = "") -> Path:
    """The file that a user names: by its path, or by its name in `specs/` (in its folder `below`)
    here, then among those that come with scalelab.

    A path `specs/NAME.yaml` that is not there also finds what comes with scalelab, so that the same
    command works in any folder. Any other path is given back, whether or not there is such a file.

    Raises UserError for a name that there is not.
    """
    if exists(named) and not named.is_dir():
        return named
    if not named.parts or named.is_absolute() or ".." in named.parts:
        return named
    name = named
    if named.suffix in _SUFFIXES:
        if named.parts[0] != LOCAL.name:
            return named
        name, below = named.relative_to(LOCAL).with_suffix(""), ""
    for folder in (LOCAL, shipped_folder()):
        path = folder / below / f"{name}.yaml"
        if exists(path):
            return path
    known = [known.removeprefix(f"{below}/") for known in names() if known.startswith(below)]
    raise UserError(
        f"there is no {'space' if below else 'spec'} `{named}`", cure=nearest(str(name), known)
    )


def names() -> dict[str, Path]:
    """Name -> file of every spec and space, sorted; one of `specs/` here hides a shipped one."""
    found = {
        _name(path, folder): path
        for folder in (shipped_folder(), LOCAL)
        for path in sorted(folder.rglob("*.yaml"))
    }
    return dict(sorted(found.items(), key=lambda item: (item[0].count("/"), item[0])))


def copy(name: str) -> tuple[list[Path], list[Path]]:
    """Copy a shipped spec, with what it extends, to `specs/` here.

    Returns the files written, and those that it extends that were there before and stay.

    Raises UserError where there is no such spec, where `specs/` has it already, and where it can't
    be written.
    """
    root = shipped_folder()
    bare = name.removeprefix(f"{LOCAL}/").removesuffix(".yaml")
    shipped = {_name(path, root): path for path in root.rglob("*.yaml")}
    if bare not in shipped:
        cure = nearest(name, list(shipped))
        raise UserError(f"no spec `{name}` comes with scalelab", cure=cure)
    source = shipped[bare]
    written, target = [], LOCAL / source.relative_to(root)
    if exists(target):
        cure = "rename it first, if you want both"
        raise UserError("it is there already", cure=cure, where=str(target))
    while not exists(target):
        _write(source, target)
        written.append(target)
        base = parse(source).data.get("extends")
        if base is None:
            return written, []
        source = (source.parent / base).resolve()
        target = LOCAL / source.relative_to(root.resolve())
    return written, [target]


def _name(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder).with_suffix(""))


def _write(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            file.write(source.read_bytes())
    except OSError as error:
        cure = "make the folder writable, or go to another one"
        raise UserError(
            f"can't be written: {reason(error)}", cure=cure, where=str(target)
        ) from error
