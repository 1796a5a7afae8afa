"""Which calls there are, and the method that the dialect has for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from harness.graph import Graph
from harness.methods import DIALECTS
from ported_models.zoo.catalogue import ENTRIES

LIBRARIES = ("innvestigate", "signxai")
#: Every network of the zoo. Networks that the libraries have no layers for have one row, with the reason.
MODELS = tuple(entry.name for entry in ENTRIES)
#: How users write a model, and what the adapters call that (`reference_impls.peers.backend.FORMS`).
FORMS = {"functional": "fused", "sequential": "sequential"}
#: Arguments without a default, with values.
_REQUIRED = {
    "lrp": "rule=Z",
    "lrp.alpha_beta": "alpha=2,beta=1",
    "deep_taylor.bounded": "low=-1,high=1",
    "lrp.sequential_preset_b_flat_until_idx": "until_layer_idx=3",
}
#: These take no neuron: they run no network.
_WITHOUT_NEURON = ("input", "random", "random_uniform")
#: Names for networks that have a layer of that name; elsewhere users call the general function with theirs.
_ELSEWHERE = {f"{guided}grad_cam_MNISTCNN": f"{guided}grad_cam" for guided in ("", "guided_")}
#: How the names of methods begin that join many runs.
_OF_MANY_RUNS = ("smoothgrad", "vargrad", "integrated_gradients")


@dataclass(frozen=True)
class Call:
    """``name``: the library's. ``method``: the dialect's. ``rounding_alone``: nothing else is left of its result."""

    name: str
    method: str
    rounding_alone: bool = False


def calls(library: str, form: str) -> Iterator[Call]:
    """Every published name of ``library``; those of many runs, which take minutes on a large network, last."""
    for entry in sorted(DIALECTS[library], key=lambda entry: entry.name.startswith(_OF_MANY_RUNS)):
        name = _ELSEWHERE.get(entry.name, entry.name)
        parameters = [_REQUIRED[name]] if name in _REQUIRED else []
        parameters.append(f"dialect={library}")
        if name not in _WITHOUT_NEURON:
            parameters.append("neuron_selection=max_activation")
        if name.startswith("deep_taylor"):
            parameters.append("activation_layers=pass")
        if name.startswith("guided_grad_cam") and form == "sequential":
            parameters.append("model=sequential")
        yield Call(entry.name, f"{name}:{','.join(parameters)}", entry.name.startswith("zblrp"))


def is_chain(graph: Graph) -> bool:
    """Whether every layer reads the one before it."""
    layers = graph.layers
    return all(layer.inputs == (before.name,) for before, layer in pairwise(layers))
