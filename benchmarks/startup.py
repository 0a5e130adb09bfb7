"""How long a user waits for an answer: `scalelab --help`, and `scalelab plan` of the published
grid's 7,800 trials.

python benchmarks/startup.py
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMANDS = (
    ["--help"],
    ["plan", "specs/paper/in_tool_learning.yaml"],
    ["plan", "specs/paper/in_tool_learning.yaml", "--json"],
)
TOY = "SCALELAB_TOY" in os.environ
REPEATS = 1 if TOY else 7


def main() -> None:
    """Print the median of each command's wall time."""
    scalelab = Path(sys.executable).parent / "scalelab"
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as folder:
        for arguments in COMMANDS:
            command = [
                str(scalelab),
                *(str(root / word) if word.endswith(".yaml") else word for word in arguments),
            ]
            print(f"scalelab {' '.join(arguments):52} {median_seconds(command, folder):.2f} s")


def median_seconds(command: list[str], folder: str) -> float:
    """The median wall time of a command, run in `folder`."""
    found: list[float] = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - began)
    return statistics.median(found)


if __name__ == "__main__":
    main()
