"""One case per model and method: the port computes what the reference computes, at every layer, in both dtypes."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from harness.api import load_model
from harness.backends import backend_named
from harness.case import Case
from harness.comparison import layers_around, verdict_line
from harness.methods import ALL_METHODS, SUITE_METHODS, method
from harness.runner import SUITES, chosen_input, run_case, why_not

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch, pytest.mark.thinned(0.1)]

#: Too large for every push; the nightly job and `make run` hold them to the same bound.
LARGE = ("efficientnet-lite0", "vgg16-mri")
#: Of fifty runs a case, too long for every push; tests/engine/test_runs_in_step.py has them with four.
MANY_RUNS = ("smoothgrad", "vargrad")
#: Small enough for every name of the catalogue at every push; `xai-harness run --suite catalogue` does the others.
SMALL = ("digits-cnn", "ecg-cnn1d")


@functools.cache
def model_and_input(model_name: str) -> tuple[Any, np.ndarray]:
    model = load_model(model_name)
    return model, chosen_input(model, None)[0]


@pytest.mark.parametrize(
    ("model_name", "method_name"),
    [
        pytest.param(
            model_name,
            method_name,
            id=f"{model_name}-{method_name}",
            marks=[
                pytest.mark.xdist_group(model_name),
                *([pytest.mark.nightly] if model_name in LARGE or method_name.startswith(MANY_RUNS) else []),
            ],
        )
        for model_name in SUITES["default"].models
        for method_name in (ALL_METHODS if model_name in SMALL else SUITE_METHODS)
    ],
)
def test_port_computes_what_the_reference_computes(model_name: str, method_name: str) -> None:
    model, x = model_and_input(model_name)
    reason = why_not(method(method_name), model)
    if reason:
        pytest.skip(reason)
    for dtype in ("float64", "float32"):
        case = Case(model, x, method(method_name), None, dtype)
        outcome = run_case(case, backend_named("tensorflow"), backend_named("torch"))
        if not outcome.passed:
            comparison = outcome.comparison
            assert comparison is not None, outcome.message
            pytest.fail(f"{dtype} {verdict_line(comparison)}\n{layers_around(comparison)}", pytrace=False)
