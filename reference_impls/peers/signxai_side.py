"""The real signxai 1.1.9.2 behind `serve.py`: runs in its interpreter only, answers what `backend.py` asks.

Every explanation is made by a function of `signxai/methods/wrappers.py`, one sample at a time, as its
`calculate_relevancemaps` does. Around the call a few things are replaced, none of which computes:
`create_analyzer` is watched, so that the relevance that passes between the layers can be read
(`signxai_relevance.py`); `numpy.random.normal` hands out the noise that came with the request; Grad-CAM's
layer name is the one of this model, where the activation is a layer of its own.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
from signxai_relevance import Relevance  # type: ignore[import-not-found]  # beside this file

# The library is a namespace package: wherever this folder is on the path, its `signxai.py` would be taken for it.
_FOLDER = sys.path.pop(0)
import signxai  # noqa: E402, F401

sys.path.insert(0, _FOLDER)

# With oneDNN, TensorFlow 2.12.1 died of heap corruption ("double free") on fer-xception; without, it does not.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

#: Two or three Python frames for each layer on the way up and one or two on the way down: the default of
#: 1000 ends at about 300 layers.
_FRAMES = 20000
_PACKAGES = ("signxai", "tensorflow", "keras", "numpy", "scipy", "pillow")


def handle(
    op: str, payload: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The answer to one request; the protocol is in `backend.py`. Raises ValueError for another op."""
    operations = {"version": _version, "model": _model, "explain": _explain}
    if op not in operations:
        raise ValueError(f"unknown op {op!r}; there are {', '.join(operations)}")
    return operations[op](payload, arrays)


# Models --------------------------------------------------------------------------------------------------


@dataclass
class _Kept:
    """The model of the last ``model`` request, and the networks made of it by form of the activations."""

    key: str
    graph: dict[str, Any]
    weights: dict[str, np.ndarray]
    dtype: str
    networks: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def network(self, form: str) -> tuple[Any, Any]:
        """The `keras2.Network` in ``form``, and a Keras model with the outputs of all its layers."""
        import keras2  # type: ignore[import-not-found]
        from tensorflow.keras import models

        if form not in self.networks:
            network = keras2.build(self.graph, self.weights, self.dtype, form)
            inside = models.Model(network.model.inputs, list(network.outputs.values()))
            self.networks[form] = network, inside
        return self.networks[form]


_kept: list[_Kept] = []


def _version(
    payload: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return {"versions": {package: importlib.metadata.version(package) for package in _PACKAGES}}, {}


def _model(
    payload: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    _kept[:] = [_Kept(payload["model"], payload["graph"], arrays, payload["dtype"])]
    return {}, {}


# Explaining ----------------------------------------------------------------------------------------------


def _explain(
    payload: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not _kept or _kept[0].key != payload["model"]:
        return {"unknown_model": True}, {}
    network, inside = _kept[0].network(payload["activations"])
    call, x, noise = payload["method"], arrays["x"], arrays.get("noise")
    answers: dict[str, list[np.ndarray]] = {}

    def keep(name: str, array: Any) -> None:
        answers.setdefault(name, []).append(np.asarray(array, dtype=x.dtype))

    for place in range(len(x)):
        # One sample here too: a batch of several may be rounded differently.
        outputs = inside(x[place : place + 1])
        activations = {name: outputs[at] for at, name in enumerate(network.outputs)}
        logits = np.asarray(activations[network.output])
        target = int(arrays["target"][place])
        relevance = Relevance(network, target, call["statistic"]) if payload["layers"] else None
        samples = None if noise is None else noise[:, place : place + 1]
        attribution = explanation(network, x[place], target, call, samples, relevance)
        keep("logits", logits)
        keep("attribution", attribution[np.newaxis])
        if relevance is not None:
            for name, activation in activations.items():
                keep(f"activation/{name}", activation)
            # Where the library chooses the output anew in every run, which one it was is not seen.
            unseen = network.output if relevance.runs > 1 and not call["class_given"] else None
            for name, array in relevance.over_runs().items():
                if name != unseen:
                    keep(f"relevance/{name}", array)
    answer = {name: np.concatenate(parts) for name, parts in answers.items()}
    return {"facts": {"function": call["function"], "substitutes": network.substitutes}}, answer


def explanation(
    network: Any,
    x: np.ndarray,
    target: int,
    call: Mapping[str, Any],
    noise: np.ndarray | None = None,
    relevance: Relevance | None = None,
) -> np.ndarray:
    """What ``call`` (`signxai.py`, `Instruction`) makes of one sample ``x`` of a `keras2.Network`, shape of ``x``.

    ``target``: the class, which the library is handed unless the call leaves the choice to it. ``noise``: (samples, 1,
    *shape of x) for SmoothGrad and VarGrad. ``relevance`` is filled on the way.
    """
    from signxai.methods import wrappers
    from signxai.methods.signed import calculate_sign_mu

    sys.setrecursionlimit(max(sys.getrecursionlimit(), _FRAMES))
    function = getattr(wrappers, call["function"])
    layer = call["layer"] and network.layers[call["layer"]].name
    watched = _analyzers_watched(relevance, call["creation"])
    with watched, _noise_handed_out(noise, call["scale"]), _layer_meant(layer):
        chosen = {"neuron_selection": target} if call["class_given"] else {}
        attribution = function(network.model, x, **chosen, **call["arguments"])
    if call["times"] == "input":
        attribution = attribution * x
    elif call["times"] is not None:
        attribution = attribution * calculate_sign_mu(x, call["times"])
    return np.asarray(attribution)


@contextlib.contextmanager
def _analyzers_watched(relevance: Relevance | None, creation: Mapping[str, Any]) -> Iterator[None]:
    """Have every analyzer that is made report to ``relevance``.

    ``creation``: arguments for the analyzer alone. `calculate_explanation_innvestigate` gives what it gets to
    the analyzer and to every rule, and some rules then have an argument twice.
    """
    from signxai.methods import innvestigate

    create = innvestigate.create_analyzer

    def creating(name: str, model: Any, **arguments: Any) -> Any:
        analyzer = create(name, model, **arguments, **creation)
        if relevance is not None:
            # SmoothGrad, VarGrad and integrated gradients run another analyzer many times.
            relevance.watch(getattr(analyzer, "_subanalyzer", analyzer))
        return analyzer

    with mock.patch.object(innvestigate, "create_analyzer", creating):
        yield


@contextlib.contextmanager
def _noise_handed_out(samples: np.ndarray | None, scale: float | None) -> Iterator[None]:
    """Let `numpy.random.normal` return ``samples`` in order. Raises ValueError unless exactly they are asked for."""
    if samples is None:
        yield
        return
    asked: list[tuple[float, float, tuple[int, ...]]] = []

    def normal(loc: float = 0.0, scale: float = 1.0, size: Any = None) -> np.ndarray:
        asked.append((loc, scale, tuple(size)))
        if len(asked) > len(samples):
            raise ValueError(
                f"the library asked for more noise than the {len(samples)} samples it was to take"
            )
        # NumPy's own samples are float64 too: the sum with x is rounded once, by the model.
        return samples[len(asked) - 1].astype(np.float64)

    with mock.patch.object(np.random, "normal", normal):
        yield
    expected = [(0, scale, samples.shape[1:])] * len(samples)
    if asked != expected:
        wrong = next((each for each in asked if each != expected[0]), None)
        raise ValueError(
            f"the library asked for noise {len(asked)} times, expected {len(samples)} times (loc, scale, size) = "
            f"{expected[0]}" + (f", found {wrong}" if wrong else "")
        )


@contextlib.contextmanager
def _layer_meant(name: str | None) -> Iterator[None]:
    """Let the Grad-CAM functions use the Keras layer ``name``, whatever name the wrapper was written with.

    The guided ones work on a clone of the model, which must be one.
    """
    if name is None:
        yield
        return
    from signxai.methods import wrappers
    from tensorflow.keras import models

    named = {
        "calculate_grad_cam_relevancemap": "last_conv_layer_name",
        "calculate_grad_cam_relevancemap_timeseries": "last_conv_layer_name",
        "guided_backprop_on_guided_model": "layer_name",
    }
    with contextlib.ExitStack() as stack:
        for function, argument in named.items():
            stack.enter_context(
                mock.patch.object(wrappers, function, _with(wrappers, function, argument, name))
            )
        cloned = _with(models, "clone_model", "clone_function", _copied)
        stack.enter_context(mock.patch.object(models, "clone_model", cloned))
        yield


def _copied(layer: Any) -> Any:
    """A copy of ``layer`` with its own activation: Keras looks the function up by name, and loses its slope."""
    copy = type(layer).from_config(layer.get_config())
    if hasattr(layer, "activation"):
        copy.activation = layer.activation
    return copy


def _with(module: Any, function: str, argument: str, value: Any) -> Callable[..., Any]:
    original = getattr(module, function)

    def called(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **{**kwargs, argument: value})

    return called
