"""What a run does when its database is away: it waits, within a bound, and does again what it was
at.

A method that waits is done again as a whole. It is one transaction, or writes that may come twice:
where a connection breaks at COMMIT, nobody can tell whether the transaction happened.
"""

import time
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from scalelab.core.errors import UserError
from scalelab.core.units import format_seconds

if TYPE_CHECKING:
    from scalelab.store.database import Database

PAUSE_S = 0.25
"""Between two tries."""

P = ParamSpec("P")
T = TypeVar("T")


class Away(UserError):
    """The database does not answer, and may again: another process holds it, a server restarts."""


class Lost(UserError):
    """The store is no longer there: its file or its tables are gone, or are no longer ours."""


class Patience:
    """Waits for a database that is away."""

    def __init__(
        self, bound_s: float, say: Callable[[str], None], *, hurried: Callable[[], bool]
    ) -> None:
        """No more than `bound_s` on end, and no longer once `hurried()`; `say` tells the user."""
        self._bound_s, self._say, self._hurried = bound_s, say, hurried
        self._over = False

    def through(self, action: Callable[[], T]) -> T:
        """Do it, if need be again. Raises Away where the database stays away; from then on nothing
        is waited for.
        """
        began, said = time.monotonic(), False
        while True:
            try:
                return action()
            except Away as away:
                waited = time.monotonic() - began
                self._over = self._over or waited >= self._bound_s or self._hurried()
                if self._over:
                    what = f"{away.what}, and the run has waited for {format_seconds(waited)}"
                    cure = f"{away.cure}, and run the same command again: it goes on from here"
                    raise Away(what, cure=cure, where=away.where) from away
                if not said:
                    bound = format_seconds(self._bound_s)
                    self._say(f"{away.where}: {away.what}; the run waits for it, up to {bound}")
                    said = True
            time.sleep(PAUSE_S)


class Waiting(Protocol):
    """What has a database: a store."""

    database: "Database"


S = TypeVar("S", bound=Waiting)


def patient(
    function: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[S, P], T]:
    """The function of a store as one that waits for its database during a run; at other times it
    is as it was.
    """

    @wraps(function)
    def waiting(store: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return store.database.patiently(lambda: function(store, *args, **kwargs))

    return waiting
