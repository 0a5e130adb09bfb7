"""How a run ended, in words and as an exit code."""

from collections.abc import Mapping
from dataclasses import dataclass
from signal import SIGINT
from typing import Any

from scalelab.core.canon import SHORT
from scalelab.core.signals import exit_code
from scalelab.core.units import format_seconds
from scalelab.run.desk import StopReason, told


@dataclass(frozen=True)
class Summary:
    """How a run ended."""

    outcomes: Mapping[str, int]
    """How many trials ended as what, of those that were run here."""
    known: int
    """Trials that had their result before: of the plan, or of the search's experiment."""
    failed: Mapping[str, str]
    """Digest -> error of the trials that failed in this run, after every retry."""
    seconds: float
    stopped: StopReason | None = None
    """Why the run ended before its search did."""
    signal: int | None = None
    """The signal that stopped it."""
    failed_before: int = 0
    """Trials that failed in an earlier run and were left alone."""
    pruned: int = 0
    """How many of the `stopped` ones their search ended early."""
    guided: bool = False
    """Whether this was a search over a space: to end when the time is over is then as good an end
    as any.
    """
    exhausted: bool = False
    """Whether the search over a space ended because it found nothing new to try."""

    @property
    def exit_code(self) -> int:
        """128 + signal, 130 where the time was over: run again to go on; 1: some trial failed;
        0: all done.
        """
        if self.stopped is not None and not (self.guided and self.stopped == "out of time"):
            return exit_code(self.signal or SIGINT)
        return int(bool(self.failed or self.failed_before))

    def as_dict(self) -> dict[str, Any]:
        """It for `--json`."""
        return {
            "outcomes": self.outcomes,
            "known": self.known,
            "failed": self.failed,
            "failed_before": self.failed_before,
            "seconds": self.seconds,
            "stopped": self.stopped,
        }

    def __str__(self) -> str:
        """Some lines for the user."""
        lines = [
            f"{self._ran} in {format_seconds(self.seconds)}; {self.known} trials had their result"
            " before"
        ]
        for digest, error in self.failed.items():
            lines.append(
                f"failed: {digest[:SHORT]} {''.join(error.strip().splitlines()[-1:])} (see"
                f" `scalelab show {digest[:SHORT]}`)"
            )
        if self.failed_before:
            lines.append(
                f"{self.failed_before} trials failed in an earlier run; try them again with"
                " --retry-failed"
            )
        if self.exhausted:
            lines.append(
                "nothing new was found to try: what the space has left is known, or can be no trial"
            )
        if self.stopped:
            lines.append(
                f"{told(self.stopped, self.signal)}: what was finished is kept, what was running"
                " saved its position, and the same command goes on from here"
            )
        return "\n".join(lines)

    @property
    def _ran(self) -> str:
        ended = {
            **self.outcomes,
            "stopped": self.outcomes.get("stopped", 0) - self.pruned,
            "pruned": self.pruned,
        }
        told = ", ".join(f"{count} {state}" for state, count in sorted(ended.items()) if count)
        return told or ("nothing ended" if self.stopped else "nothing to run")
