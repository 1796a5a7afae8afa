"""torch modules as the neutral graph: traced by `torch.fx`, read operation by operation.

Nothing is run on numbers: sizes are followed through the graph, weights are read from the module.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import MissingFrameworkError, ModelSourceError, UnsupportedLayerError
from ported_models.build import Builder
from ported_models.endings import ending_notes, without_ending
from ported_models.model import PortedModel
from ported_models.sources.names import Names, canonical
from ported_models.sources.steps import Reading
from ported_models.sources.torch_site import Site, Value, channels_first

try:
    from torch import fx, nn
except ImportError:
    raise MissingFrameworkError("torch") from None

from ported_models.sources import torch_table as table


def from_module(module: nn.Module, example: Any, name: str | None = None) -> PortedModel:
    """The model of a torch module of one input and one output, as it is in evaluation mode.

    ``example``: one batch of inputs, used for its shape only; a torch tensor in the module's own layout
    (batch, channel, ...), or a NumPy array in canonical layout (batch, ..., channel). A layer is named by its
    module path or, for a function, by its name in the trace, dots replaced by underscores. A final
    softmax, log-softmax or sigmoid is taken off and recorded. Where training and evaluation differ and the module
    was in training mode, a warning says so.

    Raises ModelSourceError for a module that cannot be traced (control flow that depends on data, several
    inputs), UnsupportedLayerError for an operation that the neutral graph cannot express.
    """
    reading = read_module(module, example, name)
    for note in reading.notes:
        warnings.warn(note, stacklevel=2)
    return PortedModel.from_graph(
        reading.graph,
        removed=reading.removed,
        notes=(*reading.notes, *ending_notes(reading.removed)),
        source=f"torch module {type(module).__name__}",
    )


def read_module(module: nn.Module, example: Any, name: str | None = None) -> Reading:
    """The graph of a torch module, with the module path (or traced name) of every layer."""
    if not isinstance(module, nn.Module):
        raise ModelSourceError(f"found a {type(module).__name__}, expected a torch.nn.Module")
    origin = f"torch module {type(module).__name__!r}"
    batch, *sides = _canonical_shape(example, origin)
    traced, mode_note = _trace(module, origin)
    reserved = [str(node.target) for node in traced.nodes if node.op == "call_module"]
    names = Names(reserved)
    builder = Builder(name or canonical(type(module).__name__), sides, input_name=names.free("input"))
    notes = [mode_note] if mode_note else []
    walk = _Walk(module, builder, names, origin, batch, _dtype(module, example), {}, notes)
    output = walk.run(traced)
    graph, removed = without_ending(builder.graph(output.layer), output.layer in walk.log_softmax)
    inner = [layer for layer in graph if layer.name in walk.log_softmax]
    if inner:
        raise UnsupportedLayerError(
            f"{origin}: layer {walk.origins[inner[0].name]!r} (log_softmax) stands inside the network; "
            "it is supported at the end only, where it is removed"
        )
    return Reading(graph, walk.origins, removed, tuple(walk.notes), output.order)


def _canonical_shape(example: Any, origin: str) -> tuple[int, ...]:
    """``(batch, ..., channel)`` of the example."""
    shape = tuple(int(side) for side in getattr(example, "shape", ()))
    if len(shape) < 2:
        raise ModelSourceError(
            f"{origin}: example must be one batch, of two axes or more; found shape {shape}; "
            "pass e.g. torch.zeros(1, 3, 224, 224)"
        )
    if isinstance(example, np.ndarray) or len(shape) == 2:
        return shape
    return (shape[0], *shape[2:], shape[1])


def _dtype(module: nn.Module, example: Any) -> np.dtype:
    """float64 for a module in double precision (one without parameters: for such an example), else float32."""
    first = next(module.parameters(), example)
    return np.dtype(np.float64 if str(first.dtype).endswith("float64") else np.float32)


_MODE_MATTERS = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


@contextmanager
def _evaluation(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, every submodule's own mode back afterwards."""
    modes = {child: child.training for child in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for child, training in modes.items():
            child.training = training


def _trace(module: nn.Module, origin: str) -> tuple[fx.Graph, str | None]:
    training = [
        path for path, child in module.named_modules() if child.training and isinstance(child, _MODE_MATTERS)
    ]
    note = (
        f"{origin} is in training mode, and {training[0]!r} differs between training and evaluation: "
        "it was read as in evaluation: call module.eval() first"
        if training
        else None
    )
    try:
        with _evaluation(module):
            # A module that is itself a torch layer would be traced into; inside a Sequential it is a leaf.
            root = nn.Sequential(module) if _is_torchs_own(module) else module
            return fx.Tracer().trace(root), note
    except (fx.proxy.TraceError, TypeError, NotImplementedError) as error:
        raise ModelSourceError(
            f"{origin}: cannot be traced ({str(error).strip().splitlines()[0]}); its forward must not branch or "
            "loop on the values of tensors: take the branch out, or export the module to ONNX and load that"
        ) from None


def _is_torchs_own(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn") and not isinstance(module, nn.Sequential)


@dataclass
class _Walk:
    """Reads the nodes of a trace in order; keeps what each one gives: a Value, an array, or plain Python."""

    module: nn.Module
    builder: Builder
    names: Names
    origin: str
    batch: int
    dtype: np.dtype
    origins: dict[str, str]
    notes: list[str]

    def __post_init__(self) -> None:
        self.log_softmax: set[str] = set()
        self._results: dict[fx.Node, Any] = {}
        self._leaf_root = _is_torchs_own(self.module)

    def run(self, graph: fx.Graph) -> Value:
        """The Value of the module's output."""
        for node in graph.nodes:
            if node.op == "output":
                output = self._plain(node.args[0])
                if not isinstance(output, Value):
                    raise ModelSourceError(
                        f"{self.origin}: returns a {type(output).__name__}, expected one tensor; "
                        "wrap the module in one that returns the logits only"
                    )
                return output
            self._results[node] = self._read(node)
        raise ModelSourceError(f"{self.origin}: returns nothing, expected one tensor")

    def _read(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._input(node)
        if node.op == "get_attr":
            return table.array(_attribute(self.module, str(node.target)))
        args = [self._plain(value) for value in node.args]
        kwargs = {key: self._plain(value) for key, value in node.kwargs.items()}
        if node.op == "call_module":
            return self._call_module(node, args)
        if not any(isinstance(value, Value) for value in _leaves([args, kwargs])):
            return self._compute(node, args, kwargs)
        if node.op == "call_method" and node.target in ("size", "dim"):
            return _size(args[0], *args[1:], **kwargs) if node.target == "size" else args[0].rank
        if node.target is getattr:
            return self._tensor_attribute(node, args[0], args[1])
        operations = table.METHODS if node.op == "call_method" else table.FUNCTIONS
        operation = operations.get(node.target)
        if operation is None and getattr(node.target, "__name__", "") == "stochastic_depth":
            # torchvision's; in evaluation it returns its input.
            return args[0]
        kind = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.target)
        site = self._site(self.names.free(node.name), node.name, str(kind))
        if operation is None:
            raise UnsupportedLayerError(
                f"{site.where} is not supported; replace it, or export the module to ONNX and load that"
            )
        return self._apply(operation, site, node.target, args, kwargs)

    def _input(self, node: fx.Node) -> Any:
        if len(self._results) > 0 and any(isinstance(value, Value) for value in self._results.values()):
            if node.args:  # a parameter of forward with a default
                return node.args[0]
            raise ModelSourceError(
                f"{self.origin}: forward takes several inputs ({node.target!r} is one), expected one; "
                "wrap the module in one that takes a single tensor"
            )
        layer = self.builder.last
        self.origins[layer] = str(node.target)
        sides = (self.batch, *self.builder[layer].shape)
        return Value(layer, channels_first(len(sides)), sides)

    def _call_module(self, node: fx.Node, args: list[Any]) -> Any:
        path = str(node.target)
        child = self.module if self._leaf_root else self.module.get_submodule(path)
        site = self._site(self.names.own(path), path, type(child).__name__)
        if type(child) not in table.MODULES:
            raise UnsupportedLayerError(
                f"{site.where} is not supported; supported modules: "
                f"{', '.join(sorted(kind.__name__ for kind in table.MODULES))}"
            )
        if getattr(child, "padding_mode", "zeros") != "zeros":
            raise site.refuse(f"padding_mode={child.padding_mode!r}", "'zeros'")
        operation, parameters = table.MODULES[type(child)]
        given = parameters(child)
        if getattr(child, "inplace", False):
            given["inplace"] = True
        return self._apply(operation, site, type(child), args, given)

    def _apply(self, operation: Any, site: Site, target: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        try:
            given = inspect.signature(operation).bind(site, *args, **kwargs).arguments
        except TypeError as error:
            raise UnsupportedLayerError(
                f"{site.where} is called in a way that is not supported ({error}); "
                "use the arguments of its documentation, or export the module to ONNX"
            ) from None
        before = self.builder.last
        value = operation(site, *args, **kwargs)
        if target in table.LOG_SOFTMAX and self.builder.last != before:
            self.log_softmax.add(value.layer)
        if given.get("inplace") or target in table.IN_PLACE:
            self._overwrite(args[0], value)
        return value

    def _overwrite(self, old: Value, new: Value) -> None:
        """After an operation in place, whatever held the old tensor, or a permutation of it, holds the new one."""
        for node, held in self._results.items():
            if isinstance(held, Value) and held.layer == old.layer:
                self._results[node] = Value(new.layer, held.order, new.sides)

    def _site(self, name: str, path: str, kind: str) -> Site:
        return Site(
            self.builder,
            self.names,
            name,
            path,
            kind,
            self.origin,
            self.batch,
            self.dtype,
            self.origins,
            self.notes,
        )

    def _compute(self, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Sizes and constants: the trace's own arithmetic on numbers, tuples and weights."""
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        return node.target(*args, **kwargs)

    def _tensor_attribute(self, node: fx.Node, value: Value, name: str) -> Any:
        if name == "shape":
            return value.shape
        if name == "ndim":
            return value.rank
        raise UnsupportedLayerError(
            f"{self.origin}: operation {node.name!r} reads the tensor attribute {name!r}, "
            "expected shape or ndim; use a method such as permute instead"
        )

    def _plain(self, argument: Any) -> Any:
        """A node's argument with every node replaced by what it gave."""
        return fx.node.map_arg(argument, lambda node: self._results[node])


def _attribute(module: nn.Module, path: str) -> Any:
    value: Any = module
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _size(value: Value, dim: int | None = None) -> Any:
    return value.shape if dim is None else value.shape[dim]


def _leaves(argument: Any) -> Iterator[Any]:
    if isinstance(argument, dict):
        argument = list(argument.values())
    if isinstance(argument, list | tuple):
        for item in argument:
            yield from _leaves(item)
    else:
        yield argument
