"""Whether a peer is there to be tested against."""

from __future__ import annotations

import pytest

from harness.errors import PeerError
from harness.peers import python_of


def needs(name: str) -> None:
    """Skip the test, with the reason, where peer ``name`` is not installed."""
    try:
        python_of(name)
    except PeerError as error:
        pytest.skip(str(error))
