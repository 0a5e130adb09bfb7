"""Plans and stores."""

from tests.run.conftest import make_plan, store

__all__ = ["make_plan", "store"]
