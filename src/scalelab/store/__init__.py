"""The store: one SQLite file, or a PostgreSQL database, that holds every trial, curve and
environment.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from scalelab.core.errors import UserError
from scalelab.core.locations import is_url
from scalelab.store.records import (
    Attempt,
    Result,
    StoredExperiment,
    StoredTrial,
    TrialDetails,
    TrialRecord,
)

if TYPE_CHECKING:
    from scalelab.store.database import Mode
    from scalelab.store.patience import Patience
    from scalelab.store.store import Store

__all__ = [
    "Attempt",
    "Result",
    "StoredExperiment",
    "StoredTrial",
    "TrialDetails",
    "TrialRecord",
    "open_store",
    "store_exists",
]


def open_store(
    where: str | Path,
    *,
    mode: "Mode",
    clock: Callable[[], float] = time.time,
    patience: "Patience | None" = None,
) -> "Store":
    """Open the store at a path or a `postgresql://` URL; to write, it is made where there is none.

    `clock` gives seconds since the epoch. With `patience` a store that is away is waited for, here
    and wherever a store is `patient`; else for half a minute at most.

    Raises UserError where the place is no store, is missing (to read), is read-only (to write), is
    full, or belongs to a newer version.
    """
    from scalelab.store.opening import open_at  # SQLAlchemy, a third of a second

    return open_at(where, mode=mode, clock=clock, patience=patience)


def store_exists(where: str) -> bool:
    """Whether there is a store at a path or a `postgresql://` URL already."""
    if not is_url(where):
        return Path(where).exists()
    try:
        open_store(where, mode="read").close()
    except UserError:
        return False
    return True
