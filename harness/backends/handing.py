"""Arrays are handed to a backend, and taken from it, as copies: neither side can change what the other holds.

A candidate may overwrite its input, return it, or return the buffer that its next run writes to. Whoever in the
harness runs a backend or one of its steps does it through the calls here.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.arrays import is_frozen
from harness.backends.contract import capability
from harness.backends.protocol import Arrays, Model, OneRun, Prepared, Runs, Steps, Walks
from harness.backends.registry import is_installed
from harness.errors import InvalidInputError
from harness.graph import Graph, Layer
from harness.methods import Method
from harness.state import PUT_BACK, STATE, Watch

if TYPE_CHECKING:
    from harness.case import Case


#: Makes of an array that a backend gave one that it does not write to.
Copy = Callable[[np.ndarray], np.ndarray]


def run_on_copies(
    prepared: Prepared, case: Case, watched: Any = None, who: str = "the backend", share: bool = False
) -> Arrays:
    """`Prepared.run` on copies of the input and target of ``case``, which is resolved; ``who`` runs it, for errors.

    All arrays are new, every one of them computed by now; with ``share``, those that `Prepared` shares between runs are
    what it gave, where nobody can write to them. The facts say (`harness.state.STATE`) where the run has changed its
    input or, with the model that is ``watched``, anything of `harness.state.Watch`, which is put back whatever happens.
    Raises InvalidInputError for what are no `Arrays` of real numbers of the right shapes, by layers that there are, and
    what the backend raises.
    """
    assert case.target is not None
    given, asked = _copy(case.x), _copy(case.target)
    watch = None if watched is None else Watch(watched)
    copy = _own if share and watched is None and getattr(prepared, "shares", False) else _copy
    try:
        result = prepared.run(given, case.method, asked, case.layers)
        try:
            result = _whole(result, case, graph_of(prepared, case), copy)
        except InvalidInputError as error:
            raise InvalidInputError(f"{who}: {error}") from None
    finally:
        left = None if watch is None else watch.put_back()
    faults, notes = ([*left.faults], left.notes) if left else ([], ())
    if not np.array_equal(asked, case.target) or not np.array_equal(given, case.x):
        faults.insert(0, "its input")
    more = {}
    if faults:
        more[STATE] = f"leaves changed: {'; '.join(faults)}"
    if notes:
        more[PUT_BACK] = f"the run changed {'; '.join(notes)}, which was put back"
    return replace(result, facts={**result.facts, **more})


def logits_on_copies(
    prepared: Prepared, case: Case, watched: Any = None, who: str = "the backend"
) -> np.ndarray:
    """(batch, classes) of a ``case`` without a target: by the capability "logits", or else by a run for class 0."""
    alone = capability(prepared, "logits")
    if alone is None:
        zeros = np.zeros(len(case.x), np.int64)
        return run_on_copies(prepared, replace(case, target=zeros, layers=False), watched, who).logits
    watch = None if watched is None else Watch(watched)
    try:
        logits = _copy(np.asarray(alone.logits(_copy(case.x))))
    finally:
        if watch is not None:
            watch.put_back()
    _check("logits", logits, _logits_shape(case))
    return logits


def step_on_copies(
    steps: Steps, layer: Layer, inputs: tuple[np.ndarray, ...], relevance: np.ndarray, method: Method
) -> tuple[np.ndarray, ...]:
    """`Steps.step` on copies of ``inputs`` and ``relevance``; new arrays, zeros where nothing was returned.

    Raises what the backend raises.
    """
    shares = steps.step(layer, tuple(_copy(x) for x in inputs), _copy(relevance), method)
    return tuple(
        np.zeros(x.shape, relevance.dtype) if share is None else _copy(np.asarray(share))
        for x, share in zip(inputs, shares, strict=True)
    )


def unanswered(
    steps: Steps, layer: Layer, inputs: tuple[np.ndarray, ...], relevance: np.ndarray, method: Method
) -> tuple[int, ...]:
    """The places of the inputs of ``layer`` for which `Steps.step` returned nothing. Raises what the backend raises."""
    shares = steps.step(layer, tuple(_copy(x) for x in inputs), _copy(relevance), method)
    return tuple(place for place, share in enumerate(shares) if share is None)


def walk_on_copies(
    walks: Walks, activations: Mapping[str, np.ndarray], relevance: np.ndarray, method: Method
) -> dict[str, np.ndarray]:
    """`Walks.walk_back`, with copies of what could be written to. Raises what the backend raises."""
    given = {name: _own(values) for name, values in activations.items()}
    walked = walks.walk_back(given, _copy(relevance), method)
    return {name: _own(values) for name, values in walked.items()}


def runs_on_copies(runs: Runs, case: Case) -> Iterator[OneRun]:
    """`Runs.runs` on copies of the input and target of ``case``, which is resolved. Raises what the backend raises."""
    assert case.target is not None
    return runs.runs(_copy(case.x), case.method, _copy(case.target), case.layers)


def to_watch(backend: Any, model: Model) -> Model | None:
    """``model``, where ``backend`` is code that nobody here has tested and that runs in this process; else None."""
    return None if is_installed(backend) or getattr(backend, "runs_elsewhere", False) else model


def graph_of(prepared: Prepared, case: Case) -> Graph:
    """The graph that ``prepared`` runs: the model's, but for the torch side of a pair."""
    graph: Graph = getattr(prepared, "graph", None) or case.model.graph
    return graph


def _whole(result: Any, case: Case, graph: Graph, copy: Copy) -> Arrays:
    """What was returned, checked, in memory that no other run writes to."""
    if not isinstance(result, Arrays):
        raise InvalidInputError(f"run returned {type(result).__name__}, expected harness.backends.Arrays")
    attribution, logits = (
        _copied("attribution", result.attribution, copy),
        _copied("logits", result.logits, copy),
    )
    _check("attribution", attribution, case.x.shape)
    _check("logits", logits, _logits_shape(case))
    return replace(
        result,
        attribution=attribution,
        logits=logits,
        activations=_by_layer("activation", result.activations, graph, case, copy),
        relevances=_by_layer("relevance", result.relevances, graph, case, copy),
    )


def _by_layer(
    what: str, arrays: Mapping[str, np.ndarray], graph: Graph, case: Case, copy: Copy
) -> dict[str, np.ndarray]:
    """The arrays of ``arrays``, none where no layers were asked for."""
    known = [layer.name for layer in graph]
    checked = {}
    for name, array in arrays.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the layers are {', '.join(known)}"
            raise InvalidInputError(
                f"the {what} of {name!r} was returned, which is no layer of {graph.name}; {hint}"
            )
        checked[name] = _copied(f"{what} of {name!r}", array, copy)
        _check(f"{what} of {name!r}", checked[name], (len(case.x), *graph[name].shape))
    return checked if case.layers else {}


def _logits_shape(case: Case) -> tuple[int, ...]:
    return (len(case.x), *case.model.graph[case.model.graph.output].shape)


def _check(what: str, array: np.ndarray, expected: tuple[int, ...]) -> None:
    """Raise where ``array`` is not of real floating-point numbers, or of another shape than ``expected``."""
    if array.dtype.kind != "f":
        raise InvalidInputError(f"the {what} has dtype {array.dtype}, expected real floating-point numbers")
    if array.shape == expected:
        return
    first = array.ndim > 2 and np.moveaxis(array, 1, -1).shape == expected
    hint = "; it is channels-first: use numpy.moveaxis(array, 1, -1)" if first else ""
    raise InvalidInputError(
        f"the {what} has shape {array.shape}, expected {expected}, batch first and channels last{hint}"
    )


def _copied(what: str, array: Any, copy: Copy) -> np.ndarray:
    if not isinstance(array, np.ndarray):
        raise InvalidInputError(f"the {what} is a {type(array).__name__}, expected a NumPy array")
    return copy(array)


def _own(array: np.ndarray) -> np.ndarray:
    """``array`` where nobody can write to it, else a copy."""
    return array if is_frozen(array) else _copy(array)


def _copy(array: np.ndarray) -> np.ndarray:
    """``array`` in memory of its own, laid out as it was: sums over it are made in the same order."""
    return np.array(array, order="K", copy=True)
