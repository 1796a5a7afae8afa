"""The real dl-backtrace 0.1.24 behind `serve.py`: runs in its interpreter only, asked by `backtrace_package.py`.

Its handlers are plain modules, one a layer and version. They are imported by themselves: the package's own `__init__`
loads torch and more, which they do not need. Nothing is replaced, nothing is added to what they compute.

``version`` -> ``{"versions": {package: version}}``. ``step``, payload ``{"handler": name, "version": name,
"arguments": {...}}``, arrays ``relevance``, ``input/0``, ``input/1``, ..., ``weight`` and ``bias`` where the layer has
them, in torch's layout -> arrays ``share/0``, ``share/1``, ...
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np

_HANDLERS = "dl_backtrace.pytorch_backtrace.dlbacktrace.utils.cuda_utils"
#: By handler, the folder and the function; by version, the module.
_FUNCTIONS = {
    "dense": ("Linear_v2", "calculate_wt_fc"),
    "conv2d": ("Conv2D", "calculate_wt_conv"),
    "max_pool2d": ("MaxPool2D", "calculate_wt_maxpool"),
    "average_pool2d": ("AveragePool2D", "calculate_wt_avgpool"),
    "global_average_pool": ("AdaptiveAvgPool2D", "calculate_wt_gavgpool"),
    "add": ("Wt_add_equal", "calculate_wt_add_equal"),
    "multiply": ("Wt_mul", "calculate_wt_mul"),
    "attention": ("SelfAttention", "calculate_wt_self_attention"),
}
_MODULES = {
    "original": "original_version",
    "refactored": "refactored_version",
    "pytorch": "pytorch_version",
    "pytorch_v2": "pytorch_v2",
}
#: Functions that have another name in a version.
_OTHER_NAMES = {
    ("add", "pytorch"): "calculate_wt_add_equal_vectorized",
    ("multiply", "pytorch"): "calculate_wt_mul_gpu",
}


def handle(
    op: str, payload: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The answer to one request. Raises ValueError for another op."""
    if op == "version":
        return {"versions": _versions()}, {}
    if op == "step":
        return _step(payload, arrays)
    raise ValueError(f"unknown op {op!r}; there are version, step")


def _versions() -> dict[str, str]:
    versions = {}
    for name in ("dl-backtrace", "numpy", "torch"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _step(
    payload: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    handler, version = payload["handler"], payload["version"]
    function = _function(handler, version)
    on_torch = version.startswith("pytorch")
    given = {name: _as_taken(array, on_torch) for name, array in arrays.items()}
    arguments = {key: _tupled(value) for key, value in payload["arguments"].items()}
    if "act" in arguments:
        arguments["act"] = _activation(arguments["act"], on_torch)
    positional = [given["relevance"]] if "relevance" in given else []
    inputs = [given[name] for name in sorted(given) if name.startswith("input/")]
    if handler == "add":
        positional.append(inputs)
    elif handler != "multiply":
        positional += inputs
    if "weight" in given:
        positional += [given["weight"], given.get("bias")]
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        result = function(*positional, **arguments)
    seconds = time.perf_counter() - began
    shares = result if isinstance(result, (list, tuple)) else [result]
    return {"seconds": seconds}, {f"share/{place}": _as_array(share) for place, share in enumerate(shares)}


def _function(handler: str, version: str) -> Any:
    folder, name = _FUNCTIONS[handler]
    _make_packages()
    module = importlib.import_module(f"{_HANDLERS}.{folder}.{_MODULES[version]}")
    return getattr(module, _OTHER_NAMES.get((handler, version), name))


def _make_packages() -> None:
    """Empty packages in the place of those above the handlers, which import everything."""
    if "dl_backtrace" in sys.modules:
        return
    spec = importlib.util.find_spec("dl_backtrace")
    assert spec is not None and spec.submodule_search_locations
    place, name = Path(next(iter(spec.submodule_search_locations))), "dl_backtrace"
    for part in ("", *_HANDLERS.split(".")[1:]):
        if part:
            place, name = place / part, f"{name}.{part}"
        package = types.ModuleType(name)
        package.__path__ = [str(place)]
        sys.modules[name] = package


def _activation(activation: dict[str, Any], on_torch: bool) -> dict[str, Any]:
    """The dictionary that handlers read; its function is the package's own `np_swish`, in the arrays of the version."""
    if activation["func"] is None:
        return activation
    if on_torch:
        import torch  # type: ignore[import-not-found,unused-ignore]

        return {**activation, "func": lambda x: x * (1 / (1 + torch.exp(-(0.75 * x))))}
    return {**activation, "func": lambda x: x * (1 / (1 + np.exp(-(0.75 * x))))}


def _as_taken(array: np.ndarray, on_torch: bool) -> Any:
    if not on_torch:
        return array
    import torch

    return torch.from_numpy(np.ascontiguousarray(array))


def _as_array(share: Any) -> np.ndarray:
    array = share.detach().cpu().numpy() if hasattr(share, "detach") else np.asarray(share)
    return np.ascontiguousarray(array)


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
