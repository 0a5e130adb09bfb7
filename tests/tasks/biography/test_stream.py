"""The stream shows each person once a pass, says everything, and is cut into windows without loss:
a pure function of the step.
"""

import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelab.data.text.tokenizers.tiktoken import FOLDER
from scalelab.spec.experiment import Trial
from scalelab.tasks import build, describe
from scalelab.tasks.biography import pools
from scalelab.tasks.biography.data import BiographyData
from scalelab.tasks.biography.spec import Biography
from scalelab.tasks.biography.tokens import DOMAIN, EOS


def data(**given: Any) -> BiographyData:
    task = Trial.model_validate(
        {"budget": {"steps": 1}, "task": {"kind": "biography", **given}}
    ).task
    assert isinstance(task, Biography)
    return build(task)


def unpacked(windows_BT: np.ndarray) -> np.ndarray:
    """The tokens that windows in a row were cut from: each begins with the last one's
    last token.
    """
    assert np.array_equal(windows_BT[1:, 0], windows_BT[:-1, -1])
    return np.concatenate([windows_BT[0, :1], windows_BT[:, 1:].ravel()])


def shown(biographies: BiographyData, steps: int, *, useful: bool = True) -> list[str]:
    """The whole biographies in the useful (or junk) windows of the first updates."""
    stream = biographies.stream(5, 64)
    batches = [
        stream.at(step)[stream.is_useful(np.arange(64) + 64 * step) == useful]
        for step in range(steps)
    ]
    return biographies.tokenizer.decode(unpacked(np.concatenate(batches)).tolist()).split(EOS)[1:-1]


def name(text: str) -> str:
    """The first three words."""
    return " ".join(text.removeprefix(DOMAIN).removesuffix("'s").split(" ")[:3]).removesuffix("'s")


@pytest.mark.parametrize("kind", ["bioS", "bioS_simple", "bioD"])
@pytest.mark.parametrize("people", [1, 37, 300])
def test_everyone_is_shown_once_in_each_pass(kind: str, people: int) -> None:
    texts = shown(data(people=people, text={"kind": kind}, tokens="bytes"), 8)
    passes = [texts[start : start + people] for start in range(0, len(texts) - people, people)]
    assert len(passes) >= 2
    everyone = set(map(name, passes[0]))
    assert len(everyone) == people
    assert all(set(map(name, one)) == everyone for one in passes)
    orders = {tuple(map(name, one)) for one in passes}
    assert people == 1 or len(orders) == len(passes)


def test_templates_and_order_are_drawn_anew_at_each_exposure() -> None:
    texts = shown(data(people=5), 16)
    assert len(texts) > 5_000
    assert len(set(texts)) == len(texts)
    first = [text for text in texts if name(text) == name(texts[0])]
    # Each of the six sentences stands first, and with each of its fifty templates, about equally
    # often.
    openings = Counter(" ".join(text.split(". ")[0].split(" ")[3:6]) for text in first)
    assert len(openings) > 55
    cities = sum(text.index(" is employed by ") > 0 for text in first if " is employed by " in text)
    assert cities == pytest.approx(len(first) / 10, rel=0.5)


def test_bios_simple_never_changes_a_biography() -> None:
    biographies = data(people=20, text={"kind": "bioS_simple"})
    texts = set(shown(biographies, 4))
    assert len(texts) == 20
    probes = biographies.probes()
    assert {
        biographies.tokenizer.decode(row[1:length])
        for row, length in zip(probes.tokens_RT, probes.length_R, strict=True)
    } == texts


def test_few_templates_are_the_first_ones() -> None:
    one = {
        " ".join(text.split(". ")[0].split(" ")[3:5])
        for text in shown(data(people=30, text={"templates": 1}), 4)
    }
    assert one == {"was born", "studied at", "majored in", "works for", "works in"}


@given(
    st.integers(1, 400),
    st.integers(1, 70),
    st.lists(st.integers(0, 60), min_size=1, max_size=6),
    st.sampled_from([None, 0.125, 0.3, 0.9]),
    st.integers(0, 3),
)
@settings(max_examples=25, deadline=None)
def test_the_stream_is_a_pure_function_of_the_step(
    people: int, batch: int, steps: list[int], useful: float | None, seed: int
) -> None:
    biographies = data(
        people=people,
        context=120,
        junk=None if useful is None else {"useful": useful, "people": 1000},
    )
    asked = biographies.stream(seed, batch)
    seen = [asked.at(step) for step in steps]
    for step, windows in zip(steps, seen, strict=True):
        assert windows.shape == (batch, 120)
        assert np.array_equal(windows, biographies.stream(seed, batch).at(step))


GOLDEN = {
    ("bioS", "words"): "72dd9f553adf2d16",
    ("bioS", "bytes"): "498b0a52ca893b9d",
    ("bioS_simple", "words"): "c333a56ae93ede5a",
    ("bioD", "words"): "87a213458521ad05",
    ("bioS", "gpt2"): "3c18a576b8182ebd",
    ("bioD", "gpt2"): "c87db0871e618e8c",
}


@pytest.mark.parametrize(("kind", "tokens"), GOLDEN)
def test_the_text_is_this_on_every_machine(
    kind: str, tokens: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial's digest covers what is asked for: whoever changes a word, a pool or a draw raises
    `Biography.recipe` with it.
    """
    if tokens == "gpt2":
        if "SCALELAB_TEST_DATA" not in os.environ:
            pytest.skip("SCALELAB_TEST_DATA names no folder with GPT-2's files")
        monkeypatch.setenv(FOLDER, str(Path(os.environ["SCALELAB_TEST_DATA"]) / "gpt2"))
    windows = (
        data(
            people=500,
            text={"kind": kind},
            tokens=tokens,
            junk={"useful": 0.5, "domain_token": True},
        )
        .stream(7, 16)
        .at(9)
    )
    assert hashlib.sha256(windows.astype("<u2").tobytes()).hexdigest()[:16] == GOLDEN[kind, tokens]


def test_another_seed_is_another_order_of_the_same_people() -> None:
    biographies = data(people=50)
    one, other = (biographies.stream(seed, 8).at(0) for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_a_batch_is_as_many_windows_of_one_text_whatever_its_size() -> None:
    biographies = data(people=200, junk={"useful": 0.3, "people": 10_000})
    large = biographies.stream(0, 96).at(0)
    stream = biographies.stream(0, 8)
    assert np.array_equal(np.concatenate([stream.at(step) for step in range(12)]), large)


def test_far_ahead_is_what_comes_there_step_by_step() -> None:
    """More than a dozen blocks of text on: the count of lengths agrees with the text that is
    written.
    """
    biographies = data(people=1_000, tokens="bytes")
    walking, jumping = biographies.stream(0, 256), biographies.stream(0, 256)
    walked = [walking.at(step) for step in range(30)]
    assert np.array_equal(jumping.at(29), walked[29])
    assert np.array_equal(jumping.at(3), walked[3])


@pytest.mark.parametrize("useful", [0.125, 0.3, 0.5, 0.9])
def test_windows_are_all_useful_or_all_junk_in_the_share_asked_for(useful: float) -> None:
    biographies = data(people=40, tokens="bytes", junk={"useful": useful, "people": 50})
    stream = biographies.stream(0, 64)
    told = stream.is_useful(np.arange(64 * 40))
    assert told.mean() == pytest.approx(useful, abs=1e-3)
    # Evenly spread: every stretch of windows has its share.
    assert abs(np.cumsum(told) - useful * np.arange(1, len(told) + 1)).max() <= 1
    ours, theirs = (set(map(name, shown(biographies, 24, useful=which))) for which in (True, False))
    assert (len(ours), len(theirs)) == (40, 50)
    assert not ours & theirs


@pytest.mark.parametrize("marked", [True, False])
def test_the_domain_token_stands_before_every_useful_biography_and_no_other(marked: bool) -> None:
    biographies = data(
        people=40, tokens="bytes", junk={"useful": 0.5, "people": "100M", "domain_token": marked}
    )
    ours, theirs = (shown(biographies, 8, useful=which) for which in (True, False))
    assert all(text.startswith(DOMAIN) == marked for text in ours)
    assert not any(DOMAIN in text for text in theirs)
    probes = biographies.probes(5)
    assert (probes.tokens_RT[:, 0] == biographies.tokenizer.eos).all()
    assert bool((probes.tokens_RT[:, 1] == biographies.tokenizer.domain).all()) == marked
    assert len(set(map(name, theirs))) == len(theirs), "of so many people hardly one comes twice"


@pytest.mark.parametrize("tokens", ["words", "bytes"])
@pytest.mark.parametrize("kind", ["bioS", "bioS_simple", "bioD"])
@pytest.mark.parametrize("useful", [None, 0.5])
def test_expected_windows_of_an_exposure_are_those_of_the_text(
    kind: str, tokens: str, useful: float | None
) -> None:
    biographies = data(
        people=150,
        text={"kind": kind},
        tokens=tokens,
        junk=None if useful is None else {"useful": useful, "people": 9},
    )
    shape = describe(biographies.task)
    stream, batch, steps = biographies.stream(0, 512), 512, 8
    windows = np.concatenate([stream.at(step) for step in range(steps)])[
        stream.is_useful(np.arange(steps * batch))
    ]
    starts = int((windows[:, 1:] == biographies.tokenizer.eos).sum())
    # Templates are drawn: the mean length of a biography has a standard error of about 6 tokens of
    # 72 by the root of their number.
    exposures = steps * batch / shape.sequences
    assert (starts + 1) / 150 == pytest.approx(
        exposures, rel=5 * 0.08 / np.sqrt(starts) + 1 / starts
    )
    assert shape.mean_tokens == shape.context == 511
    assert shape.facts == 150 * (5 if kind == "bioD" else 6)


def test_the_first_people_stand_for_very_many() -> None:
    many, more = (describe(data(people=people).task) for people in (65_536, 10_000_000))
    assert many.sequences / 65_536 == pytest.approx(more.sequences / 10_000_000, rel=1e-12)
    assert many.used == more.used == many.vocab - 1  # no domain token


def test_seen_and_junk_people_are_from_the_two_ends_of_all_names() -> None:
    biographies = data(people=3, junk={"useful": 0.5, "people": pools.NAMES - 3})
    assert len(biographies.stream(0, 4).at(0)) == 4
