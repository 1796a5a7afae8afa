"""Candidates from what people have: a Zennit composite, or a function that returns an attribution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from harness.backends.protocol import Backend, Model, Prepared
from harness.checks import require_device
from harness.errors import InvalidInputError, MissingFrameworkError, UnknownNameError
from harness.files import installed_versions, source_digest
from harness.graph import Graph
from harness.methods import Head, Method, NamedHead
from ported_impls.versions import (
    function_digest,
    require_torch_and_zennit,
)

#: (twin, method) -> zennit.core.Composite; the twin is the torch module, its attribute ``graph`` the graph.
CompositeFunction = Callable[[Any, Method], Any]
#: (twin, x, target, method) -> attribution or (attribution, relevance by layer), see :func:`backend_from_function`.
AttributionFunction = Callable[[Any, Any, Any, Method], Any]

#: The distributions whose versions count, by framework of a function.
_DISTRIBUTIONS = {
    "torch": ("torch", "zennit"),
    "tensorflow": ("tensorflow", "keras"),
    "keras": ("tensorflow", "keras"),
    "numpy": (),
}
#: What autograd's tensors at the torch twin's layers may be.
_LAYERS = ("gradient", "gradient*activation")


def backend_from_composite(name: str, composite: CompositeFunction, head: Head | None = "logit") -> Backend:
    """A backend that runs Zennit composites on the torch twin.

    ``composite(model, method)`` gets the twin (a `torch.nn.Module` whose submodules have the canonical
    layer names, and whose attribute ``graph`` is the neutral graph) and returns the `zennit.core.Composite`
    of the method. The relevance starts at the target neuron as ``head`` says (`harness.methods.Head`),
    whatever the method's own head is; ``head=None`` takes the method's. Procedures of many runs run the
    composite at every point, and post-processing is the method's. Per-layer relevance and `step` (a
    layer's module with the hooks that the composite puts on it) come with it.

    Raises InvalidInputError for a composite that cannot be called and a head that does not exist.
    """
    _check_callable(name, "composite", composite)
    if head not in (*get_args(NamedHead), None):
        heads = ", ".join(map(repr, get_args(NamedHead)))
        raise InvalidInputError(f"{name}: head must be {heads} or None, found {head!r}")
    return _CompositeBackend(name, composite, head)


def backend_from_function(
    name: str, function: AttributionFunction, framework: str, layers: str | None = None
) -> Backend:
    """A backend that runs ``function(twin, x, target, method)``; what it returns is what is judged.

    ``framework`` decides what the function gets and returns:

    - ``"torch"``: the torch twin, ``x`` as a tensor and the attribution in the twin's layout (of rank 3
      and more the channel axis is axis 1), ``target`` a LongTensor (batch,).
    - ``"tensorflow"`` or ``"keras"``: the Keras twin, ``x`` and the attribution channels last, ``x`` a
      tensor, ``target`` an int64 tensor.
    - ``"numpy"``: the neutral graph (`harness.graph.Graph`) and arrays, channels last. The logits, which the
      function does not return, are taken from whichever twin can be built.

    Arrays are copies: the function may overwrite them, and may return the same buffer each time. ``method`` is the
    method with its parameters; where it draws noise, the samples are `harness.methods.gaussian_noise` of
    ``method.procedure``, the same for every backend.

    The attribution is taken as it is returned: head and post-processing are the function's own business. The
    function may return ``(attribution, {layer name: relevance})`` instead; each relevance is then judged too. It is
    (batch, *layer shape), channels last whatever the framework.

    ``layers`` says what autograd's tensors at the torch twin's layers are: ``"gradient"``: the relevance of a layer
    is the gradient of its output; ``"gradient*activation"``: that times the output. They are used where the function
    ran the twin once with gradients, on the very batch, went back once, and the attribution is what the method
    makes of the input's; elsewhere only the attribution is judged, and ``provenance["layers"]`` of the trace says
    why. ``None``: nothing, only what is returned is judged.

    Raises InvalidInputError for a function that cannot be called and for other ``layers``, UnknownNameError for
    another framework.
    """
    _check_callable(name, "function", function)
    if framework not in _DISTRIBUTIONS:
        raise UnknownNameError("framework", framework, _DISTRIBUTIONS)
    if layers is not None and layers not in _LAYERS:
        raise InvalidInputError(
            f"{name}: layers must be {', '.join(map(repr, _LAYERS))} or None, found {layers!r}"
        )
    if layers is not None and framework != "torch":
        raise InvalidInputError(
            f"{name}: layers={layers!r} is what autograd shows in torch, found framework {framework!r}; "
            "return (attribution, {layer name: relevance}) to have layers judged"
        )
    return _FunctionBackend(name, function, framework, layers)


@dataclass(eq=False)
class _CompositeBackend:
    name: str
    composite: CompositeFunction
    head: Head | None

    def version(self) -> dict[str, str]:
        return {
            **installed_versions("torch", "zennit", "numpy"),
            "source": function_digest(self.composite),
            "adapter": source_digest("ported_impls"),
        }

    def supports(self, method: Method, graph: Graph) -> str:
        """Whatever the composite function does not refuse by raising."""
        return ""

    def prepare(self, model: Model, dtype: str, device: str = "cpu") -> Prepared:
        """Raises MissingFrameworkError without torch, InvalidInputError for another device than the CPU."""
        require_device(self.name, device)
        require_torch_and_zennit()
        from ported_impls.run import HookedTwin

        twin = model.torch(dtype)
        return HookedTwin(
            model=model,
            twin=twin,
            composite=lambda method: self.composite(twin, method),
            head=self.head,
        )


@dataclass(eq=False)
class _FunctionBackend:
    name: str
    function: AttributionFunction
    framework: str
    layers: str | None

    def version(self) -> dict[str, str]:
        names = ("numpy", *_DISTRIBUTIONS[self.framework])
        return {
            **installed_versions(*names),
            "source": function_digest(self.function),
            "layers": str(self.layers),
            "adapter": source_digest("ported_impls"),
        }

    def supports(self, method: Method, graph: Graph) -> str:
        """Whatever the function does not refuse by raising."""
        return ""

    def prepare(self, model: Model, dtype: str, device: str = "cpu") -> Prepared:
        """Raises MissingFrameworkError without the function's framework, InvalidInputError for another device."""
        require_device(self.name, device)
        if self.framework == "torch":
            twin = model.torch(dtype)
            from ported_impls.torch_function import TorchFunction

            return TorchFunction(self.name, model, self.function, twin, self.layers)
        from ported_impls.array_function import ArrayFunction, keras_twin_forward, torch_twin_forward

        if self.framework == "numpy":
            try:
                forward = torch_twin_forward(model, dtype)
            except MissingFrameworkError:
                forward = keras_twin_forward(model, dtype)
            return ArrayFunction(self.name, model, self.function, model.graph, forward, as_tensors=False)
        twin, forward = model.keras(dtype), keras_twin_forward(model, dtype)
        return ArrayFunction(self.name, model, self.function, twin, forward, as_tensors=True)


def _check_callable(name: str, what: str, value: object) -> None:
    if not callable(value):
        raise InvalidInputError(f"{name}: the {what} must be callable, found {type(value).__name__}")
