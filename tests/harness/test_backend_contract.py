"""What a backend has to be, what it is handed, and what is said where it is something else."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest

import harness
from harness.backends import CAPABILITIES, Arrays, backend_named, capability, registry
from harness.case import Case
from harness.diagnosis import diagnose
from harness.engine import Engine
from harness.errors import InvalidInputError
from harness.methods import Method, method
from harness.runner import run_case
from tests.harness.linear_network import GradientBackend, LinearModel, network

X = np.array([[0.5, -1.0, 2.0]])


class Bare:
    """The least that is a backend: no logits of its own, no steps. ``seen``: the targets that it was handed."""

    name = "bare"

    def __init__(self, reason: Any = "", found: Any = None) -> None:
        self.reason, self.found, self.seen = reason, found, []

    def version(self) -> dict[str, str]:
        return {}

    def supports(self, asked: Method, graph: Any) -> Any:
        return self.reason

    def prepare(self, model: LinearModel, dtype: str, device: str) -> Any:
        self.inner = GradientBackend().prepare(model, dtype)
        return self

    def run(self, x: np.ndarray, asked: Method, target: np.ndarray, layers: bool) -> Any:
        self.seen.append(target.tolist())
        return self.inner.run(x, asked, target, layers) if self.found is None else self.found


class Old(GradientBackend):
    """What was a backend before."""

    def supports(self, asked: Method) -> bool:  # type: ignore[override]
        return True


class OldPrepared(Bare):
    def prepare(self, model: LinearModel, dtype: str, device: str) -> Any:
        return type("Run", (), {"explain": lambda *arguments: None})()


class WithoutDevice(GradientBackend):
    def prepare(self, model: LinearModel, dtype: str) -> Any:  # type: ignore[override]
        return None


class Nameless(Bare):
    name = None  # type: ignore[assignment]


NO_BACKENDS = [
    (object(), "has no name that is a string"),
    (Nameless(), "has no name that is a string"),
    (np.mean, "has no name that is a string"),
    (pytest.param, r"param is a function: harness.backend_from_function\(name, param, 'torch'\) makes"),
    (type("Half", (), {"name": "half", "version": dict})(), "has no method 'supports'"),
    (Old(), r"supports takes \(asked\), expected \(method, graph\)"),
    (WithoutDevice(), r"prepare takes \(model, dtype\), expected \(model, dtype, device\)"),
]


@pytest.mark.parametrize(("backend", "words"), NO_BACKENDS)
def test_what_is_no_backend_is_refused_in_one_line_wherever_it_comes_from(
    monkeypatch: pytest.MonkeyPatch, backend: Any, words: str
) -> None:
    monkeypatch.setattr(EntryPoint, "load", lambda self: lambda: backend)
    plugins = {"theirs": EntryPoint("theirs", "theirs:Backend", "xai_harness.backends")}
    monkeypatch.setattr(registry, "_plugins", lambda group: plugins)
    for use in (
        lambda: harness.register_backend("theirs", backend),
        lambda: backend_named("theirs"),
        lambda: harness.explain(network(), X, "gradient", backend),
    ):
        with pytest.raises(InvalidInputError, match=words) as raised:
            use()
        assert "\n" not in str(raised.value) and "docs/add-a-backend.md" in str(raised.value)


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        (OldPrepared(), r"has explain and no run: write run\(x, method, target, layers\), which returns"),
        (Bare(reason=True), "supports.* returned True, expected an empty string, or why"),
        (Bare(found=[1.0]), "bare: run returned list, expected harness.backends.Arrays"),
        (Bare(reason="it has no such rule"), "does not implement 'gradient': it has no such rule"),
        (Bare(found=Arrays(np.ones((1, 2)), np.ones((1, 4)))), r"bare: the attribution has shape \(1, 4\)"),
        (
            Bare(found=Arrays(np.ones((1, 2)), X, relevances={"frist": np.ones((1, 2))})),
            "relevance of 'frist' .* did you mean 'first'",
        ),
    ],
)
def test_what_breaks_the_contract_later_is_one_line_too(backend: Any, words: str) -> None:
    with pytest.raises(harness.HarnessError, match=words) as raised:
        harness.explain(network(), X, "gradient", backend, target=0, dtype="float64")
    assert "\n" not in str(raised.value)


def test_every_backend_is_handed_a_target_and_the_candidate_is_handed_the_references() -> None:
    alone, candidate = Bare(), Bare()
    trace = harness.explain(network(), X, "gradient", alone, dtype="float64")
    # (0.5 - 0.5 - 2, -1 - 3 + 0.5) @ ((2, 1), (-1, 0.5)) = (-4 + 3.5, -2 - 1.75): class 0, found by a run for class 0.
    assert (trace.target.tolist(), alone.seen) == ([0], [[0], [0]])

    class Tied(GradientBackend):
        """Its two logits are equal but for rounding, which this side has the other way round."""

        def prepare(self, model: LinearModel, dtype: str, device: str = "cpu") -> Any:
            prepared = super().prepare(model, dtype)
            prepared.logits = lambda x: np.array([[1.0, 1.0 + 2**-52]])
            return prepared

    outcome = run_case(Case(network(), X, method("gradient"), None, "float64"), Tied("tied"), candidate)
    assert outcome.reference.target.tolist() == outcome.candidate.target.tolist() == [1]
    assert candidate.seen == [[1]]


def test_the_target_of_an_input_is_looked_up_once_for_all_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(GradientBackend):
        asked = 0

        def prepare(self, model: LinearModel, dtype: str, device: str = "cpu") -> Any:
            prepared = super().prepare(model, dtype)
            logits = prepared.logits

            def counted(x: np.ndarray) -> np.ndarray:
                self.asked += 1
                return logits(x)

            prepared.logits = counted
            return prepared

    backend, engine, model = Counting("plain"), Engine(), network()
    monkeypatch.setitem(registry._installed, "plain", backend)
    for name in ("gradient", "input_t_gradient"):
        for dtype in ("float64", "float32"):
            engine.run(Case(model, X, method(name), None, dtype), backend)
    assert backend.asked == 2


@pytest.mark.parametrize("device", ["tpu", "cuda:", "CPU", None])
def test_an_unknown_device_is_one_line(device: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"device must be cpu, cuda or cuda:NUMBER, found {device!r}"):
        Case.checked(network(), X, method("gradient"), None, "float64", device=device)


@pytest.mark.parametrize("name", ["oracle", "tensorflow", "torch", "zennit", "innvestigate", "signxai"])
def test_a_backend_refuses_a_device_that_it_does_not_compute_on(name: str) -> None:
    case = Case.checked(network(), X, method("gradient"), 0, "float64", device="cuda:1")
    assert case.digest != Case.checked(network(), X, method("gradient"), 0, "float64").digest
    with pytest.raises(
        InvalidInputError, match=f"backend '{name}' computes on cpu here, found device 'cuda:1'"
    ):
        Engine().prepared(case.model, backend_named(name), case.dtype, case.device)


def test_a_capability_is_what_there_are_calls_for_unless_the_object_says_less() -> None:
    class Some:
        def step(self) -> None: ...
        def step_program(self) -> None: ...

    one = Some()
    assert [name for name in CAPABILITIES if capability(one, name)] == ["steps"]
    one.capabilities = frozenset()  # type: ignore[attr-defined]
    assert capability(one, "steps") is None


def test_an_oracle_that_does_not_offer_deviations_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever replaces the oracle is told what the diagnosis asks it for."""
    monkeypatch.setitem(registry._registered, "oracle", GradientBackend("theirs"))
    wrong = GradientBackend(
        "wrong", lambda layer, relevance: 2 * relevance if layer == "first" else relevance
    )
    with pytest.raises(InvalidInputError, match="backend 'theirs' does not offer 'deviations'") as raised:
        diagnose(network(), X, "gradient", GradientBackend("plain"), wrong, dtype="float64")
    assert "\n" not in str(raised.value)
    with pytest.raises(InvalidInputError, match="backend 'plain' does not offer 'steps'"):
        harness.stability.analyse(network(), X, "gradient", GradientBackend("plain"), dtype="float64")
