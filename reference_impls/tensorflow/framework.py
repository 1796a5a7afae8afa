"""Loading TensorFlow: whether it is there, and without what it writes to the terminal on the way."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator

from harness.errors import MissingFrameworkError

#: TensorFlow's remarks: its log lines below an error, and the heading that comes before the first.
_REMARK = re.compile(rb"[IW]\d{4} |WARNING: All log messages before absl")


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
    with _without_remarks() if level != "0" else contextlib.nullcontext():
        importlib.import_module("tensorflow")


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    """Holds back what is written to the process's standard error, then writes all but TensorFlow's remarks.

    At import TensorFlow's libraries log before they have read TF_CPP_MIN_LOG_LEVEL, past Python.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if not _REMARK.match(line):
                    os.write(2, line)
