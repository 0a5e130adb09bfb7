"""`generate`: what a trained model says."""

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scalelab.cli.options import (
    DEFAULT_DATA,
    DEFAULT_STORE,
    SEEDS,
    DataOption,
    JsonOption,
    StoreOption,
    count_option,
    number,
    print_json,
)
from scalelab.cli.showing import trial_json
from scalelab.core.canon import SHORT
from scalelab.core.errors import UserError, nearest
from scalelab.core.events import is_lower_better, is_pruned

if TYPE_CHECKING:
    import torch

    from scalelab.families.language_model import LanguageModel
    from scalelab.generate import Piece, Sampling
    from scalelab.spec.experiment import Trial
    from scalelab.store import Store, StoredTrial
    from scalelab.tasks.task import TaskData

_UNFIT_FOR_GAPS = {
    "--compile": "a model that fills gaps has no decoding step to compile",
    "--stop": "a model that fills gaps writes no text that could end before a string",
    "--no-cache": "a model that fills gaps reads the whole text each time, without a cache",
}
_UNFIT_FOR_ROUTERS = (
    "a router decides token by token which layers run, and that is no step to compile"
)
_FORMATS = {
    "\u200b",
    "\u200e",
    "\u200f",
    "\ufeff",
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2060, 0x206A)),
}
"""Characters that are not seen but change how others are shown, the order of writing among them."""


@dataclass(frozen=True)
class Wish:
    """What is asked of every model."""

    prompt: str | None
    tokens: int
    temperature: float | None
    sampling: dict[str, Any]
    stops: Sequence[str]
    samples: int
    cached: bool
    compiled: bool
    data: str

    def sampled(self, usual: float) -> "Sampling":
        """How tokens are chosen; `usual` is the temperature unless one was given."""
        from scalelab.generate import Sampling

        return Sampling(
            temperature=usual if self.temperature is None else self.temperature, **self.sampling
        )


def generate(
    digest: Annotated[
        str | None, typer.Argument(help="A finished trial's digest; the first digits are enough.")
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            help=(
                "The text to go on from, or with gaps to fill, each `[MASK]`; `-` reads it from"
                " standard input."
            ),
        ),
    ] = None,
    tokens: Annotated[int, count_option("--tokens", "Tokens to add at most.", most=10**9)] = 200,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            help=(
                "0 takes the likeliest token. Default: 0 where an answer is right or wrong, else 1."
            ),
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        count_option("--top-k", "Draw among the k likeliest tokens alone.", most=10**9),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            "--top-p", help="Draw among the likeliest tokens that reach this probability."
        ),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(
            "--min-p", help="Draw among tokens this many times as likely as the likeliest."
        ),
    ] = None,
    repetition_penalty: Annotated[
        float,
        typer.Option("--repetition-penalty", help="Above 1: tokens already there are less likely."),
    ] = 1.0,
    stop: Annotated[
        list[str] | None,
        typer.Option("--stop", help="End before this string (may be given several times)."),
    ] = None,
    seed: Annotated[int, count_option("--seed", "Seed of the draws.", least=0, most=SEEDS)] = 0,
    samples: Annotated[
        int,
        count_option("--samples", "Texts to draw, each from a stream of its own.", most=10_000),
    ] = 1,
    best_and_worst: Annotated[
        str | None,
        typer.Option(
            "--best-and-worst",
            help="Instead of DIGEST: the best and the worst trial of this experiment.",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="With --best-and-worst: what they are compared by."),
    ] = None,
    compiled: Annotated[
        bool,
        typer.Option("--compile", help="Compile the decoding step: slow to begin, then faster."),
    ] = False,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache", help="Read the whole text again for every token; says the same, slower."
        ),
    ] = False,
    data: DataOption = DEFAULT_DATA,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Let a trained model go on from a prompt; the text is shown token by token.

    One that was trained on masked text fills gaps instead: those of the prompt, or gaps of its own
    where it has none.
    """
    if digest is None and best_and_worst is None:
        raise UserError(
            "`generate` needs a trial, or an experiment with `--best-and-worst`",
            cure="name one of them",
        )
    if digest is not None and best_and_worst is not None:
        raise UserError("a trial and `--best-and-worst` are named", cure="keep one of them")
    if compiled and no_cache:
        raise UserError(
            "`--compile` compiles the step that reads the cache, and `--no-cache` has none",
            cure="leave one of them out",
        )
    filters: dict[str, Any] = {
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
    }
    text = sys.stdin.read() if prompt == "-" else prompt
    wish = Wish(
        text, tokens, temperature, filters, stop or [], samples, not no_cache, compiled, data
    )
    wish.sampled(1.0)  # a value out of range is said before a model is loaded
    shown = (
        _named(store, digest)
        if digest is not None
        else _extremes(store, best_and_worst or "", metric)
    )
    answers = [_answer(found, title, wish, store, as_json) for title, found in shown]
    if as_json:
        print_json({"trials": answers})


def _named(store: str, digest: str) -> "list[tuple[str, StoredTrial]]":
    from scalelab.store import open_store

    with open_store(store, mode="read") as opened:
        return [("", opened.trial(opened.find(digest)))]


def _extremes(store: str, experiment: str, metric: str | None) -> "list[tuple[str, StoredTrial]]":
    """The best and the worst trial that has come to an end and not diverged; one where there is
    only one.
    """
    from scalelab.store import open_store

    with open_store(store, mode="read") as opened:
        metric, ranked = _ranked(opened, experiment, metric, store)
        chosen = dict.fromkeys((ranked[0], ranked[-1]))
        names = ["best", "worst"] if len(chosen) > 1 else ["only finished"]
        found = [opened.trial(digest) for digest in chosen]
    titles = [
        f"{name}: {metric} {number(one.result.metrics[metric])}"
        for name, one in zip(names, found, strict=True)
    ]
    return list(zip(titles, found, strict=True))


def _ranked(
    opened: "Store", experiment: str, metric: str | None, store: str
) -> tuple[str, list[str]]:
    """The metric, and the digests of the trials that have it, the best first."""
    from scalelab.spec.experiment import Trial

    members = opened.members(experiment)
    ended = [
        (one, end.metrics)
        for one, state, end in members
        if state in ("done", "stopped") and not is_pruned(state, end.metrics)
        if one.origin == "run"
    ]
    if members and all(one.origin != "run" for one, _, _ in members):
        raise UserError(
            f"the trials of `{experiment}` are imported and have no models",
            cure="name an experiment that ran here",
            where=store,
        )
    if not ended:
        raise UserError(f"no trial of `{experiment}` is finished", cure="run it first", where=store)
    if metric is None:
        metric = Trial.model_validate(ended[0][0].trial).task.main_metric
    having = [(metrics[metric], record.digest) for record, metrics in ended if metric in metrics]
    if not having:
        known = sorted({name for _, metrics in ended for name in metrics})
        raise UserError(
            f"no finished trial of `{experiment}` has the metric `{metric}`",
            cure=nearest(metric, known),
            where=store,
        )
    return metric, [digest for _, digest in sorted(having, reverse=not is_lower_better(metric))]


def _answer(
    found: "StoredTrial", title: str, wish: Wish, store: str, as_json: bool
) -> dict[str, Any]:
    """Sample from one trial, onto the terminal unless JSON is wanted."""
    from scalelab.generate import Piece, compiled_step, fill, stream, whole
    from scalelab.spec.experiment import Trial
    from scalelab.tasks import vocabulary

    _refuse_imported(found, store)
    trial = Trial.model_validate(found.record.trial)
    _refuse_unfit(trial, wish, found.record.digest)
    model, data, device = loaded(trial, found, wish.data, store)
    words = vocabulary(data)
    prompt = words.example() if wish.prompt is None else wish.prompt
    if words.gap is not None:
        ids, sampling = words.encode(prompt), wish.sampled(0.0)
        samples = fill(
            model, words, ids, wish.samples, limit=wish.tokens, sampling=sampling, device=device
        )
        prompt = words.decode(ids)
        pieces = (Piece(lane, f"\n{one.text}", one.end) for lane, one in enumerate(samples))
    else:
        pieces = stream(
            model,
            words,
            [prompt] * wish.samples,
            limit=wish.tokens,
            sampling=wish.sampled(trial.task.temperature),
            stops=wish.stops,
            cached=wish.cached,
            step=compiled_step() if wish.compiled else None,
            device=device,
        )
        samples = whole(pieces, wish.samples) if as_json else []
    if as_json:
        experiments = ", ".join(found.experiments)
        return {
            **trial_json(experiments, found.record, found.result),
            "title": title,
            "prompt": prompt,
            "samples": [vars(one) for one in samples],
        }
    if title:
        axes = ", ".join(f"{path} {value}" for path, value in found.record.axes.items())
        print(f"== {title}, trial {found.record.digest[:SHORT]}" + (f", {axes}" if axes else ""))
    full = _tell(pieces, words.decode(words.encode(prompt)), wish.samples)
    if full:
        print(f"the model's context of {model.context:,} tokens is full", file=sys.stderr)
    return {}


def _refuse_unfit(trial: "Trial", wish: Wish, digest: str) -> None:
    """Raises UserError for an option that the trial's model can do nothing with."""
    given = {"--compile": wish.compiled, "--stop": bool(wish.stops), "--no-cache": not wish.cached}
    unfit = {} if trial.model.is_autoregressive else _UNFIT_FOR_GAPS
    if trial.model.compiles == "layers":
        unfit = {**unfit, "--compile": _UNFIT_FOR_ROUTERS}
    for option, why in unfit.items():
        if given[option]:
            cure, where = f"leave `{option}` out", f"trial {digest[:SHORT]}"
            raise UserError(why, cure=cure, where=where)


def _refuse_imported(found: "StoredTrial", store: str) -> None:
    """Raises UserError for a trial that came with a table."""
    if found.record.origin != "run":
        raise UserError(
            f"trial {found.record.digest[:SHORT]} is imported and has no model",
            cure="name a trial that ran here",
            where=store,
        )


def loaded(
    trial: "Trial", found: "StoredTrial", data: str, store: str
) -> "tuple[LanguageModel, TaskData, torch.device]":
    """The trained model of a stored trial, the data of its task, and the device that it is on.

    Raises UserError where there is none.
    """
    from scalelab.spec.execution import Execution
    from scalelab.tasks import build
    from scalelab.train.loading import load_model
    from scalelab.train.numerics import pick_device

    _refuse_imported(found, store)
    short, state = found.record.digest[:SHORT], found.result.state
    if state not in ("done", "stopped"):
        cure = (
            "its weights are no numbers; name another"
            if state == "diverged"
            else "name a finished trial of `scalelab ls`"
        )
        raise UserError(f"trial {short} is {state}", cure=cure, where=store)
    if "model" not in found.artifacts:
        raise UserError(
            f"the model of trial {short} was not kept",
            cure="run it into another store with `--artifacts`",
            where=store,
        )
    built, device = build(trial.task, data), pick_device(Execution())
    model = load_model(trial, found.artifacts, built.shape, device)
    return model, built, device


def _tell(pieces: "Iterable[Piece]", prompt: str, num: int) -> bool:
    """Show texts as they come: one after the other, the first that is not ended token by token.

    Whether one filled the context.
    """
    told, full = 0, False
    waiting, ended = [prompt] * num, [False] * num
    _begin(told, num)
    for piece in pieces:
        waiting[piece.lane] += piece.text
        ended[piece.lane], full = piece.end is not None, full or piece.end == "context"
        while told < num:
            _write(waiting[told])
            waiting[told] = ""
            if not ended[told]:
                break
            print()
            told += 1
            if told < num:
                _begin(told, num)
    return full


def _begin(told: int, num: int) -> None:
    if num > 1:
        print(f"-- sample {told + 1} of {num}")


def _write(text: str) -> None:
    sys.stdout.write(safe(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def safe(text: str) -> str:
    """What a terminal would take as a command, or show out of order, as its code."""
    return "".join(_escaped(one) if _is_unsafe(one) else one for one in text)


def _is_unsafe(one: str) -> bool:
    return one in _FORMATS or (unicodedata.category(one) == "Cc" and one not in "\n\t")


def _escaped(one: str) -> str:
    return f"\\x{ord(one):02x}" if ord(one) < 0x100 else f"\\u{ord(one):04x}"
