"""The rebuilt ports against the released package itself, where it is unpacked: are they what they stand for?"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from evidence.case_studies import factors, flat
from evidence.case_studies.measure import DTYPE, Json, agreement
from evidence.case_studies.ports import Port
from harness.api import explain, load_model

MODEL, EPSILON = "digits-cnn", "0_5"
#: Port, the method for it, and the released analyzer that it stands for: (package, twin, epsilon) -> analyzer.
PAIRS: tuple[tuple[Port, str, Callable[[Any, torch.nn.Module, float], Any]], ...] = (
    (
        factors.PORTS["another composite"],
        f"lrp_epsilon_{EPSILON}",
        lambda package, twin, epsilon: package.LRPAnalyzer(twin, "epsilon", epsilon),
    ),
    (
        factors.PORTS["no factor x"],
        f"lrp_epsilon_{EPSILON}",
        lambda package, twin, epsilon: package.AdvancedLRPAnalyzer(twin, "epsilon", epsilon=epsilon),
    ),
    (
        flat.AS_RELEASED,
        flat.METHOD,
        lambda package, twin, epsilon: package.AdvancedLRPAnalyzer(twin, "flat"),
    ),
)


def measure(folder: Path) -> Json:
    """Relative L2 of each port from the released analyzer, by port. ``folder`` holds the unpacked signxai2 0.5.0."""
    package = _package(folder)
    model = load_model(MODEL)
    x = np.asarray(next(iter(model.examples.values()))(), DTYPE)
    seen = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
    apart = {}
    for port, method, analyzer in PAIRS:
        rebuilt = explain(model, x, method, port.backend(), None, DTYPE)
        released = analyzer(package, model.torch(DTYPE), factors.value(EPSILON)).analyze(
            seen, int(rebuilt.target[0])
        )
        apart[port.name] = agreement(np.moveaxis(released, 1, -1), rebuilt.attribution)["rel_l2"]
    return apart


def _package(folder: Path) -> ModuleType:
    """signxai2's Zennit part, without what its parent packages import for TensorFlow."""
    for name in ("signxai", "signxai.torch_signxai", "signxai.torch_signxai.methods"):
        parent = ModuleType(name)
        parent.__path__ = [str(folder / name.replace(".", "/"))]
        sys.modules[name] = parent
    return importlib.import_module("signxai.torch_signxai.methods.zennit_impl")
