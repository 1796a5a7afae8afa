"""What both twins of a network of several inputs ask of those that they are given by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import InvalidInputError
from harness.graph import Graph


def check_names(graph: Graph, given: Mapping[str, Any]) -> None:
    """Raise InvalidInputError unless ``given`` has the inputs of ``graph`` and no others, in any order."""
    names = [each.name for each in graph.inputs]
    if set(given) != set(names):
        raise InvalidInputError(
            f"the twin of {graph.name} is given {', '.join(map(repr, given)) or 'nothing'}, "
            f"expected {', '.join(map(repr, names)) or 'one tensor'}"
        )
