"""Arrays are handed to a backend, and taken from it, as copies: neither side can change what the other holds.

A candidate may overwrite its input, return it, or return the buffer that its next run writes to. Whoever in the
harness runs a backend or one of its steps does it through the two calls here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from harness.backends.protocol import Model, Prepared, Steps
from harness.backends.registry import is_installed
from harness.graph import Layer
from harness.methods import Method
from harness.state import PUT_BACK, STATE, Watch
from harness.trace.trace import Trace


def run_on_copies(
    prepared: Prepared,
    x: np.ndarray,
    method: Method,
    target: np.ndarray | None,
    layers: bool = True,
    watched: Any = None,
) -> Trace:
    """`Prepared.explain` on copies of ``x`` (batch, *input shape) and ``target`` (batch,).

    The trace is a new one, and all its arrays are, every one of them computed by now. Its provenance says
    (`harness.state.STATE`) where the run has changed its input or, with the model that is ``watched``, anything of
    `harness.state.Watch`, which is put back whatever happens. Raises TypeError and ValueError for what is no trace of
    real numbers of the right shapes, and what the backend raises.
    """
    given, asked = _copy(x), None if target is None else _copy(target)
    watch = None if watched is None else Watch(watched)
    try:
        found = _whole(prepared.explain(given, method, asked, layers), x)
    finally:
        left = None if watch is None else watch.put_back()
    faults, notes = ([*left.faults], left.notes) if left else ([], ())
    changed_target = target is not None and asked is not None and not np.array_equal(asked, target)
    if changed_target or not np.array_equal(given, x):
        faults.insert(0, "its input")
    if faults:
        found.provenance[STATE] = f"leaves changed: {'; '.join(faults)}"
    if notes:
        found.provenance[PUT_BACK] = f"the run changed {'; '.join(notes)}, which was put back"
    return found


def to_watch(backend: Any, model: Model) -> Model | None:
    """``model``, where ``backend`` is code that nobody here has tested and that runs in this process; else None."""
    return None if is_installed(backend) or getattr(backend, "runs_elsewhere", False) else model


def _whole(found: Any, x: np.ndarray) -> Trace:
    """What was returned, as a trace of its own."""
    if not isinstance(found, Trace):
        raise TypeError(f"explain returned {type(found).__name__}, expected harness.trace.Trace")
    found = replace(
        found,
        target=_copy(found.target),
        logits=_copy(found.logits),
        attribution=_copy(found.attribution),
        layers={
            name: replace(layer, activation=_copied(layer.activation), relevance=_copied(layer.relevance))
            for name, layer in found.layers.items()
        },
        provenance=dict(found.provenance),
    )
    if found.attribution.shape != x.shape:
        raise ValueError(
            f"the attribution has shape {found.attribution.shape}, expected the input's, {x.shape}"
        )
    shown = {"attribution": found.attribution, "logits": found.logits}
    for name, layer in found.layers.items():
        for kind, array in (("activation", layer.activation), ("relevance", layer.relevance)):
            if array is not None:
                shown[f"{kind} of {name!r}"] = array
    for what, array in shown.items():
        if array.dtype.kind != "f":
            raise TypeError(f"the {what} has dtype {array.dtype}, expected real floating-point numbers")
        if array.shape[:1] != x.shape[:1]:
            raise ValueError(
                f"the {what} has shape {array.shape}, expected {len(x)} samples on its first axis"
            )
    if found.target.shape != x.shape[:1] or found.target.dtype.kind not in "iu":
        raise ValueError(
            f"the target has dtype {found.target.dtype} and shape {found.target.shape}, expected one class a sample"
        )
    return found


def step_on_copies(
    steps: Steps, layer: Layer, inputs: tuple[np.ndarray, ...], relevance: np.ndarray, method: Method
) -> tuple[np.ndarray, ...]:
    """`Steps.propagate` on copies of ``inputs`` and ``relevance``; new arrays. Raises what the backend raises."""
    found = steps.propagate(layer, tuple(_copy(x) for x in inputs), _copy(relevance), method)
    return tuple(_copy(np.asarray(each)) for each in found)


def _copied(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else _copy(array)


def _copy(array: np.ndarray) -> np.ndarray:
    """``array`` in memory of its own, laid out as it was: sums over it are made in the same order."""
    return np.array(array, order="K", copy=True)
