"""The NumPy reference as a backend: float64 and float32."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.backends.protocol import Arrays as Explanation
from harness.backends.protocol import Model
from harness.checks import require_device
from harness.divisions import Stage
from harness.errors import UnsupportedMethodError
from harness.files import source_digest
from harness.graph import Graph, Layer
from harness.methods import BacktraceStart, Backward, Method, Rule
from harness.steps import Deviation, Formula, ForwardStep, Step
from reference_impls.deviations import forward as forward_deviations
from reference_impls.dlbacktrace import denominators, deviations, forward, run
from reference_impls.dlbacktrace.contrast import Pair
from reference_impls.dlbacktrace.rules import RULES, propagate, propagate_pair

Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class PreparedBacktrace:
    """The reference with a network, in one dtype."""

    graph: Graph
    dtype: np.dtype

    def run(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Explanation:
        """See `harness.backends.protocol.Prepared`."""
        return run.explain(self.graph, x.astype(self.dtype), method, target, layers)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """(batch, classes)."""
        return forward.activations(self.graph, x.astype(self.dtype))[self.graph.output]

    def step(self, layer: Layer, inputs: Arrays, relevance: np.ndarray, method: Method) -> Arrays:
        """The relevance of each input of ``layer``, in default mode.

        Raises UnsupportedMethodError in contrast mode: a step there takes two relevances, a trace shows one of them.
        """
        _require_whole(method)
        given = tuple(np.asarray(x, self.dtype) for x in inputs)
        rule = method.composite.rule_for(layer, self.graph)
        return propagate(layer, given, np.asarray(relevance, self.dtype), rule)

    def step_pair(
        self, layer: Layer, inputs: Arrays, relevances: tuple[np.ndarray, np.ndarray], method: Method
    ) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """For each input of ``layer`` both relevances of contrast mode."""
        given = tuple(np.asarray(x, self.dtype) for x in inputs)
        received = Pair(*(np.asarray(each, self.dtype) for each in relevances))
        return propagate_pair(layer, given, received, method.composite.rule_for(layer, self.graph))

    def divisions(self, layer: Layer, inputs: Arrays, method: Method) -> tuple[Stage, ...]:
        """What the rule of ``layer`` divides relevance by, in default mode; see `harness.divisions.Dividing`."""
        _require_whole(method)
        return denominators.divisions(layer, inputs, method.composite.rule_for(layer, self.graph))

    def carry_out(self, step: Step) -> Arrays:
        """The step in float64; see `harness.steps.Deviating`."""
        return deviations.carry_out(step)

    def deviations(self, step: Step, observed: Arrays) -> Iterator[Deviation]:
        """What that step may do differently."""
        return deviations.deviations(step, observed)

    def deviations_of_places(self, step: Step, observed: Arrays) -> Iterator[Deviation]:
        """Those of them that exchange places or channels."""
        return deviations.of_places(step, observed)

    def carry_forward(self, step: ForwardStep) -> np.ndarray:
        """The output of a layer, in float64, as the oracle has it."""
        return forward_deviations.carry_forward(step)

    def forward_deviations(self, step: ForwardStep, observed: np.ndarray) -> list[Deviation]:
        """What its forward pass may do differently."""
        return forward_deviations.forward_deviations(step, observed)

    def input_deviations(self, step: ForwardStep) -> Iterator[Deviation]:
        """What may be done to the network's input before the layer of ``step``, which reads it, gets it."""
        return forward_deviations.habits(step)

    def formula(self, layer: Layer, rule: Rule) -> Formula | None:
        """No rule of this family has a short formula: a reproducer then shows the numbers of both sides."""
        return None


def _require_whole(method: Method) -> None:
    if isinstance(method.head, BacktraceStart) and method.head.part != "whole":
        raise UnsupportedMethodError(
            f"{method.name}: a single step of contrast mode takes both relevances; give both to step_pair"
        )


class BacktraceNumpy:
    """DLBacktrace in NumPy, slow and readable: the reference of its family."""

    name = "backtrace-numpy"

    def version(self) -> dict[str, str]:
        """NumPy's and Python's versions, and the sha256 of the source."""
        source = source_digest("reference_impls")
        return {"numpy": np.__version__, "python": platform.python_version(), "source": source}

    def supports(self, method: Method, graph: Graph) -> str:
        """Why a rule, the start or the procedure of ``method`` is none of this family; else empty."""
        for each in method.composite.assignments:
            if not isinstance(each.rule, RULES):
                return f"it has no rule {type(each.rule).__name__}; it runs backtrace.default and backtrace.contrast"
        if not isinstance(method.head, BacktraceStart):
            return f"it has no head {method.head!r}; it runs backtrace.default and backtrace.contrast"
        if method.procedure != Backward() or method.postprocess != "none":
            return "it has one run backwards, and no post-processing"
        return ""

    def prepare(self, model: Model, dtype: str, device: str = "cpu") -> PreparedBacktrace:
        """Raises InvalidInputError for another device than the CPU."""
        require_device(self.name, device)
        return PreparedBacktrace(model.graph, np.dtype(dtype))
