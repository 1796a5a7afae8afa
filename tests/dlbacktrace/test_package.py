"""Reference and port against the handlers of dl-backtrace 0.1.24 itself, on cases that all of them take."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import harness
from evidence.dlbacktrace.cases import Shared, shared_cases
from harness.backends import backend_named
from harness.methods import method
from ported_models.build import Builder
from ported_models.model import PortedModel
from reference_impls.peers.backtrace_package import PackageBackend, original
from tests.dlbacktrace.sides import SIDES
from tests.models.graphs import branching_graph
from tests.peers.library import needs

CASES = {case.name: case for case in shared_cases()}


@pytest.fixture(scope="module")
def package() -> Iterator[PackageBackend]:
    """The modules `original_version`; skipped where the peer is not installed."""
    needs("dl-backtrace")
    backend = original()
    yield backend
    backend.worker.close()


@pytest.mark.peer
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_both_sides_equal_the_original_handler(package: PackageBackend, case: Shared) -> None:
    expected, _ = package.step(case.layer, case.inputs, case.relevance, case.rule)
    for name, side in SIDES.items():
        for (share,), of_package in zip(
            side(case.layer, case.inputs, (case.relevance,), case.rule), expected, strict=True
        ):
            error = np.linalg.norm(share - of_package) / np.linalg.norm(of_package)
            assert error < 1e-12, (name, error)


@pytest.mark.peer
def test_a_whole_network_through_the_original_handlers_is_equivalent(package: PackageBackend) -> None:
    builder, rng = Builder("small", (8, 8, 3)), np.random.default_rng(0)
    weights = {"kernel": rng.standard_normal((3, 3, 3, 4)), "bias": rng.standard_normal(4)}
    builder.add("conv2d", "conv", None, {"padding": "same"}, weights)
    builder.add("relu", "conv_relu")
    builder.add("max_pool2d", "pool", attributes={"pool_size": (2, 2)})
    builder.add("flatten", "flatten")
    builder.add("dense", "logits", weights={"kernel": rng.standard_normal((64, 5)), "bias": np.zeros(5)})
    model, x = PortedModel.from_graph(builder.graph()), rng.standard_normal((2, 8, 8, 3))
    of_package = harness.explain(model, x, "backtrace.default", backend=package, dtype="float64")
    port = harness.explain(
        model, x, "backtrace.default", backend="backtrace-torch", target=of_package.target, dtype="float64"
    )
    assert harness.compare(of_package, port).passed


def test_what_the_package_has_no_handler_for_is_said_before_it_runs() -> None:
    backend = backend_named("dl-backtrace")
    graph = branching_graph(np.random.default_rng(1))
    assert "default mode" in backend.supports(method("backtrace.contrast"), graph)
    builder = Builder("one", (6, 2))
    builder.add("max_pool1d", "pool", attributes={"pool_size": (2,)})
    assert "no handler for max_pool1d" in backend.supports(method("backtrace.default"), builder.graph())
    builder = Builder("two", (6, 6, 2))
    builder.add("max_pool2d", "pool", attributes={"pool_size": (2, 1)})
    assert "order of height and width" in backend.supports(method("backtrace.default"), builder.graph())
    builder = Builder("three", (6, 6, 2))
    builder.add("max_pool2d", "pool", attributes={"pool_size": (2, 2)})
    assert "pads with zeros" in backend.supports(method("backtrace.default:padding=lowest"), builder.graph())
    assert not backend.supports(method("backtrace.default"), builder.graph())
