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
def silent() -> Iterator[None]:
    """Throws away what is written to the process's standard output and standard error, also past Python.

    For a library's attempt at something that may fail: what it writes about it is nobody's concern.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
        try:
            with contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
                yield
        finally:
            for number, place in zip(kept, (1, 2), strict=True):
                os.dup2(number, place)
                os.close(number)


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
