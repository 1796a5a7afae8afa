"""The command line, as the tests of the harness call it."""

from tests.harness.conftest import call as call_here

__all__ = ["call_here"]
