"""What is on the scoreboard: a row for each library, each of its methods that we have too, and each network."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.backends.worker import Peer
from harness.errors import HarnessError
from ported_impls.libraries import LIBRARIES

#: The small networks first: what fails there is known early.
MODELS = ("digits-cnn", "ecg-cnn1d", "fer-xception", "efficientnet-lite0", "vgg16-mri")


@dataclass(frozen=True)
class Row:
    """``says``: what a user of the library writes.

    ``method``: ours, with ``{bounds}`` where it wants those of the input.
    """

    library: str
    method: str
    says: str
    model: str

    def method_for(self, x: np.ndarray) -> str:
        """The method for input ``x``: bounds are the whole numbers that its values lie between."""
        low, high = np.floor(x.min()), np.ceil(x.max())
        return self.method.replace("{bounds}", f"low={low:g},high={high:g}")


def library_named(name: str) -> Peer:
    """Raises HarnessError for a library that is not on the scoreboard."""
    for each in LIBRARIES:
        if each.name == name:
            return each
    known = ", ".join(each.name for each in LIBRARIES)
    raise HarnessError(f"{name} is not on the scoreboard; there are {known}")


def calls_of(library: Peer) -> dict[str, str]:
    """By method of ours, what a user of ``library`` writes; the libraries themselves are not imported."""
    if library.name.startswith("zennit-") and library.name != "zennit-crp":
        return dict(_zennit())
    calls: dict[str, Any] = importlib.import_module(f"ported_impls.libraries.{library.adapter.stem}").CALLS
    return {method: call.says for method, call in calls.items()}


def rows(libraries: tuple[str, ...], models: tuple[str, ...]) -> Iterator[Row]:
    """Every row of these libraries and networks, library by library, network by network."""
    for name in libraries:
        calls = calls_of(library_named(name))
        for model in models:
            for method, says in calls.items():
                yield Row(name, method, says, model)


def _zennit() -> Iterator[tuple[str, str]]:
    """What Zennit has a name for: its attributors, its rules at every kernel, its composites."""
    gradient = "Gradient(model)(x, start)"
    yield "gradient", gradient
    yield "input_t_gradient", f"{gradient} * x"
    yield "integrated_gradients", "IntegratedGradients(model, n_iter=64)(x, start)"
    yield "smoothgrad", "SmoothGrad(model, noise_level, n_iter=64)(x, start)"
    for name, composite in (("guided_backprop", "GuidedBackprop"), ("deconvnet", "DeconvNet")):
        yield f"{name}:dialect=zennit", f"{composite}()"
    for name, rule in _RULES.items():
        yield name, f"{rule}() at kernels, layer_map_base() elsewhere"
    for name, composite in _COMPOSITES.items():
        yield name, f"{composite}()"


_RULES = {
    "lrp.z": "Epsilon",
    "lrp.0": "Epsilon",
    "lrp.epsilon": "Epsilon",
    "lrp.gamma": "Gamma",
    "lrp.alpha_1_beta_0": "AlphaBeta",
    "lrp.alpha_2_beta_1": "AlphaBeta",
    "lrp.z_plus": "ZPlus",
    "lrp.flat": "Flat",
    "lrp.w_square": "WSquare",
}
_COMPOSITES = {
    "epsilon_plus": "EpsilonPlus",
    "epsilon_plus_flat": "EpsilonPlusFlat",
    "epsilon_plus_box:{bounds}": "EpsilonPlus with ZBox",
    "epsilon_alpha2_beta1": "EpsilonAlpha2Beta1",
    "epsilon_alpha2_beta1_flat": "EpsilonAlpha2Beta1Flat",
    "epsilon_alpha2_beta1_box:{bounds}": "EpsilonAlpha2Beta1 with ZBox",
    "epsilon_gamma_box:{bounds}": "EpsilonGammaBox",
    "excitation_backprop": "ExcitationBackprop",
}
