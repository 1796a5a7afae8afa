"""The backend as the registry sees it: name, versions, what it supports, what it says where it cannot."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from harness.backends import Backend, capability
from harness.errors import MissingFrameworkError
from harness.methods import ALL_METHODS, Assignment, Composite, FusedBatchNorm, Z, method
from ported_models.build import Builder
from ported_models.model import PortedModel
from reference_impls.tensorflow import TensorFlowBackend


def model() -> PortedModel:
    builder = Builder("one dense layer", (2,))
    builder.add("dense", "logits", weights={"kernel": np.ones((2, 2))})
    return PortedModel.from_graph(builder.graph())


def in_a_fresh_interpreter(code: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**inherited, "PYTHONPATH": ":".join(sys.path)},
    )


def test_importing_the_backend_does_not_import_tensorflow() -> None:
    code = (
        "import sys, reference_impls.tensorflow; print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    assert in_a_fresh_interpreter(code).stdout.split() == ["False", "False"]


LOAD = (
    "import sys; from reference_impls.tensorflow.framework import load_tensorflow;"
    "load_tensorflow(); import tensorflow as tf; tf.constant(1.0); print('kept', file=sys.stderr)"
)


def test_loading_tensorflow_writes_nothing_to_the_terminal() -> None:
    assert in_a_fresh_interpreter(LOAD).stderr == "kept\n"


@pytest.mark.parametrize(
    "load",
    [
        "from reference_impls.tensorflow.framework import load_tensorflow as load",
        "from ported_models.keras_start import start_keras as load",
    ],
)
def test_triton_is_imported_before_tensorflow(load: str, tmp_path: Path) -> None:
    """Triton, which torch's CUDA builds bring, ends the process when it is imported after TensorFlow 2.21."""
    (tmp_path / "triton.py").write_text(
        "import os, sys\nprint('tensorflow' in sys.modules, flush=True)\nos._exit(0)\n"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {load}; load()"
    assert in_a_fresh_interpreter(code).stdout == "False\n"


def test_without_tensorflow_prepare_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "tensorflow" else find(name, *rest)
    )
    with pytest.raises(MissingFrameworkError, match=r"pip install 'xai-harness\[tensorflow\]'"):
        TensorFlowBackend().prepare(model(), "float32")


def test_the_backend_keeps_the_protocol() -> None:
    backend: Backend = TensorFlowBackend()
    assert backend.name == "tensorflow"
    prepared = backend.prepare(model(), "float32")
    for name in ("logits", "steps"):
        assert capability(prepared, name) is prepared
    for name in ("activations", "programs", "deviations", "denominators"):
        assert capability(prepared, name) is None


def test_versions_name_what_computes_and_its_own_source() -> None:
    versions = TensorFlowBackend().version()
    assert set(versions) == {"tensorflow", "keras", "numpy", "source"}
    assert versions["numpy"] == np.__version__
    assert re.fullmatch("[0-9a-f]{64}", versions["source"])


@pytest.mark.parametrize("name", ALL_METHODS)
def test_every_method_of_the_catalogue_is_supported(name: str) -> None:
    assert TensorFlowBackend().supports(method(name), model().graph) == ""


@dataclass(frozen=True)
class Unknown:
    """A rule, stabilizer or procedure of a later day."""


@pytest.mark.parametrize(
    "part",
    [
        pytest.param({"composite": Composite((Assignment(cast(Any, Unknown())),))}, id="rule"),
        pytest.param(
            {"composite": Composite((Assignment(Z(stabilizer=cast(Any, Unknown()))),))}, id="stabilizer"
        ),
        pytest.param(
            {"composite": Composite((Assignment(FusedBatchNorm(cast(Any, Unknown()))),))}, id="rule of a line"
        ),
        pytest.param({"procedure": Unknown()}, id="procedure"),
        pytest.param({"head": "contrast"}, id="head"),
        pytest.param({"postprocess": Unknown()}, id="postprocess"),
    ],
)
def test_what_it_does_not_know_is_not_supported(part: dict[str, Any]) -> None:
    reason = TensorFlowBackend().supports(replace(method("lrp.z"), **part), model().graph)
    assert reason.startswith("it does not compute the ")
