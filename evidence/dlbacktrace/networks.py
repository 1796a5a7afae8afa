"""Reference against port on whole networks, at every layer: ``python -m evidence.dlbacktrace.networks MODEL ...``.

Each run is a row of ``reports/dlbacktrace-networks.csv``, written as soon as it is made; a row of the same network,
method and dtype is replaced. Without a name all networks are run, which takes hours on two cores.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evidence.planted_bugs.bugs.networks import NETWORKS
from harness.api import explain, load_model
from harness.engine import compare
from harness.files import write_text

FILE = Path("reports") / "dlbacktrace-networks.csv"
#: What the page shows: convolutional networks, and transformers with attention and feed-forward blocks.
NAMES = ("vgg19-cifar10", "vgg16-mri", "fer-xception", "encoder-net", "vit-digits")
METHODS = ("backtrace.default", "backtrace.contrast", "backtrace.contrast:part=against")
DTYPES = ("float64", "float32")
_KEYS = ("network", "method", "dtype")


def network(name: str) -> tuple[Any, np.ndarray]:
    """A network of the zoo or of the planted bugs, and an input (1, *shape): the first example, or uniform noise."""
    if name in NETWORKS:
        small = NETWORKS[name]()
        return small, np.random.default_rng(24).random((1, *small.input_shape))
    model = load_model(name)
    return model, next(iter(model.examples.values()))()


def row(model: Any, x: np.ndarray, name: str, method: str, dtype: str) -> dict[str, str]:
    """One comparison: how many layers there are, how many are equal to rounding, and the one that is furthest."""
    began = time.perf_counter()
    x = x.astype(dtype)
    reference = explain(model, x, method, dtype=dtype)
    candidate = explain(model, x, method, backend="backtrace-torch", target=reference.target, dtype=dtype)
    compared = compare(reference, candidate)
    furthest = max(compared.rows, key=lambda each: each.ratio)
    return {
        "network": name,
        "method": method,
        "dtype": dtype,
        "layers": str(len(compared.rows)),
        "equivalent": str(sum(each.verdict in ("identical", "equivalent") for each in compared.rows)),
        "verdict": compared.verdict,
        "furthest": furthest.layer,
        "rel_l2": f"{furthest.rel_l2:.2e}",
        "floors": f"{furthest.ratio:.2g}",
        "seconds": f"{time.perf_counter() - began:.0f}",
    }


def stored() -> list[dict[str, str]]:
    """The rows that were measured before."""
    return list(csv.DictReader(FILE.open(encoding="utf-8"))) if FILE.exists() else []


def _write(rows: Sequence[Mapping[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(FILE, text.getvalue())


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(NAMES))
    options.add_argument("--methods", nargs="*", default=METHODS)
    options.add_argument("--dtypes", nargs="*", default=DTYPES, choices=DTYPES)
    chosen = options.parse_args()
    order = [(name, method, dtype) for name in NAMES for method in METHODS for dtype in DTYPES]
    for name in chosen.models or NAMES:
        model, x = network(name)
        for method in chosen.methods:
            for dtype in chosen.dtypes:
                made = row(model, x, name, method, dtype)
                print(", ".join(made.values()), flush=True)
                kept = {tuple(each[key] for key in _KEYS): each for each in stored()}
                kept[tuple(made[key] for key in _KEYS)] = made
                _write([kept[key] for key in order if key in kept])


if __name__ == "__main__":
    main()
