"""References that a library has published, stored as goldens: the networks are built, the runs are the file's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.api import load_model
from harness.backends import ORACLE, Backend, backend_named
from harness.case import Case
from harness.comparison.floor import MULTIPLE, RUNS, NoiseFloor, movement, unit_roundoff
from harness.comparison.metrics import relative_l2
from harness.comparison.summation import longest_sum
from harness.engine import engine, floor_of
from harness.errors import HarnessError, InvalidInputError, ModelSourceError, UnknownNameError
from harness.files import array_digest
from harness.golden.single_layer import HDF5, Reference, read_references
from harness.golden.store import Provenance, save_golden
from harness.methods import GRADIENT, Method
from harness.methods import method as method_named
from harness.trace import Trace

#: iNNvestigate's classes (analyzer/__init__.py of 1.0.9) by the name that the catalogue has for them.
ANALYZERS = {
    "Gradient": "gradient",
    "BaselineGradient": "gradient.baseline",
    "InputTimesGradient": "input_t_gradient",
    "Deconvnet": "deconvnet",
    "GuidedBackprop": "guided_backprop",
    "IntegratedGradients": "integrated_gradients",
    "DeepTaylor": "deep_taylor",
    "LRPZ": "lrp.z",
    "LRPZIgnoreBias": "lrp.z_IB",
    "LRPEpsilon": "lrp.epsilon",
    "LRPEpsilonIgnoreBias": "lrp.epsilon_IB",
    "LRPWSquare": "lrp.w_square",
    "LRPFlat": "lrp.flat",
    "LRPAlpha2Beta1": "lrp.alpha_2_beta_1",
    "LRPAlpha2Beta1IgnoreBias": "lrp.alpha_2_beta_1_IB",
    "LRPAlpha1Beta0": "lrp.alpha_1_beta_0",
    "LRPAlpha1Beta0IgnoreBias": "lrp.alpha_1_beta_0_IB",
    "LRPZPlus": "lrp.z_plus",
    "LRPZPlusFast": "lrp.z_plus_fast",
    "LRPSequentialPresetA": "lrp.sequential_preset_a",
    "LRPSequentialPresetB": "lrp.sequential_preset_b",
    "LRPSequentialPresetAFlat": "lrp.sequential_preset_a_flat",
    "LRPSequentialPresetBFlat": "lrp.sequential_preset_b_flat",
}


@dataclass(frozen=True)
class Imported:
    """``status``: as `harness.golden.save_golden` says, or "failed"; ``words``: where it lies, or why it failed."""

    case: str
    status: str
    words: str


def import_files(
    root: Path,
    files: Sequence[Path],
    descriptions: Mapping[str, Mapping[str, Any]],
    reference: str | Backend,
    method: str | None = None,
    reason: str = "",
) -> Iterator[Imported]:
    """Store every described group of ``files`` as a golden in full, of its attribution and output; yields as it goes.

    ``method``: of the catalogue, for files whose analyzer has no name there. ``reference``: measures the noise floor,
    and nothing else: what is stored is the file's. Raises ModelSourceError for a file of another layout,
    UnknownNameError for an analyzer that has no name.
    """
    backend = backend_named(reference)
    for file in files:
        references = read_references(file, descriptions)
        for group, each in references.items():
            case = f"{group} {each.analyzer}"
            try:
                asked = method_of(each.analyzer) if method is None else method_named(method)
                path, status = _stored(root, file, each, asked, backend, reason)
            except HarnessError as error:
                yield Imported(case, "failed", f"{file}: {error}")
                continue
            yield Imported(case, status, str(path))


def method_of(analyzer: str) -> Method:
    """The method of an analyzer's name; of the catalogue's own names too. Raises UnknownNameError."""
    if analyzer == "SmoothGrad":
        raise InvalidInputError("SmoothGrad adds noise that the file does not hold; leave this file out")
    try:
        return method_named(ANALYZERS.get(analyzer, analyzer))
    except UnknownNameError:
        raise UnknownNameError(
            "analyzer", analyzer, ANALYZERS, "Say what it is in the catalogue: --method NAME"
        ) from None


def _stored(
    root: Path, file: Path, of: Reference, asked: Method, backend: Backend, reason: str
) -> tuple[Path, str]:
    model, activation = _proven(of)
    if of.attribution.shape != of.x.shape:
        raise ModelSourceError(
            f"{of.group}: the attribution has shape {of.attribution.shape}, the input {of.x.shape}"
        )
    logits = of.output.reshape(len(of.x), -1)
    target = logits.argmax(axis=1)
    case = Case.checked(model, of.x, asked, target, of.attribution.dtype.name)
    floor = _floor(case, backend)
    trace = Trace(
        model=model.name,
        method=asked,
        backend=of.analyzer,
        dtype=case.dtype,
        target=target,
        logits=logits,
        attribution_array=of.attribution,
        layers={},
        provenance={
            "model_digest": model.digest,
            "input_digest": array_digest(case.x),
            "analyzer": of.analyzer,
        },
    )
    facts = {
        "kind": HDF5,
        "file": str(file),
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "group": of.group,
        "layer": dict(of.description),
        "activation": activation,
    }
    provenance = Provenance(file.name, facts, {"analyzer": of.analyzer})
    return save_golden(root, trace, floor, case.x, provenance, "full", reason)


def _floor(case: Case, backend: Backend) -> NoiseFloor:
    """The noise floor of ``case`` in its dtype, which the file has; by a backend of float64 alone as well."""
    try:
        return floor_of(engine(), engine().run(case, backend))
    except InvalidInputError:
        if case.dtype == "float64":
            raise
    exact = engine().run(case.in_dtype("float64"), backend)
    runs = [
        engine().run(moved.in_dtype("float64"), backend, keep=False)
        for moved in engine().moved(case, backend)
    ]
    how = f"largest of {RUNS} float64 runs with weights and input moved by one unit in the last place of {case.dtype}"
    return replace(movement(exact, runs, case.model.graph, how), dtype=case.dtype)


def _proven(of: Reference) -> tuple[Any, str]:
    """The network, and the activation behind its layer: the description's, or the one that the stored output proves.

    Raises ModelSourceError where the network computes something else than the stored output.
    """
    named = of.description.get("activation")
    for activation in ("linear", "relu") if named is None else (named,):
        model = load_model(of.graph(activation))
        case = Case.checked(model, of.x, Method("gradient", GRADIENT), 0, "float64", layers=False)
        computed = engine().run(case, backend_named(ORACLE)).logits
        stored = of.output.reshape(len(of.x), -1)
        apart = relative_l2(computed, stored) if computed.shape == stored.shape else float("inf")
        floor = unit_roundoff(stored.dtype.name) * float(np.sqrt(longest_sum(model.graph)))
        if apart <= MULTIPLE * floor:
            return model, activation
    raise ModelSourceError(
        f"{of.group}: its output is {apart:.1e} (relative L2) from that of a {model.graph['layer'].kind} with these "
        "weights; check kind, pool, strides, padding and activation in the description"
    )
