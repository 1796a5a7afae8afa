"""A planted bug: a faulty candidate, and the finding that a diagnosis owes for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.backends import Backend
from harness.diagnosis.causes import CAUSES
from harness.diagnosis.findings import Stage
from harness.errors import InvalidInputError
from harness.graph import Graph
from harness.methods import Method

#: The layers that a fault is put at, by canonical name, in forward order; empty where the network has none such.
Site = Callable[[Graph, Method], tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class Fault:
    """One thing done differently, and where it was put.

    ``stage``: None where the fault belongs to no one stage (noise that is drawn anew in every run). ``site``:
    where it was put; None where it belongs to the whole run. ``or_cause``: other names in
    `harness.diagnosis.causes` that are true of the same function. ``or_site``: layers that it cannot be told
    from where it was put: what is done to the input is done by whoever reads it. Raises InvalidInputError
    for a cause that does not exist.
    """

    cause: str
    site: Site | None
    stage: Stage | None = "rule"
    or_cause: tuple[str, ...] = ()
    or_site: Site | None = None

    def __post_init__(self) -> None:
        for cause in self.causes:
            if cause not in CAUSES:
                raise InvalidInputError(
                    f"a mutant expects the cause {cause!r}, which is none of harness.diagnosis.causes; "
                    f"there are: {', '.join(CAUSES)}"
                )

    @property
    def causes(self) -> tuple[str, ...]:
        """All right names, the first one first."""
        return (self.cause, *self.or_cause)

    def at(self, graph: Graph, method: Method) -> Expected:
        """The finding that is owed on this network."""
        layers = None if self.site is None else self.site(graph, method)
        instead = () if self.or_site is None else self.or_site(graph, method)
        return Expected(self.stage, layers, self.causes, instead)


@dataclass(frozen=True)
class Expected:
    """A finding that is owed.

    ``layers``: None where any layer, or none, is right. ``or_layers``: as right as ``layers``, where not empty.
    """

    stage: Stage | None
    layers: tuple[str, ...] | None
    causes: tuple[str, ...]
    or_layers: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Mutant:
    """A faulty candidate.

    ``what``: what it does differently, in words. ``faults``: what a diagnosis must find, no more and no
    less. ``build`` makes the candidate. ``methods`` and ``models``: names; a case for each pair in which every
    fault has a site; models are those of the zoo and of the folder's ``networks``. ``source``: who
    reports the bug. ``dtype``: of the comparison. ``hard``: small, or easily taken for something else.
    ``first_seen``: the candidate shows no steps of its own. ``x``: the input, (batch, *input shape), from the
    model; left out, the model's first examples.
    """

    name: str
    what: str
    faults: tuple[Fault, ...]
    build: Callable[[], Backend]
    methods: tuple[str, ...]
    models: tuple[str, ...]
    source: str
    dtype: str = "float64"
    hard: bool = False
    first_seen: bool = False
    x: Callable[[Any], np.ndarray] | None = None
