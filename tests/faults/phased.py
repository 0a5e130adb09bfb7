"""The command line, slowed down in a phase of its first trial: python phased.py PHASE ENTERED run
SPEC [options].

The first trial that comes to the phase makes the file ENTERED and stays there for a second; where
that file is there already nothing is slow.
"""

import sys
import time
from pathlib import Path
from typing import Any

from scalelab.cli import main
from scalelab.run import driver

HOLD_S = 1.0

PLACES = {
    "data": ("scalelab.train.attempt", "build_data"),
    "compile": ("torch._inductor.graph.GraphLowering", "compile_to_module"),
    "train": ("scalelab.train.attempt.Attempt", "update"),
    "evaluate": ("scalelab.train.attempt.Attempt", "measure"),
    "ray": None,
}
"""Phase -> the module or class, and its function that the phase is in."""


def held(phase: str, entered: str, hold_s: float) -> Any:
    """A worker that trains, slowed down in the phase."""
    place = PLACES[phase]

    def work(*arguments: Any, **options: Any) -> Any:
        from pkgutil import resolve_name

        from scalelab.run.executors.base import train_trial

        if place is None:
            return train_trial(*arguments, **options)
        owner, name = resolve_name(place[0]), place[1]
        original = getattr(owner, name)

        def slowed(*arguments: Any, **options: Any) -> Any:
            if not Path(entered).exists():
                Path(entered).touch()
                until = time.monotonic() + hold_s
                while time.monotonic() < until:
                    time.sleep(0.01)
            return original(*arguments, **options)

        setattr(owner, name, slowed)
        try:
            return train_trial(*arguments, **options)
        finally:
            setattr(owner, name, original)

    return work


if __name__ == "__main__":
    phase, entered, *arguments = sys.argv[1:]
    assert driver.drive.__kwdefaults__ is not None
    driver.drive.__kwdefaults__["worker"] = held(phase, entered, HOLD_S)
    sys.argv[1:] = arguments
    main()
