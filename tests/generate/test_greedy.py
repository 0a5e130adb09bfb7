"""Greedy decoding in lanes gives what a plain loop over one dialog gives, whatever the model says
and the tool replies.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scalelab.core.events import Interrupted
from scalelab.core.seeds import derive
from scalelab.data.tokens import Tokens
from scalelab.families import build as build_model
from scalelab.families.layout import Layout
from scalelab.families.transformer.spec import Transformer
from scalelab.tasks import build
from scalelab.tasks.facts.greedy import greedy
from scalelab.tasks.facts.spec import Facts
from scalelab.tasks.facts.tokens import ASSISTANT, DATABASE, EOD, USER, VOCAB, decode, encode

Next = Callable[[list[int]], int]
Reply = Callable[[list[str], list[int]], list[str]] | None


@dataclass
class Heard:
    """A cache that remembers the tokens themselves."""

    tokens_BL: Tensor

    def select(self, lanes: Tensor) -> "Heard":
        return Heard(self.tokens_BL[lanes])


@dataclass
class Scripted:
    """A model that says what a function of the text before says."""

    says: Next

    def new_cache(self, lanes: int, length: int) -> Heard:
        return Heard(torch.full((lanes, length), -1))

    def decode(self, tokens_BT: Tensor, cache: Heard, layout: Layout) -> Tensor:
        logits_BTV = torch.zeros(*tokens_BT.shape, VOCAB)
        start_B = torch.zeros(len(tokens_BT)) if layout.start_B is None else layout.start_B
        for lane, (tokens, start) in enumerate(zip(tokens_BT, start_B.int().tolist(), strict=True)):
            cache.tokens_BL[lane, start : start + len(tokens)] = tokens
            text = cache.tokens_BL[lane, : start + len(tokens)].tolist()
            for step in range(len(tokens)):
                logits_BTV[lane, step, self.says(text[: start + step + 1])] = 1
        return logits_BTV


def plain(says: Next, prompt: Tokens, limit: int, reply: Reply, at: int) -> list[int]:
    """One lane, no cache, no batch."""
    text = prompt.tolist()
    while len(text) <= limit:
        text.append(says(text))
        if text[-1] == DATABASE and reply is not None:
            begin = len(text) - 1 - text[::-1].index(ASSISTANT)
            text += [
                *reply([decode(np.array(text[begin + 1 : -1], np.uint16))], [at])[0].encode(),
                ASSISTANT,
            ]
        elif text[-1] >= USER:
            break
    return text[len(prompt) : limit + 1]


def chatter(seed: int, text: list[int]) -> int:
    """Some letter or, now and then, a turn token, that depends on the whole text."""
    draw = derive(seed, *text)
    return (
        [DATABASE, DATABASE, EOD, ASSISTANT, USER][draw % 5]
        if draw // 8 % 6 == 0
        else 97 + draw // 64 % 3
    )


def shout(texts: list[str], prompts: list[int]) -> list[str]:
    return [f"{at}{text.upper()[:6]}" for text, at in zip(texts, prompts, strict=True)]


@given(
    seed=st.integers(0, 10**6),
    questions=st.lists(st.text("xyz", max_size=9), min_size=1, max_size=9),
    room=st.integers(1, 25),
    lanes=st.integers(1, 5),
    reply=st.sampled_from([None, shout]),
)
@settings(max_examples=150)
def test_lanes_say_what_a_plain_loop_says(
    seed: int, questions: list[str], room: int, lanes: int, reply: Reply
) -> None:
    prompts = [np.array([USER, *text.encode(), ASSISTANT], np.uint16) for text in questions]
    limit = max(map(len, prompts)) + room - 1

    def says(text: list[int]) -> int:
        return chatter(seed, text)

    found = greedy(Scripted(says), prompts, limit=limit, reply=reply, lanes=lanes)
    assert [text.tolist() for text in found] == [
        plain(says, prompt, limit, reply, at) for at, prompt in enumerate(prompts)
    ]
    assert all(text.dtype == np.uint16 for text in found)


def test_the_tool_hears_the_turn_and_its_reply_is_fed() -> None:
    script = [*b"ask", DATABASE, *b"told", ASSISTANT, *b"so.", EOD]
    heard: list[str] = []

    def reply(texts: list[str], prompts: list[int]) -> list[str]:
        heard.extend(texts)
        return ["told"] * len(texts)

    prompt = np.array([USER, ASSISTANT], np.uint16)
    found = greedy(
        Scripted(lambda text: ([USER, ASSISTANT, *script])[len(text)]),
        [prompt],
        limit=30,
        reply=reply,
    )
    assert found[0].tolist() == script
    assert heard == ["ask"]


@pytest.mark.parametrize("room", [0, 1, 4, 5])
def test_a_reply_that_does_not_fit_ends_the_lane(room: int) -> None:
    prompt = np.array([USER, ASSISTANT], np.uint16)
    found = greedy(
        Scripted(lambda text: DATABASE),
        [prompt],
        limit=3 + room,
        reply=lambda texts, prompts: ["told"] * len(texts),
    )
    assert len(found[0]) == 2 + room
    assert found[0].tolist() == [DATABASE, *b"told", ASSISTANT, DATABASE][: 2 + room]


def test_no_prompts_give_no_texts() -> None:
    assert greedy(Scripted(lambda text: EOD), [], limit=5) == []


def test_it_stops_between_two_tokens_when_asked() -> None:
    asked: list[int] = []

    def stopping() -> bool:
        asked.append(len(asked))
        return len(asked) == 3

    with pytest.raises(Interrupted):
        greedy(
            Scripted(lambda text: 65),
            [np.array([USER, ASSISTANT], np.uint16)],
            limit=50,
            stopping=stopping,
        )
    assert len(asked) == 3


VARIANTS: list[dict[str, Any]] = [
    {},
    {"mask": "prefix"},
    {"position": {"kind": "learned"}, "heads": 4, "kv_heads": 1},
    {"position": {"kind": "none"}, "norm": {"kind": "layer", "place": "peri"}, "qk_norm": True},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_transformer_says_the_same_without_a_cache(variant: dict[str, Any]) -> None:
    data = build(Facts(people=6, recall="in_tool"))
    limit, prompts = data.shape.context, data.questions().prompts[::5]
    model = (
        build_model(Transformer.model_validate(variant).resolved(), VOCAB, limit)
        .initialise(3)
        .eval()
    )

    def reply(texts: list[str], prompts: list[int]) -> list[str]:
        return ["42"] * len(texts)

    with torch.inference_mode():
        # An untrained model hardly ever ends a turn, so these columns are lifted until it calls its
        # tool and stops now and then.
        model.output.weight[[DATABASE, EOD]] *= 6  # pyright: ignore[reportOptionalMemberAccess]
        for text, prompt in zip(
            greedy(model, prompts, limit=limit, reply=reply, lanes=7), prompts, strict=True
        ):
            tokens_1L = torch.from_numpy(np.append(prompt, text).astype(np.int64))[None]
            layout = Layout(prefix_B=torch.tensor([len(prompt)]))
            likeliest_L = model(tokens_1L[:, :limit], layout)[0].argmax(-1)
            forced = forced_positions(tokens_1L[0].tolist(), len(prompt))
            own = [at for at in range(len(prompt), tokens_1L.shape[1]) if at not in forced]
            assert tokens_1L[0, own].tolist() == likeliest_L[[at - 1 for at in own]].tolist()
            assert tokens_1L[0, -1] in (USER, ASSISTANT, EOD) or tokens_1L.shape[1] == limit + 1


def forced_positions(text: list[int], begin: int) -> set[int]:
    """Where the tool spoke: `42` and the token that opens the next turn."""
    fed = len(encode("42")) + 1
    return {
        at + 1 + step
        for at in range(begin, len(text))
        if text[at] == DATABASE
        for step in range(fed)
    }
