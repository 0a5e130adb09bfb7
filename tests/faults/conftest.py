"""The command line, for tests that break what it runs on."""

from tests.cli.conftest import command

__all__ = ["command"]
