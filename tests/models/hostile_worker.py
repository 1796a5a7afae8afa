"""Loads model files, one a line of standard input, and says what came of each: a JSON object a line.

``outcome``: "loads", "refused" (a `HarnessError`) or "raw"; ``words``: the error's; ``seconds``: that passed, or that
the processors worked, whichever is less, so that other programs count for nothing; ``bytes``: by how much the largest
resident set while it was loaded is above what it was before.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any


def resident(what: str) -> int:
    """``VmRSS`` or ``VmHWM`` of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(what))) * 1024


def processor_seconds() -> float:
    """Of this process and of those that it waited for."""
    return sum(os.times()[:4])


def loaded(path: str) -> dict[str, Any]:
    import harness

    Path("/proc/self/clear_refs").write_text("5")  # the largest resident set begins anew
    before, start, worked = resident("VmRSS"), time.monotonic(), processor_seconds()
    outcome, words = "loads", ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            harness.load_model(path)
    except harness.HarnessError as error:
        outcome, words = "refused", str(error)
    except BaseException as error:
        outcome, words = "raw", f"{type(error).__name__}: {error}"
    seconds = min(time.monotonic() - start, processor_seconds() - worked)
    return {
        "outcome": outcome,
        "words": words,
        "seconds": round(seconds, 2),
        "bytes": resident("VmHWM") - before,
    }


def main() -> None:
    import keras  # noqa: F401
    import torch  # noqa: F401

    print(json.dumps({"outcome": "ready"}), flush=True)
    for line in sys.stdin:
        print(json.dumps(loaded(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
