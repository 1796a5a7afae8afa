"""A root of goldens of a two-layer network, in full and as sketches, made in plain NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.golden import Models, find_goldens, inspect, record, verify_all
from tests.harness.conftest import call as call
from tests.harness.linear_network import GradientBackend, network

X = np.array([[0.5, -1.0, 2.0]])
METHODS = ("gradient", "input_t_gradient")


def make(root: Path, form: str = "full", dtype: str = "float64", **options) -> Path:
    for _ in record(root, network(), X, "by-hand", METHODS, GradientBackend(), dtype, form, **options):
        pass
    return root


@pytest.fixture(params=["full", "sketch"])
def root(request, tmp_path: Path) -> Path:
    return make(tmp_path / "root", request.param)


def only(root: Path, method: str) -> Path:
    return next(find_goldens(root, ["linear"], [method]))


def rows(root: Path, backend=None, model=None):
    models = Models.given([model or network()])
    return list(verify_all(inspect(root), backend or GradientBackend(), models))
