"""What each version of the package gives on the shared cases, and where relevance becomes negative or grows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from evidence.dlbacktrace.cases import Shared, shared_cases
from evidence.planted_bugs.bugs.networks import NETWORKS
from harness.api import explain, load_model
from harness.backends import backend_named
from harness.engine import engine
from harness.errors import HarnessError
from harness.graph import role_in_attention
from harness.methods import Assignment, BacktraceStart, Composite, Method
from harness.methods import method as method_named
from ported_models.model import PortedModel

#: The versions beside "original", which all are held against.
VERSIONS = ("refactored", "pytorch")
OURS = ("backtrace-numpy", "backtrace-torch")
#: Attention has a version more.
OF_ATTENTION = ("refactored", "pytorch", "pytorch_v2")
#: On the largest of them two methods are looked at.
MODELS = {"digits-cnn": 6, "fer-xception": 6, "vgg19-cifar10": 2}
METHODS = (
    "backtrace.default",
    "backtrace.default:activation=tanh",
    "backtrace.default:scaler=-1",
    "backtrace.default:activation=relu,zero=bound",
    "backtrace.contrast",
    "backtrace.contrast:part=against",
)
#: In the place of what was raised: there is no such handler.
NONE = "none"
#: Sums that grow by less than this part are rounding.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Distance:
    """Of ``version`` from the original on ``case``: relative L2, or what it raised."""

    case: str
    version: str
    distance: float
    raised: str = ""


@dataclass(frozen=True)
class Block:
    """One of ours against the original on a whole transformer, float64: the layer that is furthest from it, and how far
    (relative L2). ``layers``: how many are compared; ``attentions``: how many handlers of attention ran.
    """

    model: str
    backend: str
    layers: int
    attentions: int
    furthest: str
    distance: float


@dataclass(frozen=True)
class Flow:
    """One method on one network: the first layer on the way back with negative relevance, and the first whose inputs
    together get more than it received; None where there is none. ``times``: how much more.
    """

    model: str
    method: str
    negative: str | None
    least: float
    growing: str | None
    times: float
    cause: str


def distances() -> Iterator[Distance]:
    """Every version, and both of ours, on every case that the original takes."""
    original = backend_named("dl-backtrace")
    others = {version: backend_named(f"dl-backtrace-{version}") for version in VERSIONS}
    for case in shared_cases():
        operands = case.layer, case.inputs, case.relevance, case.rule
        expected, _ = original.step(*operands)  # type: ignore[attr-defined]
        for version, backend in others.items():
            yield _distance(case.name, version, expected, lambda: backend.step(*operands)[0])  # type: ignore[attr-defined]  # noqa: B023
        for name in OURS:
            yield _distance(case.name, name, expected, lambda: _computed_here(name, case))  # noqa: B023
    yield from _of_attention(original)


def _distance(case: str, version: str, expected: Any, compute: Any) -> Distance:
    try:
        result = compute()
    except HarnessError as error:
        return Distance(case, version, float("nan"), _short(str(error)))
    return Distance(
        case,
        version,
        max(
            float(np.linalg.norm(one - other) / (np.linalg.norm(other) or 1.0))
            for one, other in zip(result, expected, strict=True)
        ),
    )


def _short(message: str) -> str:
    """What was raised, without where; :data:`NONE` where a version has no such module."""
    if "ModuleNotFoundError" in message:
        return NONE
    line = message.strip().splitlines()[0].partition(": ")[2]
    return line if len(line) < 120 else f"{line[:117]}..."


def _computed_here(name: str, case: Shared) -> Any:
    """The step of one of our backends on ``case``."""
    method = Method("case", Composite((Assignment(case.rule),)), BacktraceStart())
    prepared: Any = engine().prepared(PortedModel.from_graph(case.graph), backend_named(name), "float64")
    return prepared.step(case.layer, case.inputs, case.relevance, method)


def _of_attention(original: Any) -> Iterator[Distance]:
    rng = np.random.default_rng(24)
    lengths = {"relevance": 4, "input/0": 4, "input/1": 5, "input/2": 5}
    arrays = {name: rng.standard_normal((2, 3, length, 6)) for name, length in lengths.items()}

    def ask(backend: Any, version: str) -> list[np.ndarray]:
        payload = {"handler": "attention", "version": version, "arguments": {}}
        _, outputs = backend.worker.request("step", payload, arrays)
        return [outputs[f"share/{place}"] for place in range(3)]

    expected = ask(original, "original")
    with_torch = backend_named("dl-backtrace-pytorch")
    for version in OF_ATTENTION:
        backend = original if version == "refactored" else with_torch
        yield _distance("attention", version, expected, lambda: ask(backend, version))  # noqa: B023


def blocks() -> Iterator[Block]:
    """Ours against the original at every layer that it has of two transformers: one with a mask, one trained."""
    original = backend_named("dl-backtrace")
    for model in (NETWORKS["encoder-net"](), load_model("vit-digits")):
        x = np.random.default_rng(24).random((2, *model.input_shape))
        expected = explain(model, x, METHODS[0], backend=original, dtype="float64")
        shown = {name: each.relevance for name, each in expected.layers.items() if each.relevance is not None}
        roles = [role_in_attention(layer, model.graph) for layer in model.graph]
        for name in OURS:
            run = explain(model, x, METHODS[0], backend=name, target=expected.target, dtype="float64")
            apart = {
                layer: float(
                    np.linalg.norm(np.asarray(run.layers[layer].relevance) - relevance)
                    / (np.linalg.norm(relevance) or 1.0)
                )
                for layer, relevance in shown.items()
            }
            furthest = max(apart, key=lambda layer: apart[layer])
            yield Block(model.name, name, len(apart), roles.count("scores"), furthest, apart[furthest])


def flows() -> Iterator[Flow]:
    """Where relevance becomes negative or grows, by the reference, which equals the original on every shared case."""
    for name, count in MODELS.items():
        model = load_model(name)
        x = next(iter(model.examples.values()))().astype(np.float64)
        for method in METHODS[:count]:
            yield _flow(model, x, method)


def _flow(model: Any, x: np.ndarray, name: str) -> Flow:
    run = explain(model, x, name, dtype="float64")
    least, negative, growing, times = 0.0, None, None, float("nan")
    for layer in model.graph.backward():
        relevance = run.layers[layer.name].relevance
        assert relevance is not None
        if negative is None and relevance.min() < 0:
            negative, least = layer.name, float(relevance.min())
        readers = model.graph.consumers(layer.name)
        if growing is None and len(readers) == 1 and len(readers[0].inputs) == 1:
            above = run.layers[readers[0].name].relevance
            assert above is not None
            before, after = (float(np.abs(each).sum()) for each in (above, relevance))
            if after > before * (1 + ROUNDING):
                growing, times = readers[0].name, after / before
    method = method_named(name)
    return Flow(model.name, name, negative, least, growing, times, _cause(method, run, model, growing))


def _cause(method: Method, run: Any, model: Any, growing: str | None) -> str:
    """Why, where there is anything to say: what was looked at is the start, and the rule of the layer that grows."""
    causes = []
    if run.layers[model.graph.output].relevance.min() < 0:
        causes.append("the start is negative")
    if growing is not None:
        rule: Any = method.composite.rule_for(model.graph[growing], model.graph)
        saturated = getattr(getattr(rule, "saturation", None), "form", "none") != "none"
        causes.append("a saturated side counts as 1 and hands on all that it has" if saturated else "unknown")
    return "; ".join(causes)
