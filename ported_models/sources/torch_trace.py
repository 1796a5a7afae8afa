"""The operations of a torch module in evaluation mode, by `torch.fx`; the module is left as it was found."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from harness.errors import ModelSourceError
from ported_models.sources.torch_given import Tensors
from ported_models.sources.torch_own import evaluation


@dataclass(frozen=True)
class Trace:
    """``graph``: the operations. ``made``: what forward makes, tensors and modules, by name. ``notes``: on its mode."""

    graph: fx.Graph
    made: dict[str, Any]
    notes: list[str]


_MODE_MATTERS = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)


def _trains(module: nn.Module) -> bool:
    """Whether it is in training mode and does something else there: torch's own, or a forward that asks."""
    forward = getattr(type(module).forward, "__code__", None)
    asks = not is_torchs_own(module) and forward is not None and "training" in forward.co_names
    between_layers = isinstance(module, nn.RNNBase) and module.dropout > 0
    return module.training and (asks or between_layers or isinstance(module, _MODE_MATTERS))


@contextmanager
def as_it_was(module: nn.Module) -> Iterator[None]:
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


#: What a tensor says of itself that does not depend on its values.
_STATIC_ATTRIBUTES = ("shape", "ndim", "dtype", "device", "is_cuda", "requires_grad")
_STATIC_METHODS = ("size", "dim", "numel", "ndimension", "is_floating_point", "stride", "is_contiguous")


#: How modules are called, and give their attributes, where nothing is traced.
_CALL, _ATTRIBUTE = nn.Module.__call__, nn.Module.__getattr__


@contextmanager
def _untraced() -> Iterator[None]:
    """Inside, modules work as they do outside of a trace, which replaces how they are called."""
    call, attribute = nn.Module.__call__, nn.Module.__getattr__
    nn.Module.__call__, nn.Module.__getattr__ = _CALL, _ATTRIBUTE
    try:
        yield
    finally:
        nn.Module.__call__, nn.Module.__getattr__ = call, attribute


class _Proxy(fx.Proxy):
    """A number that comes of shapes alone is that number, where Python asks for one."""

    def __index__(self) -> int:
        return int(self.tracer.number(self.node))

    def __int__(self) -> int:
        return int(self.tracer.number(self.node))

    def __float__(self) -> float:
        return float(self.tracer.number(self.node))


class _Tracer(fx.Tracer):
    """Also takes modules that forward makes, such as ``nn.ReLU()(x)``, where they hold no weights.

    An argument of forward that need not be given is not: what forward does without it is what is traced. Where
    forward branches or loops on shapes, it does what it does on the example; on values of tensors it may not.
    """

    def __init__(self, example: Tensors) -> None:
        super().__init__()
        self.made: dict[str, nn.Module] = {}
        self._example = example
        #: What each node so far gives on the example, from when it was first asked for.
        self._values: dict[fx.Node, Any] = {}

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def to_bool(self, obj: fx.Proxy) -> bool:
        return bool(self.number(obj.node)) if _is_static(obj.node) else super().to_bool(obj)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        value = self.value(obj.node)
        if isinstance(value, torch.Tensor):
            return super().iter(obj)
        return iter([obj[place] for place in range(len(value))])

    def number(self, node: fx.Node) -> Any:
        """What ``node`` gives on the example. Raises TraceError where that depends on the values of tensors."""
        if not _is_static(node):
            raise fx.proxy.TraceError(f"{node.name!r} depends on the values of tensors")
        return self.value(node)

    def value(self, node: fx.Node) -> Any:
        """What ``node`` gives on the example: all operations so far are run, once, in their order."""
        with _untraced():
            for each in self.graph.nodes:
                if each not in self._values:
                    self._values[each] = self._run(each)
        return self._values[node]

    def _run(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda each: self._values[each])
        if node.op == "placeholder":
            given = self._example
            return (given if isinstance(given, torch.Tensor) else given[str(node.target)]).clone()
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        if node.op == "call_function":
            return node.target(*args, **kwargs)
        path = str(node.target)
        value: Any = self.made.get(path, self.root)
        for part in [] if path in self.made else path.split("."):
            value = getattr(value, part)
        if node.op == "get_attr":
            return value.detach().clone() if isinstance(value, torch.Tensor) else value
        return value(*args, **kwargs)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        if not isinstance(self._example, torch.Tensor):
            proxies = {name: self.create_proxy("placeholder", name, (), {}) for name in self._example}
            return functools.partial(root_fn, self.root, **proxies), []
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


def _is_static(node: fx.Node) -> bool:
    """Whether what ``node`` gives comes of shapes and types alone."""
    if node.op == "call_function" and node.target is getattr and node.args[1] in _STATIC_ATTRIBUTES:
        return True
    if node.op == "call_method" and node.target in _STATIC_METHODS:
        return True
    sources = node.all_input_nodes
    return node.op.startswith("call_") and bool(sources) and all(map(_is_static, sources))


def traced(module: nn.Module, example: Tensors, origin: str) -> Trace:
    """The module's operations. Raises ModelSourceError where its forward cannot be traced."""
    training = [path or "the module itself" for path, child in module.named_modules() if _trains(child)]
    notes = []
    if training:
        notes.append(
            f"{origin} is in training mode, and {training[0]!r} differs between training and evaluation: "
            "it was read as in evaluation: call module.eval() first"
        )
    before = {*vars(module), *module._parameters}
    try:
        with evaluation(module), as_it_was(module), torch.no_grad():
            # A module that is itself a torch layer would be traced into; inside a Sequential it is a leaf.
            root = nn.Sequential(module) if is_torchs_own(module) else module
            tracer = _Tracer(example)
            graph = tracer.trace(root)
            # The tracer keeps such tensors as attributes of the module.
            after = {**vars(module), **module._parameters}
            tensors = {name: after[name] for name in after.keys() - before}
            return Trace(graph, {**tensors, **tracer.made}, notes)
    except (
        Exception,
        SystemExit,
    ) as error:  # forward is the user's own code, which need not work on what a tracer hands it
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ModelSourceError(
            f"{origin}: cannot be traced ({reason}); its forward must not branch or loop on "
            "the values of tensors: take the branch out (an exported file would "
            "hold the one side of it that the example takes)"
        ) from None


def is_torchs_own(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn") and not isinstance(module, nn.Sequential)
