"""What becomes of the relevance of the input, and what stands behind the last layer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.diagnosis.attribution import attribution_findings, result_findings
from harness.graph import Graph, Layer
from harness.methods import Postprocess, TimesSign

X = np.array([[[1.0, -2.0], [3.0, 0.5], [-1.0, 4.0]]])  # (batch, length, channel)
R = np.array([[[0.5, 1.0], [-2.0, 3.0], [4.0, -0.25]]])


def case_of(attribution: np.ndarray, postprocess: Postprocess = "none", logits: Any = None) -> Any:
    source = Layer("input", "input", (), (), X.shape[1:], ("batch", "length", "channel"))
    output = np.array([[0.0, np.log(3.0)]])
    layers = {
        "input": SimpleNamespace(relevance=R, activation=X, kind="input"),
        "logits": SimpleNamespace(relevance=None, activation=output, kind="dense"),
    }
    run = SimpleNamespace(
        layers=layers, attribution_array=attribution, logits=output if logits is None else logits
    )
    method = SimpleNamespace(postprocess=postprocess)
    graph = Graph("small", (source,), "logits")
    return SimpleNamespace(
        candidate_run=run, graph=graph, method=method, x=X, dtype="float64", candidate_steps=None
    )


def cause_of(attribution: np.ndarray, postprocess: Postprocess = "none") -> tuple[str, str]:
    (finding,) = attribution_findings(case_of(attribution, postprocess))
    assert finding.stage == "postprocess"
    return finding.cause, finding.words


@pytest.mark.parametrize(
    ("postprocess", "attribution"),
    [("none", R), ("times_input", R * X), ("abs", np.abs(R)), (TimesSign(0.0), R * np.where(X >= 0, 1, -1))],
)
def test_what_the_method_asks_for_is_no_finding(postprocess: Postprocess, attribution: np.ndarray) -> None:
    assert not list(attribution_findings(case_of(attribution, postprocess)))


@pytest.mark.parametrize(
    ("attribution", "cause", "words"),
    [
        (np.abs(R), "absolute-contributions", "absolute values"),
        (np.maximum(R, 0), "negative-clipped", "negative values of the attribution are set to zero"),
        (R / np.abs(R).max(), "scale", "largest absolute value"),
        (R * X, "input-layer-rule", "multiplied by the input"),
        (-R, "scale", "opposite sign"),
        (R[:, ::-1], "layout", "length axis is reversed"),
        (R * 20.8, "scale", "multiplied by 20.8"),
    ],
)
def test_what_was_done_instead_is_named(attribution: np.ndarray, cause: str, words: str) -> None:
    found = cause_of(attribution)
    assert found[0] == cause
    assert words in found[1]


def test_the_input_left_out_is_named() -> None:
    cause, words = cause_of(R, "times_input")
    assert cause == "input-layer-rule"
    assert "taken as it is instead of 'times_input'" in words


def test_what_is_none_of_these_is_unknown() -> None:
    assert cause_of(R**3)[0] == "unknown"


def test_probabilities_for_logits_are_a_softmax_that_was_kept() -> None:
    # softmax(0, log 3) = (1/4, 3/4)
    case = case_of(R, logits=np.array([[0.25, 0.75]]))
    (finding,) = result_findings(case)
    assert (finding.stage, finding.layer, finding.cause) == ("forward", "logits", "softmax-kept")
    assert not list(result_findings(case_of(R)))


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        (0.7, "is 1 from a threshold of 0.7 on"),  # between 0.5 and 1 of R
        (
            -1.0,
            "is 1 from a threshold of 0.2 times its largest absolute value on",
        ),  # 0.8, as signxai2 0.13.0 has it
    ],
)
def test_the_sign_of_the_relevance_itself_is_named(threshold: float, words: str) -> None:
    """R times its own sign, which is 1 for 1, 3 and 4 and -1 for 0.5 and what is below it."""
    attribution = R * np.where(R >= 0.8, 1, -1)
    cause, said = cause_of(attribution, TimesSign(threshold))
    assert (cause, words in said) == ("sign-threshold", True), said


def test_the_sign_by_a_part_of_the_largest_value_of_the_batch_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sample is ten times as large as the other: a part of its own largest value is another threshold."""
    relevance = np.concatenate([R, 10 * R])
    monkeypatch.setattr("tests.diagnosis.test_attribution.R", relevance)
    monkeypatch.setattr("tests.diagnosis.test_attribution.X", np.concatenate([X, X]))
    largest = np.abs(relevance).max()
    cause, said = cause_of(relevance * np.where(relevance >= 0.2 * largest, 1, -1), TimesSign(-1.0))
    assert cause == "sign-threshold"
    assert "is 1 from a threshold of 0.2 times the batch's largest absolute value on" in said
