"""The capacity test, held against models whose bits are known: oracles that know everybody, or the
pools alone.
"""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import product

import pytest
import torch
from torch import Tensor

from scalelab.core.events import Interrupted
from scalelab.families import build as build_model
from scalelab.families.cost import Parameters, parameters
from scalelab.families.layout import PLAIN, Layout
from scalelab.families.transformer.spec import Transformer
from scalelab.spec.experiment import Trial
from scalelab.tasks import build, open_test
from scalelab.tasks.biography import pools
from scalelab.tasks.biography.data import BiographyData, Probes
from scalelab.tasks.biography.evaluate import SAMPLE, CapacityTest
from scalelab.tasks.biography.sentences import NAME, VALUE
from scalelab.tasks.biography.spec import BioD, Biography, Junk

Text = tuple[int, ...]
PARAMS = Parameters(total=2000, non_embedding=500, active=2000, groups={}, used=1000)
TASKS = {
    "words": Biography(people=40),
    "bytes": Biography(people=40, tokens="bytes", context=1024),
    "bioD": Biography(
        people=40, text=BioD(attributes=3, chunks=2, diversity=8, length=2, alphabet=9)
    ),
    "bioD, more strings than people": Biography(people=40, text=BioD(attributes=2, diversity=70)),
    "bioS_simple": Biography.model_validate({"people": 40, "text": {"kind": "bioS_simple"}}),
    "junk": Biography(people=40, junk=Junk(people=50, domain_token=True)),
}


@dataclass
class Oracle:
    """In the model's place: continues every text as the texts that it knows go on, each as likely
    as it is frequent.
    """

    known: dict[Text, Counter[int]]
    """How often each token follows each beginning."""
    vocab: int

    @classmethod
    def of(cls, texts: list[Text], vocab: int) -> "Oracle":
        known: dict[Text, Counter[int]] = defaultdict(Counter)
        for text in texts:
            for end in range(1, len(text)):
                known[text[:end]][text[end]] += 1
        return cls(known, vocab)

    def trunk(self, tokens_BT: Tensor, layout: Layout = PLAIN) -> Tensor:
        logits_BTV = torch.full((*tokens_BT.shape, self.vocab), -math.inf, dtype=torch.float64)
        for row, text in enumerate(tokens_BT.tolist()):
            for place in range(len(text)):
                for token, count in self.known.get(tuple(text[: place + 1]), {}).items():
                    logits_BTV[row, place, token] = math.log(count)
        return logits_BTV

    def head(self, x: Tensor) -> Tensor:
        return x


def texts_of(probes: Probes) -> list[Text]:
    return [
        tuple(row[:length])
        for row, length in zip(probes.tokens_RT.tolist(), probes.length_R.tolist(), strict=True)
    ]


def measured(data: BiographyData, model: Oracle) -> dict[str, float]:
    return CapacityTest(data, PARAMS).full(model)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_a_model_that_knows_everybody_has_learned_all_there_is(task: Biography) -> None:
    data = build(task)
    metrics = measured(data, Oracle.of(texts_of(data.probes()), data.shape.vocab))
    assert metrics["bits"] == pytest.approx(metrics["bits_max"], rel=1e-9)
    assert metrics["share"] == pytest.approx(1, rel=1e-9)
    assert metrics["name_nats"] == pytest.approx(math.log(40), rel=1e-9)
    assert metrics["value_nats"] == pytest.approx(0, abs=1e-9)
    assert metrics["recall"] == 1
    assert metrics["bits_per_param"] == metrics["bits"] / 1000
    assert metrics["bits_per_param_total"] == metrics["bits"] / 2000
    assert metrics.get("first_nats", 0) == pytest.approx(0, abs=1e-9)


@dataclass
class Guesser:
    """In the model's place: knows what kind of value comes next, and draws its tokens as a value
    from the pool would have them.
    """

    data: BiographyData
    values: dict[int, Oracle]
    """By piece."""

    def trunk(self, tokens_BT: Tensor, layout: Layout = PLAIN) -> Tensor:
        logits_BTV = torch.zeros(*tokens_BT.shape, self.data.shape.vocab, dtype=torch.float64)
        for row, pieces in enumerate(self.data.probes().piece_RT.tolist()):
            tokens = tokens_BT[row].tolist()
            for piece, oracle in self.values.items():
                inside = [place for place, found in enumerate(pieces) if found == piece]
                text = (0, *tokens[inside[0] + 1 : inside[-1] + 1])
                logits_BTV[row, inside] = oracle.trunk(torch.tensor([text]))[0]
        return logits_BTV

    def head(self, x: Tensor) -> Tensor:
        return x


def test_a_guess_from_the_pools_has_no_bits_of_values() -> None:
    data = build(Biography(people=20))
    dates = [
        f"{month} {day}, {year}"
        for month, day, year in product(pools.MONTHS, pools.DAYS, pools.YEARS)
    ]
    values = (
        dates,
        pools.CITIES,
        pools.UNIVERSITIES,
        pools.MAJORS,
        pools.EMPLOYERS,
        pools.PRONOUNS,
    )
    assert list(data.complexity().value_bits) == [
        "birth_date",
        "birth_city",
        "university",
        "major",
        "employer",
        "pronoun",
    ]
    oracles = {
        VALUE + place: Oracle.of(
            [(0, *data.tokenizer.encode(text)) for text in pool], data.shape.vocab
        )
        for place, pool in enumerate(values)
    }
    metrics = measured(data, Guesser(data, oracles))  # pyright: ignore[reportArgumentType]
    bits = sum(data.complexity().value_bits.values())
    assert metrics["value_nats"] == pytest.approx(bits * math.log(2), rel=1e-9)
    assert metrics["name_nats"] == pytest.approx(3 * math.log(data.shape.vocab), rel=1e-9)
    assert metrics["bits"] == pytest.approx(
        20 * (math.log2(1.6e8) - 3 * math.log2(data.shape.vocab)), rel=1e-9
    )
    assert metrics["recall"] < 0.2


def test_one_value_that_is_not_known_costs_its_bits_and_its_recall() -> None:
    data = build(Biography(people=30))
    probes = data.probes()
    texts = texts_of(probes)
    row, piece = 7, VALUE + 3
    inside = [place for place, found in enumerate(probes.piece_RT[row]) if found == piece]
    other = list(texts[row])
    other[inside[0] + 1] = next(
        token for token in range(2, data.shape.vocab) if token != other[inside[0] + 1]
    )
    # Three times as often as the truth: ln 4 nats, and never the likeliest.
    metrics = measured(data, Oracle.of([*texts, *(3 * [tuple(other)])], data.shape.vocab))
    everyone = measured(data, Oracle.of(texts, data.shape.vocab))
    assert metrics["value_nats"] == pytest.approx(math.log(4) / 30, rel=1e-9)
    assert metrics["recall"] == pytest.approx(1 - 1 / (30 * 6))
    assert everyone["name_nats"] < metrics["name_nats"]


def test_what_a_stop_and_a_search_may_watch_is_measured() -> None:
    for task in TASKS.values():
        trial = Trial.model_validate({"task": task.model_dump(), "budget": {"steps": 1}})
        model = Transformer(width=4, tied=True).resolved()
        data = build(task)
        test = open_test(
            trial.model_copy(update={"model": model}), data, torch.device("cpu"), lambda: False
        )
        net = build_model(model, data.shape.vocab, data.shape.context).initialise(0)
        net.train()
        quick, full = test.quick(net), test.full(net)
        assert net.training
        assert quick == full  # everybody is in the sample
        assert set(task.measures) == set(task.concludes) == full.keys() | {"loss"}
        assert ("first_nats" in full) == (task.text.kind == "bioD")
        assert full["bits"] / full["bits_per_param_total"] == pytest.approx(
            sum(weight.numel() for weight in net.parameters())
        )
        used = parameters(model, data.shape.vocab, data.shape.context, data.shape.used).used
        assert full["bits"] / full["bits_per_param"] == pytest.approx(used)


def test_while_a_model_trains_a_sample_is_scored() -> None:
    data = build(Biography(people=SAMPLE + 40))
    scored = list[int]()

    class Counting(Oracle):
        def trunk(self, tokens_BT: Tensor, layout: Layout = PLAIN) -> Tensor:
            scored.append(len(tokens_BT))
            return torch.zeros(*tokens_BT.shape, self.vocab, dtype=torch.float64)

    test = CapacityTest(data, PARAMS)
    quick = test.quick(Counting({}, data.shape.vocab))
    assert sum(scored) == SAMPLE
    full = test.full(Counting({}, data.shape.vocab))
    assert sum(scored) == 2 * SAMPLE + 40
    assert quick["bits"] == pytest.approx(
        full["bits"], rel=0.02
    )  # of everybody, from the sample's means
    assert quick["bits_max"] == full["bits_max"]


def test_a_test_that_is_asked_to_stop_stops_between_batches() -> None:
    data = build(TASKS["words"])
    oracle = Oracle.of(texts_of(data.probes()), data.shape.vocab)
    asked = list[int]()
    CapacityTest(data, PARAMS, stopping=lambda: bool(asked.append(1))).full(oracle)
    assert len(asked) == 2
    left = iter([False])
    with pytest.raises(Interrupted):
        CapacityTest(data, PARAMS, stopping=lambda: next(left, True)).full(oracle)


def test_pieces_of_a_probe_are_what_is_counted() -> None:
    data = build(TASKS["words"])
    probes = data.probes()
    row = 3
    told = {
        piece: data.tokenizer.decode(
            [
                token
                for token, found in zip(
                    probes.tokens_RT[row][1:], probes.piece_RT[row], strict=True
                )
                if found == piece
            ]
        )
        for piece in range(NAME, VALUE + 6)
    }
    assert told[NAME].split()[0] in pools.FIRST_NAMES
    assert told[VALUE + 1] in pools.CITIES
    assert told[VALUE + 2] in pools.UNIVERSITIES
    assert told[VALUE + 4] in pools.EMPLOYERS
    assert told[VALUE + 5] in pools.PRONOUNS
