"""What a translated layer becomes: one or more layers of the neutral graph, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.graph import Graph


@dataclass(frozen=True, eq=False)
class Step:
    """One layer to be: its kind, attributes and weights as in :class:`harness.graph.Layer`.

    ``reads``: the tensors that it reads, by number: those that the translated layer reads come first, then what the
    steps before this one made. None: the tensor made last, or all that the translated layer reads.
    """

    kind: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    reads: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Use:
    """One use of a module of the source: the layer it became, and how its output lies.

    ``order``: axis i of what the module returns is axis ``order[i]`` of the layer's output.
    """

    path: str
    layer: str
    order: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Reading:
    """A source read as a graph.

    ``origins``: by canonical name, the name or path that the layer has in the source; layers that share
    weights have the same origin. ``removed``: the ending that the graph no longer has
    (`ported_models.endings`). ``notes``: sentences about what was read otherwise than it
    stands in the source. ``output_order``: which axis of the output layer each axis of the source's own
    output is (a torch module may return its features last), None where they are the same. ``input_order``: the same of
    the source's own input and the input layer. ``chosen``: which of the source's outputs the graph ends
    in, where it has several.
    """

    graph: Graph
    origins: Mapping[str, str]
    removed: str | None = None
    notes: tuple[str, ...] = ()
    output_order: tuple[int, ...] | None = None
    uses: tuple[Use, ...] = ()
    input_order: tuple[int, ...] | None = None
    chosen: str | int | None = None
