"""Routes counted: every metric held against passes made by hand, however they are cut, and excerpts
that can be read back.
"""

import json
import math
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from torch import Tensor

from scalelab.core.metrics import is_detail
from scalelab.data.text.tokenizers.bytes import Bytes
from scalelab.evaluate.excerpt import BYTES, excerpt, texts_of
from scalelab.evaluate.routes import Tally, distances, routes
from scalelab.evaluate.token_kinds import KINDS, kind_of, kinds
from scalelab.families.language_model import Route, RouterOutput
from scalelab.families.layer_router.spec import LayerRouter
from scalelab.layers.moe import Routing

NOTHING = torch.zeros(())
HALTED = -1


def router(**given: object) -> LayerRouter:
    return LayerRouter.model_validate(
        {"kind": "layer_router", "layers": 2, "steps": 3, "identity": 1, **given}
    )


def read(
    given: LayerRouter, route_BTS: Tensor, probability_BTSE: Tensor | None = None, flops: int = 0
) -> RouterOutput:
    """A pass in which each token took this route, from 0.

    Where no probabilities are given they are even.
    """
    even = torch.full((*route_BTS.shape, given.pool), 1 / given.pool)
    found = even if probability_BTSE is None else probability_BTSE
    routing = Routing(NOTHING, torch.zeros(given.pool), NOTHING, NOTHING, NOTHING)
    steps = [
        Route(
            route_BTS[..., step, None],
            found[..., step, :],
            torch.zeros(route_BTS.shape[:2]),
            routing,
        )
        for step in range(route_BTS.shape[2])
    ]
    return RouterOutput(
        torch.zeros(*route_BTS.shape[:2], 1),
        (),
        (),
        steps,
        (route_BTS >= 0).sum(-1).float(),
        None,
        NOTHING,
        flops,
    )


def counted(
    given: LayerRouter, route_BTS: Tensor, text: str = "", **more: object
) -> dict[str, float]:
    tally = Tally(given.layer_pool, kinds(Bytes(), 257))
    tokens = Bytes().encode(text or "a" * route_BTS.shape[:2].numel()).astype(np.int64)
    tally.add(read(given, route_BTS, **more), torch.from_numpy(tokens).view(route_BTS.shape[:2]))  # pyright: ignore[reportArgumentType]
    return tally.values()


def test_layers_steps_and_transitions_are_counted_from_one() -> None:
    found = counted(router(), torch.tensor([[[0, 1, 2], [0, 2, 1], [1, 1, 0], [0, 0, 0]]]))
    assert [found[f"route_1_{layer}"] for layer in (1, 2, 3)] == [0.75, 0.25, 0.0]
    assert [found[f"route_2_{layer}"] for layer in (1, 2, 3)] == [0.25, 0.5, 0.25]
    assert [found[f"order_{step}"] for step in (1, 2, 3)] == [1, 2, 1]
    assert found["transition_1_2"] == 1 / 8
    assert found["transition_2_1"] == 1 / 8
    assert found["transition_1_1"] == 2 / 8
    assert sum(value for name, value in found.items() if name.startswith("transition_")) == 1
    assert (
        found["order_kept"] == (3 + 2) / 8
    )  # the steps 1 and 2: there is no layer 3 to be kept at the third


def test_identity_layers_are_told_by_step_and_by_kind_of_token() -> None:
    skips = torch.tensor([[[0, 2, 2], [2, 2, 2], [0, 1, 0], [0, 0, 0], [1, 2, 1], [0, 1, 1]]])
    found = counted(router(), skips, "a 7,\n\x07")
    assert found["identity_share"] == 6 / 18
    assert [found[f"identity_{step}"] for step in (1, 2, 3)] == [1 / 6, 3 / 6, 2 / 6]
    by_kind = {
        "letter": 2 / 3,
        "space": 1.0,
        "digit": 0.0,
        "punctuation": 0.0,
        "newline": 1 / 3,
        "other": 0.0,
    }
    assert {
        name.removeprefix("identity_kind_"): value
        for name, value in found.items()
        if "_kind_" in name
    } == by_kind
    assert not [
        name
        for name in counted(router(identity=0), torch.tensor([[[0, 1, 1]]]))
        if name.startswith("identity")
    ]
    assert "identity_kind_digit" not in counted(router(), skips, "aaaaaa")


def test_tokens_that_halted_are_counted_as_far_as_they_went() -> None:
    given = router(halting={"kind": "act"})
    found = counted(
        given, torch.tensor([[[0, 1, 0], [0, HALTED, HALTED], [1, 0, HALTED], [1, HALTED, HALTED]]])
    )
    assert [found[f"steps_{steps}"] for steps in (1, 2, 3)] == [0.5, 0.25, 0.25]
    assert found["steps_mean"] == 7 / 4
    assert (found["route_1_1"], found["route_2_1"], found["route_3_1"]) == (0.5, 0.5, 1.0)
    assert (found["transition_1_2"], found["transition_2_1"]) == (1 / 3, 2 / 3)
    assert found["order_kept"] == (2 + 1) / 6
    assert found["order_distance"] == pytest.approx((1 / 3 + 1 / 2 + 2 / 2 + 1 / 2) / 4)
    assert "steps_1" not in counted(router(), torch.tensor([[[0, 1, 0]]]))


def test_a_step_that_no_token_reached_is_nought() -> None:
    found = counted(
        router(halting={"kind": "act"}), torch.tensor([[[0, 1, HALTED], [0, HALTED, HALTED]]])
    )
    assert [found[f"route_3_{layer}"] for layer in (1, 2, 3)] == [0, 0, 0]
    assert found["route_entropy_3"] == 0
    assert "order_2" in found
    assert "order_3" not in found


def test_entropies_are_those_of_the_router_and_of_each_sequence() -> None:
    given = router(halting={"kind": "act"})
    route_BTS = torch.tensor([[[0, 0, 0], [0, 0, HALTED]], [[0, 1, 0], [1, HALTED, HALTED]]])
    sure, even = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.5, 0.5, 0.0])
    probability = torch.stack([sure, even, even]).expand(2, 2, 3, 3).clone()
    probability[1, 1, 1] = float("nan")  # what a halted token's probabilities are means nothing
    found = counted(given, route_BTS, probability_BTSE=probability)
    assert [found[f"route_entropy_{step}"] for step in (1, 2, 3)] == pytest.approx(
        [0, math.log(2), math.log(2)]
    )
    assert found["sequence_entropy"] == pytest.approx((0 + math.log(2)) / 2)


@pytest.mark.parametrize(
    ("route", "edits", "longer"),
    [
        ([0, 1, 2], 0, 3),
        ([0, 3, 1, 4, 2], 0, 3),  # identity layers are dropped
        ([0, 2, 1], 2, 3),
        ([1, 2, 0], 2, 3),
        ([0, 1, 1, 2], 1, 4),
        ([0, HALTED, HALTED], 2, 3),
        ([3, 4, 3], 3, 3),
        ([2, 2, 2, 2, 2], 4, 5),
    ],
)
def test_distances_are_edits_to_the_original_order(
    route: list[int], edits: int, longer: int
) -> None:
    assert [int(found[0]) for found in distances(np.array([route]), 3)] == [edits, longer]


def test_distances_are_those_of_the_textbook() -> None:
    def slow(one: list[int], other: list[int]) -> int:
        if not one or not other:
            return len(one) + len(other)
        return min(
            slow(one[1:], other) + 1,
            slow(one, other[1:]) + 1,
            slow(one[1:], other[1:]) + (one[0] != other[0]),
        )

    drawn_NS = np.random.default_rng(0).integers(-1, 6, (60, 5))
    edits_N, _ = distances(drawn_NS, 4)
    assert edits_N.tolist() == [
        slow([layer for layer in route if 0 <= layer < 4], [0, 1, 2, 3])
        for route in drawn_NS.tolist()
    ]


@pytest.mark.parametrize("sizes", [[1] * 12, [5, 7], [3, 3, 3, 3], [12]])
@pytest.mark.parametrize("halting", ["none", "act"])
def test_every_cut_into_passes_gives_the_same_numbers(sizes: list[int], halting: str) -> None:
    given, drawn = (
        router(layers=3, steps=4, identity=2, halting={"kind": halting}),
        torch.Generator().manual_seed(0),
    )
    route_BTS = torch.randint(0, 5, (12, 7, 4), generator=drawn)
    if halting == "act":
        ended_BT1 = torch.randint(1, 5, (12, 7, 1), generator=drawn)
        route_BTS = torch.where(torch.arange(4) < ended_BT1, route_BTS, HALTED)
    probability = torch.rand(12, 7, 4, 5, generator=drawn).softmax(-1)
    tokens_BT, real_BT = (
        torch.randint(0, 257, (12, 7), generator=drawn),
        torch.rand(12, 7, generator=drawn) < 0.8,
    )
    whole, parts = (
        Tally(given.layer_pool, kinds(Bytes(), 257)),
        Tally(given.layer_pool, kinds(Bytes(), 257)),
    )
    whole.add(read(given, route_BTS, probability, flops=12_000), tokens_BT, real_BT)
    for part in torch.arange(12).split(sizes):
        parts.add(
            read(given, route_BTS[part], probability[part], flops=1000 * len(part)),
            tokens_BT[part],
            real_BT[part],
        )
    assert parts.values() == pytest.approx(whole.values(), rel=1e-12)
    exact = {name: value for name, value in whole.values().items() if "entropy" not in name}
    assert {name: parts.values()[name] for name in exact} == exact
    assert whole.values()["flops_per_token"] == 12_000 / (12 * 7)


def test_padding_counts_for_nothing_but_its_flops() -> None:
    given, text = router(), torch.tensor([[97, 32, 256]])
    tally, short = (
        Tally(given.layer_pool, kinds(Bytes(), 257)),
        Tally(given.layer_pool, kinds(Bytes(), 257)),
    )
    route_BTS = torch.tensor([[[0, 1, 2], [0, 2, 0], [1, 1, 1]]])
    tally.add(read(given, route_BTS, flops=30), text, torch.tensor([[True, True, False]]))
    short.add(read(given, route_BTS[:, :2], flops=20), text[:, :2])
    assert tally.values() == short.values()


def test_a_sequences_route_is_that_of_its_tokens_and_the_first_of_several_layers_counts() -> None:
    given = router(granularity="sequence", top=2)
    mixed = torch.tensor([[[0, 1]], [[1, 2]]])  # [B, 1, K] at each of three steps
    route = Route(mixed, torch.full((2, 1, 3), 1 / 3), torch.zeros(2, 1), Routing(*[NOTHING] * 5))
    reading = RouterOutput(
        torch.zeros(2, 4, 1), (), (), [route] * 3, torch.full((2, 4), 3.0), None, NOTHING, 0
    )
    assert routes(reading, (2, 4)).tolist() == [[[0, 0, 0]] * 4, [[1, 1, 1]] * 4]
    tally = Tally(given.layer_pool, kinds(Bytes(), 257))
    tally.add(reading, torch.full((2, 4), 97))
    found = tally.values()
    assert (found["route_1_1"], found["route_1_2"]) == (0.5, 0.5)
    assert found["route_entropy_1"] == pytest.approx(math.log(3))
    assert found["sequence_entropy"] == 0


def test_a_fixed_policy_keeps_its_order() -> None:
    given = router(policy="fixed", identity=0, steps=2)
    found = counted(
        given, torch.tensor([[[0, 1]] * 5]), probability_BTSE=torch.eye(2).expand(1, 5, 2, 2)
    )
    assert (found["order_kept"], found["order_distance"], found["route_entropy_1"]) == (1, 0, 0)
    assert (found["route_1_1"], found["route_2_2"], found["transition_1_2"]) == (1, 1, 1)


def test_one_step_has_no_transitions() -> None:
    found = counted(router(steps=1), torch.tensor([[[0], [2]]]))
    assert not [name for name in found if name.startswith("transition_")]
    assert found["order_kept"] == 0.5


def test_what_is_told_of_single_steps_and_layers_is_a_detail() -> None:
    found = counted(
        router(halting={"kind": "act"}), torch.tensor([[[0, 1, 2], [2, HALTED, HALTED]]]), "a1"
    )
    plain = {
        "identity_share",
        "sequence_entropy",
        "steps_mean",
        "order_kept",
        "order_distance",
        "flops_per_token",
    }
    assert {name for name in found if not is_detail(name)} == plain
    assert is_detail("loss_step_3")
    assert not is_detail("loss")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a", "letter"),
        (" the", "letter"),
        ("ß", "letter"),
        ("7", "digit"),
        ("42", "digit"),
        (" ", "space"),
        ("\t", "space"),
        ("  ", "space"),
        (".", "punctuation"),
        ("+", "punctuation"),
        ("\n", "newline"),
        ("\ufffd", "other"),
        ("\x07", "other"),
        ("", "other"),
        ("a1", "other"),
    ],
)
def test_kinds_of_tokens(text: str, kind: str) -> None:
    assert kind_of(text) == kind
    assert kind in KINDS


def test_bytes_beyond_ascii_ends_and_hidden_tokens_are_of_another_kind() -> None:
    kind_V = kinds(Bytes(), 258)
    assert [KINDS[kind_V[token]] for token in (ord("q"), 0xE2, 256, 257)] == [
        "letter",
        "other",
        "other",
        "other",
    ]


def test_an_excerpt_is_read_back_with_its_texts_steps_and_routes() -> None:
    given = router(halting={"kind": "act"})
    rows = [[*b"<b>\n", 256], [*"é".encode(), 257]]
    texts = texts_of(Bytes(), rows)
    assert texts == [["<", "b", ">", "\n", ""], ["\\xc3", "\\xa9", ""]]
    route_RTS = np.array([[[0, 1, 2]] * 3 + [[0, HALTED, HALTED]] * 2, [[2, 1, HALTED]] * 5])
    url = excerpt(given.layer_pool, texts, route_RTS)
    kind, _, content = url.partition(",")
    assert kind == "data:application/json"
    assert not set('<>"# \n') & set(content)
    told = json.loads(unquote(content))
    assert {name: told[name] for name in ("layers", "identity", "steps")} == {
        "layers": 2,
        "identity": 1,
        "steps": 3,
    }
    assert told["routes"] == [[1, 2, 3], [1], [3, 2]]
    assert told["rows"][0] == {
        "tokens": ["<", "b", ">", "\n", ""],
        "used": [3, 3, 3, 1, 1],
        "route": [0, 0, 0, 1, 1],
    }
    assert told["rows"][1] == {"tokens": texts[1], "used": [2, 2, 2], "route": [2, 2, 2]}


def test_an_excerpt_ends_after_some_hundred_bytes() -> None:
    texts = texts_of(Bytes(), [[97] * 256] * 9)
    assert [len(text) for text in texts] == [256, 256, BYTES - 512]
