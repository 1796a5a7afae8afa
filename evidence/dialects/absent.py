"""Why a difference between readings cannot show: facts looked up in a network and its input."""

from __future__ import annotations

import numpy as np

from harness.graph import ACTIVATION_KINDS, KERNEL_KINDS, Graph


def no_batch_norm(graph: Graph, x: np.ndarray) -> str:
    """There is no batch norm."""
    if any(layer.kind == "batch_norm" for layer in graph):
        return ""
    scales = sum(layer.kind == "scale" for layer in graph)
    instead = f"; scales per channel ({scales}) get the rule of the kernels" if scales else ""
    return f"the network has no batch norm{instead}"


def no_shared_relu(graph: Graph, x: np.ndarray) -> str:
    """No ReLU has several readers, and there is no other activation."""
    shared = [layer for layer in graph if layer.kind == "relu" and len(graph.consumers(layer.name)) > 1]
    return "" if shared or not only_plain_relu(graph, x) else "no ReLU of it is read by more than one layer"


def only_plain_relu(graph: Graph, x: np.ndarray) -> str:
    """Every activation is a plain ReLU."""
    others = {layer.kind for layer in graph if layer.kind in ACTIVATION_KINDS} - {"relu"}
    return "" if others else "all activations of the network are plain ReLUs"


def one_kernel_sees_the_input(graph: Graph, x: np.ndarray) -> str:
    """The kernels that see the input are one, and the first in forward order."""
    kernels = [layer for layer in graph if layer.kind in KERNEL_KINDS]
    seeing = [layer.name for layer in kernels if graph.reads_input(layer, through_padding=True)]
    if seeing != [kernels[0].name]:
        return ""
    return f"one kernel sees the input, `{seeing[0]}`, and it is the first"


def no_padding_in_front(graph: Graph, x: np.ndarray) -> str:
    """Zero padding as a layer of its own does not stand between the input and a kernel."""
    for layer in graph:
        if layer.kind in KERNEL_KINDS and graph.reads_input(layer, True) != graph.reads_input(layer):
            return ""
    return "no layer of zero padding stands between the input and a kernel"


def nothing_below(value: float, graph: Graph, x: np.ndarray) -> str:
    """No value of the input is below ``value``."""
    return "" if float(x.min()) < value else f"no value of the input is below {value:g}"
