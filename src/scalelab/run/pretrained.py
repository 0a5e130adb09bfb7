"""Layers of a stored trial: which trial a spec means, whether its layers fit, and where they lie.

A plan rests on full digests: what a spec says in short is looked up in the store while it is
loaded, and planning itself opens none.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
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
from scalelab.spec.experiment import Trial
from scalelab.spec.load import load
from scalelab.store import TrialDetails, open_store

if TYPE_CHECKING:
    from scalelab.store.reader import Reader

MODEL = "model.pt"


class Giver(NamedTuple):
    """A finished plain transformer whose layers are asked for."""

    digest: str
    model: Transformer
    params: Mapping[str, int]
    place: str
    """Where the spec asks for it."""


class Givers(AbstractContextManager["Givers"]):
    """The trials of a store that give their layers, by their digests.

    The store is opened when the first one is looked up.
    """

    def __init__(self, store: str) -> None:
        self.by_digest: dict[str, Giver] = {}
        self._store = store
        self._stack = ExitStack()
        self._reader: Reader | None = None

    def resolve(self, prefix: str, place: str) -> str:
        """See `scalelab.spec.references.Resolve`. Raises UserError for a trial that has no layers
        to give.
        """
        if self._reader is None:
            if is_missing(self._store):
                raise UserError(
                    f"layers are taken from a trial, and there is no store {self._store}",
                    cure="train the plain transformer first, with the same `--store`",
                    where=place,
                )
            self._reader = self._stack.enter_context(open_store(self._store, mode="read"))
        giver = _giver(self._reader, prefix, place)
        return self.by_digest.setdefault(giver.digest, giver).digest

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def plan_spec(path: str | Path, settings: Sequence[str], store: str) -> Plan:
    """The plan of a spec file. Trials whose layers it takes are looked up in the store.

    Raises UserError.
    """
    with Givers(store) as givers:
        experiment, document = load(path, settings, resolve=givers.resolve)
    plan = compile_plan(experiment, document)
    for planned in plan.trials:
        fit(planned, givers.by_digest)
    return plan


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
def laid_out(stored: TrialDetails) -> Iterator[str | None]:
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
