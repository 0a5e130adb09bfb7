"""Lanes say what each would say alone, without a cache and token by token as with one."""

from typing import Any

import pytest
import torch
from torch import Tensor

from scalelab.core.errors import UserError
from scalelab.data.text.tokenizers import Bytes
from scalelab.families import build
from scalelab.families.layout import Layout
from scalelab.families.transformer.spec import Transformer
from scalelab.generate import GREEDY, Continuation, Piece, Sampling, compiled_step, stream, whole
from scalelab.generate.lanes import Lanes, eager_step
from scalelab.generate.sampling import choose, keys
from scalelab.generate.vocabulary import Documents
from scalelab.layers.spec import Ffn, LearnedPositions, Moe, NoPositions, Norm
from scalelab.tasks import build as build_data
from scalelab.tasks import vocabulary
from scalelab.tasks.biography.spec import Biography
from scalelab.tasks.facts.spec import Facts
from scalelab.tasks.facts.tokens import ASSISTANT, DATABASE, EOD, USER

CONTEXT = 48
PROMPTS = ["", "To be", "or not to be, that is", "é"]
TEXT = Documents(Bytes())
WARM = Sampling(temperature=1.3, top_k=60, top_p=0.95, min_p=0.001, repetition_penalty=1.1, seed=5)

FAMILIES: dict[str, Transformer] = {
    "mha": Transformer(),
    "gqa": Transformer(heads=4, kv_heads=2, qk_norm=True),
    "mqa": Transformer(heads=4, kv_heads=1),
    "learned": Transformer(
        position=LearnedPositions(), ffn=Ffn(kind="gelu"), norm=Norm(kind="layer")
    ),
    "no_positions": Transformer(position=NoPositions(), norm=Norm(place="peri"), tied=True),
    "prefix": Transformer(mask="prefix"),
    "window": Transformer(layers=3, window=5, global_every=2),
    "window_gqa": Transformer(heads=4, kv_heads=2, window=7),
    "moe": Transformer(ffn=Moe(experts=6, chosen=2)),
    "tricks": Transformer(
        layers=3,
        value_embeddings=True,
        residual_gains=True,
        logit_softcap=15.0,
        embedding_norm=True,
        mup=8,
    ),
}


def model(given: Transformer, context: int = CONTEXT) -> Any:
    """An untrained model; its head is scaled up, so that rounding decides nothing."""
    made = build(given.resolved(), Bytes.vocab, context).initialise(3).eval()
    with torch.no_grad():
        made.head_weight.mul_(4)
    return made


def said(
    given: Any, prompts: list[str], limit: int = 30, sampling: Sampling = WARM, **options: Any
) -> list[Continuation]:
    return whole(
        stream(given, TEXT, prompts, limit=limit, sampling=sampling, **options), len(prompts)
    )


@pytest.fixture(params=FAMILIES.values(), ids=FAMILIES.keys())
def family(request: pytest.FixtureRequest) -> Any:
    return model(request.param)


@torch.inference_mode()
def plain(given: Any, prompt: list[int], lane: int, limit: int, sampling: Sampling) -> list[int]:
    """One lane, no cache, no batch, one whole pass a token."""
    text = list(prompt)
    while len(text) < min(len(prompt) + limit, given.context + 1):
        layout = Layout(prefix_B=torch.tensor([len(prompt)]))
        logits_1V = given(torch.tensor([text]), layout)[:, -1]
        seen_1V = torch.zeros_like(logits_1V, dtype=torch.bool)
        seen_1V[0, text] = True
        token = choose(
            logits_1V, sampling, keys(sampling.seed, [lane]), torch.tensor([len(text)]), seen_1V
        )
        text.append(int(token))
        if text[-1] == Bytes.eos:
            break
    return text[len(prompt) :]


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
def test_cached_is_uncached_is_a_plain_loop(family: Any, sampling: Sampling) -> None:
    wanted = [
        plain(family, TEXT.encode(prompt), lane, 30, sampling)
        for lane, prompt in enumerate(PROMPTS)
    ]
    for cached in (True, False):
        found = said(family, PROMPTS, sampling=sampling, cached=cached)
        assert [(one.text, one.tokens) for one in found] == [
            (TEXT.decode(ids), len(ids)) for ids in wanted
        ]


@pytest.mark.slow
def test_compiled_is_eager(family: Any) -> None:
    assert said(family, PROMPTS, step=compiled_step()) == said(family, PROMPTS)


def test_a_step_is_one_graph_that_is_traced_once(family: Any) -> None:
    """Traced and not translated into machine code, which takes a minute for all families: see the
    slow test.
    """
    options: dict[str, Any] = {"fullgraph": True, "dynamic": False, "isolate_recompiles": True}
    traced = torch.compile(eager_step, backend="eager", **options)
    plain_lanes, traced_lanes = (
        Lanes(family, [TEXT.encode(prompt) for prompt in PROMPTS], 40, WARM, step=step)
        for step in (None, traced)
    )
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert [traced_lanes.begin(), *(traced_lanes.step() for _ in range(5))] == [
            plain_lanes.begin(),
            *(plain_lanes.step() for _ in range(5)),
        ]


@pytest.mark.slow
def test_compiled_lanes_end_without_another_graph() -> None:
    given = model(FAMILIES["gqa"])
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert said(given, PROMPTS, stops=["\n", "e", " "], step=compiled_step()) == said(
            given, PROMPTS, stops=["\n", "e", " "]
        )


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_a_lane_says_the_same_whatever_lies_beside_it(lanes: int) -> None:
    given = model(FAMILIES["gqa"])
    assert said(given, PROMPTS[:lanes]) == said(given, PROMPTS)[:lanes]
    assert said(given, PROMPTS[:lanes], stops=["e"]) == said(given, PROMPTS, stops=["e"])[:lanes]


def test_another_seed_says_something_else_and_the_same_seed_the_same() -> None:
    given = model(FAMILIES["mha"])
    assert said(given, PROMPTS, sampling=Sampling(seed=1)) == said(
        given, PROMPTS, sampling=Sampling(seed=1)
    )
    texts = {said(given, ["To be"], sampling=Sampling(seed=seed))[0].text for seed in range(5)}
    assert len(texts) == 5
    assert len({one.text for one in said(given, ["To be"] * 5)}) == 5


def test_a_text_ends_at_the_limit_or_where_the_context_is_full() -> None:
    given, prompt = model(FAMILIES["mha"]), "x" * (CONTEXT - 4)
    sampling = Sampling(seed=2, top_k=3)
    short, long = said(given, ["abc", prompt], limit=4, sampling=sampling)
    assert (short.tokens, short.end, long.tokens, long.end) == (4, "limit", 4, "limit")
    assert [(one.tokens, one.end) for one in said(given, [prompt], limit=6, sampling=sampling)] == [
        (5, "context")
    ]
    full = "x" * CONTEXT
    assert [(one.tokens, one.end) for one in said(given, [full], limit=6, sampling=sampling)] == [
        (1, "context")
    ]


class Scripted:
    """A model that says a text behind the prompt, whatever the prompt."""

    def __init__(self, script: list[int], vocab: int = 260, context: int = 99) -> None:
        self.script, self.vocab, self.context, self.config = script, vocab, context, Transformer()

    def new_cache(self, lanes: int, length: int) -> "Scripted":
        self.start = None
        return self

    def select(self, lanes: Tensor) -> "Scripted":
        return self

    def decode(self, tokens_BT: Tensor, cache: Any, layout: Layout) -> Tensor:
        self.start = tokens_BT.shape[1] if self.start is None else self.start
        logits_BTV = torch.zeros(*tokens_BT.shape, self.vocab)
        start = 0 if layout.start_B is None else int(layout.start_B[0])
        at = start + tokens_BT.shape[1] - self.start
        logits_BTV[:, -1, self.script[at]] = 1
        return logits_BTV


def scripted(script: list[int], **options: Any) -> list[Piece]:
    return list(
        stream(
            Scripted(script),
            options.pop("words", TEXT),
            ["ab"],
            limit=90,
            sampling=GREEDY,
            **options,
        )
    )  # pyright: ignore[reportArgumentType]


def test_pieces_come_with_the_tokens_that_decide_them() -> None:
    pieces = scripted([*"hé\n".encode(), Bytes.eos])
    assert [piece.text for piece in pieces] == ["h", "", "é", "\n", ""]
    assert [piece.end for piece in pieces] == [None, None, None, None, "end"]


def test_a_stop_string_straddles_tokens_and_is_not_shown() -> None:
    pieces = scripted([*b"so STO and STOP it", Bytes.eos], stops=["STOP"])
    assert "".join(piece.text for piece in pieces) == "so STO and "
    assert pieces[-1].end == "stop"
    assert len(pieces) == len("so STO and STOP")


def test_what_was_held_back_is_shown_where_no_more_comes() -> None:
    assert (
        "".join(piece.text for piece in scripted([*b"so STO", Bytes.eos], stops=["STOP"]))
        == "so STO"
    )


def test_the_tool_answers_in_a_dialog() -> None:
    data = build_data(Facts(people=2, recall="in_tool"))
    name = decoded_name(data.questions().prompts[0])
    query = f"SELECT occupation FROM people WHERE name='{name}'"
    answer = data.database().query(query)
    fed = [0] * (len(answer) + 1)  # what the model would say while the tool speaks is not heard
    pieces = scripted([*query.encode(), DATABASE, *fed, *b"A clerk.", EOD], words=vocabulary(data))
    assert (
        "".join(piece.text for piece in pieces)
        == f"{query}\n[database] {answer}\n[assistant] A clerk."
    )
    assert pieces[-1].end == "end"


def decoded_name(prompt: Any) -> str:
    """`When was NAME born?`"""
    return (
        bytes(token for token in prompt.tolist() if token < USER)
        .decode()
        .removeprefix("When was ")
        .removesuffix(" born?")
    )


def test_without_a_tool_any_turn_ends_a_dialog() -> None:
    words = vocabulary(build_data(Facts(people=2)))
    assert scripted([*b"ok", DATABASE], words=words)[-1] == Piece(0, "", "end")
    assert words.encode("who?") == [USER, *b"who?", ASSISTANT]


def test_a_biography_begins_behind_its_mark_and_a_foreign_word_is_named() -> None:
    words = vocabulary(build_data(Biography(people=4, context=256)))
    assert words.decode(words.encode("was born")) == "<eos>was born"
    with pytest.raises(UserError, match="`zzz`"):
        words.encode("was zzz")


def test_a_model_that_fills_gaps_and_a_prompt_without_room_are_refused() -> None:
    with pytest.raises(UserError, match="mask `full`"):
        said(model(Transformer(mask="full")), ["a"])
    with pytest.raises(UserError, match=rf"{CONTEXT + 1} tokens.*context {CONTEXT}"):
        said(model(Transformer()), ["x" * (CONTEXT + 1)])


def test_lanes_that_are_kept_go_on() -> None:
    lanes = Lanes(model(FAMILIES["mha"]), [[1], [2], [3]], 20, WARM)
    lanes.begin()
    first = lanes.step()
    lanes.keep([2])
    assert lanes.num == 1
    assert lanes.text_BL[0, 2] == first[2]
