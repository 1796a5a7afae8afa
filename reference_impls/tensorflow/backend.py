"""The backend `tensorflow`, as the harness's registry sees it; TensorFlow itself is loaded by `prepare`."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from harness.backends.protocol import Model
from harness.methods import Method, Rule
from reference_impls.tensorflow.framework import load_tensorflow

if TYPE_CHECKING:
    from reference_impls.tensorflow.prepared import PreparedTensorFlow


class TensorFlowBackend:
    """Gradients and LRP in iNNvestigate 2.1.2's reading, run on a model's Keras twin."""

    name = "tensorflow"

    def version(self) -> dict[str, str]:
        """Versions of tensorflow, keras and numpy ("not installed" where missing) and `source`, a sha256."""
        return {
            **{package: _installed_version(package) for package in ("tensorflow", "keras", "numpy")},
            "source": _source_digest(),
        }

    def supports(self, method: Method) -> bool:
        """Whether this backend computes every rule of ``method``; it does all of `harness.methods`."""
        return all(isinstance(assignment.rule, get_args(Rule)) for assignment in method.composite.assignments)

    def prepare(self, model: Model, dtype: str) -> PreparedTensorFlow:
        """``model`` in ``dtype`` ("float32" or "float64"), ready to explain.

        Raises MissingFrameworkError where TensorFlow or Keras is not installed.
        """
        load_tensorflow()
        from reference_impls.tensorflow.prepared import PreparedTensorFlow

        return PreparedTensorFlow(model, dtype, self.name, self.version())


def _installed_version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _source_digest() -> str:
    """sha256 (hex) over names and contents of this package's own modules."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
