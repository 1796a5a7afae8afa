"""The public calls: load a model, explain an input, compare two runs."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from harness.backends import (
    Backend,
    Model,
    Prepared,
    adapter_plugin,
    backend_named,
    list_backends,
    model_plugin,
    register_backend,
    run_on_copies,
    to_watch,
)
from harness.checks import checked_dtype, checked_input, checked_target
from harness.errors import UnsupportedMethodError
from harness.methods import CATALOGUE, Method
from harness.methods import method as method_named
from harness.pairs import check_applies, of_model
from harness.trace import Trace

#: As many prepared backends are kept for a model, the last ones used: a large network takes gigabytes in each.
KEPT = 8
#: (backend, dtype) and what it prepared, by the backend's identity and the dtype, the last used last.
_Kept = dict[tuple[int, str], tuple[Backend, Prepared]]
_prepared: weakref.WeakKeyDictionary[Any, _Kept] = weakref.WeakKeyDictionary()


def load_model(source: Any, name: str | None = None, example: Any = None) -> Any:
    """Make a `PortedModel` of a zoo name, an ``.onnx``, ``.keras`` or ``.h5`` path, a ``keras.Model``, an
    ``onnx.ModelProto``, or a ``torch.nn.Module`` (with ``example``, an input for it).

    The final softmax is removed, and the model says so. Raises UnknownNameError, ModelSourceError or
    UnsupportedLayerError.
    """
    return model_plugin("load_model")(source, name=name, example=example)


def load_pair(
    keras_model: Any,
    torch_module: Any,
    layer_map: Mapping[str, str] | None = None,
    example: Any = None,
    name: str | None = None,
) -> Any:
    """Align a Keras and a torch model that were ported by hand, by their weights, and verify them on their outputs.

    ``layer_map`` (Keras layer name to torch module path) wins over what the weights say. ``example``:
    an input to verify on, (batch, *input_shape); random if left out. ``name``: what the pair is called
    (default: the Keras model's name).
    """
    return model_plugin("load_pair")(
        keras_model, torch_module, layer_map=layer_map, example=example, name=name
    )


def explain(
    model: Any,
    x: Any,
    method: str | Method,
    backend: str | Backend = "tensorflow",
    target: Any = None,
    dtype: str = "float32",
    layers: bool = True,
) -> Trace:
    """Run ``method`` on ``x`` through ``backend`` and return the trace.

    ``model``: what :func:`load_model` returns, or what it takes. ``x``: (batch, *input_shape), channels
    last. ``target``: a class index, one per sample, or None for the largest logit of each sample.
    ``layers=False`` keeps only logits and attribution. Raises InvalidInputError (among them
    MethodDoesNotApplyError, for a method that is not meant for such a network), UnknownNameError,
    UnsupportedMethodError, MissingFrameworkError or PeerError.
    """
    model = as_model(model)
    chosen, resolved = backend_named(backend), method_named(method)
    array = checked_input(model, x, checked_dtype(dtype))
    wanted = checked_target(target, len(array), class_count(model))
    check_applies(resolved, model)
    require_support(chosen, resolved)
    prepared = prepared_for(model, chosen, dtype)
    run = run_on_copies(prepared, array, resolved, wanted, layers, watched=to_watch(chosen, model))
    trace = of_model(run, model)
    trace.rerun = _rerun(model, array, chosen, dtype, prepared)
    return trace


def as_model(source: Any) -> Any:
    """``source`` if it is a model of ours already, else what :func:`load_model` makes of it."""
    return source if hasattr(source, "graph") and hasattr(source, "input_shape") else load_model(source)


def class_count(model: Model) -> int:
    """The number of logits."""
    return int(np.prod(model.graph[model.graph.output].shape))


def require_support(backend: Backend, method: Method) -> None:
    """Raise UnsupportedMethodError where ``backend`` cannot run ``method``."""
    if not backend.supports(method):
        raise UnsupportedMethodError(
            f"backend {backend.name!r} does not implement {method.name!r}; see: xai-harness methods"
        )


def prepared_for(model: Any, backend: Backend, dtype: str) -> Prepared:
    """``backend`` prepared for ``model`` and ``dtype``; the last :data:`KEPT` of a model are kept while it lives."""
    kept = _prepared.setdefault(model, {})
    key = (id(backend), dtype)
    # The backend is kept beside what it prepared: while it is there, no other object has its identity.
    found = kept.pop(key, None) or (backend, backend.prepare(model, dtype))
    kept[key] = found
    while len(kept) > KEPT:
        del kept[next(iter(kept))]
    return found[1]


def _rerun(model: Any, x: np.ndarray, backend: Backend, dtype: str, prepared: Prepared) -> Any:
    from harness.comparison import Rerun

    return Rerun(model, x, backend, dtype, prepared, lambda name: prepared_for(model, backend, name))


def backend_from_composite(name: str, composite: Callable[..., Any], head: str = "logit") -> Backend:
    """A backend made of a Zennit composite: ``composite(model, method)`` returns one for the torch twin ``model``."""
    backend: Backend = adapter_plugin("composite")(name, composite, head=head)
    return backend


def backend_from_function(
    name: str, function: Callable[..., Any], framework: str, layers: str | None = None
) -> Backend:
    """A backend made of ``function(twin, x, target, method)`` for ``framework``.

    The function returns the attribution, which is all that is judged, or ``(attribution, {layer: relevance})``.
    ``layers``: what autograd's tensors at the torch twin's layers are, "gradient" or "gradient*activation"; None:
    nothing. Raises InvalidInputError for anything else, UnknownNameError for an unknown framework.
    """
    backend: Backend = adapter_plugin("function")(name, function, framework, layers=layers)
    return backend


def list_methods() -> list[str]:
    """Catalogue names, in catalogue order."""
    return list(CATALOGUE)


def list_models() -> list[str]:
    """Names of the zoo."""
    return [entry.name for entry in model_plugin("zoo")()]


__all__ = [
    "as_model",
    "backend_from_composite",
    "backend_from_function",
    "class_count",
    "explain",
    "list_backends",
    "list_methods",
    "list_models",
    "load_model",
    "load_pair",
    "prepared_for",
    "register_backend",
    "require_support",
]
