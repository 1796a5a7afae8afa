"""Golden outputs: store, record, verify. The data lies in the folder `golden` of the project."""

from harness.golden.regression import record, verify, verify_all
from harness.golden.store import Golden, find_goldens, golden_path, load_golden, save_golden

__all__ = [
    "Golden",
    "find_goldens",
    "golden_path",
    "load_golden",
    "record",
    "save_golden",
    "verify",
    "verify_all",
]
