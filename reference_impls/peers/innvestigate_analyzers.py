# ruff: noqa: B905  (zip has no strict= in the oldest Python that a peer runs on)
"""Analyzers of iNNvestigate 2.1.2, made as its users make them. Runs in its interpreter only.

What is done to the library: random numbers come from outside; the tensors it keeps are taken before it
sorts them; and where it cannot do without, a repair is made and named in the facts. Files and classes
named here are those of that version.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import innvestigate
import numpy as np
import tensorflow as tf
from innvestigate.analyzer import analyzers
from innvestigate.analyzer.relevance_based import relevance_rule
from innvestigate.backend import graph as igraph

#: These keep no tensors: they take no ``reverse_keep_tensors`` (input, random, gradient.baseline), the wrapper
#: around them refuses it (`AugmentReduceBase.create_analyzer_model`), or it breaks them: input_t_gradient
#: multiplies the input with what is kept (`InputTimesGradient._create_analysis`).
_KEEP_NOTHING = (
    "input",
    "random",
    "gradient.baseline",
    "integrated_gradients",
    "smoothgrad",
    "input_t_gradient",
)


@dataclass
class Analyzer:
    """An analyzer made ready and what there is to say about it.

    ``kept``: the canonical name of each tensor that it keeps, in its own order, None for helper layers; None
    where it keeps nothing. ``values``: those tensors of the last analysis.
    """

    analyzer: Any
    facts: dict[str, Any]
    kept: list[str | None] | None = None
    values: list[np.ndarray] | None = None
    takes_target: bool = True


def make(network: Any, method: Mapping[str, Any], layers: bool) -> Analyzer:
    """The analyzer of ``method`` (`innvestigate_calls.call`) for ``network`` (`keras2.Network`).

    Raises what the library raises; ValueError where an index or a list of rules means other layers here.
    """
    name, arguments = method["analyzer"], _arguments(network, method)
    keeps = layers and name not in _KEEP_NOTHING
    if keeps:
        arguments["reverse_keep_tensors"] = True
    facts: dict[str, Any] = {"analyzer": name, "class": analyzers[name].__name__, "repairs": []}
    # A user who does not say which neuron leaves the mode out: the largest output is explained.
    mode = method.get("neuron_selection_mode", "index")
    asked = {} if method.get("selects_itself") else {"neuron_selection_mode": mode}
    analyzer = _created(network, name, {**asked, **arguments}, facts)
    made = Analyzer(analyzer, facts, takes_target=asked == {"neuron_selection_mode": "index"})
    if keeps:
        made.kept = _kept(network, analyzer)

        def hold(values: list[np.ndarray]) -> None:
            made.values = values

        # `ReverseAnalyzerBase._handle_debug_output` sorts pairs of node number and array. With
        # neuron_selection_mode="index" the input of the indices shifts the numbers, two are equal, and the
        # arrays are compared: ValueError.
        analyzer._handle_debug_output = hold
    return made


def analyze(
    made: Analyzer, x: np.ndarray, target: np.ndarray, noise: np.ndarray | None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The attribution, and the relevance at the output of each layer by canonical name, where it is kept."""
    _handed[:] = [] if noise is None else [noise]
    chosen = {"neuron_selection": target} if made.takes_target else {}
    attribution = np.asarray(made.analyzer.analyze(x, **chosen))
    named = zip(made.kept or (), made.values or ())
    return attribution, {name: np.asarray(value) for name, value in named if name is not None}


def _created(network: Any, name: str, arguments: Mapping[str, Any], facts: dict[str, Any]) -> Any:
    """The analyzer with its graph built; repairs that it took are noted in ``facts``."""

    def create(**more: Any) -> Any:
        analyzer = innvestigate.create_analyzer(name, network.model, **arguments, **more)
        with _noise_from_outside(), _constants_in_the_graph():
            analyzer.create_analyzer_model()
        return analyzer

    more: dict[str, Any] = {}
    while True:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                return create(**more)
            except NotImplementedError:
                # `AnalyzerBase._do_model_checks` raises after each check that it announces as a warning.
                checks = [str(each.message) for each in caught if "Check triggered by" in str(each.message)]
                if more or not checks:
                    raise
                more = {"disable_model_checks": True}
                facts["repairs"] += [f"model check disabled: {check.splitlines()[0]}" for check in checks]
            except TypeError as error:
                if "tuple indices must be integers" not in str(error) or not _with_whole_axes(network):
                    raise
                facts["repairs"].append(
                    "axis of batch norms made a number: BatchNormalizationReverseLayer fails on Keras's list "
                    f"(TypeError: {error})"
                )


def _with_whole_axes(network: Any) -> bool:
    """Make each batch norm's configuration name its axis by a number; false where all did already.

    `BatchNormalizationReverseLayer` indexes with ``config["axis"]``, which is a list in every Keras 2 layer
    that has been built.
    """
    changed = False
    for layer in set(network.layers.values()):
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            config = layer.get_config()
            if not isinstance(config["axis"], int):
                (config["axis"],) = config["axis"]
                layer.get_config = lambda config=config: dict(config)
                changed = True
    return changed


def _kept(network: Any, analyzer: Any) -> list[str | None]:
    """The canonical name of each tensor that the analyzer keeps, in its order; None for helper layers.

    The first is the output of the whole. Each other one has a pair (node, place): the relevance of the node's
    input of that number. `igraph.reverse_model` counts the nodes from the end of the execution list, less the
    number of input layers.
    """
    # By identity: a tensor's Keras history is another one after an analyzer has taken its operation over.
    outputs = {id(tensor): name for name, tensor in network.outputs.items()}
    layers, execution, _ = igraph.trace_model_execution(analyzer._prepared_model)
    inputs = sum(isinstance(layer, tf.keras.layers.InputLayer) for layer in layers)
    names: list[str | None] = [None]
    for node, place in list(analyzer._reverse_tensors_mapping.values())[1:]:
        names.append(outputs.get(id(execution[inputs + node][1][place])))
    return names


@contextlib.contextmanager
def _constants_in_the_graph() -> Iterator[None]:
    """While this lasts, Keras leaves what does not come from the input (weights) in the graph, as tensors.

    Otherwise it evaluates each such tensor when it wraps an operation, every time through a new callable of
    the whole graph so far: minutes for a network of 40 layers. The values are the same.
    """
    from keras.engine import base_layer_utils

    base_layer_utils._UNSAFE_GRAPH_OP_LAYER_CREATION = True
    try:
        yield
    finally:
        base_layer_utils._UNSAFE_GRAPH_OP_LAYER_CREATION = False


# Arguments -----------------------------------------------------------------------------------------------


def _arguments(network: Any, method: Mapping[str, Any]) -> dict[str, Any]:
    """The analyzer's arguments as the library takes them."""
    arguments = dict(method["arguments"])
    for key in ("low", "high"):
        if key in arguments:
            arguments[key] = np.asarray(arguments[key])
    if isinstance(arguments.get("input_layer_rule"), list):
        arguments["input_layer_rule"] = tuple(np.asarray(bound) for bound in arguments["input_layer_rule"])
    for key in ("rule", "input_layer_rule", "until_layer_rule", "bn_layer_rule"):
        given = arguments.get(key)
        if isinstance(given, list):
            arguments[key] = [_RULE_CLASSES.get(each, each) for each in given]
        elif isinstance(given, str):
            arguments[key] = _RULE_CLASSES.get(given, given)
    if "until" in method:
        arguments["until_layer_idx"] = _until_index(network, method["until"])
    if "kernels" in method:
        _check_order(network, method["kernels"])
    return arguments


class _ZIgnoreBiasRule(relevance_rule.ZRule):
    """`ZRule` without the bias: what `LRPZIgnoreBias` gave to every layer in iNNvestigate 1.0."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, bias=False, **kwargs)


#: Rules without a name in `LRP_RULES`, which a user hands over as a class.
_RULE_CLASSES: dict[str, type] = {
    "ZIgnoreBias": _ZIgnoreBiasRule,
    "AlphaBetaX1000": relevance_rule.AlphaBetaX1000Rule,
    "AlphaBetaX1010": relevance_rule.AlphaBetaX1010Rule,
    "AlphaBetaX1001": relevance_rule.AlphaBetaX1001Rule,
    "AlphaBetaX2m100": relevance_rule.AlphaBetaX2m100Rule,
}


def _until_index(network: Any, wanted: list[str]) -> int:
    """The index up to which ``model.layers`` has these kernels and no other."""
    kernels = [name for name, layer in network.layers.items() if _has_kernel(layer)]
    places = _places(network, kernels)
    index = max((places[name] for name in wanted), default=0)
    # A fused activation stands for the same layer as its kernel.
    names = {network.layers[name].name for name in kernels if places[name] <= index}
    if names != {network.layers[name].name for name in wanted}:
        raise ValueError(
            f"no until_layer_idx of the Keras model means {', '.join(wanted) or 'no kernel'}: up to index {index} "
            f"it has {', '.join(sorted(names))}; choose an index at which the network does not branch"
        )
    return index


def _check_order(network: Any, kernels: list[str]) -> None:
    """Raise ValueError unless ``model.layers`` has the kernels in this order; a list of rules follows it."""
    order = sorted(kernels, key=_places(network, kernels).__getitem__)
    if order != kernels:
        raise ValueError(
            f"a list of rules means other layers here: the Keras model has its kernels in the order {', '.join(order)}"
        )


def _places(network: Any, names: list[str]) -> dict[str, int]:
    """By canonical name, the place of the layer in ``model.layers``."""
    order = [layer.name for layer in network.model.layers]
    return {name: order.index(network.layers[name].name) for name in names}


def _has_kernel(layer: Any) -> bool:
    return any(hasattr(layer, name) for name in ("kernel", "depthwise_kernel", "pointwise_kernel"))


# Noise ---------------------------------------------------------------------------------------------------

#: The noise of the request that is being answered.
_handed: list[np.ndarray] = []


def _drawn(shape: np.ndarray) -> np.ndarray:
    """The noise handed in; raises ValueError where the library wants another shape."""
    if not _handed or _handed[0].shape != tuple(shape):
        handed = _handed[0].shape if _handed else "none"
        raise ValueError(f"the library draws noise of shape {tuple(shape)}, handed in was {handed}")
    return _handed[0]


@contextlib.contextmanager
def _noise_from_outside() -> Iterator[None]:
    """While this lasts, graphs that are built get ``mean + stddev * noise handed in`` for random numbers.

    The library draws with `tf.random.normal` (`layers.AddGaussianNoise`) and `keras.backend.random_normal`
    (`backend.add_gaussian_noise`), each time in the shape of a tensor.
    """

    def normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, **_: Any) -> Any:
        noise = tf.numpy_function(_drawn, [shape], dtype)
        # ``shape`` is the output of a Shape operation, whose input has the shape as far as it is known.
        noise.set_shape(shape.op.inputs[0].shape)
        return mean + stddev * noise

    places = ((tf.random, "normal"), (tf.keras.backend, "random_normal"))
    originals = [getattr(module, name) for module, name in places]
    for module, name in places:
        setattr(module, name, normal)
    try:
        yield
    finally:
        for (module, name), original in zip(places, originals):
            setattr(module, name, original)
