"""What a finding rests on: the data of both sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.graph import Layer
from harness.methods import Method
from harness.steps import Arrays


@dataclass(frozen=True, eq=False)
class Evidence:
    """The arrays of one finding, in canonical layout. ``dtype``: the one that the candidate computes in.

    ============ ========= ================================== ============================ ==================
    stage        layer     inputs                             relevance, target            observed, expected
    ============ ========= ================================== ============================ ==================
    rule         the layer its inputs                         that of its output           one array an input
    forward      the layer its inputs, the candidate's own    none                         the activation
    head         any       logits                             target: (batch,)             relevance of the
                                                                                           output
    postprocess  any       input, relevance of the input      none                         the attribution
    any          None      input                              none                         the attribution
    ============ ========= ================================== ============================ ==================

    ``observed`` is the candidate's, None for an edge that was not seen; ``expected`` the reference's. With
    no more than the last line has, the two attributions are compared as they are; for nondeterminism
    ``expected`` is the candidate's first run, ``observed`` its second.
    """

    method: Method
    dtype: str
    inputs: Arrays
    observed: tuple[np.ndarray | None, ...]
    expected: Arrays
    layer: Layer | None = None
    relevance: np.ndarray | None = None
    target: np.ndarray | None = None
