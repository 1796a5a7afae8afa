"""Healthy ports are diagnosed in an order that gives most of them first."""

from __future__ import annotations

import harness
from evidence.planted_bugs.healthy import healthy_cases
from harness.methods import Backward, method
from harness.runner import suite_named


def test_methods_of_many_runs_come_last() -> None:
    names = [case.method for case in healthy_cases("catalogue", ["digits-cnn"], harness.load_model)]
    of_one_run = [isinstance(method(name).procedure, Backward) for name in names]
    assert of_one_run == sorted(of_one_run, reverse=True)
    assert {True, False} == set(of_one_run)
    assert set(names) <= set(suite_named("catalogue").methods)
    assert len(names) == len(set(names)) > 200
