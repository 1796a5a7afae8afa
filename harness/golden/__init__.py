"""Golden outputs: store, record, verify. The data lies in the folder `golden` of the project."""

from harness.golden.entry import FORMS, Golden
from harness.golden.inspect import Problem, Root, inspect, load_entry
from harness.golden.judge import against, distances
from harness.golden.manifest import locked, read_manifest, tidy
from harness.golden.regression import PASSING, STATUSES, Recorded, record, verify, verify_all
from harness.golden.sources import Models, Stale
from harness.golden.spread import verify_spread
from harness.golden.store import (
    Provenance,
    find_goldens,
    is_selected,
    load_golden,
    nothing_there,
    remove,
    save_golden,
)

__all__ = [
    "FORMS",
    "PASSING",
    "STATUSES",
    "Golden",
    "Models",
    "Problem",
    "Provenance",
    "Recorded",
    "Root",
    "Stale",
    "against",
    "distances",
    "find_goldens",
    "inspect",
    "is_selected",
    "load_entry",
    "load_golden",
    "locked",
    "nothing_there",
    "read_manifest",
    "record",
    "remove",
    "save_golden",
    "tidy",
    "verify",
    "verify_all",
    "verify_spread",
]
