"""Text behind prompts, as it is decided: token by token, until a document ends, a stop string
comes, or there is no more room.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from scalelab.core.errors import UserError
from scalelab.families.language_model import LanguageModel
from scalelab.generate.lanes import Lanes, Step
from scalelab.generate.sampling import Sampling
from scalelab.generate.vocabulary import Vocabulary
from scalelab.generate.writing import Writer

End = Literal["end", "stop", "limit", "context"]
"""Why a text ends: the model ended it, a stop string came, it has as many tokens as were asked for,
or the model's context is full.
"""

_ROOM = 128
"""Under a compiled step the room comes in multiples of this: another room is another graph."""


@dataclass(frozen=True)
class Piece:
    """What a token added to the text behind prompt number `lane`; often that of the token,
    sometimes more or nothing.
    """

    lane: int
    text: str
    end: End | None = None
    """Set in the last piece of a lane."""


@dataclass
class Continuation:
    """What follows a prompt."""

    text: str = ""
    tokens: int = 0
    """Tokens that were chosen or fed, an end of the document counted in."""
    end: End | None = None


@dataclass
class _Speaker:
    """One lane's text, beyond its tokens."""

    lane: int
    writer: Writer
    limited_by: Literal["limit", "context"]
    """What leaves no room where the model does not end its text."""
    is_over: bool = False

    def hear(self, token: int, is_open: bool, ended: bool) -> Piece:
        """The piece that a token adds, the last one where the lane is not open."""
        text = "" if ended else self.writer.push(token)
        if not (is_open or self.writer.stopped):
            text += self.writer.close()
        end = "stop" if self.writer.stopped else "end" if ended else self.limited_by
        self.is_over = self.writer.stopped or not is_open
        return Piece(self.lane, text, end if self.is_over else None)


def stream(
    model: LanguageModel,
    vocabulary: Vocabulary,
    prompts: Sequence[str],
    *,
    limit: int,
    sampling: Sampling,
    stops: Sequence[str] = (),
    cached: bool = True,
    step: Step | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Piece]:
    """At most `limit` tokens behind each prompt; a piece for each token, those of the lanes in
    turn.

    A text stops at the end of a document, before the first of the stop strings `stops`, or where
    the model's context is full. Cached or not, compiled or not, alone or among others, a lane's
    text is the same but for ties that rounding decides. Give a `compiled_step` as `step` for speed;
    `cached=False` reads the whole text again for every token. Raises UserError where a prompt
    leaves no room, or the model predicts no next token.
    """
    texts = [vocabulary.encode(prompt) for prompt in prompts]
    if not texts:
        return iter(())
    _check(model, texts)
    room = max(map(len, texts)) + limit - 1
    lanes = Lanes(
        model,
        texts,
        min(model.context, room if step is None else -(-room // _ROOM) * _ROOM),
        sampling,
        limit=limit,
        ends=vocabulary.ends,
        tool=vocabulary.tool,
        cached=cached,
        step=step,
        device=device,
    )
    speakers = [
        _Speaker(
            lane,
            Writer(vocabulary, ids, stops),
            "context" if len(ids) + limit - 1 > model.context else "limit",
        )
        for lane, ids in enumerate(texts)
    ]
    return _pieces(lanes, speakers, shrinks=step is None)


def _pieces(lanes: Lanes, speakers: Sequence[_Speaker], shrinks: bool) -> Iterator[Piece]:
    """Token by token.

    Lanes that have ended leave at once where it `shrinks`; for a compiled step another number of
    lanes is another graph.
    """
    token_B = lanes.begin()
    while True:
        texts, going = lanes.texts, 0
        columns = (texts.number_B, token_B, texts.open_B, texts.ended_B)
        for lane, (number, token, is_open, ended) in enumerate(torch.stack(columns, 1).tolist()):
            speaker = speakers[number]
            if speaker.is_over:
                continue
            piece = speaker.hear(token, bool(is_open), bool(ended))
            yield piece
            if piece.end == "stop":
                lanes.close(lane)
            going += not speaker.is_over
        if not going:
            return
        if shrinks and going < lanes.num:
            lanes.leave()
        token_B = lanes.step()


def whole(pieces: Iterable[Piece], num: int) -> list[Continuation]:
    """What follows each of `num` prompts, from the pieces that `stream` gives."""
    found = [Continuation() for _ in range(num)]
    for piece in pieces:
        one = found[piece.lane]
        one.text, one.tokens, one.end = one.text + piece.text, one.tokens + 1, piece.end
    return found


def _check(model: LanguageModel, texts: Sequence[Sequence[int]]) -> None:
    if not model.config.is_autoregressive:
        raise UserError(
            "a model with the mask `full` fills gaps and predicts no next token",
            cure="take a trial with another mask",
        )
    longest = max(map(len, texts))
    if longest > model.context:
        what = f"the prompt has {longest:,} tokens, and the model's context {model.context:,}"
        raise UserError(what, cure="take a shorter prompt")
