"""Text behind prompts, as it is decided: token by token, until a document ends, a stop string
comes, or there is no more room.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
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
    ids: list[int]
    """The prompt and what follows."""
    left: int
    """Tokens that may still come."""
    full: bool
    """Whether it is the model's context, not the limit, that leaves no more."""
    fed: deque[int] = field(default_factory=deque)

    def hear(self, token: int, vocabulary: Vocabulary) -> Piece:
        """The piece that a token adds."""
        if not self.fed and token in vocabulary.ends:
            return self._last("end")
        if self.fed:
            self.fed.popleft()
        self.ids.append(token)
        self.left -= 1
        text = self.writer.push(token)
        if self.writer.stopped:
            return Piece(self.lane, text, "stop")
        if not self.left:
            return self._last("context" if self.full else "limit", text)
        if not self.fed:
            self.fed.extend(vocabulary.reply(self.ids))
        return Piece(self.lane, text)

    def _last(self, end: End, text: str = "") -> Piece:
        text += self.writer.close()
        return Piece(self.lane, text, "stop" if self.writer.stopped else end)


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
    room = min(model.context, room if step is None else -(-room // _ROOM) * _ROOM)
    lanes = Lanes(model, texts, room, sampling, cached=cached, step=step, device=device)
    speakers = [
        _speaker(lane, ids, model.context, limit, vocabulary, stops)
        for lane, ids in enumerate(texts)
    ]
    return _pieces(lanes, speakers, vocabulary, shrinks=step is None)


def _pieces(
    lanes: Lanes, speakers: list[_Speaker], vocabulary: Vocabulary, shrinks: bool
) -> Iterator[Piece]:
    """Token by token.

    Lanes that have ended leave where it `shrinks`; for a compiled step another number of lanes is
    another graph.
    """
    chosen = lanes.begin()
    slots = list(range(len(speakers)))  # which lane each speaker is
    while True:
        going: list[int] = []
        for index, speaker in enumerate(speakers):
            token = chosen[slots[index]]
            if speaker.fed and speaker.fed[0] != token:
                token = speaker.fed[0]
                lanes.put(slots[index], token)
            piece = speaker.hear(token, vocabulary)
            yield piece
            if piece.end is None:
                going.append(index)
        if not going:
            return
        speakers, slots = [speakers[index] for index in going], [slots[index] for index in going]
        if shrinks and len(slots) < lanes.num:
            lanes.keep(slots)
            slots = list(range(len(speakers)))
        chosen = lanes.step()


def whole(pieces: Iterable[Piece], num: int) -> list[Continuation]:
    """What follows each of `num` prompts, from the pieces that `stream` gives."""
    found = [Continuation() for _ in range(num)]
    for piece in pieces:
        one = found[piece.lane]
        one.text, one.tokens, one.end = one.text + piece.text, one.tokens + 1, piece.end
    return found


def _speaker(
    lane: int,
    ids: list[int],
    context: int,
    limit: int,
    vocabulary: Vocabulary,
    stops: Sequence[str],
) -> _Speaker:
    most = context + 1 - len(ids)
    return _Speaker(lane, Writer(vocabulary, ids, stops), list(ids), min(limit, most), most < limit)


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
