"""A run of a test held against a stored one, by a name that the test gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.comparison import layers_around
from harness.engine import engine, floor_of
from harness.errors import InvalidInputError
from harness.files import array_digest
from harness.golden import PASSING, Provenance, load_entry, read_manifest, save_golden
from harness.golden.judge import against
from harness.golden.regression import row_of_golden
from harness.golden.store import entry_name
from harness.methods import same_on
from harness.naming import printable
from harness.trace import Trace

#: Up to so many bytes of tensors a golden holds them all; beyond it, a float64 golden is a sketch.
_FULL_BYTES = 1 << 18


@dataclass(frozen=True)
class GoldenUse:
    """``status``: held, or what `harness.golden.save_golden` did: recorded, unchanged or replaced."""

    entry: str
    status: str


def compared_with_golden(root: Path, name: str, trace: Trace) -> tuple[GoldenUse, str]:
    """What was used, and why ``trace`` is not what the golden holds; empty where it is.

    Raises ModelSourceError for a damaged root or entry, InvalidInputError for a run of another target.
    """
    entry = _entry(name, trace)
    manifest = read_manifest(root)
    use = GoldenUse(entry, "held")
    if entry not in manifest.entries:
        return use, f"there is no golden {printable(entry)} under {root}"
    golden = load_entry(root, entry, manifest.entries[entry], manifest.files)
    graph = None if trace.case is None else trace.case.model.graph
    for what, same in (
        ("weights or layers", golden.facts["model_digest"] == trace.provenance.get("model_digest")),
        ("input", array_digest(golden.x) == trace.provenance.get("input_digest")),
        ("definition of the method", same_on(graph, golden.method, trace.method)),
    ):
        if not same:
            return use, f"stale: {printable(entry)} was recorded with another {what}"
    comparison = against(golden, trace)
    row = row_of_golden(entry, golden, comparison)
    if row["status"] in PASSING and row["passed"]:
        return use, ""
    return use, printable(f"{entry}: {row['message']}\n\n{layers_around(comparison)}", lines=True)


def recorded_golden(root: Path, name: str, trace: Trace) -> GoldenUse:
    """Store ``trace`` with its floor. Raises InvalidInputError for a trace that was read from a file."""
    if trace.case is None:
        raise InvalidInputError(
            f"golden {name!r}: this trace was read from a file, so that its input and floor are not known; "
            "give one of harness.explain"
        )
    size = sum(
        array.nbytes
        for layer in trace.layers.values()
        for array in (layer.activation, layer.relevance)
        if array is not None
    )
    form = "sketch" if trace.dtype == "float64" and size > _FULL_BYTES else "full"
    versions = {key: str(value) for key, value in trace.provenance.get("versions", {}).items()}
    provenance = Provenance("given", {"kind": "object", "name": trace.model}, versions)
    floor = floor_of(engine(), trace)
    entry = _entry(name, trace)
    reason = "pytest --regen-golden"
    _, status = save_golden(root, trace, floor, trace.case.x, provenance, form, reason, entry)
    return GoldenUse(entry, status)


def unused_goldens(root: Path, used: set[str]) -> list[str]:
    """Entries of ``root`` that no test asked for. Raises ModelSourceError for a damaged manifest."""
    return sorted(read_manifest(root).entries.keys() - used)


def _entry(name: str, trace: Trace) -> str:
    """Raises InvalidInputError for a name that is none."""
    if "/" not in name:
        return entry_name(trace.model, name, trace.dtype)
    folder, _, stem = name.partition("/")
    if entry_name(folder, stem, "")[:-1] != name:
        raise InvalidInputError(f"golden {name!r} is no name; expected NAME or MODEL/NAME.DTYPE")
    return name
