"""The peer's side of `against_signxai.py`: runs in signxai's interpreter and times the library's own calls.

Everything else that the peer's side does (the logits, copying arrays) is left out of the time.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reference_impls" / "peers"))
import signxai_side  # type: ignore[import-not-found]

_original = signxai_side.explanation
_seconds: list[float] = []


def _timed(*arguments: Any, **named: Any) -> Any:
    started = time.perf_counter()
    result = _original(*arguments, **named)
    _seconds.append(time.perf_counter() - started)
    return result


signxai_side.explanation = _timed


def handle(op: str, payload: dict[str, Any], arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """As `signxai_side.handle`; the facts of an explanation have its ``seconds``, one analyzer built anew included."""
    _seconds.clear()
    answer, result = signxai_side.handle(op, payload, arrays)
    if "facts" in answer:
        answer["facts"]["seconds"] = sum(_seconds)
    return answer, result
