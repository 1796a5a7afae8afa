"""The side of a local process: an adapter of `harness.backends.worker` that does the tasks of a job."""

from __future__ import annotations

import os
import sys
from typing import Any

# The folder of this file is there for scripts that stand alone; here its modules would hide others.
sys.path.remove(os.path.dirname(os.path.abspath(__file__)))

from harness.engine.executors import jobs
from harness.engine.executors.contract import Job


def handle(op: str, payload: dict[str, Any], arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """``begin``: open the job; ``task``: its answer, or ``{"unknown": true}`` where it was not opened here."""
    if op == "begin":
        jobs.begin(Job(**payload))
        return {}, {}
    answer = jobs.answer(payload["number"], payload["what"])
    return ({"unknown": True} if answer is None else {"answer": answer}), {}
