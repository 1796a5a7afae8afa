"""What libraries write to the terminal while they are imported, past Python, held back."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

#: TensorFlow's remarks: its log lines below an error, and the heading that comes before the first.
_REMARK = re.compile(rb"[IW]\d{4} |WARNING: All log messages before absl")


@contextlib.contextmanager
def without_remarks() -> Iterator[None]:
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
