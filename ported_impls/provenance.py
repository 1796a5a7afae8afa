"""What a trace says about where it is from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.backends.protocol import Model


def provenance(
    backend: str, versions: Mapping[str, str], model: Model, dtype: str, x: np.ndarray
) -> dict[str, Any]:
    """What has to be the same for a run to give the same numbers; the input as sha256 of its bytes."""
    return {
        "backend": backend,
        "versions": dict(versions),
        "model_digest": model.digest,
        "dtype": dtype,
        "input_digest": hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest(),
    }
