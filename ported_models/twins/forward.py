"""What every layer of the twins gives, and the proof that both twins compute the network that was ported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from harness.errors import HarnessError
from harness.graph import Graph
from ported_models.twins.layout import to_canonical, to_internal

#: Largest relative difference of a layer between the twins in float64.
LAYER_BOUND = 1e-12
#: Largest relative difference of a twin's float32 logits from ONNX Runtime's.
LOGITS_BOUND = 1e-5


class Proven(Protocol):
    """What a model must have to be proven: a `ported_models.PortedModel`, or alike."""

    @property
    def name(self) -> str: ...
    @property
    def graph(self) -> Graph: ...
    @property
    def onnx(self) -> Any: ...
    def keras(self, dtype: str = "float32") -> Any: ...
    def torch(self, dtype: str = "float32") -> Any: ...


@dataclass(frozen=True)
class LayerAgreement:
    """How far the float64 twins are apart at one layer: L2 relative to Keras, and the largest difference."""

    name: str
    kind: str
    relative: float
    max_abs: float


@dataclass(frozen=True)
class ForwardProof:
    """Layer by layer in float64, twin against twin; and each twin's float32 logits against ONNX Runtime's."""

    model: str
    layers: tuple[LayerAgreement, ...]
    keras_logits: float
    torch_logits: float

    @property
    def first_beyond(self) -> LayerAgreement | None:
        """The first layer, in forward order, beyond `LAYER_BOUND` (or not finite)."""
        return next((layer for layer in self.layers if not layer.relative <= LAYER_BOUND), None)

    @property
    def passed(self) -> bool:
        """Whether every layer is within `LAYER_BOUND` and both logits are within `LOGITS_BOUND`."""
        return (
            self.first_beyond is None
            and self.keras_logits <= LOGITS_BOUND
            and self.torch_logits <= LOGITS_BOUND
        )

    def check(self) -> None:
        """Raise HarnessError that names the first layer, or the logits, beyond their bound."""
        layer = self.first_beyond
        if layer is not None:
            raise HarnessError(
                f"{self.model}: the twins differ first at layer {layer.name!r} ({layer.kind}) by "
                f"{layer.relative:.3g} relative in float64, expected at most {LAYER_BOUND:g}; "
                "check how this kind of layer is built in ported_models.twins"
            )
        for framework, found in (("Keras", self.keras_logits), ("torch", self.torch_logits)):
            if not found <= LOGITS_BOUND:
                raise HarnessError(
                    f"{self.model}: the {framework} twin's float32 logits differ from ONNX Runtime's by "
                    f"{found:.3g} relative, expected at most {LOGITS_BOUND:g}; "
                    "compare the layers of the ONNX file with those of the graph"
                )


def prove_forward(model: Proven, x: np.ndarray) -> ForwardProof:
    """Run both twins and ONNX Runtime on ``x`` (batch, *input shape), canonical layout.

    A relative difference is ``|torch - keras| / |keras|`` (or ``|twin - onnx| / |onnx|``), each norm the
    L2 norm over the whole batch.
    """
    keras_side = keras_activations(model.keras("float64"), model.graph, x)
    torch_side = torch_activations(model.torch("float64"), model.graph, x)
    layers = tuple(
        LayerAgreement(
            layer.name,
            layer.kind,
            relative_difference(torch_side[layer.name], keras_side[layer.name]),
            float(np.abs(torch_side[layer.name] - keras_side[layer.name]).max()),
        )
        for layer in model.graph
    )
    logits = onnx_logits(model.onnx, x)
    return ForwardProof(
        model.name,
        layers,
        relative_difference(keras_logits(model.keras("float32"), x), logits),
        relative_difference(torch_logits(model.torch("float32"), x), logits),
    )


def relative_difference(candidate: np.ndarray, reference: np.ndarray) -> float:
    """``|candidate - reference| / |reference|`` in L2; 0 where both are zero everywhere."""
    difference = float(np.linalg.norm((candidate - reference).astype(np.float64)))
    if difference == 0.0:
        return 0.0
    norm = float(np.linalg.norm(reference.astype(np.float64)))
    return difference / norm if norm else float("inf")


def keras_activations(twin: Any, graph: Graph, x: np.ndarray) -> dict[str, np.ndarray]:
    """The output of every layer of the Keras twin, by canonical name and in forward order."""
    import keras

    outputs = {layer.name: twin.get_layer(layer.name).output for layer in graph}
    found = _call_keras(keras.Model(twin.inputs, outputs), x)
    return {layer.name: np.asarray(found[layer.name]) for layer in graph}


def keras_logits(twin: Any, x: np.ndarray) -> np.ndarray:
    """The output of the Keras twin on ``x``, in the twin's dtype."""
    return np.asarray(_call_keras(twin, x))


def _call_keras(model: Any, x: np.ndarray) -> Any:
    import tensorflow as tf

    return model(tf.convert_to_tensor(x, dtype=model.inputs[0].dtype), training=False)


def torch_activations(twin: Any, graph: Graph, x: np.ndarray) -> dict[str, np.ndarray]:
    """The same of the torch twin, in canonical layout."""
    modules = dict(twin.named_modules())
    found: dict[str, np.ndarray] = {}

    def keep(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            found[name] = to_canonical(output.detach().numpy())

        return hook

    handles = [modules[layer.name].register_forward_hook(keep(layer.name)) for layer in graph]
    try:
        torch_logits(twin, x)
    finally:
        for handle in handles:
            handle.remove()
    return found


def torch_logits(twin: Any, x: np.ndarray) -> np.ndarray:
    """The output of the torch twin on ``x``, in canonical layout and the twin's dtype."""
    import torch

    with torch.no_grad():
        tensor = torch.from_numpy(np.ascontiguousarray(to_internal(x.astype(twin.dtype))))
        return to_canonical(twin(tensor).numpy())


def onnx_logits(proto: Any, x: np.ndarray) -> np.ndarray:
    """The output of ONNX Runtime's CPU kernels on ``x``, in canonical layout and the file's dtype."""
    import onnxruntime

    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    dtype = {"tensor(float)": np.float32, "tensor(double)": np.float64}[source.type]
    return to_canonical(session.run(None, {source.name: x.astype(dtype)})[0])
