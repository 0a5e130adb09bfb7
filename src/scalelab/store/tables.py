"""The tables of a store, schema version 4.

    experiments --< memberships >-- trials --< attempts >-- environments
    experiments --< fits            trials --< metrics, artifacts;   trials --- claims
    experiments --- sources;        properties

A trial's last metrics stand in its own row, its curves in `metrics`. Objects are kept as JSON text:
it reads the same on every database, and in SQL as `json_extract(params, '$.total')` or
`params::json`.
"""

import json
from typing import Any

from sqlalchemy import BigInteger, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import registry
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

from scalelab.core.jsonable import compact_json, from_word, with_words
from scalelab.core.locations import is_embedded
from scalelab.core.secrets import masked, masked_all


class Json(TypeDecorator[dict[str, Any]]):
    """An object as JSON text in the order of its keys."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: dict[str, Any] | None, dialect: Dialect) -> str | None:
        return None if value is None else compact_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> dict[str, Any] | None:
        return None if value is None else json.loads(value)


class Values(Json):
    """Metric values as JSON text.

    JSON has no NaN and no infinity, so these are written as words.
    """

    cache_ok = True

    def process_bind_param(self, value: dict[str, Any] | None, dialect: Dialect) -> str | None:
        return super().process_bind_param(with_words(value or {}), dialect)

    def process_result_value(self, value: str | None, dialect: Dialect) -> dict[str, Any] | None:
        return {name: from_word(number) for name, number in json.loads(value or "{}").items()}


class OpenJson(Json):
    """An object as JSON text, without the passwords and tokens that were in it."""

    cache_ok = True

    def process_bind_param(self, value: dict[str, Any] | None, dialect: Dialect) -> str | None:
        return super().process_bind_param(masked_all(value), dialect)

    def process_result_value(self, value: str | None, dialect: Dialect) -> dict[str, Any] | None:
        # Stores of older versions have them still.
        return masked_all(super().process_result_value(value, dialect))


class OpenText(TypeDecorator[str]):
    """Text, without the passwords and tokens that were in it; a `data:` URL is content, and stays
    as it is.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value if value is None or is_embedded(value) else masked(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        return self.process_bind_param(value, dialect)


class Base(SQLModel, registry=registry()):
    """Tables of the store have their own catalogue, so that other users of SQLModel don't meet
    them.
    """


class Experiments(Base, table=True):
    """One spec, by name."""

    name: str = Field(primary_key=True)
    spec: dict[str, Any] = Field(sa_type=OpenJson)
    created: float


class Sources(Base, table=True):
    """The spec file that an experiment was last written from (see `scalelab.store.sources`)."""

    experiment: str = Field(primary_key=True, foreign_key="experiments.name")
    path: str


class Properties(Base, table=True):
    """What the store says of itself, by name: which `FORMS` of secrets it was `cleaned` of; and the
    names of the drivers that use it now (see `scalelab.store.database`).
    """

    # One page of SQLite's, whose place is known: see `scalelab.store.sqlite`.
    __table_args__ = {"sqlite_with_rowid": False}

    name: str = Field(primary_key=True)
    value: str


class Trials(Base, table=True):
    """One resolved training run, its state, and its last metrics."""

    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(unique=True)
    identity: dict[str, Any] = Field(sa_type=Json)
    trial: dict[str, Any] = Field(sa_type=Json)
    seed: int = Field(sa_type=BigInteger)
    params: dict[str, Any] = Field(sa_type=Json)
    steps: int = Field(sa_type=BigInteger)
    tokens: int = Field(sa_type=BigInteger)
    exposures: float
    # A large run has more FLOPs than 64 bits count.
    flops: float
    origin: str
    extra: dict[str, Any] = Field(sa_type=Json)
    state: str
    step: int | None = Field(default=None, sa_type=BigInteger)
    seconds: float | None = None
    metrics: dict[str, Any] = Field(default_factory=dict, sa_type=Values)


class Memberships(Base, table=True):
    """A trial in an experiment, with the values of that experiment's axes."""

    experiment: str = Field(primary_key=True, foreign_key="experiments.name")
    trial: int = Field(primary_key=True, foreign_key="trials.id", index=True)
    position: int
    axes: dict[str, Any] = Field(sa_type=Json)
    replicate: int


class Environments(Base, table=True):
    """Code, packages and machine, once for all attempts that share them."""

    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(unique=True)
    data: dict[str, Any] = Field(sa_type=OpenJson)


class Attempts(Base, table=True):
    """One execution of a trial."""

    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(unique=True)
    trial: int = Field(foreign_key="trials.id", index=True)
    environment: int = Field(foreign_key="environments.id")
    owner: str
    numerics: dict[str, Any] = Field(sa_type=Json)
    state: str
    started: float
    ended: float | None = None
    resumed: int = Field(sa_type=BigInteger)
    step: int | None = Field(default=None, sa_type=BigInteger)
    seconds: float | None = None
    error: str = Field(default="", sa_type=OpenText)


class Metrics(Base, table=True):
    """One value of a curve. A NaN is NULL: SQLite has no other form for it."""

    # Clustered by its key in SQLite: a curve lies together, and no second index is kept.
    __table_args__ = {"sqlite_with_rowid": False}

    trial: int = Field(primary_key=True, foreign_key="trials.id")
    name: str = Field(primary_key=True)
    step: int = Field(primary_key=True, sa_type=BigInteger)
    value: float | None


class Artifacts(Base, table=True):
    """A file that a trial left, by path or URL."""

    trial: int = Field(primary_key=True, foreign_key="trials.id")
    name: str = Field(primary_key=True)
    place: str = Field(sa_type=OpenText)


class Claims(Base, table=True):
    """Who runs a trial, until when (seconds since the epoch).

    A claim past its time binds nobody.
    """

    trial: int = Field(primary_key=True, foreign_key="trials.id")
    owner: str = Field(index=True)
    until: float


class Fits(Base, table=True):
    """A law fitted to an experiment, with the draws behind its intervals."""

    key: str = Field(primary_key=True)
    experiment: str = Field(foreign_key="experiments.name", index=True)
    law: str
    created: float
    record: dict[str, Any] = Field(sa_type=Json)
    result: dict[str, Any] = Field(sa_type=Json)
    # An .npz file: thousands of floats, bit for bit.
    draws: bytes


METADATA = Base.metadata
