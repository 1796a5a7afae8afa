"""What of a model and of the frameworks code that is given a twin may change, and how it is put back."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from harness.graph import Graph
from harness.state import Part

#: What `torch.nn.Module` keeps hooks in.
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)

#: Types of what a module is set up with: strides, paddings, an epsilon, an order.
_PLAIN = (bool, int, float, str, tuple, type(None))


def twin_state(framework: str, twin: Any) -> dict[str, Any]:
    """By name, everything of a twin that decides what it computes; values that are equal where the twin is."""
    return _torch_twin_state(twin) if framework == "torch" else _keras_twin_state(twin)


def twin_parts(
    framework: str, dtype: str, twin: Any, built: Mapping[str, Any], graph: Graph
) -> Iterator[Part]:
    """The twin of ``graph`` as it was ``built``; what was put on it besides (an attribute) is no matter."""

    def now() -> dict[str, Any]:
        state = twin_state(framework, twin)
        return {key: state.get(key) for key in built}

    if framework == "torch":
        yield Part(
            f"the torch twin in {dtype}", now, lambda old: _put_back_torch_twin(twin, graph), known=built
        )
        yield Part(
            "which weights of the torch twin gradients are kept for",
            lambda: any(each.requires_grad or each.grad is not None for each in twin.parameters()),
            lambda old: _freeze(twin),
            decides=False,
            known=False,
        )
    else:
        yield Part(
            f"the Keras twin in {dtype}",
            now,
            lambda old: _put_back_keras_twin(twin, graph, dtype),
            known=built,
        )


def _freeze(twin: Any) -> None:
    for each in twin.parameters():
        each.requires_grad_(False)
        each.grad = None


def _torch_twin_state(twin: Any) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for name, module in twin.named_modules():
        at = f"{name or 'the network'}"
        state[f"class of {at}"] = type(module)
        state[f"training mode of {at}"] = module.training
        state[f"hooks of {at}"] = tuple(
            (kind, tuple(_name(hook) for hook in hooks.values()))
            for kind in _HOOKS
            if (hooks := getattr(module, kind, None))
        )
        for key, value in vars(module).items():
            if not key.startswith("_") and key != "training" and isinstance(value, _PLAIN):
                state[f"{key} of {at}"] = value
    for name, tensor in (*twin.named_parameters(), *twin.named_buffers()):
        if name.endswith("num_batches_tracked"):  # counts, and decides nothing that is computed here
            continue
        state[name] = (str(tensor.dtype), tuple(tensor.shape), _digest(tensor.detach().cpu().numpy()))
        state[f"hooks of {name}"] = tuple(getattr(tensor, "_backward_hooks", None) or ())
    return state


def _keras_twin_state(twin: Any) -> dict[str, Any]:
    """By name: digests of weights, and the class and instance call of every layer."""
    state: dict[str, Any] = {}
    for layer in twin.layers:
        state[f"class of {layer.name}"] = type(layer)
        state[f"call of {layer.name}"] = id(vars(layer)["call"]) if "call" in vars(layer) else None
    for place, weight in enumerate(twin.weights):
        state[f"{place} {weight.name}"] = _digest(np.asarray(weight))
    return state


def _put_back_torch_twin(twin: Any, graph: Graph) -> None:
    """Make ``twin`` what `torch_twin.build` makes of ``graph``, the very object that others hold."""
    from ported_models.twins import torch_twin

    fresh = torch_twin.build(graph, twin.dtype)
    twin.__class__ = type(fresh)
    vars(twin).clear()
    vars(twin).update(vars(fresh))


def _put_back_keras_twin(twin: Any, graph: Graph, dtype: str) -> None:
    """Give ``twin`` the weights and calls that `keras_twin.build` gives it."""
    from ported_models.twins import keras_twin

    fresh = keras_twin.build(graph, dtype)
    for layer, new in zip(twin.layers, fresh.layers, strict=True):
        layer.__class__ = type(new)
        vars(layer).pop("call", None)
    twin.set_weights(fresh.get_weights())


def graph_state(graph: Graph) -> dict[str, str]:
    """By layer and weight, digests of the arrays that every backend is given."""
    return {f"{layer.name} {key}": _digest(array) for layer in graph for key, array in layer.weights.items()}


def copies_of_weights(graph: Graph) -> dict[str, np.ndarray]:
    """The weights of ``graph`` in memory of their own."""
    return {f"{layer.name} {key}": np.array(array) for layer in graph for key, array in layer.weights.items()}


def framework_parts() -> Iterator[Part]:
    """What the frameworks that are imported keep for the whole process."""
    if torch := sys.modules.get("torch"):
        yield from _torch_parts(torch)
    if "keras" in sys.modules and "tensorflow" in sys.modules:
        yield from _tensorflow_parts(sys.modules["keras"], sys.modules["tensorflow"])


def _torch_parts(torch: Any) -> Iterable[Part]:
    module_hooks = torch.nn.modules.module
    names = [name for name in vars(module_hooks) if name.startswith("_global_") and "hooks" in name]

    def hooks() -> dict[str, Any]:
        return {name: dict(value) for name in names if isinstance(value := getattr(module_hooks, name), dict)}

    def put_back(old: Mapping[str, Any]) -> None:
        for name, value in old.items():
            getattr(module_hooks, name).clear()
            getattr(module_hooks, name).update(value)

    def deterministic() -> tuple[bool, bool]:
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        )

    return (
        Part("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
        Part("torch's default device", torch.get_default_device, torch.set_default_device),
        Part("torch's grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
        Part("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
        Part(
            "torch's deterministic algorithms",
            deterministic,
            lambda old: torch.use_deterministic_algorithms(old[0], warn_only=old[1]),
        ),
        Part(
            "torch's precision of float32 products",
            torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision,
        ),
        Part("torch's anomaly detection", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        Part("torch's flushing of denormals", _flushes(torch), torch.set_flush_denormal),
        Part("torch's global module hooks", hooks, put_back),
    )


def _name(hook: Any) -> str:
    """What it is called where it is written: the same in two twins of one network, where its number is another."""
    return f"{getattr(hook, '__module__', '')}.{getattr(hook, '__qualname__', type(hook).__qualname__)}"


def _flushes(torch: Any) -> Any:
    """Whether a product that is denormal becomes zero."""
    return lambda: bool((torch.tensor([1e-310], dtype=torch.float64) * 0.5 == 0).item())


def _tensorflow_parts(keras: Any, tensorflow: Any) -> Iterable[Part]:
    config = keras.config
    return (
        Part("Keras's floatx", config.floatx, config.set_floatx),
        Part("Keras's image data format", config.image_data_format, config.set_image_data_format),
        Part(
            "Keras's dtype policy",
            lambda: config.dtype_policy().name,
            config.set_dtype_policy,
        ),
        Part(
            "TensorFlow's eager running of functions",
            tensorflow.config.functions_run_eagerly,
            tensorflow.config.run_functions_eagerly,
        ),
    )


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data.cast("B") if array.size else b"").hexdigest()
