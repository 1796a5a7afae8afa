"""DLBacktrace: the port against the package's own handlers, on vgg19-cifar10, layer by layer.

``python -m benchmarks.backtrace --version original --layers block5_conv4 fc1`` times single layers, without
``--layers`` all of them, which takes the original handlers hours; ``--out FILE`` writes a row a layer as CSV. Both get
the same operands, one after the other on the same threads; seconds are of the handler alone, in its own process, and of
the port's step. Then a whole run of the port is timed, and by how much it makes this process grow at most.

The package's interpreters are made by ``xai-harness peers install dl-backtrace`` (and ``dl-backtrace-torch``).
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.api import explain, load_model
from harness.backends import Arrays, backend_named
from harness.bench.timing import peak_bytes
from harness.engine import engine
from harness.graph import Layer
from harness.methods import method as method_named

MODEL, METHOD = "vgg19-cifar10", "backtrace.default"
#: Layers that the package has handlers for.
HANDLED = ("dense", "conv2d", "max_pool2d")
REPEAT = 3


def rows(version: str, names: Sequence[str], dtype: str) -> Iterator[dict[str, Any]]:
    """One layer after the other, output first: seconds of both, and how far apart they are."""
    model, method = load_model(MODEL), method_named(METHOD)
    x = next(iter(model.examples.values()))().astype(dtype)
    package = backend_named("dl-backtrace" if version == "original" else f"dl-backtrace-{version}")
    run = explain(model, x, method, dtype=dtype)
    port = engine().prepared(model, backend_named("backtrace-torch"), dtype)
    for layer in model.graph.backward():
        if layer.kind not in HANDLED or (names and layer.name not in names):
            continue
        inputs = tuple(np.array(run.layers[name].activation) for name in layer.inputs)
        relevance = np.array(run.layers[layer.name].relevance)
        rule = method.composite.rule_for(layer, model.graph)
        for _ in range(2 if version == "pytorch" else 1):  # the first call of that version compiles
            (of_package,), seconds = package.step(layer, inputs, relevance, rule)  # type: ignore[attr-defined]
        (of_port,), own = _timed(partial(port.step, layer, inputs, relevance, method))  # type: ignore[attr-defined]
        apart = float(np.linalg.norm(of_port - of_package) / (np.linalg.norm(of_package) or 1.0))
        yield _row(layer, seconds, own, apart)


def _row(layer: Layer, seconds: float, own: float, apart: float) -> dict[str, Any]:
    return {
        "layer": layer.name,
        "kind": layer.kind,
        "package_s": seconds,
        "port_s": own,
        "times": seconds / own,
        "relative_l2": apart,
    }


def _timed(call: Any) -> tuple[Any, float]:
    """The result, and the median seconds after one call that warms up."""
    call()
    taken = []
    for _ in range(REPEAT):
        began = time.perf_counter()
        result = call()
        taken.append(time.perf_counter() - began)
    return result, statistics.median(taken)


def whole_run(dtype: str) -> tuple[float, float]:
    """Median seconds of a whole run of the port, and the bytes by which this process grew at most."""
    model, method = load_model(MODEL), method_named(METHOD)
    x = next(iter(model.examples.values()))().astype(dtype)
    port = engine().prepared(model, backend_named("backtrace-torch"), dtype)
    target = np.zeros(len(x), np.int64)

    def run() -> Arrays:
        return port.run(x, method, target, False)

    peak = peak_bytes(run)
    _, seconds = _timed(run)
    return seconds, peak


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument(
        "--version", default="original", choices=("original", "refactored", "pytorch", "none")
    )
    options.add_argument("--layers", nargs="*", default=())
    options.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    options.add_argument("--out", type=Path)
    chosen = options.parse_args()
    measured = []
    for row in () if chosen.version == "none" else rows(chosen.version, chosen.layers, chosen.dtype):
        measured.append(row)
        print(
            f"{row['layer']:<14} {row['package_s']:10.3f} s {row['port_s']:9.4f} s {row['times']:10.0f} times  "
            f"{row['relative_l2']:.1e}",
            flush=True,
        )
    if measured:
        package, own = (sum(row[key] for row in measured) for key in ("package_s", "port_s"))
        print(f"all of these: {package:.1f} s and {own:.3f} s, {package / own:.0f} times")
    seconds, peak = whole_run(chosen.dtype)
    print(f"a whole run of the port: {seconds:.3f} s, {peak / 1e6:.0f} MB")
    if chosen.out is not None:
        with chosen.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(measured[0]))
            writer.writeheader()
            writer.writerows(measured)


if __name__ == "__main__":
    main()
