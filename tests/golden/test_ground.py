"""Goldens where rounding chooses between equal entries of a pooling window: held by the oracle, whatever it chooses.

Recorded by the real reference and verified by the real port, which is made to choose the other entry of every window by
one unit in the last place: what another processor's order of sums does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends import backend_named
from harness.engine import engine
from harness.golden import find_goldens, record, verify
from harness.methods import DeepLift, baselines
from ported_impls import deep_lift, procedures
from ported_models import PortedModel
from tests.undecided import undecided

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

LIFTED = "deep_lift:baselines=0.5"
PATH = "integrated_gradients:dialect=captum,method=riemann_trapezoid,n_steps=3,baselines=0.25"
#: A black picture: every window is undecided, and rounding of weights and input moves none.
BLACK = np.zeros((1, 6, 6, 2))
X = np.random.default_rng(1).normal(size=(1, 6, 6, 2))


@pytest.fixture(scope="module")
def model() -> PortedModel:
    return undecided()


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    """What the altered port computes is nobody else's."""
    engine().clear()
    yield
    engine().clear()


def up(x: np.ndarray) -> np.ndarray:
    """``x``, in which the second entry of each window of a constant is the largest."""
    moved = x.copy()
    moved[:, :, 1::2] = np.nextafter(moved[:, :, 1::2], np.inf)
    return moved


class OtherEntries:
    """The port, whose first convolution is rounded so; it shows single passes alone."""

    name = "other-entries"

    def version(self) -> dict[str, str]:
        return {}

    def supports(self, method: Any, graph: Any) -> str:
        return ""

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> Any:
        import torch

        def rounded(module: Any, args: Any, output: Any) -> Any:
            """Channels are on axis 1, columns on axis 3; each value is moved away from zero, or towards it."""
            columns = 1 + np.finfo(np.float64).eps * (torch.arange(6, dtype=torch.float64) % 2)
            upwards = output * columns
            return torch.where(output > 0, upwards, output * columns.flip(0))

        prepared: Any = backend_named("torch").prepare(model, dtype)

        class Alone:
            def run(self, *given: Any) -> Any:
                hook = prepared.twin.get_submodule("conv").register_forward_hook(rounded)
                try:
                    return prepared.run_alone(*given)
                finally:
                    hook.remove()

        return Alone()


def on_other_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The baselines of the port's DeepLIFT, and the first point of its paths, moved so."""
    points = procedures.points

    def moved_points(procedure: Any, x: np.ndarray) -> Iterator[tuple[np.ndarray, float | None]]:
        for number, (point, weight) in enumerate(points(procedure, x)):
            yield (point if number else up(point)), weight

    for name in ("ported_impls.deep_lift", "ported_impls.run"):
        monkeypatch.setattr(f"{name}.baselines", lambda *given: map(up, baselines(*given)))
    for name in ("ported_impls.procedures", "ported_impls.run"):
        monkeypatch.setattr(f"{name}.points", moved_points)


def recorded(root: Path, model: PortedModel, name: str, x: np.ndarray, form: str) -> Callable[..., Any]:
    """What `verify` says of the golden, once it is recorded."""
    for _ in record(root, model, x, "made", [name], "tensorflow", "float64", form):
        pass
    (path,) = find_goldens(root)
    engine().clear()
    return lambda candidate="torch": verify(path, candidate, {model.name: model})


FORMS = pytest.mark.parametrize("form", ["full", "sketch"])


@FORMS
@pytest.mark.parametrize("name", [LIFTED, PATH])
def test_another_of_equal_entries_in_one_of_many_runs_holds(
    model: PortedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, form: str
) -> None:
    verified = recorded(tmp_path, model, name, X, form)
    on_other_entries(monkeypatch)
    comparison = verified()
    assert comparison.attribution.rel_l2 > 0.01
    assert comparison.passed
    assert comparison.attribution.decided_by == "equal ground"
    assert comparison.first_divergent is None
    assert any("the oracle, run on the candidate's activations" in note for note in comparison.notes)


@FORMS
@pytest.mark.parametrize("name", ["gradient", "lrp.w_square"])
def test_another_of_equal_entries_in_the_one_pass_holds(
    model: PortedModel, tmp_path: Path, name: str, form: str
) -> None:
    comparison = recorded(tmp_path, model, name, BLACK, form)(OtherEntries())
    assert comparison.attribution.rel_l2 > 0.01
    assert comparison.passed
    assert comparison.attribution.decided_by == "equal ground"


@FORMS
@pytest.mark.parametrize("kind", ["max_pool2d", "elu"])
def test_a_rule_that_is_off_beside_does_not(
    model: PortedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, form: str
) -> None:
    verified = recorded(tmp_path, model, LIFTED, X, form)
    on_other_entries(monkeypatch)
    rule = deep_lift._RULES[kind]
    monkeypatch.setitem(deep_lift._RULES, kind, lambda *args: rule(*args) * (1 + 1e-9))
    assert not verified().passed


@FORMS
def test_a_change_that_oracle_and_port_have_in_common_does_not(
    model: PortedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Both take the baseline a thousandth larger than the reference that recorded did."""
    verified = recorded(tmp_path, model, LIFTED, X, form)

    def larger(procedure: DeepLift, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
        return baselines(replace(procedure, baselines=(0.5005,)), shape)

    for name in (
        "ported_impls.deep_lift",
        "ported_impls.run",
        "reference_impls.oracle.deep_lift",
        "harness.comparison.joining",
    ):
        monkeypatch.setattr(f"{name}.baselines", larger)
    assert not verified().passed


def test_a_golden_that_was_recorded_wrongly_does_not(
    model: PortedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Port and oracle are right; the reference that recorded had another baseline."""

    def other(procedure: DeepLift, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
        return baselines(replace(procedure, baselines=(0.6,)), shape)

    with monkeypatch.context() as patch:
        patch.setattr("reference_impls.tensorflow.deep_lift.baselines", other)
        verified = recorded(tmp_path, model, LIFTED, X, "sketch")
    assert not verified().passed
