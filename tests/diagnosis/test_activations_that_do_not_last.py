"""Activations that are overwritten, cleared or never handed on, and results that depend on the runs before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import harness
from evidence.planted_bugs import Collection, collect
from evidence.planted_bugs.command import BUGS

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]


@pytest.fixture(scope="module")
def collection() -> Collection:
    return collect(BUGS)


def gradients_times(factors: Callable[[int], float]) -> Callable[..., Any]:
    """The gradient times a factor that depends on how many runs there were before."""
    runs = 0

    def function(twin: Any, x: Any, target: Any, method: Any) -> Any:
        nonlocal runs
        import torch

        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(twin(x).gather(1, target[:, None]).sum(), x)
        runs += 1
        return gradient * factors(runs)

    return function


@pytest.mark.parametrize(
    ("factors", "cause"),
    [
        (lambda runs: 1.0 if runs == 1 else 0.0, "state"),
        (lambda runs: 1.0 + runs % 2, "state"),
        (lambda runs: 1.0 + 1e-3 * np.random.default_rng().normal(), "nondeterminism"),
        (lambda runs: float(runs), "nondeterminism"),
    ],
    ids=["cleared after the first run", "every other run", "noise", "always another"],
)
def test_a_result_that_comes_back_depends_on_the_runs_before(
    collection: Collection, factors: Callable[[int], float], cause: str
) -> None:
    model = collection.model("tokens-net")
    x = model.examples["seeded"]()
    candidate = harness.backend_from_function("own", gradients_times(factors), "torch")
    found = harness.diagnose(model, x, "gradient", candidate=candidate, dtype="float64")
    assert found.cause == cause, found.explanation


@pytest.mark.parametrize("method", ["attnlrp", "cp_lrp:norm=held"])
def test_a_norm_that_returns_nothing_is_an_error_at_that_norm_though_a_residual_goes_round_it(
    collection: Collection, method: str
) -> None:
    model = collection.model("encoder-net")
    reference = harness.explain(model, model.examples["seeded"](), method)
    candidate = harness.explain(
        model,
        model.examples["seeded"](),
        method,
        backend=collection.named("norm-returns-nothing").build(),
        target=reference.target,
    )
    comparison = harness.compare(reference, candidate)
    assert (comparison.verdict, comparison.first_divergent, comparison.passed) == ("error", "norm2", False)
    assert "the candidate's step of norm2 returns nothing for residual1" in comparison.notes


def test_zeros_are_something(collection: Collection) -> None:
    """A norm that gets zeros by a rule is another function, and no error."""
    from evidence.planted_bugs.bugs.planting import formula, mutant
    from evidence.planted_bugs.bugs.transformers import NORMS

    zeros = mutant(
        "zeros",
        "the norm hands on zeros",
        formula(NORMS, "normalisation-rule", lambda rule, module, x, relevance: 0 * relevance),
        methods=("attnlrp",),
        models=("encoder-net",),
        source="this test",
    )
    model = collection.model("encoder-net")
    reference = harness.explain(model, model.examples["seeded"](), "attnlrp")
    candidate = harness.explain(
        model, model.examples["seeded"](), "attnlrp", backend=zeros.build(), target=reference.target
    )
    comparison = harness.compare(reference, candidate)
    assert (comparison.verdict, comparison.first_divergent) == ("divergent", "norm2")
