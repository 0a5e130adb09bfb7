"""Prompts of biographies."""

from scalelab.core.errors import UserError
from scalelab.generate.vocabulary import Documents, Vocabulary
from scalelab.tasks.biography.data import BiographyData
from scalelab.tasks.biography.sizes import is_marked


def vocabulary(data: BiographyData) -> Vocabulary:
    """Biographies, each behind its marks."""
    return Biographies(data)


class Biographies(Documents):
    """Biographies, each behind its marks."""

    def __init__(self, data: BiographyData) -> None:
        super().__init__(data.tokenizer)
        self._opening = [
            data.tokenizer.eos,
            *([data.tokenizer.domain] if is_marked(data.task) else []),
        ]

    def encode(self, prompt: str) -> list[int]:
        try:
            return [*self._opening, *self.tokenizer.encode(prompt)]
        except KeyError as unknown:
            raise UserError(
                f"the biographies have no word `{unknown.args[0]}`",
                cure="take names and words out of their text",
            ) from None
