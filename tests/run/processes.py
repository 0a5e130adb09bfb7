"""The processes of a run, for tests that signal and count them."""

from pathlib import Path


def family(root: int) -> list[int]:
    """A process and all that it started, the youngest first."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [root]
    for parent in found:
        found += [child for child, of in parents.items() if of == parent]
    return found[::-1]


def is_alive(process: int) -> bool:
    """Whether it runs still: a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_named(process: int, name: str) -> bool:
    """Whether the command line of a process has this in it."""
    try:
        return name.encode() in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
