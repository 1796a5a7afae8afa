"""Reads a traced torch module operation by operation; sizes are followed through the graph."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn.utils import parametrize

from harness.errors import HarnessError, ModelSourceError, UnsupportedLayerError
from ported_models.build import Builder
from ported_models.outputs import picked
from ported_models.sources import torch_norms as norms
from ported_models.sources import torch_table as table
from ported_models.sources.names import Names
from ported_models.sources.steps import Use
from ported_models.sources.torch_given import Given
from ported_models.sources.torch_refusals import Refusals, Unknown
from ported_models.sources.torch_site import Site, Value, permuted
from ported_models.sources.torch_trace import is_torchs_own


@dataclass
class Walk:
    """Reads the nodes of a trace in order; keeps what each one gives: a Value, an array, or plain Python.

    ``inputs``: what the module is given, each with the layer of the graph that it is. ``chosen``: which of its outputs
    is read, where it has several.
    """

    module: nn.Module
    made: dict[str, Any]
    builder: Builder
    names: Names
    origin: str
    inputs: Sequence[tuple[Given, str]]
    batch: int
    dtype: np.dtype
    origins: dict[str, str]
    notes: list[str]
    chosen: str | int | None = None

    def __post_init__(self) -> None:
        self.log_softmax: set[str] = set()
        self.uses: list[Use] = []
        self._results: dict[fx.Node, Any] = {}
        self._from_input: dict[fx.Node, bool] = {}
        #: Nodes of one number may share their memory: one is a view of the other.
        self._memory: dict[fx.Node, int] = {}
        #: The last node that reads each one.
        self._last_reader: dict[fx.Node, int] = {}
        self._leaf_root = is_torchs_own(self.module)
        self._place = 0
        self._refusals = Refusals(self.builder, self._part, [given for given, _ in self.inputs])

    def run(self, graph: fx.Graph) -> Value:
        """The Value of the module's output. Raises UnsupportedLayerError for all operations that cannot be read."""
        nodes = list(graph.nodes)
        for place, node in enumerate(nodes):
            self._last_reader.update(dict.fromkeys(node.all_input_nodes, place))
        for place, node in enumerate(nodes):
            self._place = place
            if node.op == "output":
                output = picked(self._plain(node.args[0]), self.chosen, (Value, Unknown), self.origin)
                self._refusals.check(self._for_others(node.args[0]))
                if output.beside != (0, 0):
                    raise UnsupportedLayerError(
                        f"{self.origin}: returns a tensor of shape {output.shape} whose axis {output.batch_dim} holds "
                        "the batch and more, expected the batch as an axis by itself"
                    )
                return output
            self._memory[node] = place
            if node in self._results:
                continue
            try:
                if not self._spelled_norm(node):
                    self._results[node] = self._read(node)
            except UnsupportedLayerError as error:
                self._results[node] = self._refusals.add(node, error)
        raise ModelSourceError(f"{self.origin}: returns nothing, expected one tensor")

    def _for_others(self, returned: Any) -> set[fx.Node]:
        """The nodes that only outputs come of that are not read; what works in place comes of none, and is read."""
        chosen = returned
        if isinstance(returned, Mapping | tuple | list):
            chosen = picked(returned, self.chosen, object, self.origin)
        return _behind(returned) - _behind(chosen)

    def _spelled_norm(self, node: fx.Node) -> bool:
        """Whether ``node`` begins a norm that is spelled out, which then is read; the longest if there are several."""
        if not norms.gathered(node):
            return False
        for entry in node.all_input_nodes:
            value = self._results.get(entry)
            if not isinstance(value, Value) or len(entry.users) < 2:
                continue
            behind, best = value.rank - 1 - value.batch_dim, None
            for cone in norms.cones(node, entry, self._moves):
                found = norms.norm_in(cone, value.shape, behind, self._constant)
                best = best if found is None else (cone, found)
            if best is None:
                continue
            cone, (kind, attributes, weights) = best
            given = {key: array for key, array in weights.items() if array is not None}
            last = cone.nodes[-1]
            site = self._site(self.names.free(last.name), last.name, kind)
            made = site.add(kind, site.features_last(value), attributes, given)
            self._results.update(dict.fromkeys(cone.nodes, made))
            return True
        return False

    def _moves(self, node: fx.Node) -> bool:
        """Whether what ``node`` gives comes of the input."""
        if node not in self._from_input:
            sources = node.all_input_nodes
            self._from_input[node] = node.op == "placeholder" or any(map(self._moves, sources))
        return self._from_input[node]

    def _constant(self, node: fx.Node) -> Any:
        """What ``node``, which does not come of the input, gives."""
        if node in self._results:
            return self._results[node]
        if node.op == "get_attr":
            return self._attribute(str(node.target))
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self._constant)
        return self._compute(node, list(args), dict(kwargs))

    def _read(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._input(node)
        if node.op == "get_attr":
            return self._attribute(str(node.target))
        args = [self._plain(value) for value in node.args]
        kwargs = {key: self._plain(value) for key, value in node.kwargs.items()}
        leaves = list(_leaves([args, kwargs]))
        if any(isinstance(value, Unknown) for value in leaves):
            return self._untried(node)
        if not any(isinstance(value, Value) for value in leaves):
            return self._compute(node, args, kwargs)
        if node.op == "call_module":
            return self._call_module(node, args, kwargs)
        if node.op == "call_method" and node.target in ("size", "dim"):
            return _size(args[0], *args[1:], **kwargs) if node.target == "size" else args[0].rank
        if node.target is operator.getitem and isinstance(args[0], tuple | list):
            self._memory[node] = self._memory[next(iter(node.all_input_nodes))]
            return args[0][args[1]]
        if node.target is getattr:
            return self._tensor_attribute(node, args[0], args[1])
        if isinstance(node.target, type) and hasattr(node.target, "_fields"):
            return node.target(*args, **kwargs)  # a named tuple of what is returned
        operation, site = self._operation(node)
        return self._apply(node, operation, site, node.target, args, kwargs)

    def _operation(self, node: fx.Node) -> tuple[Any, Site]:
        """What reads a function or method, and where it stands. Raises UnsupportedLayerError where nothing does."""
        operations = table.METHODS if node.op == "call_method" else table.FUNCTIONS
        operation = operations.get(node.target)
        if operation is None:
            operation = table.BY_NAME.get(getattr(node.target, "__name__", ""))
        kind = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.target)
        site = self._site(self.names.free(node.name), node.name, str(kind))
        if operation is None:
            raise UnsupportedLayerError(f"{site.where} is not supported; replace it")
        return operation, site

    def _check_module(self, kind: type, site: Site) -> None:
        if kind not in table.MODULES:
            raise UnsupportedLayerError(
                f"{site.where} is not supported; supported modules: "
                f"{', '.join(sorted(kind.__name__ for kind in table.MODULES))}"
            )

    def _untried(self, node: fx.Node) -> Unknown:
        """For an operation on what is not known: whether any of its type is read."""
        if node.op == "call_module":
            path = str(node.target)
            kind = type(self._child(path))
            self._check_module(kind, self._site(self.names.own(path), path, kind.__name__))
        elif (
            node.target is not getattr
            and node.target is not operator.getitem
            and node.target not in ("size", "dim")
        ):
            self._operation(node)
        return Unknown()

    def _part(self, node: fx.Node) -> Any:
        """The module or tensor that ``node`` names."""
        path = str(node.target)
        return self._child(path) if node.op == "call_module" else self._attribute(path)

    def _input(self, node: fx.Node) -> Any:
        by_name = {given.name: (given, layer) for given, layer in self.inputs}
        if "" in by_name and any(isinstance(value, Value) for value in self._results.values()):
            raise ModelSourceError(
                f"{self.origin}: forward takes several inputs ({node.target!r} is one), found an example of one; "
                "give one for each with example=(first, second) or example={name: ...}"
            )
        given, layer = by_name[""] if "" in by_name else by_name[str(node.target)]
        self.origins[layer] = str(node.target)
        return Value(layer, given.order, (self.batch, *self.builder[layer].shape))

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
        self._check_module(kind, site)
        operation, parameters = table.MODULES[kind]
        try:
            given = {**parameters(child), **kwargs}
        except ValueError as error:
            raise UnsupportedLayerError(
                f"{site.where} cannot be read: {error}; write it of supported modules"
            ) from None
        if getattr(child, "padding_mode", "zeros") != "zeros":
            around = child._reversed_padding_repeated_twice
            args = [table.PAD(site, args[0], around, mode=child.padding_mode, aside=True), *args[1:]]
            given["padding"] = 0
        if getattr(child, "inplace", False):
            given["inplace"] = True
        value = self._apply(node, operation, site, kind, args, given)
        if path not in self.made and isinstance(value, Value) and value.beside == (0, 0):
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
                "use the arguments of its documentation"
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
            if self._memory.get(other) != self._memory[node]:
                continue
            if not isinstance(held, Value):
                parts = isinstance(held, tuple | list) and any(isinstance(part, Value) for part in held)
                if not parts:
                    continue
            elif held.layer == old.layer:
                self._results[other] = replace(held, layer=new.layer, sides=new.sides)
                continue
            if self._last_reader.get(other, 0) > self._place:
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
        except UnsupportedLayerError:
            raise
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
        if name == "mT":
            return permuted(value, (*range(value.rank - 2), value.rank - 1, value.rank - 2))
        if name == "ndim":
            return value.rank
        if name == "dtype":
            return getattr(torch, self.dtype.name)
        if name == "device":
            return next((tensor.device for tensor in self.module.parameters()), torch.device("cpu"))
        raise UnsupportedLayerError(
            f"{self.origin}: operation {node.name!r} reads the tensor attribute {name!r}, "
            "expected shape, ndim, dtype or device; use a method such as permute instead"
        )

    def _plain(self, argument: Any) -> Any:
        """A node's argument with every node replaced by what it gave."""
        return fx.node.map_arg(argument, lambda node: self._results[node])


def _behind(returned: Any) -> set[fx.Node]:
    """The nodes in what is returned, and all that they come of."""
    behind: set[fx.Node] = set()
    fx.node.map_arg(returned, behind.add)
    pending = list(behind)
    while pending:
        sources = set(pending.pop().all_input_nodes) - behind
        behind |= sources
        pending += sources
    return behind


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
