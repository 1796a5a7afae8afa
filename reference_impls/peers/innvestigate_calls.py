"""iNNvestigate 2.1.2: which analyzer a method of its dialect is, and with which arguments.

Names and parameters are those of `harness.methods.dialects.innvestigate`; a name is also the library's
own. What is written here is only how a parameter of the one is spelled in the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from harness.errors import HarnessError, UnsupportedMethodError
from harness.graph import WEIGHTED_KINDS, Graph
from harness.methods import DIALECTS, InputPlusNoise, Method, Smoothed, gaussian_noise
from harness.methods import method as method_named
from reference_impls.peers import INNVESTIGATE
from reference_impls.peers.backend import Adapter, Call

_NAMES = frozenset(entry.name for entry in DIALECTS["innvestigate"])

#: Spellings of the harness for names of `LRP_RULES`.
_RULES = {"z": "Z", "epsilon": "Epsilon", "w_square": "WSquare", "flat": "Flat", "bounded": "Bounded"}
_BOUNDED = ("bounded", "Bounded")


def knows(method: Method) -> bool:
    """Whether ``method`` is one of this dialect: its name leads to it, unchanged."""
    name, parameters = _parsed(method)
    if name not in _NAMES or parameters.get("dialect", "innvestigate") != "innvestigate":
        return False
    try:
        return method_named(method.name) == method
    except HarnessError:
        return False


def analyzer_of(method: Method) -> tuple[str, dict[str, Any]]:
    """The name that `innvestigate.create_analyzer` takes, and its keyword arguments as JSON-able values.

    A rule is its name in `LRP_RULES` or that of its class without "Rule"; the bounds of an ``input_layer_rule`` are
    a list (low, high), each a number or a list with one a channel. Raises UnsupportedMethodError where ``method`` is
    not of this dialect.
    """
    if not knows(method):
        raise UnsupportedMethodError(
            f"innvestigate has no method {method.name!r}; see: xai-harness methods, dialect innvestigate"
        )
    name, parameters = _parsed(method)
    arguments: dict[str, Any] = {}
    if "low" in parameters or "high" in parameters or parameters.get("input_layer_rule") in _BOUNDED:
        low, high = _bound(parameters.get("low", "-1")), _bound(parameters.get("high", "1"))
        if name == "deep_taylor.bounded":
            arguments |= {"low": low, "high": high}
        else:
            arguments["input_layer_rule"] = [low, high]
    for key, text in parameters.items():
        if key in _READ:
            arguments |= _READ[key](text)
    if name == "lrp.z" and "bias" in arguments:
        # `LRPZ` hands its rule no bias; a user gives the rule itself, which batch norms get as well.
        rule = "Z" if arguments.pop("bias") else "ZIgnoreBias"
        name, arguments = "lrp", {"rule": rule, "bn_layer_rule": rule, **arguments}
    if name == "lrp.sequential_preset_b_flat_until_idx":
        # The analyzer sets the rule itself and takes no other.
        if arguments.get("until_layer_rule") == "Flat":
            del arguments["until_layer_rule"]
    elif "until_layer_idx" in arguments:
        # Left out, the library would take no notice of the index.
        arguments.setdefault("until_layer_rule", "Flat")
    return name, arguments


def _parsed(method: Method) -> tuple[str, dict[str, str]]:
    """The catalogue name and the parameters as text; what is not ``key=value`` is left out."""
    name, _, tail = method.name.partition(":")
    pairs = (part.partition("=") for part in tail.split(","))
    return name, {key: value for key, equals, value in pairs if equals}


def _bound(text: str) -> float | list[float]:
    values = [float(each) for each in text.split("/")]
    return values if len(values) > 1 else values[0]


def _rule(text: str) -> str:
    return _RULES.get(text, text)


def _rules(text: str) -> str | list[str]:
    rules = [_rule(each) for each in text.split("/")]
    return rules if len(rules) > 1 else rules[0]


def _input_rule(text: str) -> dict[str, Any]:
    return {} if text in _BOUNDED else {"input_layer_rule": _rule(text)}


def _argument(key: str, read: Callable[[str], Any]) -> Callable[[str], dict[str, Any]]:
    return lambda text: {key: read(text)}


def _whole(text: str) -> int:
    return int(float(text))


#: By parameter of the dialect, from its text to arguments of the analyzer. Those missing here (``low``,
#: ``high``, ``seed``, ``dialect``, ``activation_layers``, ``neuron_selection``) are read elsewhere.
_READ: dict[str, Callable[[str], dict[str, Any]]] = {
    "epsilon": _argument("epsilon", float),
    "bias": _argument("bias", lambda text: text == "true"),
    "alpha": _argument("alpha", float),
    "beta": _argument("beta", float),
    "rule": _argument("rule", _rules),
    "input_layer_rule": _input_rule,
    "until_layer_idx": _argument("until_layer_idx", _whole),
    "until_layer_rule": _argument("until_layer_rule", _rule),
    "bn_layer_rule": _argument("bn_layer_rule", lambda text: None if text.lower() == "none" else _rule(text)),
    "bn_layer_fuse_mode": _argument("bn_layer_fuse_mode", str),
    "postprocess": _argument("postprocess", lambda text: None if text == "none" else text),
    "steps": _argument("steps", _whole),
    "reference_inputs": _argument("reference_inputs", float),
    "augment_by_n": _argument("augment_by_n", _whole),
    "noise_scale": _argument("noise_scale", float),
    "stddev": _argument("stddev", float),
}


def call(method: Method, graph: Graph, shape: tuple[int, ...], dtype: str) -> Call:
    """What `innvestigate_side.py` is asked for ``method``.

    ``until_layer_idx`` counts the harness's layers; the kernels up to there are sent by name, and the other
    side finds the index at which its own model has the same ones, or refuses.
    """
    name, arguments = analyzer_of(method)
    payload: dict[str, Any] = {"analyzer": name, "arguments": arguments}
    if method.explains_all:
        payload["neuron_selection_mode"] = "all"
    elif method.selects_itself:
        payload["selects_itself"] = True
    place = arguments.pop("until_layer_idx", None)
    if place is not None:
        payload["until"] = [layer.name for layer in graph.layers[: place + 1] if layer.kind in WEIGHTED_KINDS]
    if isinstance(arguments.get("rule"), list):
        payload["kernels"] = [layer.name for layer in graph if layer.kind in WEIGHTED_KINDS]
    return Call(payload, _noise(method, shape, dtype), _form(method, graph))


def _noise(method: Method, shape: tuple[int, ...], dtype: str) -> dict[str, np.ndarray]:
    """Standard normal samples in the place of the library's own, in the shape in which it draws them.

    SmoothGrad: (batch, sample, *input shape), the samples of one input beside each other. Random: (batch,
    *input shape). The deviation is the library's business.
    """
    procedure = method.procedure
    if isinstance(procedure, Smoothed):
        samples = gaussian_noise(replace(procedure, scale=1.0), shape)
        return {"noise": np.stack([sample.astype(dtype) for sample in samples], axis=1)}
    if isinstance(procedure, InputPlusNoise):
        return {"noise": next(gaussian_noise(replace(procedure, scale=1.0), shape)).astype(dtype)}
    return {}


def _form(method: Method, graph: Graph) -> str | None:
    """The form of the activations that ``method`` means; None where either will do.

    An `Activation` layer with a bounded ReLU is no ReLU to the library, a `ReLU` layer with a bound is one.
    """
    name, parameters = _parsed(method)
    if name.startswith("deep_taylor") and parameters.get("activation_layers") == "pass":
        return "fused"
    if parameters.get("activation_layers") == "gradient":
        return "layers"
    if method.activations and any(layer.kind == "relu6" for layer in graph):
        return "layers"
    return None


ADAPTER = Adapter(INNVESTIGATE, knows, call, dtypes=("float32", "float64"))
