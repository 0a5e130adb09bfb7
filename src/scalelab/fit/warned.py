"""What a reader must know before believing a fit or a figure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Warned:
    """A code that programs test for, and a sentence for people."""

    code: str
    text: str

    def to_json(self) -> dict[str, str]:
        """Plain values."""
        return {"code": self.code, "text": self.text}
