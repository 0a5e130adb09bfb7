"""The command line, slowed down in a phase of its first trial: python phased.py PHASE ENTERED run
SPEC [options].

The first trial that comes to the phase makes the file ENTERED and stays there for a while; where
that file is there already nothing is slow.
"""

import signal
import sys
import time
from pathlib import Path
from typing import Any

from scalelab.cli import main
from scalelab.core.signals import STOPPING
from scalelab.run import driver

PLACES = {
    "data": ("scalelab.train.attempt", "build_data", 1.0),
    "compile": ("torch._inductor.graph.GraphLowering", "compile_to_module", 0.1),
    "train": ("scalelab.train.attempt.Attempt", "update", 1.0),
    "evaluate": ("scalelab.train.attempt.Attempt", "measure", 1.0),
    "ray": None,
}
"""Phase -> the module or class, its function that begins the phase, and the seconds for which it
waits. What is compiled takes its time by itself.
"""


def held(phase: str, entered: str) -> Any:
    """A worker that trains, slowed down in the phase."""
    place = PLACES[phase]

    def work(*arguments: Any, **options: Any) -> Any:
        from pkgutil import resolve_name

        from scalelab.run.executors.base import train_trial

        if place is None:
            return train_trial(*arguments, **options)
        owner, name, hold_s = resolve_name(place[0]), *place[1:]
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
    for number in STOPPING:  # whoever runs the tests may ignore some
        signal.signal(number, signal.SIG_DFL)
    assert driver.drive.__kwdefaults__ is not None
    driver.drive.__kwdefaults__["worker"] = held(phase, entered)
    sys.argv[1:] = arguments
    main()
