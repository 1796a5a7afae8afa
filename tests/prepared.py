"""A backend made ready, as the harness runs it: whole cases come back as traces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from harness.case import Case
from harness.engine import Engine
from harness.methods import Method
from harness.trace import Trace


class Ready:
    """What ``backend`` prepared, with :meth:`explain`; every other call is the prepared object's own."""

    def __init__(self, backend: Any, model: Any, dtype: str) -> None:
        self._backend, self._model, self._dtype = backend, model, dtype
        self._engine = Engine()
        self.prepared = self._engine.prepared(model, backend, dtype)

    def explain(self, x: Any, method: Method, target: Any = None, layers: bool = True) -> Trace:
        """The trace of a case, computed anew, without what the harness could ask for more by."""
        chosen = None if target is None else np.asarray(target)
        case = Case(self._model, np.asarray(x), method, chosen, self._dtype, layers)
        trace = self._engine.run(case, self._backend, again=True, keep=False)
        return replace(trace, case=None, executed_by=None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.prepared, name)


def ready(backend: Any, model: Any, dtype: str = "float64") -> Ready:
    """``backend`` for ``model``."""
    return Ready(backend, model, dtype)
