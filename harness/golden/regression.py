"""Record goldens from the reference; hold a candidate against them without the reference's framework."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.api import as_model, prepared_for, require_support
from harness.backends import Backend, backend_named, run_on_copies
from harness.comparison import Comparison, FloorMeter, compare
from harness.errors import ModelSourceError
from harness.golden.store import load_golden, save_golden
from harness.methods import method


def record(
    root: Path,
    source: Any,
    x: np.ndarray,
    input_name: str,
    methods: Sequence[str],
    reference: str | Backend,
    dtype: str,
) -> Iterator[tuple[str, Path]]:
    """Explain ``x`` by every method through ``reference`` and store each run with its floor; yields as it goes."""
    model, backend = as_model(source), backend_named(reference)
    array = np.ascontiguousarray(x, dtype=dtype)
    prepared = backend.prepare(model, dtype)
    meter = FloorMeter(model, array, backend, dtype)
    for name in methods:
        resolved = method(name)
        require_support(backend, resolved)
        trace = run_on_copies(prepared, array, resolved, None)
        yield name, save_golden(root, trace, meter.measure(trace), input_name)


def verify(path: Path, candidate: str | Backend, models: dict[str, Any]) -> Comparison:
    """Run ``candidate`` on the case of a golden and compare it with what is stored.

    ``models`` holds the models loaded so far, by name. Raises ModelSourceError where the model's
    weights are no longer those the golden was recorded with.
    """
    golden = load_golden(path)
    trace = golden.trace
    if trace.model not in models:
        models[trace.model] = as_model(trace.model)
    model, backend = models[trace.model], backend_named(candidate)
    recorded = trace.provenance.get("model_digest")
    if model.digest != recorded:
        raise ModelSourceError(
            f"{path} was recorded with other weights or another graph of {trace.model} "
            f"(digest {str(recorded)[:12]}, now {model.digest[:12]}); record it again if that change was meant"
        )
    require_support(backend, trace.method)
    prepared = prepared_for(model, backend, trace.dtype)
    run = run_on_copies(prepared, golden.x, trace.method, trace.target)
    return compare(trace, run, floor=golden.floor)
