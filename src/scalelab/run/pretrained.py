"""Layers of a stored trial: which trial a spec means, whether its layers fit, and where they lie.

A plan rests on full digests: what a spec says in short is looked up in the store before it is
compiled.
"""

import copy
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from scalelab.core.canon import SHORT
from scalelab.core.errors import UserError
from scalelab.core.events import FINISHED
from scalelab.core.locations import child, file_system, is_missing
from scalelab.core.spec import Spec
from scalelab.families.transformer.spec import Transformer
from scalelab.plan.plan import Plan, PlannedTrial, compile_plan
from scalelab.spec.experiment import Experiment, Trial
from scalelab.spec.load import Document, Loc, check
from scalelab.store import StoredTrial, open_store

if TYPE_CHECKING:
    from scalelab.store.reader import Reader

PATH, MODEL = "model.pretrained.trial", "model.pt"


class Giver(NamedTuple):
    """A finished plain transformer whose layers are asked for."""

    digest: str
    model: Transformer
    params: Mapping[str, int]
    place: str
    """Where the spec asks for it."""


def compiled(experiment: Experiment, document: Document, store: str) -> Plan:
    """The plan of an experiment whose pre-trained layers, if it has any, are found in the store.

    Raises UserError.
    """
    resolved, givers = resolve(document, store)
    plan = compile_plan(check(resolved) if givers else experiment, resolved)
    for planned in plan.trials:
        fit(planned, givers)
    return plan


def resolve(document: Document, store: str) -> tuple[Document, dict[str, Giver]]:
    """A document with the full digest wherever it names a trial to take layers from, and these
    trials by their digests.

    A document that names none is given back as it is, and no store is opened. Raises UserError for
    a trial that has none to give.
    """
    found = Document(copy.deepcopy(document.data), document.places, document.path)
    named = list(_named(found.data, (), ""))
    if not named:
        return document, {}
    givers: dict[str, Giver] = {}
    _check_store(store, document.place(named[0][0]))
    with open_store(store, mode="read") as reader:
        for loc, within, key in named:
            giver = _giver(reader, within[key], document.place(loc))
            within[key] = giver.digest
            givers.setdefault(giver.digest, giver)
    return found, givers


def fit(planned: PlannedTrial, givers: Mapping[str, Giver]) -> None:
    """Check that the layers which a trial takes are those of its pool.

    Raises UserError with the first difference.
    """
    model = planned.trial.model
    if (weights := model.initial_weights) is None:
        return
    giver = givers[weights.trial]
    if (difference := weights.difference(giver.model)) is not None:
        ours, theirs = _shown(difference.wanted), _shown(difference.found)
        what = (
            f"the layers of {giver.digest[:SHORT]} are of another model: its `{difference.path}` is"
            f" {theirs}, and this trial's is {ours}"
        )
        raise UserError(
            what, cure="make the two alike, or take the layers of another trial", where=giver.place
        )
    mine = planned.params.groups
    for name, words in (("embedding", "tokens"), ("positions", "learned positions")):
        if mine[name] != giver.params[name]:
            assert isinstance(model.width, int)
            what = (
                f"{giver.digest[:SHORT]} knows {giver.params[name] // model.width:,} {words}, and"
                f" this trial {mine[name] // model.width:,}"
            )
            raise UserError(
                what, cure="take the layers of a trial with the same task", where=giver.place
            )


def taken(trial: Trial) -> str | None:
    """The digest of the trial whose layers this one begins with."""
    given = trial.model.initial_weights
    return None if given is None else given.trial


def expected(store: "Reader", trial: Trial) -> str | None:
    """The SHA-256 of the file whose layers a trial takes; None where it takes none, or where the
    store does not know it, as those of earlier versions.
    """
    giver = taken(trial)
    return None if giver is None else store.artifact(giver, "model_sha256")


def check_there(plan: Plan, store: str, folder: str) -> None:
    """Check that the layers which open trials take lie where workers look for them, in a folder
    below `folder`, and are those that their trials ended with. Raises UserError.
    """
    takers = [planned for planned in plan.trials if taken(planned.trial)]
    if not takers:
        return
    with open_store(store, mode="read") as reader:
        results = reader.results([planned.digest for planned in takers])
        givers = dict.fromkeys(
            taken(planned.trial)
            for planned in takers
            if results[planned.digest].as_planned not in FINISHED
        )
        hashes = {digest: reader.artifact(digest, "model_sha256") for digest in givers if digest}
    for digest, sha256 in hashes.items():
        _check_file(child(folder, f"{digest}/{MODEL}"), digest, sha256)


def _check_file(place: str, digest: str, sha256: str | None) -> None:
    """Raise UserError where the model of a trial is not at a place, or is another file. Stores of
    earlier versions know no hash.
    """
    files, path = file_system(place)
    short = digest[:SHORT]
    cure = (
        "name the folder of its artifacts with `--artifacts`, or train it again with another store"
    )
    if not files.exists(path):
        raise UserError(f"the layers of {short} are not there", cure=cure, where=place)
    if sha256 is None:
        return
    with files.open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise UserError(f"these are not the layers that {short} ended with", cure=cure, where=place)


@contextmanager
def laid_out(stored: StoredTrial) -> Iterator[str | None]:
    """A folder in which a stored trial can be trained once more: none (None), unless it begins with
    layers, which must lie beside it. The training proves them.
    """
    giver = taken(Trial.model_validate(stored.record.trial))
    if giver is None:
        yield None
        return
    root = stored.artifacts.get("model", "").rpartition(f"/{stored.record.digest}/")[0]
    place = child(root, f"{giver}/{MODEL}")
    with TemporaryDirectory() as folder:
        (Path(folder) / giver).mkdir()
        try:
            files, path = file_system(place)
            files.get_file(path, str(Path(folder) / giver / MODEL))
        except FileNotFoundError as error:
            what, cure = (
                f"the layers of {giver[:SHORT]}, with which it began, are not there",
                "train that trial again with the same store",
            )
            raise UserError(what, cure=cure, where=place) from error
        yield f"{folder}/{stored.record.digest}"


def _named(node: Any, loc: Loc, path: str) -> Iterator[tuple[Loc, Any, str | int]]:
    """Every place below a node where a trial is named: where it stands, what it stands in, and
    under which key.

    A key may be a whole path (of an axis, an arm, a searched field), and what is below it a list,
    or choices.
    """
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        below = f"{path}.{key}" if isinstance(node, dict) else path
        if isinstance(value, dict | list):
            yield from _named(value, (*loc, key), below)
        elif isinstance(value, str) and f".{PATH}." in f"{below}.":
            yield (*loc, key), node, key


def _check_store(store: str, place: str) -> None:
    if is_missing(store):
        cure = "train the plain transformer first, with the same `--store`"
        raise UserError(
            f"layers are taken from a trial, and there is no store {store}", cure=cure, where=place
        )


def _giver(reader: "Reader", prefix: str, place: str) -> Giver:
    try:
        stored = reader.trial(reader.find(prefix))
    except UserError as error:
        raise UserError(error.what, cure=error.cure, where=place) from error
    short, model = stored.record.digest[:SHORT], stored.record.trial.get("model", {})
    if model.get("kind", "transformer") != "transformer" or stored.record.origin != "run":
        what = (
            f"{short} is an imported trial"
            if stored.record.origin != "run"
            else f"the model of {short} is a `{model['kind']}`"
        )
        raise UserError(
            f"{what}, and layers are taken from a trained `transformer`",
            cure="name another trial",
            where=place,
        )
    if stored.result.as_planned not in ("done", "stopped"):
        what = f"the trial {short}, from which layers are taken, is {stored.result.as_planned}"
        raise UserError(
            what, cure="run its experiment to the end, or name a finished one", where=place
        )
    if "model" not in stored.artifacts:
        raise UserError(
            f"the trial {short} kept no model to take layers from",
            cure="train it again with another store",
            where=place,
        )
    return Giver(
        stored.record.digest, Transformer.model_validate(model), stored.record.params, place
    )


def _shown(value: Any) -> str:
    return f"`{getattr(value, 'kind', '')}`" if isinstance(value, Spec) else str(value)
