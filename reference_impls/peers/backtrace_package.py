"""The handlers of dl-backtrace 0.1.24 as backends, one for each of its versions.

The network is run, and relevance is carried from layer to layer, as our reference does it; each step of a layer that
the package has a handler for is the handler's, in its own interpreter. What the package's own walk does with what has
none (activations, batch norm, reshaping) it does as the reference does. Attention is one handler: what lies between
its two products is no layer of the package, and shows no relevance.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.protocol import Arrays, Model
from harness.backends.worker import Peer, Worker
from harness.checks import require_device
from harness.errors import UnsupportedMethodError
from harness.graph import Graph, Layer
from harness.methods import (
    AttentionShare,
    Backtrace,
    BacktraceStart,
    EqualShare,
    LargestShare,
    MagnitudeShare,
    Method,
    Rule,
    Saturation,
)
from harness.peers import python_of
from reference_impls.dlbacktrace import forward
from reference_impls.dlbacktrace.backend import BacktraceNumpy
from reference_impls.dlbacktrace.rules import propagate
from reference_impls.dlbacktrace.run import explain
from reference_impls.peers.backtrace_attention import Whole, as_heads, whole_attention

Shares = tuple[np.ndarray, ...]
#: Kinds that the package has a handler for.
HANDLED = ("dense", "conv2d", "max_pool2d", "average_pool2d", "global_average_pool", "add", "multiply")
#: Rules that belong to its handlers; at other kinds they have none.
_ITS_RULES = (AttentionShare, Backtrace, LargestShare, MagnitudeShare, EqualShare)


class PackageBackend:
    """One version of the package's handlers: "original", "refactored", "pytorch".

    ``peer``: whose interpreter it runs in.
    """

    def __init__(self, peer: Peer, version: str) -> None:
        self.name = "dl-backtrace" if version == "original" else f"dl-backtrace-{version}"
        self._peer, self._version = peer, version
        self._worker: tuple[Path, Worker] | None = None

    @property
    def worker(self) -> Worker:
        """The process that answers. Raises PeerError where the peer is not installed."""
        python = python_of(self._peer.name)
        if self._worker is None or self._worker[0] != python:
            if self._worker is not None:
                self._worker[1].close()
            self._worker = python, Worker(self._peer.name, python, self._peer.adapter, 3600.0)
        return self._worker[1]

    def version(self) -> dict[str, str]:
        """Versions that the peer's interpreter has, and the sha256 of this adapter."""
        reply, _ = self.worker.request("version", {})
        digest = hashlib.sha256()
        for path in (Path(__file__), self._peer.adapter):
            digest.update(path.read_bytes())
        own = BacktraceNumpy().version()["source"]
        return {**reply["versions"], "handlers": self._version, "source": digest.hexdigest(), "walk": own}

    def supports(self, method: Method, graph: Graph) -> str:
        """Why the package has no such method for this network; empty where it has."""
        if not isinstance(method.head, BacktraceStart) or not method.stepwise:
            return "0.1.24 has the default mode of DLBacktrace alone"
        reason = BacktraceNumpy().supports(method, graph)
        if reason:
            return reason
        rules = method.composite.assign(graph)
        why = (
            _no_attention(graph[name], graph)
            if isinstance(rule, AttentionShare)
            else _not_handled(graph[name], rule)
            for name, rule in rules.items()
        )
        return next(filter(None, why), "")

    def prepare(self, model: Model, dtype: str, device: str = "cpu") -> PreparedPackage:
        """Raises InvalidInputError for another device than the CPU."""
        require_device(self.name, device)
        return PreparedPackage(self, model.graph, np.dtype(dtype))

    def step(self, layer: Layer, inputs: Shares, relevance: np.ndarray, rule: Rule) -> tuple[Shares, float]:
        """The relevance of each input by the handler, and the seconds that it took."""
        if layer.kind == "global_average_pool":
            relevance = relevance.reshape(len(relevance), 1, 1, -1)
        arrays = {
            "relevance": _channels_first(relevance),
            **{f"input/{place}": _channels_first(x) for place, x in enumerate(inputs)},
            **_weights(layer, relevance.dtype),
        }
        payload = {
            "handler": layer.kind,
            "version": self._version,
            "arguments": _arguments(layer, rule, self._version),
        }
        reply, outputs = self.worker.request("step", payload, arrays)
        shares = tuple(
            _channels_last(outputs[f"share/{place}"]).reshape(x.shape).astype(x.dtype)
            for place, x in enumerate(inputs)
        )
        return shares, float(reply["seconds"])

    def attention(self, attention: Whole, arrays: Shares) -> tuple[Shares, float]:
        """The relevance of query, key and value, and the seconds that it took.

        ``arrays``: the relevance of the output, query, key and value, (batch, ..., row, feature) each.
        """
        names = ("relevance", *(f"input/{place}" for place in range(3)))
        given = {name: as_heads(array) for name, array in zip(names, arrays, strict=True)}
        arguments = {"scale": attention.divisor}
        payload = {"handler": "attention", "version": self._version, "arguments": arguments}
        reply, outputs = self.worker.request("step", payload, given)
        shares = tuple(
            outputs[f"share/{place}"].reshape(x.shape).astype(x.dtype) for place, x in enumerate(arrays[1:])
        )
        return shares, float(reply["seconds"])


class PreparedPackage:
    """A network for one version. ``seconds``: what each handler took in the last run, by layer."""

    def __init__(self, backend: PackageBackend, graph: Graph, dtype: np.dtype) -> None:
        self._backend, self.graph, self._dtype = backend, graph, dtype
        self.seconds: dict[str, float] = {}
        wholes = (whole_attention(layer, graph) for layer in graph)
        self._attentions = {each.layers.mixed: each for each in wholes if each is not None}

    def run(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        """The network forwards, the start, and a handler a layer on the way back."""
        self.seconds = {}
        x = x.astype(self._dtype)
        activations = forward.activations(self.graph, x) if self._attentions else {}
        #: What queries and keys get, by their product, once the product of weights and values has been reached.
        waiting: dict[str, Shares] = {}

        def step(layer: Layer, inputs: Shares, relevance: np.ndarray, rule: Rule) -> Shares:
            if not isinstance(rule, AttentionShare):
                return self._propagate(layer, inputs, relevance, rule)
            if layer.name not in self._attentions:
                return waiting.pop(layer.name)
            whole = self._attentions[layer.name]
            query, key = (activations[name] for name in self.graph[whole.layers.scores].inputs)
            shares, self.seconds[layer.name] = self._backend.attention(
                whole, (relevance, query, key, inputs[1])
            )
            waiting[whole.layers.scores] = shares[:2]
            return np.zeros_like(inputs[0]), shares[2]

        arrays = explain(self.graph, x, method, target, layers, step)
        inside = {name for each in self._attentions.values() for name in each.inside}
        shown = {name: each for name, each in arrays.relevances.items() if name not in inside}
        return replace(arrays, relevances=shown)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """(batch, classes)."""
        return forward.activations(self.graph, x.astype(self._dtype))[self.graph.output]

    def step(self, layer: Layer, inputs: Shares, relevance: np.ndarray, method: Method) -> Shares:
        """One layer's own step. Raises UnsupportedMethodError at a product of attention."""
        rule = method.composite.rule_for(layer, self.graph)
        if isinstance(rule, AttentionShare):
            raise UnsupportedMethodError(
                f"{self._backend.name}: layer {layer.name!r}: attention is one handler, which takes query, key and "
                "value together; compare whole runs"
            )
        return self._propagate(layer, inputs, relevance, rule)

    def _propagate(self, layer: Layer, inputs: Shares, relevance: np.ndarray, rule: Rule) -> Shares:
        if not isinstance(rule, _ITS_RULES):
            return propagate(layer, inputs, relevance, rule)
        reason = _not_handled(layer, rule)
        if reason:
            raise UnsupportedMethodError(f"{self._backend.name}: layer {layer.name!r}: {reason}")
        shares, self.seconds[layer.name] = self._backend.step(layer, inputs, relevance, rule)
        return shares


def _no_attention(layer: Layer, graph: Graph) -> str:
    """Why the package has no handler for the product ``layer``; empty where it has."""
    ends = filter(None, (whole_attention(each, graph) for each in graph))
    if any(layer.name in (each.layers.scores, each.layers.mixed) for each in ends):
        return ""
    return (
        f"its attention is softmax(Q K^T) V over the last axis, scaled by one number and masked by constants; "
        f"{layer.name!r} belongs to another"
    )


def _not_handled(layer: Layer, rule: Rule) -> str:
    """Why the package has no handler for ``layer`` under ``rule``; empty where it has."""
    if not isinstance(rule, _ITS_RULES):
        return ""
    if layer.kind not in HANDLED or (layer.kind == "global_average_pool" and len(layer.input_shapes[0]) != 3):
        return f"0.1.24 has no handler for {layer.kind} of {layer.input_shapes[0]}"
    attributes = layer.attributes
    if attributes.get("groups", 1) != 1 or any(each != 1 for each in attributes.get("dilations", ())):
        return "its convolution has no groups and no dilation"
    if layer.kind in ("conv2d", "max_pool2d", "average_pool2d") and not _square(layer):
        return "its handlers take the sizes of a window in the other order of height and width"
    if layer.kind in ("conv2d", "max_pool2d", "average_pool2d") and _padding(layer) is None:
        return f"its handlers have no padding of {attributes['padding']}"
    if isinstance(rule, Backtrace):
        zero = "bound" if layer.kind == "dense" else "none"
        if (rule.reading == "linear") != (layer.kind == "dense"):
            return "its linear layer and its convolution have a reading each"
        if 0 in (rule.saturation.low, rule.saturation.high) and rule.saturation.zero != zero:
            return f"a bound of 0 is {zero} at its {layer.kind}"
    if isinstance(rule, LargestShare) and rule.padding != "zero":
        return "its max pooling pads with zeros"
    if isinstance(rule, MagnitudeShare) and layer.kind == "add":
        return "its sum shares equally"
    return ""


def _square(layer: Layer) -> bool:
    """Whether windows, strides and paddings are alike on both axes."""
    attributes = layer.attributes
    size = attributes.get("pool_size") or layer.weights["kernel"].shape[:2]
    return all(
        len({tuple(np.atleast_1d(each)) for each in of}) == 1
        for of in (size, attributes["strides"], attributes["padding"])
    )


def _padding(layer: Layer) -> Any:
    """As the handlers take it: one number a side of both axes, or "same"; None where it is neither."""
    pairs = tuple(tuple(pair) for pair in layer.attributes["padding"])
    if all(before == after for before, after in pairs):
        return [before for before, _ in pairs]
    size = layer.attributes.get("pool_size") or layer.weights["kernel"].shape[:2]
    wanted = []
    for length, window, stride in zip(layer.input_shapes[0], size, layer.attributes["strides"], strict=False):
        total = max(window - (length % stride or stride), 0)
        wanted.append((total // 2, total - total // 2))
    return "same" if pairs == tuple(wanted) else None


def _arguments(layer: Layer, rule: Rule, version: str) -> dict[str, Any]:
    attributes = layer.attributes
    if isinstance(rule, Backtrace):
        act = {"act": _act(rule.saturation)}
        if layer.kind == "dense":
            return act
        return {"padding": _padding(layer), "strides": list(attributes["strides"]), **act}
    if layer.kind == "max_pool2d":
        return {
            "pool_size": list(attributes["pool_size"]),
            "pad": _padding(layer),
            "stride": list(attributes["strides"]),
        }
    if layer.kind == "average_pool2d":
        # It takes one number for both axes.
        return {
            "pool_size": list(attributes["pool_size"]),
            "pad": _padding(layer)[0],
            "stride": attributes["strides"][0],
        }
    return {}


def _act(saturation: Saturation) -> dict[str, Any]:
    kind = "null" if saturation.form == "none" else saturation.form
    return {
        "type": kind,
        "range": {"l": saturation.low, "u": saturation.high},
        "func": saturation.function,
    }


def _weights(layer: Layer, dtype: np.dtype) -> dict[str, np.ndarray]:
    """In torch's layout: (out, in[, height, width])."""
    if "kernel" not in layer.weights:
        return {}
    kernel = np.moveaxis(layer.weights["kernel"], (-1, -2), (0, 1))
    arrays = {"weight": np.ascontiguousarray(kernel, dtype)}
    if "bias" in layer.weights:
        arrays["bias"] = np.ascontiguousarray(layer.weights["bias"], dtype)
    return arrays


def _channels_first(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(array, -1, 1) if array.ndim == 4 else array)


def _channels_last(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, 1, -1) if array.ndim == 4 else array


def original() -> PackageBackend:
    """The handlers of its modules `original_version`, which need NumPy alone."""
    from reference_impls.peers import DL_BACKTRACE

    return PackageBackend(DL_BACKTRACE, "original")


def refactored() -> PackageBackend:
    """Those of `refactored_version`."""
    from reference_impls.peers import DL_BACKTRACE

    return PackageBackend(DL_BACKTRACE, "refactored")


def pytorch() -> PackageBackend:
    """Those of `pytorch_version`, in an interpreter that has torch."""
    from reference_impls.peers import DL_BACKTRACE_TORCH

    return PackageBackend(DL_BACKTRACE_TORCH, "pytorch")
