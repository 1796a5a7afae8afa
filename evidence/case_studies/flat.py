"""Study 2: the Flat rule with the real input in the denominator."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from evidence.case_studies import hooks, ports
from evidence.case_studies.measure import (
    DTYPE,
    Json,
    Kept,
    agreement,
    diagnosed,
    port_run,
    reference_run,
)
from evidence.case_studies.planted import (
    FROM_ONE,
    NO_ACTIVATION_HOOK,
    NO_NORM_HOOK,
    NO_POOLING_HOOK,
    REAL_INPUT,
    SIGNED_FLAT,
)
from evidence.case_studies.ports import Port
from harness.api import load_model
from harness.graph import KERNEL_KINDS
from harness.trace import Trace

METHOD = "lrp.flat"
HOOK_ONLY = Port("flat hook", ports.flat_hook_only, (REAL_INPUT, SIGNED_FLAT))
AS_RELEASED = Port(
    "as released",
    ports.flat_alone,
    (FROM_ONE, REAL_INPUT, SIGNED_FLAT, NO_ACTIVATION_HOOK, NO_POOLING_HOOK, NO_NORM_HOOK),
    starts_from_one=True,
)
MODELS = ("digits-cnn", "ecg-cnn1d", "vgg16-mri")
#: On the large network the hook is wrong at every layer, and is measured only.
DIAGNOSED = {"digits-cnn": (HOOK_ONLY, AS_RELEASED), "ecg-cnn1d": (HOOK_ONLY,), "vgg16-mri": ()}


def measure(kept: Kept) -> None:
    """Measure what is not there yet."""
    for name in MODELS:
        model = load_model(name)
        x = np.asarray(next(iter(model.examples.values()))())
        kept.case(f"flat: {name}", partial(_growth, model, x))
        for port in DIAGNOSED[name]:
            kept.case(f"flat: {name}: {port.name}", partial(diagnosed, model, x, METHOD, port))


def _growth(model: Any, x: np.ndarray) -> Json:
    """The sum of relevance before and after every kernel's step, on both sides, and what it is divided by."""
    reference = reference_run(model, x, METHOD)
    candidate = port_run(model, x, METHOD, HOOK_ONLY, reference)
    twin = model.torch(DTYPE)
    rows = []
    for layer in reversed(model.graph.layers):
        if layer.kind not in KERNEL_KINDS:
            continue
        (source,) = layer.inputs
        seen = np.asarray(reference.layers[source].activation, np.float64)
        rows.append(
            {
                "layer": layer.name,
                "mean input": float(seen.mean()),
                "negative inputs": float((seen < 0).mean()),
                "reference": _sums(reference, source, layer.name),
                "candidate": _sums(candidate, source, layer.name),
                **_empty(twin, layer.name, seen, np.asarray(candidate.layers[layer.name].relevance)),
            }
        )
    return {
        "layers": rows,
        "logit": float(reference.logits[0, reference.target[0]]),
        "std": {
            "reference": float(reference.attribution.std()),
            "candidate": float(candidate.attribution.std()),
        },
        "agreement": agreement(reference.attribution, candidate.attribution),
    }


def _sums(run: Trace, source: str, layer: str) -> list[float]:
    """[at the layer's output, at its input]"""
    return [float(np.asarray(run.layers[name].relevance).sum()) for name in (layer, source)]


def _empty(twin: torch.nn.Module, layer: str, seen: np.ndarray, relevance: np.ndarray) -> Json:
    """How many outputs see nothing but inputs that sum to zero, and how much of all that is passed on passes there.

    An output passes on ``|R_j| / |S(z_j)|`` to each input, ``z_j`` the sum of what it sees.
    """
    with torch.no_grad(), hooks.with_ones(twin.get_submodule(layer)) as module:
        z = np.moveaxis(module(torch.from_numpy(np.moveaxis(seen, -1, 1).copy())).numpy(), 1, -1)
    passed = np.abs(relevance) / np.abs(z + np.where(z >= 0, 1.0, -1.0) * hooks.DEFAULT_EPSILON)
    return {"empty": float((z == 0).mean()), "through empty": float(passed[z == 0].sum() / passed.sum())}
