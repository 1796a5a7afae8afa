"""Heads, and what is done at the input."""

from __future__ import annotations

import numpy as np
import pytest

from harness.methods import GRADIENT, Method, TimesSign
from ported_impls.backend import TorchBackend
from ported_models.build import Builder
from ported_models.model import PortedModel
from tests.prepared import ready

X = np.array([[-2.0, 0.0, 0.5, 3.0]])
#: The gradient of the logit, and its value: 2 + 0 - 1 + 12 = 13.
WEIGHTS = np.array([-1.0, 5, -2, 4])


def explained(sign: int = 1, **method):
    b = Builder("line", (4,))
    b.add("dense", "head", weights={"kernel": sign * WEIGHTS[:, None]})
    prepared = ready(TorchBackend(), PortedModel.from_graph(b.graph()), "float64")
    return prepared.explain(X, Method("test", GRADIENT, **method))


@pytest.mark.parametrize(
    ("head", "sign", "start"),
    [("logit", 1, 13), ("one", 1, 1), ("relu_logit", 1, 13), ("logit", -1, -13), ("relu_logit", -1, 0)],
)
def test_relevance_starts_with_what_the_head_says(head, sign, start):
    trace = explained(sign, head=head)
    assert trace.layers["head"].relevance.tolist() == [[start]]
    assert trace.attribution.tolist() == [(start * sign * WEIGHTS).tolist()]


@pytest.mark.parametrize(
    ("postprocess", "expected"),
    [
        ("none", [-1, 5, -2, 4]),
        ("times_input", [2, 0, -1, 12]),
        ("abs", [1, 5, 2, 4]),
        ("square", [1, 25, 4, 16]),
        (TimesSign(), [1, 5, -2, 4]),
        (TimesSign(0.5), [1, -5, -2, 4]),
        (TimesSign(-0.5), [1, 5, -2, 4]),
        # From -1 on the sign is positive everywhere.
        (TimesSign(-1), [-1, 5, -2, 4]),
        (TimesSign(-3), [-1, 5, -2, 4]),
    ],
)
def test_what_is_done_at_the_input_is_not_in_the_trace_of_the_input(postprocess, expected):
    trace = explained(head="one", postprocess=postprocess)
    assert trace.attribution.tolist() == [expected]
    assert trace.layers["input"].relevance.tolist() == [WEIGHTS.tolist()]
