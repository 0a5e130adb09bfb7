"""Biographies say what their people are, their pieces are tagged exactly, and their sizes are those
of the text.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelab.core.errors import UserError
from scalelab.data.spec import Tiktoken
from scalelab.data.text.tokenizers import open_tokenizer
from scalelab.data.text.tokenizers.tiktoken import FOLDER
from scalelab.spec.experiment import Trial
from scalelab.tasks import build, describe
from scalelab.tasks.biography import pools
from scalelab.tasks.biography.data import BiographyData
from scalelab.tasks.biography.people import names, value
from scalelab.tasks.biography.spec import BioD, Biography
from scalelab.tasks.biography.templates import TEMPLATES
from scalelab.tasks.biography.tokens import DOMAIN, EOS

KINDS = ["bioS", "bioS_simple", "bioD"]
GPT2 = Path(os.environ.get("SCALELAB_TEST_DATA", "")) / "gpt2"
has_gpt2 = pytest.mark.skipif(
    "SCALELAB_TEST_DATA" not in os.environ,
    reason="SCALELAB_TEST_DATA names no folder with GPT-2's files",
)
TOKENS = ["words", "bytes", pytest.param("gpt2", marks=has_gpt2)]


@pytest.fixture(autouse=True)
def gpt2_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(GPT2))


def task(**given: Any) -> Biography:
    found = Trial.model_validate(
        {"budget": {"steps": 1}, "task": {"kind": "biography", **given}}
    ).task
    assert isinstance(found, Biography)
    return found


def data(**given: Any) -> BiographyData:
    return build(task(**given))


def name_of(person: int, world: int = 0) -> str:
    places = [int(place[0]) for place in names(np.array([person]), world)]
    return " ".join(
        pool[place]
        for pool, place in zip(
            (pools.FIRST_NAMES, pools.MIDDLE_NAMES, pools.LAST_NAMES), places, strict=True
        )
    )


def values_of(person: int, world: int = 0) -> dict[str, str]:
    """What bioS tells of a person, spelt out without the code that renders it."""
    place = {
        attribute: int(value(np.array([person]), attribute, world)[0])
        for attribute in pools.ATTRIBUTES
    }
    month, rest = divmod(place["birth_date"], 28 * 200)
    day, year = divmod(rest, 200)
    return {
        "birth_date": f"{pools.MONTHS[month]} {pools.DAYS[day]}, {pools.YEARS[year]}",
        "birth_city": pools.CITIES[place["birth_city"]],
        "university": pools.UNIVERSITIES[place["university"]],
        "major": pools.MAJORS[place["major"]],
        "employer": pools.EMPLOYERS[place["employer"]],
        "pronoun": pools.PRONOUNS[place["pronoun"]],
        "work_city": pools.CITIES[pools.SEATS[place["employer"]]],
    }


def texts(data: BiographyData) -> list[str]:
    probes = data.probes()
    return [
        data.tokenizer.decode(tokens[:length].tolist())
        for tokens, length in zip(probes.tokens_RT, probes.length_R.tolist(), strict=True)
    ]


def said(text: str, person: int, world: int = 0, templates: int = 50) -> list[tuple[str, int]]:
    """Attribute and template of each sentence of a biography; fails where a sentence is no
    template's, or not true of the person.
    """
    truth, found = values_of(person, world), []
    for index, sentence in enumerate(text.removeprefix(EOS).removeprefix(DOMAIN).split(". ")):
        subject = truth["pronoun"] if index else name_of(person, world)
        written = {
            f"{subject}{before}{truth[attribute]}{after}": (attribute, template)
            for attribute, pairs in TEMPLATES.items()
            for template, (before, after) in enumerate(pairs[:templates])
        }
        found.append(written[sentence.removesuffix(".") + "."])
    return found


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("kind", ["bioS", "bioS_simple"])
def test_a_biography_tells_every_value_of_its_person_once(kind: str, tokens: str) -> None:
    for person, text in enumerate(
        texts(data(people=80, text={"kind": kind}, tokens=tokens, world=3))
    ):
        attributes = [attribute for attribute, _ in said(text, person, world=3)]
        assert sorted(attributes) == sorted(TEMPLATES)
        assert attributes.index("employer") < attributes.index("work_city"), (
            "the city of work tells the employer"
        )


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("junk", [None, {"people": 10, "domain_token": True}])
def test_pieces_are_the_tokens_of_the_values(tokens: str, junk: Any) -> None:
    biographies = data(people=60, tokens=tokens, junk=junk)
    probes = biographies.probes()
    pieces = list(biographies.complexity().value_bits)
    assert pieces == list(pools.ATTRIBUTES)
    for person in range(60):
        truth, read = values_of(person), reader(biographies, person)
        assert read(probes.piece_RT == 1) == name_of(person)
        assert [read(probes.piece_RT == 2 + index) for index in range(len(pieces))] == [
            truth[piece] for piece in pieces
        ]
        assert np.array_equal(probes.first_RT[person], probes.piece_RT[person] >= 2)
        assert not probes.piece_RT[person, probes.length_R[person] - 1 :].any(), (
            "padding is no piece"
        )


def reader(biographies: BiographyData, person: int) -> Callable[[np.ndarray], str]:
    """Decodes the tokens of a probe that a mask over the next token chooses, which
    stand together.
    """
    tokens_T = biographies.probes().tokens_RT[person]

    def read(mask_RT: np.ndarray) -> str:
        at = np.flatnonzero(mask_RT[person]) + 1
        assert at[-1] - at[0] == len(at) - 1
        tokenizer = biographies.tokenizer
        text, begins = (
            tokenizer.decode(tokens_T[at].tolist()),
            tokens_T[at[0] - 1] in (tokenizer.eos, tokenizer.domain),
        )
        assert text.startswith(" ") == (tokenizer.opens and not begins)
        return text.removeprefix(" ")

    return read


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize(("chunks", "length"), [(1, 1), (3, 2)])
def test_bio_d_tells_strings_of_the_diversity_sets(tokens: str, chunks: int, length: int) -> None:
    text = {
        "kind": "bioD",
        "attributes": 7,
        "chunks": chunks,
        "length": length,
        "diversity": 12,
        "alphabet": 90,
    }
    biographies = data(people=200, text=text, tokens=tokens)
    probes, written = biographies.probes(), texts(biographies)
    told: list[set[str]] = [set() for _ in range(7)]
    orders = set()
    for person in range(200):
        matches = re.findall(r"(?:(\w+ \w+ \w+)'s|Their) ID (\d) is ([a-z, ]+)\.", written[person])
        assert matches[0][0] == name_of(person)
        assert sorted(match[1] for match in matches) == list("1234567")
        orders.add(tuple(match[1] for match in matches))
        read = reader(biographies, person)
        for _, attribute, said in matches:
            mine = probes.piece_RT == 1 + int(attribute)
            assert read(mine) == said
            assert read(mine & probes.first_RT) == said.split(", ")[0]
            told[int(attribute) - 1] |= set(said.split(", "))
            assert [len(chunk.split()) for chunk in said.split(", ")] == [length] * chunks
    assert len(orders) > 150
    # 200 people show each of 12 strings, but for a chance of 1e-6.
    assert [len(strings) for strings in told] == [12] * 7


@pytest.mark.parametrize("tokens", TOKENS[1:])
@pytest.mark.parametrize("kind", KINDS)
def test_all_tokens_write_the_same_text(kind: str, tokens: str) -> None:
    words, letters = (
        data(people=50, text={"kind": kind}, tokens=tokens) for tokens in ("words", tokens)
    )
    assert texts(words) == texts(letters)
    read = [
        biographies.tokenizer.decode(biographies.stream(1, 40).at(0)[:, 1:].ravel().tolist()).split(
            EOS
        )[:150]
        for biographies in (words, letters)
    ]
    assert len(read[0][0]) > 50
    # The blocks in which text is written hold other numbers of exposures, the text is one.
    shorter = min(map(len, read)) - 1
    assert read[0][:shorter] == read[1][:shorter]


@has_gpt2
@pytest.mark.parametrize("kind", KINDS)
def test_gpt2_would_encode_the_whole_text_as_its_pieces_are(kind: str) -> None:
    """No fragment ends inside of what the tokenizer takes as one word."""
    biographies = data(people=200, text={"kind": kind}, tokens="gpt2", junk={"domain_token": True})
    bpe, probes = open_tokenizer(Tiktoken()), biographies.probes()
    for tokens, length in zip(probes.tokens_RT, probes.length_R.tolist(), strict=True):
        assert tokens[:2].tolist() == [50256, 188]
        assert tokens[2:length].tolist() == bpe.encode(bpe.decode(tokens[2:length])).tolist()
    assert describe(biographies.task).vocab == 50257


@given(st.sampled_from(KINDS), st.integers(1, 60), st.integers(1, 60), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_person_i_is_the_same_for_every_number_of_people(
    kind: str, few: int, many: int, world: int
) -> None:
    few, many = sorted((few, many))
    assert (
        texts(data(people=few, text={"kind": kind}, world=world))
        == texts(data(people=many, text={"kind": kind}, world=world))[:few]
    )


def test_worlds_differ() -> None:
    assert not set(texts(data(people=50))) & set(texts(data(people=50, world=1)))


def test_these_are_the_first_people_on_every_machine() -> None:
    assert texts(data(people=1, tokens="bytes")) == [
        "<eos>Alnelle Rooking Dungate spent the student years at Becknock Technical Institute and"
        " made friends there. He wrote a thesis in Applied Medicine, as the exams show. He found a"
        " job with Edcombe Glass to this day. He went to nursery in Cranrath and visits it often."
        " He is based in Harttarrow, not far from the station. He has a birthday that goes back to"
        " November 25, 2061 according to the family."
    ]
    assert values_of(1) == {
        "birth_date": "April 14, 1913",
        "birth_city": "Cranbridge",
        "university": "Aldjarrow College",
        "major": "Applied Biology",
        "employer": "Orcombe Steel",
        "pronoun": "She",
        "work_city": "Lingtarrow",
    }


def test_complexity_names_the_constants() -> None:
    bios, sets = (
        data(people=10).complexity(),
        data(text={"kind": "bioD", "chunks": 3, "diversity": 8}).complexity(),
    )
    assert sum(bios.value_bits.values()) == pytest.approx(47.5916, abs=1e-4)
    assert bios.name_bits == pytest.approx(27.2535, abs=1e-4)
    assert (bios.people, bios.sets) == (10, None)
    assert sets.value_bits == {f"id_{k}": 9.0 for k in range(1, 6)}
    assert sets.sets == BioD(chunks=3, diversity=8)


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("junk", [None, {"useful": 0.25, "people": 40, "domain_token": True}])
def test_used_tokens_are_those_that_are_shown(kind: str, tokens: str, junk: Any) -> None:
    biographies = data(people=30, text={"kind": kind}, tokens=tokens, junk=junk)
    stream = biographies.stream(0, 256)
    shown = np.unique(np.concatenate([np.unique(stream.at(step)) for step in range(12)]))
    assert len(shown) == describe(biographies.task).used
    assert shown.max() < describe(biographies.task).vocab


def test_the_vocabulary_does_not_depend_on_the_people() -> None:
    assert (
        describe(task(people=1)).vocab
        == describe(task(people=5_000)).vocab
        == describe(task(text={"templates": 1})).vocab
    )
    assert describe(task(people=1)).used < 300 < describe(task(people=5_000)).used  # pyright: ignore[reportOptionalOperand]


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize(
    "text", [{"kind": "bioS"}, {"kind": "bioS_simple"}, {"kind": "bioD", "chunks": 3}]
)
def test_a_context_holds_the_longest_biography(text: dict[str, Any], tokens: str) -> None:
    with pytest.raises(UserError, match="hold the longest biography") as error:
        describe(task(context=20, text=text, tokens=tokens))
    longest = int(re.findall(r"context: (\d+)", str(error.value))[0])
    biographies = data(people=3_000, context=longest, text=text, tokens=tokens)
    found = int(biographies.probes().length_R.max())
    # Six sentences are seldom all at their longest, those of bioD always are: only names differ.
    slack = 0.2 * longest if text["kind"] != "bioD" else 0 if tokens == "words" else 12
    assert longest - slack <= found <= longest
    assert describe(biographies.task).context == describe(biographies.task).targets == longest - 1
    with pytest.raises(UserError, match=str(longest)):
        build(task(context=longest - 1, text=text, tokens=tokens))


def test_the_default_context_holds_bytes_too() -> None:
    assert describe(task(tokens="bytes", junk={"domain_token": True})).context == 511


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"tokens": "gpt2", "world": 9},
            (
                "nowhere/vocab.bpe: the tokenizer can't be read .no such file or directory.; name a"
                " folder .* SCALELAB_GPT2"
            ),
        ),
        ({"people": 160_000_001}, "at most 160,000,000"),
        ({"people": 100, "junk": {"people": "160M"}}, "at most 160,000,000, junk counted in"),
    ],
)
def test_what_cannot_be_is_an_error_with_a_cure(
    given: dict[str, Any], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, "nowhere")
    for ask in (describe, build):
        with pytest.raises(UserError, match=fault):
            ask(task(**given))


def test_probes_may_be_limited() -> None:
    biographies = data(people=40)
    few, all_of_them = biographies.probes(7), biographies.probes(100)
    assert len(few.tokens_RT) == 7
    assert len(all_of_them.tokens_RT) == 40
    width = few.tokens_RT.shape[1]
    assert np.array_equal(few.tokens_RT, all_of_them.tokens_RT[:7, :width])
    assert few.piece_RT.shape == few.first_RT.shape == (7, width - 1)
