"""What a backward pass starts from is named, with the factor that follows from it."""

from __future__ import annotations

import numpy as np
import pytest

from harness.diagnosis.findings import Finding
from harness.diagnosis.head import head_findings
from harness.methods import Head

LOGITS = np.array([[1.0, 4.0, -2.0], [0.5, -1.0, 2.0]])
TARGET = np.array([1, 2])
FLOOR = 1e-15


def found(relevance: object, head: Head = "logit") -> list[Finding]:
    return list(head_findings(LOGITS, TARGET, head, np.array(relevance, float), "logits", FLOOR))


def test_the_logit_where_the_logit_is_asked_for_is_no_finding() -> None:
    assert found([[0, 4, 0], [0, 0, 2]]) == []


def test_one_instead_of_the_logit_is_the_output_seed_and_the_factor_is_the_logit() -> None:
    (finding,) = found([[0, 1, 0], [0, 0, 1]])
    assert (finding.stage, finding.layer, finding.cause) == ("head", "logits", "output-seed")
    assert finding.parameters["factor"] == [4.0, 2.0]
    assert finding.residual == 0
    assert "starts from one instead of the logit" in finding.words
    assert "0.25, 0.5 times" in finding.words


def test_the_logit_instead_of_one() -> None:
    (finding,) = found([[0, 4, 0], [0, 0, 2]], head="one")
    assert finding.cause == "output-seed"
    assert finding.parameters["factor"] == [0.25, 0.5]


def test_a_softmax_probability() -> None:
    powers = np.exp(LOGITS)
    probability = powers / powers.sum(axis=1, keepdims=True)
    start = [[0, probability[0, 1], 0], [0, 0, probability[1, 2]]]
    (finding,) = found(start)
    assert finding.cause == "output-seed"
    assert "softmax probability" in finding.words


def test_all_logits_at_once() -> None:
    (finding,) = found(LOGITS)
    assert finding.cause == "output-seed"
    assert "all logits" in finding.words


def test_another_class() -> None:
    (finding,) = found([[1, 0, 0], [0, -1, 0]])
    assert finding.cause == "target"
    assert finding.parameters == {"found": [0, 1], "expected": [1, 2]}


def test_another_class_and_another_start_are_two_findings() -> None:
    # class 0 with its logit 1 would be 1, and class 0 of the second sample 0.5: both start from minus one
    causes = [each.cause for each in found([[-1, 0, 0], [-1, 0, 0]])]
    assert causes == ["target", "output-seed"]


def test_a_multiple_of_the_logit_keeps_the_factor() -> None:
    (finding,) = found([[0, 12, 0], [0, 0, 6]])
    assert finding.cause == "output-seed"
    assert "3 times the logit" in finding.words


@pytest.mark.parametrize("start", [[[0, 3, 0], [0, 0, 7]], [[1, 1, 0], [0, 0, 2]]])
def test_what_is_none_of_these_is_unknown(start: object) -> None:
    (finding,) = found(start)
    assert finding.cause == "unknown"
