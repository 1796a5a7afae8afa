"""`analyse`: one run of one method, taken apart step by step from the output to the input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from harness.api import as_model
from harness.backends import ORACLE, Backend, Steps, backend_named, defaults_of, required, step_on_copies
from harness.case import Case
from harness.comparison.summation import longest_sum
from harness.divisions import Arrays, Dividing
from harness.engine import engine, require_support
from harness.errors import InvalidInputError
from harness.graph import Graph, Layer, Walk
from harness.methods import GRADIENT, Backward, Method
from harness.methods import method as method_named
from harness.stability import origin
from harness.stability.arrays import all_finite, by_sample, counts_of, magnitude
from harness.stability.at_input import at_input
from harness.stability.condition import condition_of
from harness.stability.denominators import denominators_of
from harness.stability.figures import LayerStability, LedgerEntry, Origin
from harness.stability.forms import FormRuns
from harness.stability.ledger import absorbed_by, samples
from harness.stability.result import Stability
from harness.trace import Trace


def analyse(
    model: Any,
    x: Any,
    method: str | Method,
    backend: str | Backend | None = None,
    target: Any = None,
    dtype: str = "float32",
    stabilizers: bool = True,
    epsilon: float = 0.1,
    progress: Callable[[str], None] = lambda layer: None,
) -> Stability:
    """Where the relevance of a run becomes extreme or NaN, and why.

    ``model``, ``x``, ``method``, ``target``, ``dtype``: as for `harness.explain`. ``backend``: None for the reference
    of the method's family. ``stabilizers``: also try the three stabilizer forms with ``epsilon``, the time of three
    more runs. ``progress``: what comes next.

    Raises InvalidInputError for a method that is not one backward run of one relevance, a backend that gives no single
    steps, an epsilon that is not above 0, and what `harness.explain` raises.
    """
    resolved = method_named(method)
    chosen = backend_named(defaults_of(resolved).reference if backend is None else backend)
    case = Case.checked(as_model(model), x, resolved, target, dtype)
    model = case.model
    _require_one_run(resolved)
    if not 0 < epsilon < np.inf:
        raise InvalidInputError(f"epsilon must be above 0 and finite, found {epsilon:g}")
    require_support(chosen, case)
    steps = required(engine().prepared(model, chosen, dtype), "steps", chosen)
    progress("the run itself")
    trace = engine().run(case, chosen)
    exact: Steps = engine().oracle(model, resolved, "steps")
    dividing: Dividing = engine().oracle(model, resolved, "denominators")
    run = _Run(model.graph, resolved, steps, exact, dividing, trace, dtype)
    forms = run.form_runs(epsilon) if stabilizers else None
    rows, entries = [], []
    for layer in model.graph.backward():
        if not layer.inputs:
            continue
        progress(layer.name)
        row, of_layer = run.step(layer, forms)
        rows.append(row)
        entries.extend(of_layer)
    entries.extend(run.arrived())
    progress("the gradient")
    relevance = run.relevance(model.graph.input.name)
    of_one = replace(
        case.in_dtype("float64"), method=Method("gradient", GRADIENT, "one"), target=trace.target
    )
    gradient = engine().run(replace(of_one, layers=False), backend_named(ORACLE)).attribution_array
    return Stability(
        model=model.name,
        method=resolved,
        backend=chosen.name,
        dtype=dtype,
        target=tuple(int(each) for each in trace.target),
        terms=longest_sum(model.graph),
        layers=tuple(rows),
        ledger=tuple(entries),
        origin=run.origin,
        input=at_input(case.x, gradient, relevance, model.graph.input.axes),
        forms=forms.results(relevance) if forms else None,
    )


def _require_one_run(method: Method) -> None:
    if not isinstance(method.procedure, Backward):
        raise InvalidInputError(
            f"{method.name} is no single backward run ({type(method.procedure).__name__}): its layers hold what is "
            "made of several runs, or of none, so no step can be taken apart; analyse the method it is built from"
        )
    if not method.stepwise:
        raise InvalidInputError(
            f"{method.name} carries two relevances, parts of which change places at every layer: neither is conserved, "
            "and a ledger of one says nothing; analyse backtrace.default"
        )


class _Run:
    """One run, with what has been handed down so far."""

    def __init__(
        self,
        graph: Graph,
        method: Method,
        steps: Steps,
        exact: Steps,
        dividing: Dividing,
        trace: Trace,
        dtype: str,
    ) -> None:
        self._graph, self._method, self._steps = graph, method, steps
        self._exact, self._dividing = exact, dividing
        self._trace, self._dtype = trace, dtype
        self._rules = method.composite.assign(graph)
        # What has been passed down, (batch,): added up as it was passed, so that what rectifying takes off shows.
        with np.errstate(all="ignore"):
            self._passed = Walk(graph, by_sample(self.relevance(graph.output)))
        self.origin: Origin | None = origin.before_any_step(graph, trace.layers)

    def form_runs(self, epsilon: float) -> FormRuns:
        start = self.relevance(self._graph.output)
        return FormRuns(self._graph, self._method, self._exact, start, self._dtype, epsilon)

    def relevance(self, name: str) -> np.ndarray:
        return np.asarray(self._trace.layers[name].relevance)

    @np.errstate(all="ignore")
    def arrived(self) -> list[LedgerEntry]:
        """The last entries of the ledger: what arrived at the input."""
        name = self._graph.input.name
        received = by_sample(self.relevance(name))
        joined = received - self._passed.received(self._graph.input)
        return [
            LedgerEntry(name, sample, float(each), float(each), joined=float(joined[sample]))
            for sample, each in enumerate(received)
        ]

    # What is not finite is counted, and its origin named; a warning would only repeat it.
    @np.errstate(all="ignore")
    def step(self, layer: Layer, forms: FormRuns | None) -> tuple[LayerStability, list[LedgerEntry]]:
        """Everything about the step of one layer; its arrays are let go of before the next."""
        inputs = tuple(np.asarray(self._trace.layers[name].activation) for name in layer.inputs)
        relevance = self.relevance(layer.name)
        passed = step_on_copies(self._steps, layer, inputs, relevance, self._method)
        exact_inputs: Arrays = tuple(x.astype(np.float64) for x in inputs)
        exact_relevance = relevance.astype(np.float64)
        stages = self._dividing.divisions(layer, exact_inputs, self._method)
        if self.origin is None and np.isfinite(relevance).all() and not all_finite(passed):
            activation = np.asarray(self._trace.layers[layer.name].activation)
            self.origin = origin.of_step(layer, stages, exact_relevance, activation, self._dtype)
        if forms:
            forms.step(layer, exact_inputs, stages)
        arrived, left = magnitude([relevance]), magnitude(passed)
        row = LayerStability(
            layer=layer.name,
            kind=layer.kind,
            rule=str(self._rules[layer.name]),
            condition=condition_of(self._steps, layer, inputs, relevance, passed, self._method),
            growth=left / arrived if arrived else float("nan"),
            magnitude=arrived,
            largest=float(np.abs(relevance).max()),
            counts=counts_of(relevance),
            denominators=denominators_of(stages, exact_relevance),
        )
        received, out = by_sample(relevance), np.sum([by_sample(share) for share in passed], axis=0)
        absorbed = absorbed_by(layer, stages, exact_relevance, received - out)
        joined = received - self._passed.received(layer)
        self._passed.pass_down(layer, [by_sample(share) for share in passed])
        unexplained = received - out - absorbed.total
        entries = [
            LedgerEntry(
                layer.name,
                sample,
                received=float(received[sample]),
                passed=float(out[sample]),
                unexplained=float(unexplained[sample]),
                joined=float(joined[sample]),
                **shares,
            )
            for sample, shares in enumerate(samples(absorbed))
        ]
        return row, entries
