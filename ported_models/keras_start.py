"""TensorFlow under Keras, imported without what it writes to the terminal on the way."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from importlib.util import find_spec

from harness.quiet import without_remarks


def start_keras() -> None:
    """Import TensorFlow where it is installed; whoever imports Keras next finds it there, and hears of what is missing.

    Its remarks are shown where the user has set TF_CPP_MIN_LOG_LEVEL to 0.
    """
    if "tensorflow" in sys.modules or find_spec("tensorflow") is None:
        return
    loud = os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0"
    with contextlib.nullcontext() if loud else without_remarks():
        # torch's CUDA builds bring Triton, whose import after TensorFlow 2.21 ends the process (segmentation fault).
        with contextlib.suppress(ImportError):
            importlib.import_module("triton")
        importlib.import_module("tensorflow")
