"""The public calls: load a model, explain an input, compare two runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.backends import (
    Backend,
    adapter_plugin,
    backend_named,
    defaults_of,
    list_backends,
    model_plugin,
    register_backend,
)
from harness.case import Case
from harness.engine import engine
from harness.loaded import LoadedModel, LoadedPair
from harness.methods import CATALOGUE, Method
from harness.methods import method as method_named
from harness.trace import Trace


def load_model(
    source: Any,
    name: str | None = None,
    example: Any = None,
    axes: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    output: str | int | tuple[Any, ...] | None = None,
) -> LoadedModel:
    """Make a `PortedModel` of a zoo name, an ``.onnx``, ``.keras`` or ``.h5`` path, a ``keras.Model``, an
    ``onnx.ModelProto``, or a ``torch.nn.Module`` (with ``example``, an input for it; of several inputs a tuple in the
    order of forward, or a dict by name).

    ``output``: of a source with several outputs the name or place of one (those of a tuple have no names); of an output
    that is a map ``"mean"`` or one place, ``(row, column)``; or both, ``("scores", "mean")``.

    A final softmax, log-softmax or sigmoid is taken off, and a note of the model says so. What is loaded proves
    itself: the source's own output is compared with that of both twins. Raises UnknownNameError,
    UnsupportedLayerError, and ModelSourceError for what is no model or computes something else than was read.
    """
    model: LoadedModel = model_plugin("load_model")(
        source, name=name, example=example, axes=axes, output=output
    )
    return model


def load_pair(
    keras_model: Any,
    torch_module: Any,
    layer_map: Mapping[str, str] | None = None,
    example: Any = None,
    name: str | None = None,
) -> LoadedPair:
    """Align a Keras and a torch model that were ported by hand, by their weights, and verify them on their outputs.

    ``layer_map`` (Keras layer name to torch module path) wins over what the weights say. ``example``:
    an input to verify on, (batch, *input_shape), of several inputs a dict by the Keras model's names; random if left
    out. Of several inputs forward's parameter has the Keras input's name, or the one that ``layer_map`` has for it.
    ``name``: what the pair is called (default: the Keras model's name).
    """
    pair: LoadedPair = model_plugin("load_pair")(
        keras_model, torch_module, layer_map=layer_map, example=example, name=name
    )
    return pair


def explain(
    model: Any,
    x: Any,
    method: str | Method,
    backend: str | Backend | None = None,
    target: Any = None,
    dtype: str = "float32",
    layers: bool = True,
    device: str = "cpu",
) -> Trace:
    """Run ``method`` on ``x`` through ``backend`` (None: the method's reference, which is tensorflow
    for all but DLBacktrace) and return the trace.

    ``model``: what :func:`load_model` returns, or what it takes. ``x``: (batch, *input_shape), channels
    last; of a model of several inputs (``model.inputs``) a dict of such arrays by name, and then the trace's
    ``attribution`` is one too. ``target``: a class index, one per sample, or None for the largest logit of each sample.
    ``layers=False`` keeps only logits and attribution. ``device``: "cpu", "cuda", "cuda:1", where ``backend`` computes
    on it; "cuda+tf32" allows reduced precision of float32. Raises InvalidInputError (among them
    MethodDoesNotApplyError, for a method that is not meant for such a network), UnknownNameError,
    UnsupportedMethodError, MissingFrameworkError or PeerError.
    """
    resolved = method_named(method)
    chosen = backend_named(defaults_of(resolved).reference if backend is None else backend)
    case = Case.checked(as_model(model), x, resolved, target, dtype, layers, device)
    return engine().run(case, chosen, again=True, keep=False)


def as_model(source: Any) -> Any:
    """``source`` if it is a `PortedModel` already, else what :func:`load_model` makes of it."""
    return source if hasattr(source, "graph") and hasattr(source, "input_shape") else load_model(source)


def backend_from_composite(name: str, composite: Callable[..., Any], head: str | None = "logit") -> Backend:
    """A backend made of a Zennit composite: ``composite(model, method)`` returns one for the torch twin ``model``."""
    backend: Backend = adapter_plugin("composite")(name, composite, head=head)
    return backend


def backend_from_function(
    name: str, function: Callable[..., Any], framework: str, layers: str | None = None
) -> Backend:
    """A backend made of ``function(twin, x, target, method)`` for ``framework``.

    The function returns the attribution, which is all that is judged, or ``(attribution, {layer: relevance})``. Of a
    model of several inputs ``x`` and the attribution are dicts by name.
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
    "explain",
    "list_backends",
    "list_methods",
    "list_models",
    "load_model",
    "load_pair",
    "register_backend",
]
