"""torch modules as the neutral graph: traced by `torch.fx`, read operation by operation.

The module is run once, so that weights that are made by hooks are there; sizes are then followed through the
graph, and weights are read from the module.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import HarnessError, MissingFrameworkError, ModelSourceError, UnsupportedLayerError
from ported_models.build import Builder
from ported_models.endings import ending_notes, without_ending
from ported_models.model import PortedModel
from ported_models.proof import noted, prove
from ported_models.sources.names import Names, canonical
from ported_models.sources.steps import Reading, Use
from ported_models.sources.torch_site import Site, Value, channels_first

try:
    import torch
    from torch import fx, nn
    from torch.nn.utils import parametrize
except ImportError:
    raise MissingFrameworkError("torch") from None

from ported_models.sources import torch_table as table
from ported_models.sources.torch_own import TorchSource, evaluation, example_tensor, run


def from_module(module: nn.Module, example: Any, name: str | None = None) -> PortedModel:
    """The model of a torch module of one input and one output, as it is in evaluation mode.

    ``example``: one batch of inputs; a torch tensor in the module's own layout (batch, channel, ...), or a
    NumPy array in canonical layout (batch, ..., channel). The module's own output on it, and on noise, is
    compared with that of both twins (`ported_models.proof`). A layer is named by its
    module path or, for a function, by its name in the trace, dots replaced by underscores. A final
    softmax, log-softmax or sigmoid is taken off and recorded. Where training and evaluation differ and the module
    was in training mode, a warning says so.

    Raises ModelSourceError for a module that cannot be traced (control flow that depends on data, several
    inputs) or that computes something else than was read, UnsupportedLayerError for an operation that the
    neutral graph cannot express.
    """
    reading = read_module(module, example, name)
    model = PortedModel.from_graph(
        reading.graph,
        removed=reading.removed,
        notes=ending_notes(reading.removed),
        source=f"torch module {type(module).__name__}",
    )
    source = TorchSource(module, example_tensor(module, example), reading, _origin(module))
    return noted(model, (*reading.notes, *prove(model, source)))


def _origin(module: nn.Module) -> str:
    return f"torch module {type(module).__name__!r}"


def read_module(module: nn.Module, example: Any, name: str | None = None) -> Reading:
    """The graph of a torch module, with the module path (or traced name) of every layer; not proven yet."""
    if not isinstance(module, nn.Module):
        raise ModelSourceError(f"found a {type(module).__name__}, expected a torch.nn.Module")
    origin = _origin(module)
    if any(isinstance(child, torch.jit.ScriptModule) for child in module.modules()):
        raise ModelSourceError(
            f"{origin}: is TorchScript, expected the module that it was made of: scripted code cannot be traced"
        )
    meta = next((name for name, tensor in module.named_parameters() if tensor.is_meta), None)
    if meta is not None:
        raise ModelSourceError(
            f"{origin}: parameter {meta!r} is on the meta device, where it has no values; load the weights first"
        )
    batch, *sides = _canonical_shape(example, origin)
    traced, made, mode_note = _trace(module, origin)
    # Before its weights are read: hooks may make them anew in every forward pass.
    failure = _failure(module, example, origin)
    reserved = [str(node.target) for node in traced.nodes if node.op == "call_module"]
    names = Names(reserved)
    builder = Builder(name or canonical(type(module).__name__), sides, input_name=names.free("input"))
    notes = [mode_note] if mode_note else []
    walk = _Walk(module, made, builder, names, origin, batch, _dtype(module, example), {}, notes)
    with evaluation(module), torch.no_grad():
        output = walk.run(traced)
    if failure is not None:  # reading it had nothing clearer to say
        raise failure
    graph, removed = without_ending(builder.graph(output.layer), walk.log_softmax)
    inner = [layer for layer in graph if layer.name in walk.log_softmax]
    if inner:
        raise UnsupportedLayerError(
            f"{origin}: layer {walk.origins[inner[0].name]!r} (log_softmax) stands inside the network; "
            "it is supported at the end only, where it is removed"
        )
    kept = {layer.name for layer in graph}
    uses = tuple(use for use in walk.uses if use.layer in kept)
    return Reading(graph, walk.origins, removed, tuple(walk.notes), output.order, uses)


def _failure(module: nn.Module, example: Any, origin: str) -> ModelSourceError | None:
    """Run the module on the example; the error where it cannot be run."""
    try:
        run(module, example_tensor(module, example), origin)
    except ModelSourceError as error:
        return error
    return None


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
def _as_it_was(module: nn.Module) -> Iterator[None]:
    """Afterwards the module and its submodules have the attributes, parameters and buffers that they had."""
    kept = [
        (members, dict(members))
        for child in module.modules()
        for members in (vars(child), child._parameters, child._buffers, child._modules)
    ]
    try:
        yield
    finally:
        for members, before in kept:
            members.clear()
            members.update(before)


class _Tracer(fx.Tracer):
    """Also takes modules that forward makes, such as ``nn.ReLU()(x)``, where they hold no weights.

    An argument of forward that need not be given is not: what forward does without it is what is traced.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[str, nn.Module] = {}

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        given = list(inspect.signature(root_fn).parameters.values())[1:]
        needed = [
            each
            for each in given
            if each.default is each.empty and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
        ]
        inputs = [self.create_proxy("placeholder", each.name, (), {}) for each in needed or given[:1]]
        return root_fn, [self.root, *inputs]

    def path_of_module(self, mod: nn.Module) -> str:
        try:
            return super().path_of_module(mod)
        except NameError:
            if any(True for _ in (*mod.parameters(), *mod.buffers())):
                raise NameError(f"forward makes a {type(mod).__name__} with weights of its own") from None
        name = f"{type(mod).__name__}_{len(self.made) + 1}"
        self.made[name] = mod
        return name


def _trace(module: nn.Module, origin: str) -> tuple[fx.Graph, dict[str, Any], str | None]:
    """The module's operations, the tensors and modules that its forward makes (by name), and a note on its mode."""
    training = [
        path for path, child in module.named_modules() if child.training and isinstance(child, _MODE_MATTERS)
    ]
    note = (
        f"{origin} is in training mode, and {training[0]!r} differs between training and evaluation: "
        "it was read as in evaluation: call module.eval() first"
        if training
        else None
    )
    before = {*vars(module), *module._parameters}
    try:
        with evaluation(module), _as_it_was(module):
            # A module that is itself a torch layer would be traced into; inside a Sequential it is a leaf.
            root = nn.Sequential(module) if _is_torchs_own(module) else module
            tracer = _Tracer()
            graph = tracer.trace(root)
            # The tracer keeps such tensors as attributes of the module.
            after = {**vars(module), **module._parameters}
            tensors = {name: after[name] for name in after.keys() - before}
            return graph, {**tensors, **tracer.made}, note
    except (
        Exception,
        SystemExit,
    ) as error:  # forward is the user's own code, which need not work on what a tracer hands it
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ModelSourceError(
            f"{origin}: cannot be traced ({reason}); its forward must not branch or loop on "
            "the values of tensors: take the branch out, or export the module to ONNX and load that"
        ) from None


def _is_torchs_own(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn") and not isinstance(module, nn.Sequential)


@dataclass
class _Walk:
    """Reads the nodes of a trace in order; keeps what each one gives: a Value, an array, or plain Python."""

    module: nn.Module
    made: dict[str, Any]
    builder: Builder
    names: Names
    origin: str
    batch: int
    dtype: np.dtype
    origins: dict[str, str]
    notes: list[str]

    def __post_init__(self) -> None:
        self.log_softmax: set[str] = set()
        self.uses: list[Use] = []
        self._results: dict[fx.Node, Any] = {}
        #: Nodes of one number may share their memory: one is a view of the other.
        self._memory: dict[fx.Node, int] = {}
        #: The last node that reads each one.
        self._last_reader: dict[fx.Node, int] = {}
        self._leaf_root = _is_torchs_own(self.module)
        self._place = 0

    def run(self, graph: fx.Graph) -> Value:
        """The Value of the module's output."""
        nodes = list(graph.nodes)
        for place, node in enumerate(nodes):
            self._last_reader.update(dict.fromkeys(node.all_input_nodes, place))
        for place, node in enumerate(nodes):
            self._place = place
            if node.op == "output":
                output = self._plain(node.args[0])
                if not isinstance(output, Value):
                    raise ModelSourceError(
                        f"{self.origin}: returns a {type(output).__name__}, expected one tensor; "
                        "wrap the module in one that returns the logits only"
                    )
                return output
            self._memory[node] = place
            self._results[node] = self._read(node)
        raise ModelSourceError(f"{self.origin}: returns nothing, expected one tensor")

    def _read(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._input(node)
        if node.op == "get_attr":
            return self._attribute(str(node.target))
        args = [self._plain(value) for value in node.args]
        kwargs = {key: self._plain(value) for key, value in node.kwargs.items()}
        computed = any(isinstance(value, Value) for value in _leaves([args, kwargs]))
        if not computed:
            return self._compute(node, args, kwargs)
        if node.op == "call_module":
            return self._call_module(node, args, kwargs)
        if node.op == "call_method" and node.target in ("size", "dim"):
            return _size(args[0], *args[1:], **kwargs) if node.target == "size" else args[0].rank
        if node.target is getattr:
            return self._tensor_attribute(node, args[0], args[1])
        operations = table.METHODS if node.op == "call_method" else table.FUNCTIONS
        operation = operations.get(node.target)
        if operation is None and getattr(node.target, "__name__", "") == "stochastic_depth":
            # torchvision's; in evaluation it returns its input.
            operation = table.NOTHING
        kind = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.target)
        site = self._site(self.names.free(node.name), node.name, str(kind))
        if operation is None:
            raise UnsupportedLayerError(
                f"{site.where} is not supported; replace it, or export the module to ONNX and load that"
            )
        return self._apply(node, operation, site, node.target, args, kwargs)

    def _input(self, node: fx.Node) -> Any:
        if len(self._results) > 0 and any(isinstance(value, Value) for value in self._results.values()):
            raise ModelSourceError(
                f"{self.origin}: forward takes several inputs ({node.target!r} is one), expected one; "
                "wrap the module in one that takes a single tensor"
            )
        layer = self.builder.last
        self.origins[layer] = str(node.target)
        sides = (self.batch, *self.builder[layer].shape)
        return Value(layer, channels_first(len(sides)), sides)

    def _child(self, path: str) -> nn.Module:
        if path in self.made:
            return self.made[path]
        return self.module if self._leaf_root else self.module.get_submodule(path)

    def _call_module(self, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
        path = str(node.target)
        child = self._child(path)
        # A parametrized module gets a class of its own, derived from the one that it had.
        kind = type(child).__mro__[1] if parametrize.is_parametrized(child) else type(child)
        site = self._site(self.names.own(path), path, kind.__name__)
        if kind not in table.MODULES:
            raise UnsupportedLayerError(
                f"{site.where} is not supported; supported modules: "
                f"{', '.join(sorted(kind.__name__ for kind in table.MODULES))}"
            )
        if getattr(child, "padding_mode", "zeros") != "zeros":
            raise site.refuse(f"padding_mode={child.padding_mode!r}", "'zeros'")
        operation, parameters = table.MODULES[kind]
        given = {**parameters(child), **kwargs}
        if getattr(child, "inplace", False):
            given["inplace"] = True
        value = self._apply(node, operation, site, kind, args, given)
        if path not in self.made:
            self.uses.append(Use("" if self._leaf_root else path, value.layer, value.order))
        return value

    def _apply(
        self,
        node: fx.Node,
        operation: Any,
        site: Site,
        target: Any,
        args: list[Any],
        kwargs: dict[str, Any],
    ) -> Any:
        args, kwargs = [_as_arrays(value) for value in args], {k: _as_arrays(v) for k, v in kwargs.items()}
        try:
            given = inspect.signature(operation).bind(site, *args, **kwargs).arguments
            before = self.builder.last
            value = operation(site, *args, **kwargs)
        except HarnessError:
            raise
        except (TypeError, ValueError, AttributeError, IndexError, KeyError) as error:
            # What torch takes here, and no operation of the table was written for.
            reason = (str(error).strip().splitlines() or [""])[0][:200]
            raise UnsupportedLayerError(
                f"{site.where} is called in a way that is not supported ({reason}); "
                "use the arguments of its documentation, or export the module to ONNX"
            ) from None
        if target in table.LOG_SOFTMAX and self.builder.last != before:
            self.log_softmax.add(value.layer)
        in_place = given.get("inplace") or target in table.IN_PLACE
        source = next(iter(node.all_input_nodes), None)
        if (in_place or operation in table.VIEWS) and target != "clone" and source is not None:
            self._memory[node] = self._memory[source]
        if in_place:
            self._overwrite(node, given["input"], value, site)
        return value

    def _overwrite(self, node: fx.Node, old: Value, new: Value, site: Site) -> None:
        """After an operation in place, whatever held the old tensor, or a permutation of it, holds the new one.

        Raises UnsupportedLayerError where a tensor of another shape lies in the same memory and is read later.
        """
        for other, held in self._results.items():
            if not isinstance(held, Value) or self._memory[other] != self._memory[node]:
                continue
            if held.layer == old.layer:
                self._results[other] = Value(new.layer, held.order, new.sides)
            elif self._last_reader.get(other, 0) > self._place:
                raise UnsupportedLayerError(
                    f"{site.where} works in place on memory that {other.name!r} shows too, which is read "
                    "afterwards; use the operation that is not in place, or clone the tensor before it"
                )

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
        """Sizes and constants: the trace's own arithmetic on numbers, tuples and weights, done by torch."""
        try:
            if node.op == "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
            function = self._child(str(node.target)) if node.op == "call_module" else node.target
            return function(*args, **kwargs)
        except Exception as error:  # whatever the user's own arithmetic raises
            reason = (str(error).strip().splitlines() or [""])[0][:200]
            raise UnsupportedLayerError(
                f"{self.origin}: operation {node.name!r}, on constants only, fails "
                f"({type(error).__name__}: {reason}); compute it once and register it as a buffer"
            ) from None

    def _attribute(self, path: str) -> Any:
        """The module's attribute at ``path``; of a tensor a copy, which operations in place may change."""
        value: Any = self.module
        for part in path.split("."):
            value = self.made[part] if part in self.made else getattr(value, part)
        return value.detach().clone() if isinstance(value, torch.Tensor) else value

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


def _as_arrays(value: Any) -> Any:
    """``value`` with every tensor in it as NumPy."""
    if isinstance(value, torch.Tensor):
        return table.array(value)
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return type(value)(_as_arrays(item) for item in value)
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
