"""Functions that know one dtype or one framework work, or fail with a sentence."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import harness
from evidence.functions import numpy_gradient
from harness.comparison.floor import MULTIPLE
from harness.errors import CandidateError

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]


@pytest.fixture(scope="module")
def model() -> Any:
    return harness.load_model("digits-cnn")


@pytest.fixture(scope="module")
def x(model: Any) -> np.ndarray:
    return np.random.default_rng(2).random((2, *model.input_shape))


def single_only(factor: float) -> Callable[..., Any]:
    """The gradient times ``factor``, of float32 alone."""

    def function(twin: Any, x: Any, target: Any, method: Any) -> Any:
        if x.dtype != torch.float32:
            raise TypeError("expected scalar type Float but found Double")
        x = x.requires_grad_()
        return factor * torch.autograd.grad(twin(x).gather(1, target[:, None]).sum(), x)[0]

    return function


def numpy_single(factor: float) -> Callable[..., Any]:
    def function(graph: Any, x: np.ndarray, target: np.ndarray, method: Any) -> np.ndarray:
        if x.dtype != np.float32:
            raise TypeError("float32 only")
        return factor * numpy_gradient.gradient(graph, x, target, method)

    return function


def tensorflow_single(factor: float) -> Callable[..., Any]:
    def function(twin: Any, x: Any, target: Any, method: Any) -> Any:
        import tensorflow as tf

        x = tf.ensure_shape(tf.identity(x) + tf.zeros(x.shape, tf.float32), x.shape)  # raises for float64
        with tf.GradientTape() as tape:
            tape.watch(x)
            chosen = tf.gather(twin(x, training=False), target, batch_dims=1)
        return factor * tape.gradient(chosen, x)

    return function


FUNCTIONS = ((single_only, "torch"), (numpy_single, "numpy"), (tensorflow_single, "tensorflow"))


@pytest.mark.parametrize(("make", "framework"), FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_that_knows_float32_alone_is_judged_in_it(
    model: Any, x: np.ndarray, make: Callable[[float], Any], framework: str, dtype: str
) -> None:
    right = harness.backend_from_function("right", make(1.0), framework)
    assert harness.diagnose(model, x, "gradient", candidate=right, dtype=dtype).findings == ()
    wrong = harness.backend_from_function("wrong", make(3.0), framework)
    found = harness.diagnose(model, x, "gradient", candidate=wrong, dtype=dtype)
    (finding,) = found.findings
    assert (finding.cause, finding.parameters["factor"]) == ("scale", pytest.approx(3, rel=1e-6))
    assert found.case.dtype == "float32"
    assert "does not run in float64" in " ".join(found.notes)
    assert "judged in float32" in " ".join(found.notes)


def test_one_that_runs_in_no_dtype_fails_with_a_sentence(model: Any, x: np.ndarray) -> None:
    def function(twin: Any, x: Any, target: Any, method: Any) -> Any:
        raise RuntimeError("needs\na GPU")

    candidate = harness.backend_from_function("mine", function, "torch")
    with pytest.raises(CandidateError, match=r"^mine raised RuntimeError: needs a GPU$"):
        harness.diagnose(model, x, "gradient", candidate=candidate, dtype="float64")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_that_rounds_to_float32_without_a_word_is_judged_in_it(
    model: Any, x: np.ndarray, dtype: str
) -> None:
    """Seven times the gradient of float32, whatever it is asked for: the factor is named all the same."""

    def rounding(twin: Any, x: Any, target: Any, method: Any) -> Any:
        return single_only(7.0)(copy.deepcopy(twin).float(), x.float(), target, method).to(x.dtype)

    candidate = harness.backend_from_function("rounding", rounding, "torch")
    found = harness.diagnose(model, x, "gradient", candidate=candidate, dtype=dtype)
    (finding,) = found.findings
    # The factor is a mean over values that rounding moves by no more than it explains.
    rounding_explains = MULTIPLE * finding.floor
    assert (finding.cause, finding.parameters["factor"]) == ("scale", pytest.approx(7, rel=rounding_explains))
    assert found.complete and "returns numbers of float32" in " ".join(found.notes)


def test_one_that_is_right_but_for_its_rounding_is_named_for_that(model: Any, x: np.ndarray) -> None:
    def rounding(twin: Any, x: Any, target: Any, method: Any) -> Any:
        return single_only(1.0)(copy.deepcopy(twin).float(), x.float(), target, method).to(x.dtype)

    candidate = harness.backend_from_function("rounding", rounding, "torch")
    (finding,) = harness.diagnose(model, x, "gradient", candidate=candidate, dtype="float64").findings
    assert finding.cause == "precision"
