"""One right function on one network with one method: whatever a diagnosis finds there is a false alarm."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import harness
from evidence.functions.right import FUNCTIONS, LARGE, METHODS, SMALL, Right
from evidence.kept import key_of
from harness.engine import Store
from harness.errors import HarnessError, MethodDoesNotApplyError
from harness.methods import method as method_named
from harness.runner import chosen_input

MODELS = (*SMALL, *LARGE)
DTYPE = "float64"
#: Samples of the input.
SAMPLES = {**dict.fromkeys(SMALL, 2), **dict.fromkeys(LARGE, 1)}
CODE = ("evidence.functions", "ported_impls", "reference_impls")


@dataclass(frozen=True)
class Row:
    """``verdict`` of the comparison; ``found``: the sentences of the diagnosis, empty where there is no alarm."""

    function: str
    framework: str
    method: str
    model: str
    verdict: str
    found: str
    seconds: float

    @property
    def alarm(self) -> bool:
        return bool(self.found) or self.verdict not in ("identical", "equivalent")


def planned(models: Sequence[str] = MODELS) -> Iterator[tuple[Right, str, str]]:
    """Function, method and network, network by network."""
    for model in models:
        for method in METHODS:
            for right in FUNCTIONS:
                if method in right.methods and (not right.models or model in right.models):
                    yield right, method, model


def there(right: Right) -> bool:
    """Whether what the function needs is installed."""
    return not right.needs or importlib.util.find_spec(right.needs) is not None


def applies(method: str, model: Any) -> bool:
    try:
        method_named(method).check(model.graph)
    except MethodDoesNotApplyError:
        return False
    return True


def measured(right: Right, method: str, model: Any) -> Row:
    """Compared, and diagnosed."""
    start = time.perf_counter()
    backend = harness.backend_from_function(right.name, right.function, right.framework)
    x = input_of(model)
    try:
        reference = harness.explain(model, x, method, dtype=DTYPE)
        candidate = harness.explain(model, x, method, backend, target=reference.target, dtype=DTYPE)
        verdict = harness.compare(reference, candidate).verdict
        diagnosis = harness.diagnose(model, x, method, candidate=backend, dtype=DTYPE)
        findings = "; ".join(each.sentence for each in diagnosis.findings)
    except HarnessError as error:
        verdict, findings = "error", f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - start
    return Row(right.name, right.framework, method, model.name, verdict, findings, seconds)


def input_of(model: Any) -> np.ndarray:
    x: np.ndarray = chosen_input(model, None)[0]
    return x[: SAMPLES.get(model.name, 2)]


def rows(models: Sequence[str], store: Store, kept_only: bool = False) -> Iterator[Row | None]:
    """All of them; what was measured with the same code is not measured again.

    ``kept_only``: nothing is measured; None for what was not.
    """
    loaded: dict[str, Any] = {}
    for right, method, name in planned(models):
        if not there(right):
            continue
        if name not in loaded:
            loaded = {name: harness.load_model(name)}
        if not applies(method, loaded[name]):
            continue
        key = key_of("function", right.name, method, name, code=CODE)
        kept = store.get(key)
        if kept is None and kept_only:
            yield None
        elif kept is None:
            row = measured(right, method, loaded[name])
            store.put(key, f"function: {right.name} {method} {name}", asdict(row))
            yield row
        else:
            yield Row(**kept)
