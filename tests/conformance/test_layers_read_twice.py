"""Random networks whose layers have several readers, and readers that read one layer twice.

Oracle, reference, port and the harness each walk back on their own. What they must agree on: a layer's relevance is
the sum of one share for each reader, and a rule that rectifies shares rectifies that share, not its parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import harness
from harness.backends import backend_named
from harness.comparison import NoiseFloor, layers_around, verdict_line
from harness.methods import (
    Assignment,
    Composite,
    Deconvolution,
    Epsilon,
    Gradient,
    GuidedReLU,
    Method,
    Pass,
)
from harness.stability import analyse
from ported_models import PortedModel
from tests.models.graphs import READ_TWICE_ACTIVATIONS, read_twice_graph

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

SEEDS = range(6)
#: signxai's guided backprop and deconvnet rectify each reader's share; the others add shares as they are.
PER_READER = ("guided_backprop_x_sign", "deconvnet_x_sign")
ORDINARY = ("gradient", "input_t_gradient", "lrp.epsilon:epsilon=0.25", "lrp.alpha_2_beta_1", "lrp.flat")


def network(seed: int) -> PortedModel:
    return PortedModel.from_graph(read_twice_graph(np.random.default_rng(seed)))


def example(model: PortedModel) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, *model.input_shape))


def said(comparison: Any, what: str) -> str:
    return f"{what}: {verdict_line(comparison)}\n{layers_around(comparison, 100)}"


@pytest.mark.thinned(0.5)
@pytest.mark.parametrize("seed", SEEDS)
def test_relevance_is_the_same_wherever_layers_have_several_readers(seed: int) -> None:
    model = network(seed)
    x = example(model)
    for name in (*PER_READER, *ORDINARY):
        runs = {
            backend: harness.explain(model, x, name, backend=backend, target=1, dtype="float64")
            for backend in ("oracle", "tensorflow", "torch")
        }
        for backend in ("tensorflow", "torch"):
            comparison = harness.compare(runs["oracle"], runs[backend])
            assert comparison.passed, said(comparison, f"{backend}, {name}")


@pytest.mark.thinned(0.4)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("reference", ["oracle", "tensorflow"])
def test_a_right_candidate_is_right_on_equal_ground(reference: str, seed: int) -> None:
    """A floor so high that it says nothing makes the harness walk back on the candidate's activations."""
    model = network(seed)
    x = example(model)
    for name in (*PER_READER, "lrp.epsilon:epsilon=0.25"):
        ours = harness.explain(model, x, name, backend=reference, target=1, dtype="float64")
        theirs = harness.explain(model, x, name, backend="torch", target=1, dtype="float64")
        high, low = dict.fromkeys(ours.layers, 1e-3), dict.fromkeys(ours.layers, 1e-12)
        comparison = harness.compare(ours, theirs, floor=NoiseFloor("float64", "given", 1e-3, high, low))
        assert comparison.passed, said(comparison, name)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rule", [GuidedReLU(per_edge=True), Deconvolution(per_edge=True), Pass()], ids=str)
def test_the_stabilizer_form_that_a_method_has_gives_what_the_method_gives(rule: Any, seed: int) -> None:
    """The analysis of stability walks back with each form; one is the method's own."""
    model = network(seed)
    composite = Composite(
        (
            Assignment(rule, kinds=READ_TWICE_ACTIVATIONS),
            Assignment(Epsilon(0.1), kinds=("dense",)),
            Assignment(Gradient()),
        )
    )
    asked = Method("by hand", composite, head="one")
    found = analyse(model, example(model), asked, backend="oracle", target=1, dtype="float64", epsilon=0.1)
    assert found.forms is not None
    signed = next(each for each in found.forms.results if each.form == "signed")
    assert signed.distance["method"] < 1e-12


class Recorded:
    """The port as one that shows every layer of its own run, but runs no single steps; a one is added to its result."""

    name = "recorded"

    def __init__(self) -> None:
        self._inner = backend_named("torch")

    def version(self) -> dict[str, str]:
        return self._inner.version()

    def supports(self, asked: Method, graph: Any) -> str:
        return self._inner.supports(asked, graph)

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> Any:
        return _RecordedRun(self._inner.prepare(model, dtype).run)


class _RecordedRun:
    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run

    def run(self, *arguments: Any) -> Any:
        found = self._run(*arguments)
        return replace(found, attribution=found.attribution + 1.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_wrong_elsewhere_is_not_looked_for_where_shares_are_added(seed: int) -> None:
    """All layers are right, the result is not: nothing is said about any layer's step."""
    model = network(seed)
    for name in PER_READER:
        diagnosis = harness.diagnose(
            model, example(model), name, "oracle", Recorded(), target=1, dtype="float64"
        )
        assert {finding.stage for finding in diagnosis.findings} == {"postprocess"}, diagnosis.explanation
