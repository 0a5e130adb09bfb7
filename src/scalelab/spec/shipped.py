"""Specs by name: those in `specs/` of the current folder, then those that come with scalelab.

A name is a path below `specs/` without its suffix: `facts_vs_params`, `recipes/muon`,
`spaces/router`.
"""

from pathlib import Path

from scalelab.core.errors import UserError, nearest, reason
from scalelab.spec.document import exists, parse

LOCAL = Path("specs")
"""Where a user's own specs lie, in the current folder."""

SPACES = "spaces"
"""The folder of spaces in a folder of specs."""

FOUND = "found"
"""The folder in `specs/` where a search writes its best; nothing of it is shipped."""

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
    """The file that a user names.

    A name is looked up in `specs/` here (in its folder `below`), then among the specs that come
    with scalelab. A path is taken as it is; `specs/NAME.yaml` that is not there is looked up as a
    name, so that the same command works in any folder.

    Raises UserError for a name that is unknown.
    """
    is_path = named.suffix in _SUFFIXES
    if is_path and (exists(named) or not named.is_relative_to(LOCAL)):
        return named
    if not named.parts or named.is_absolute() or ".." in named.parts:
        return named
    name = str(named.relative_to(LOCAL).with_suffix("")) if is_path else str(named)
    known = names()
    wanted = [name] if is_path else [f"{below}/{name}", name] if below else [name]
    for one in wanted:
        if one in known:
            return known[one]
    if exists(named) and not named.is_dir():
        return named
    what = "space" if below else "spec"
    cure = nearest(name, [one.removeprefix(f"{below}/") for one in known if one.startswith(below)])
    raise UserError(f"there is no {what} `{named}`", cure=cure)


def names() -> dict[str, Path]:
    """Name -> file of every spec and space, sorted; one of `specs/` here hides a shipped one."""
    return dict(
        sorted(
            (_files(shipped_folder()) | _files(LOCAL)).items(),
            key=lambda item: (item[0].count("/"), item[0]),
        )
    )


def _files(folder: Path) -> dict[str, Path]:
    files = sorted(path for suffix in _SUFFIXES for path in folder.rglob(f"*{suffix}"))
    return {
        _name(path, folder): path
        for path in reversed(files)  # `.yaml` before `.yml`
        if folder == LOCAL or FOUND not in path.relative_to(folder).parts
    }


def copy(name: str) -> tuple[list[Path], list[Path]]:
    """Copy a shipped spec, with what it extends, to `specs/` here.

    Returns the files written, and those that it extends that were there before and stay.

    Raises UserError where there is no such spec, where `specs/` has it already, and where it can't
    be written.
    """
    root = shipped_folder()
    bare = name.removeprefix(f"{LOCAL}/").removesuffix(".yaml")
    shipped = _files(root)
    source = shipped.get(bare) or shipped.get(f"{SPACES}/{bare}")
    if source is None:
        cure = nearest(name, list(shipped))
        raise UserError(f"no spec `{name}` comes with scalelab", cure=cure)
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
