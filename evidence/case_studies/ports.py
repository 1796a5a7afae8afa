"""The ports as data: which hooks, what the backward pass starts from, the factor at the end; and their mending."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from evidence.case_studies import hooks
from evidence.case_studies.planted import Planted
from harness.api import backend_from_composite
from harness.backends import Arrays, Backend, Model, Prepared
from harness.diagnosis.findings import Finding
from harness.errors import HarnessError
from harness.graph import KERNEL_KINDS, Graph, Layer
from harness.methods import Epsilon, Method
from ported_impls.composite import hook_for, method_composite
from ported_impls.torchvision_shim import zennit

CompositeOf = Callable[[Graph, Method], zennit.core.Composite]


@dataclass(frozen=True)
class Port:
    """``composite``: its hooks. ``starts_from_one``: at the target, instead of the logit. ``factor``: on the result.

    ``planted``: what is wrong with it. ``mended``: layers whose hook is the one that the method asks for after all.
    """

    name: str
    composite: CompositeOf
    planted: tuple[Planted, ...]
    starts_from_one: bool = False
    factor: float = 1.0
    mended: frozenset[str] = field(default=frozenset())

    def backend(self) -> Backend:
        """The port as a candidate."""
        head = "one" if self.starts_from_one else "logit"
        inner = backend_from_composite(self.name, self._composite, head=head)
        return inner if self.factor == 1 else TimesFactor(self.name, inner, self.factor)

    def _composite(self, twin: Any, method: Method) -> zennit.core.Composite:
        graph: Graph = twin.graph
        own = self.composite(graph, method)
        rules = method.composite.assign(graph)

        def hook_of(context: dict[str, Any], name: str, module: torch.nn.Module) -> zennit.core.Hook | None:
            if name in self.mended:
                return hook_for(rules[name], graph[name])
            return own.module_map(context, name, module)

        return zennit.core.Composite(module_map=hook_of)


def mend(port: Port, findings: Iterable[Finding]) -> Port:
    """``port`` with everything put right that the findings name, and nothing else.

    Raises HarnessError for a finding that names nothing to be put right.
    """
    for finding in findings:
        if finding.cause == "output-seed":
            port = replace(port, starts_from_one=False)
        elif finding.stage == "postprocess" and finding.cause == "scale":
            port = replace(port, factor=1.0)
        elif finding.stage == "rule" and finding.cause != "unknown":
            port = replace(port, mended=port.mended | {str(finding.layer), *finding.also})
        else:
            raise HarnessError(f"{port.name}: nothing to mend in {finding.sentence!r}")
    return port


@dataclass(eq=False)
class TimesFactor:
    """A backend whose attribution is multiplied by a factor after the run."""

    name: str
    inner: Backend
    factor: float

    def version(self) -> dict[str, str]:
        return self.inner.version()

    def supports(self, method: Method, graph: Graph) -> str:
        return self.inner.supports(method, graph)

    def prepare(self, model: Model, dtype: str, device: str = "cpu") -> Prepared:
        return _Multiplied(self.inner.prepare(model, dtype, device), self.factor)


@dataclass(frozen=True, eq=False)
class _Multiplied:
    inner: Any
    factor: float

    def run(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        arrays: Arrays = self.inner.run(x, method, target, layers)
        return replace(arrays, attribution=arrays.attribution * self.factor)

    def step(
        self, layer: Layer, inputs: tuple[np.ndarray, ...], relevance: np.ndarray, method: Method
    ) -> tuple[np.ndarray, ...]:
        relevances: tuple[np.ndarray, ...] = self.inner.step(layer, inputs, relevance, method)
        return relevances


# Composites ------------------------------------------------------------------------------------------------


def as_asked(graph: Graph, method: Method) -> zennit.core.Composite:
    """What the method asks for, at every layer."""
    return method_composite(method, graph)


def forgetful(graph: Graph, method: Method) -> zennit.core.Composite:
    """The epsilon rule that forgets its epsilon at convolutions and dense layers, the rest as the method asks."""
    return _with(graph, method, _kernels(graph), hooks.ForgetfulEpsilon(epsilon_of(method)))


def forgetful_without_input(graph: Graph, method: Method) -> zennit.core.Composite:
    """As in signxai2 0.5.0: the same without the factor ``x``, and no hook at any other layer."""
    return _alone(_kernels(graph), hooks.ForgetfulEpsilonWithoutInput(epsilon_of(method)))


def released(graph: Graph, method: Method) -> zennit.core.Composite:
    """Zennit's own composite of that name, as it is."""
    return zennit.composites.EpsilonAlpha2Beta1(epsilon=epsilon_of(method))


def flat_alone(graph: Graph, method: Method) -> zennit.core.Composite:
    """As in signxai2 0.5.0: the flat hook at convolutions and dense layers, no hook at any other layer."""
    return _alone(_kernels(graph), hooks.flat_of_the_input())


def flat_hook_only(graph: Graph, method: Method) -> zennit.core.Composite:
    """The flat hook at convolutions and dense layers, the rest as the method asks."""
    return _with(graph, method, _kernels(graph), hooks.flat_of_the_input())


def heads_not_divided(graph: Graph, method: Method) -> zennit.core.Composite:
    """At the layers with groups every group gets the whole relevance; the rest as the method asks."""
    grouped = [layer for layer in graph if layer.attributes.get("groups", 1) > 1]
    hook = hooks.every_head_gets_all(grouped[0].attributes["groups"])
    return _with(graph, method, {layer.name for layer in grouped}, hook)


def epsilon_of(method: Method) -> float:
    """The epsilon of a method whose kernels have the epsilon rule."""
    return next(
        assignment.rule.epsilon
        for assignment in method.composite.assignments
        if isinstance(assignment.rule, Epsilon)
    )


def _kernels(graph: Graph) -> set[str]:
    return {layer.name for layer in graph if layer.kind in KERNEL_KINDS}


def _alone(layers: set[str], hook: zennit.core.Hook) -> zennit.core.Composite:
    """``hook`` at these layers, none elsewhere: what has no hook keeps its gradient."""
    return zennit.core.Composite(module_map=lambda context, name, module: hook if name in layers else None)


def _with(graph: Graph, method: Method, layers: set[str], hook: zennit.core.Hook) -> zennit.core.Composite:
    asked = method_composite(method, graph)
    return zennit.core.Composite(
        module_map=lambda context, name, module: (
            hook if name in layers else asked.module_map(context, name, module)
        )
    )
