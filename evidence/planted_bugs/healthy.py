"""Healthy ports under diagnosis: whatever is found there is a false alarm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from evidence.planted_bugs.run import Case, Result, diagnosed
from harness.backends import backend_named
from harness.errors import HarnessError
from harness.methods import Backward, Method
from harness.methods import method as method_named
from harness.runner import chosen_input, suite_named

Extent = Literal["none", "quick", "catalogue"]
#: The name of the candidate, and of the mutant that it is not.
HEALTHY = "healthy port"
CANDIDATE = "torch"
#: That of `harness.diagnose`; what is doubtful in it is looked at in float64 as well.
DTYPE = "float32"


def healthy_cases(extent: Extent, models: Sequence[str], load: Any) -> Iterator[Case]:
    """The methods and models of the suite ``extent``, those of ``models`` alone where there are any.

    ``load(name)`` returns a model. Methods that do not apply to a model are left out; those of many runs come last,
    because one of them takes as long as many others.
    """
    if extent == "none":
        return
    suite = suite_named(extent)
    methods = sorted((method_named(name) for name in suite.methods), key=_of_many_runs)
    for model in (name for name in suite.models if not models or name in models):
        graph = load(model).graph
        for method in methods:
            try:
                method.check(graph)
            except HarnessError:
                continue
            if not backend_named(CANDIDATE).supports(method, graph):
                yield Case(HEALTHY, model, method.name, ())


def _of_many_runs(method: Method) -> bool:
    return not isinstance(method.procedure, Backward)


def run_healthy(case: Case, load: Any) -> Result:
    """Diagnose the healthy port."""
    model = load(case.model)
    return diagnosed(model, chosen_input(model, None)[0], case.method, backend_named(CANDIDATE), DTYPE)
