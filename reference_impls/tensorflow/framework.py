"""Loading TensorFlow: whether it is there, and without what it writes to the terminal on the way."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys

from harness.errors import MissingFrameworkError
from harness.quiet import without_remarks


def load_tensorflow() -> None:
    """Import TensorFlow and Keras; raises MissingFrameworkError where one of them is not installed.

    Only its fatal errors are logged, unless the user has set TF_CPP_MIN_LOG_LEVEL.
    """
    if any(importlib.util.find_spec(package) is None for package in ("tensorflow", "keras")):
        raise MissingFrameworkError("tensorflow")
    if "tensorflow" in sys.modules:
        return
    # TensorFlow's plain kernels, unless the user wants others: a reference should not depend on how oneDNN cuts a
    # sum, and in one long process its reorder step has failed on a 1x1 convolution ("could not create a
    # primitive descriptor"). The plain ones took about a quarter longer on vgg16-mri.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    # 3, not 2: on a machine without a GPU the missing driver is logged as an error.
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with without_remarks() if level != "0" else contextlib.nullcontext():
        # torch's CUDA builds bring Triton, whose import after TensorFlow 2.21 ends the process (segmentation fault).
        with contextlib.suppress(ImportError):
            importlib.import_module("triton")
        importlib.import_module("tensorflow")
