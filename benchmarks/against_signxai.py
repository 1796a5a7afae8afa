"""What real signxai takes for a list of names, and what the reference alone takes for the same ones.

    python -m benchmarks.against_signxai [--model vgg16-mri] [--names FILE] [--every 1] [--out FILE.json]

signxai's TensorFlow side runs in its own interpreter (`xai-harness peers install signxai`), a function of its own for
each name, which builds one analyzer anew, as its users do; only the time inside that function counts. The reference
gives the attribution too, no layers. Both have run one name before. What both frameworks take with every layer compared
is measured by `benchmarks.whole_catalogue`, on the same list.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.names import VGG16_MRI, read_names
from harness.api import load_model
from harness.backends import backend_named
from harness.methods import method
from harness.runner import chosen_input

_TIMER = Path(__file__).with_name("signxai_timer.py")


def timed_peer() -> Any:
    """The backend of real signxai, which says how long the library took."""
    backend: Any = backend_named("signxai")
    return type(backend)(replace(backend.adapter, peer=replace(backend.adapter.peer, adapter=_TIMER)))


def signxai_seconds(
    model: Any, x: np.ndarray, target: np.ndarray, names: tuple[str, ...]
) -> dict[str, float]:
    """Seconds of the library's own call by name."""
    prepared = timed_peer().prepare(model, "float32")
    prepared.run(x, method(names[0]), target, False)
    seconds = {}
    for name in names:
        seconds[name] = float(prepared.run(x, method(name), target, False).facts["peer"]["seconds"])
        print(f"signxai    {name:45s} {seconds[name]:8.2f} s", file=sys.stderr, flush=True)
    return seconds


def reference_seconds(
    model: Any, x: np.ndarray, target: np.ndarray, names: tuple[str, ...]
) -> dict[str, float]:
    """Seconds of the reference by name; what it shares between names is paid by the first."""
    prepared = backend_named("tensorflow").prepare(model, "float32")
    prepared.run(np.flip(x, 2).copy(), method(names[0]), target, False)
    seconds = {}
    for name in names:
        started = time.perf_counter()
        prepared.run(x.copy(), method(name), target, False)
        seconds[name] = time.perf_counter() - started
        print(f"reference  {name:45s} {seconds[name]:8.2f} s", file=sys.stderr, flush=True)
    return seconds


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", default="vgg16-mri")
    options.add_argument("--names", type=Path, default=VGG16_MRI)
    options.add_argument("--every", type=int, default=1, help="one name in so many")
    options.add_argument("--out", type=Path)
    chosen = options.parse_args()
    names = read_names(chosen.names)[:: chosen.every]
    model: Any = load_model(chosen.model)
    x, _ = chosen_input(model, None)
    target = backend_named("tensorflow").prepare(model, "float32").logits(x).argmax(axis=1)  # type: ignore[attr-defined]
    result = {
        "model": chosen.model,
        "names": len(names),
        "signxai": signxai_seconds(model, x, target, names),
        "reference": reference_seconds(model, x, target, names),
    }
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    totals = {side: sum(result[side].values()) for side in ("signxai", "reference")}
    print(json.dumps({"names": len(names), **totals, "ratio": totals["signxai"] / totals["reference"]}))


if __name__ == "__main__":
    main()
