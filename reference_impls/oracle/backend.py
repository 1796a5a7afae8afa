"""The oracle as a backend: float64 only."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from harness.backends.protocol import Arrays as Explanation
from harness.backends.protocol import Model, OneRun
from harness.checks import require_device
from harness.divisions import Stage
from harness.errors import InvalidInputError
from harness.files import source_digest
from harness.graph import Graph, Layer
from harness.methods import Method, Rule, TimesSign
from harness.steps import Deviation, Formula, ForwardStep, Step
from reference_impls.deviations import backward, forward
from reference_impls.oracle import denominators, formulas, in_step, rules, run
from reference_impls.oracle.backward import HEADS
from reference_impls.oracle.forward import activations
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.memory import Remembered
from reference_impls.oracle.procedures import PROCEDURES


@dataclass(frozen=True)
class PreparedOracle:
    """The oracle with a network."""

    graph: Graph
    outcome: Remembered = field(default_factory=Remembered, compare=False, repr=False)

    def run(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Explanation:
        """Run ``method`` on ``x`` (batch, *input shape); see :func:`reference_impls.oracle.run.explain`."""
        return run.explain(self.graph, x, method, target, layers, self.outcome)

    def runs(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Iterator[OneRun]:
        """The runs of ``method``, one at a time; see `harness.backends.protocol.Runs`."""
        return in_step.runs(self.graph, x, target, method, self.outcome)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """(batch, classes)."""
        return activations(self.graph, x)[self.graph.output]

    def step(self, layer: Layer, inputs: Arrays, relevance: np.ndarray, method: Method) -> Arrays:
        """The relevance of each input of ``layer`` under the rule that ``method`` assigns to it."""
        return rules.propagate(layer, inputs, relevance, method.composite.rule_for(layer, self.graph))

    def divisions(self, layer: Layer, inputs: Arrays, method: Method) -> tuple[Stage, ...]:
        """What that rule divides relevance by; see `harness.divisions.Dividing`."""
        return denominators.divisions(layer, inputs, method.composite.rule_for(layer, self.graph))

    def carry_out(self, step: Step) -> Arrays:
        """The relevance of each input of the layer of ``step``; see `harness.steps.Deviating`."""
        return backward.carry_out(step)

    def deviations(self, step: Step, observed: Arrays) -> Iterator[Deviation]:
        """What that step may do differently so that ``observed`` comes out."""
        return backward.deviations(step, observed)

    def deviations_of_places(self, step: Step, observed: Arrays) -> Iterator[Deviation]:
        """Those of them that an excerpt without all of the layer's input may not have."""
        return backward.deviations_of_places(step, observed)

    def carry_forward(self, step: ForwardStep) -> np.ndarray:
        """The output of the layer of ``step``; see `harness.steps.Deviating`."""
        return forward.carry_forward(step)

    def forward_deviations(self, step: ForwardStep, observed: np.ndarray) -> list[Deviation]:
        """What its forward pass may do differently so that ``observed`` comes out."""
        return forward.forward_deviations(step, observed)

    def input_deviations(self, step: ForwardStep) -> Iterator[Deviation]:
        """What may be done to the network's input before the layer of ``step``, which reads it, gets it."""
        return forward.habits(step)

    def formula(self, layer: Layer, rule: Rule) -> Formula | None:
        """What ``rule`` computes at ``layer``, as text for a reproducer."""
        return formulas.formula(layer, rule)


class OracleBackend:
    """Every rule in NumPy float64, slow and readable: what the other backends are checked against."""

    name = "oracle"

    def version(self) -> dict[str, str]:
        """NumPy's and Python's versions, and the sha256 of this package's source."""
        source = source_digest("reference_impls.oracle")
        return {"numpy": np.__version__, "python": platform.python_version(), "source": source}

    def supports(self, method: Method, graph: Graph) -> str:
        """Why a rule, the head, the procedure or the post-processing of ``method`` is not known here; else empty."""
        known = {f"rule {each.rule}": rules.has(each.rule) for each in method.composite.assignments}
        known[f"head {method.head!r}"] = method.head in HEADS
        known[f"procedure {type(method.procedure).__name__}"] = type(method.procedure) in PROCEDURES
        known[f"post-processing {method.postprocess!r}"] = (
            isinstance(method.postprocess, TimesSign) or method.postprocess in run.POSTPROCESSES
        )
        return next((f"it has no {part}" for part, there in known.items() if not there), "")

    def prepare(self, model: Model, dtype: str, device: str = "cpu") -> PreparedOracle:
        """The oracle for ``model``. Raises InvalidInputError for another dtype than float64, or device than the CPU."""
        require_device(self.name, device)
        if dtype != "float64":
            raise InvalidInputError(
                f"backend 'oracle' computes in float64 only, and {dtype} was asked for; "
                "ask for float64, or for another backend, such as tensorflow"
            )
        return PreparedOracle(model.graph)
