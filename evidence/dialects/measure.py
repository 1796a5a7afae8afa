"""What the readings of an idea come to on one network and input: runs of the reference, in float64."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from evidence.dialects.idea import Idea, Reading
from evidence.dialects.settings import Setting
from evidence.kept import key_of
from harness.backends import Backend, Model
from harness.case import Case
from harness.comparison import MULTIPLE, compare_arrays
from harness.engine import Store, engine, floor_of
from harness.errors import HarnessError
from harness.files import array_digest
from harness.graph import Graph
from harness.methods import Method, to_json
from harness.trace import Trace

DTYPE = "float64"
#: Whose code a figure depends on, beside that of the harness, the models and the readings.
_CODE = ("evidence.dialects.measure", "reference_impls")


@dataclass(frozen=True)
class Effect:
    """A reading's attribution held against that of the idea's first reading, over values finite in both.

    ``rel_l2``: norm of the difference over the norm of the first. ``pearson_r``. ``best_scale``: the factor
    on this reading that brings it nearest to the first. ``norm``: its norm over that of the first. ``sum``:
    of its finite values. ``not_finite``: how many are not. ``identical``: equal bit for bit. ``floor``: the
    noise floor of the first reading. None where undefined. ``error``: why there are no figures.
    """

    rel_l2: float | None = None
    pearson_r: float | None = None
    best_scale: float | None = None
    norm: float | None = None
    sum: float | None = None
    not_finite: int = 0
    identical: bool = False
    floor: float | None = None
    error: str = ""

    @property
    def same(self) -> bool:
        """Whether rounding explains the whole difference: within MULTIPLE floors, finite at the same places."""
        if self.identical:
            return True
        if self.rel_l2 is None or self.floor is None or self.not_finite:
            return False
        return self.rel_l2 <= MULTIPLE * self.floor


class Runner:
    """Runs of one backend on one network and input, each computed once (`harness.engine`)."""

    def __init__(self, model: Model, x: np.ndarray, backend: Backend) -> None:
        self.graph: Graph = model.graph
        self.x = x
        self._model, self._backend = model, backend
        self._target: np.ndarray | None = None

    def trace(
        self, method: Method, x: np.ndarray | None = None, own_target: bool = False, layers: bool = False
    ) -> Trace:
        """See `idea.Runs`."""
        target = None if own_target else self._target
        case = Case(self._model, self.x if x is None else x, method, target, DTYPE, layers)
        trace = engine().run(case, self._backend)
        if self._target is None and not own_target:
            self._target = trace.target
        return trace

    def attribution(self, reading: Reading) -> np.ndarray:
        """What ``reading`` explains the input with."""
        if reading.method is not None:
            return self.trace(reading.method).attribution
        assert callable(reading.how)
        return reading.how(self)

    def floor(self, reading: Reading) -> float:
        """The noise floor of the attribution of a reading that a method has."""
        assert reading.method is not None
        return floor_of(engine(), self.trace(reading.method)).of_attribution()


def effects(idea: Idea, runner: Runner) -> tuple[Effect, ...]:
    """One for each reading, in order. A reading that cannot be run has the reason in place of figures."""
    first = runner.attribution(idea.readings[0])
    floor = runner.floor(idea.readings[0])
    measured = []
    for reading in idea.readings:
        try:
            measured.append(effect(first, runner.attribution(reading), floor))
        except HarnessError as error:
            measured.append(Effect(error=str(error)))
    return tuple(measured)


def effect(first: np.ndarray, this: np.ndarray, floor: float) -> Effect:
    """``this`` compared with ``first``, two attributions of one shape."""
    distance, _, statistics = compare_arrays(first, this)
    both = np.isfinite(first) & np.isfinite(this)
    length = float(np.linalg.norm(first[both]))
    return Effect(
        rel_l2=_finite(distance.rel_l2),
        pearson_r=_finite(distance.pearson_r),
        best_scale=_finite(distance.best_scale),
        norm=float(np.linalg.norm(this[both])) / length if length else None,
        sum=_finite(statistics.sum) if np.isfinite(this).any() else None,
        not_finite=statistics.nan + statistics.inf,
        identical=distance.identical,
        floor=floor,
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


@dataclass(frozen=True)
class Subject:
    """One network and input: by name of the idea, the effects, and why there can be none (empty: there can)."""

    name: str
    what: str
    effects: Mapping[str, tuple[Effect, ...]]
    absent: Mapping[str, str]


def subject(
    setting: Setting,
    ideas: Sequence[Idea],
    backend: Backend,
    store: Store,
    progress: Callable[[str], None] = lambda line: None,
) -> Subject:
    """Measure ``ideas`` on one setting.

    Every idea's figures are kept in ``store``, and not computed again as long as model, input, readings, backend and
    code are the same. ``progress`` is called before each idea.
    """
    model, x = setting.load()
    runner: Runner | None = None
    by_idea: dict[str, tuple[Effect, ...]] = {}
    on = (model.digest, array_digest(x), backend.name, backend.version())
    for place, idea in enumerate(ideas, start=1):
        key = key_of("dialects", *on, [_what_runs(reading) for reading in idea.readings], code=_CODE)
        kept = store.get(key)
        progress(f"{setting.name}  {place}/{len(ideas)}  {idea.name}{'  (kept)' if kept else ''}")
        if kept is None:
            runner = runner or Runner(model, x, backend)
            kept = [asdict(each) for each in effects(idea, runner)]
            store.put(key, f"dialects: {setting.name} {idea.name}", kept)
        by_idea[idea.name] = tuple(Effect(**each) for each in kept)
    return Subject(
        setting.name, setting.what, by_idea, {idea.name: idea.absent(model.graph, x) for idea in ideas}
    )


def _what_runs(reading: Reading) -> Any:
    """What the figures of a reading depend on: its method without the name, or the code that puts it together."""
    if reading.method is not None:
        return to_json(replace(reading.method, name=""))
    module = inspect.getmodule(reading.how)
    assert module is not None and callable(reading.how)
    return [reading.how.__name__, inspect.getsource(module)]
