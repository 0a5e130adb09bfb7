"""The command line, plans and a PostgreSQL server, for tests that break what a run stands on."""

from tests.cli.conftest import command
from tests.run.conftest import inline, make_plan
from tests.store.conftest import idle_databases, new_database, postgres_server

__all__ = ["command", "idle_databases", "inline", "make_plan", "new_database", "postgres_server"]
