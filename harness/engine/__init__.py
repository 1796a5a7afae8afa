"""Computes cases, and the evidence that verdicts rest on; everything that runs a backend asks here."""

from harness.engine.cases import Engine, engine, require_support
from harness.engine.compare import compare
from harness.engine.evidence import floor_of
from harness.engine.many_runs import joins_many, run_ahead
from harness.engine.memo import Memo
from harness.engine.operands import operands_of
from harness.engine.order import in_shared_order
from harness.engine.prepared import KEPT
from harness.engine.store import Store, result_key

__all__ = [
    "KEPT",
    "Engine",
    "Memo",
    "Store",
    "compare",
    "engine",
    "floor_of",
    "in_shared_order",
    "joins_many",
    "operands_of",
    "require_support",
    "result_key",
    "run_ahead",
]
