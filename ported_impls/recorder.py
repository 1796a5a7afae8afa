"""The operations that torch carries out, written down as Python text while they run.

A dispatch mode below autograd sees every ATen operation and the tensors it takes, whatever code led to it: user
functions, Zennit's hooks, autograd's backward pass. `torch.fx`'s `make_fx` would do the same, but refuses code that
looks at a value (``if part.any()``, as the port's own alpha-beta does); here the way taken is what is recorded.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harness.errors import HarnessError

#: What no program needs to be told.
_LEFT_OUT = ("pin_memory",)
#: Written as operators; exactly what torch makes of them between two tensors, or a tensor and a number.
_OPERATORS = {"aten.add.Tensor": "+", "aten.sub.Tensor": "-", "aten.mul.Tensor": "*", "aten.div.Tensor": "/"}


class Recorder(TorchDispatchMode):
    """Records operations. ``results``: the tensors that the program is to return."""

    def __init__(self, operands: Mapping[str, Tensor], inputs: list[str], module: torch.nn.Module) -> None:
        super().__init__()
        self.inputs = inputs
        self.results: list[Tensor | None] = []
        self.lines: list[Line] = []
        self.constants: dict[str, Tensor] = {}
        #: Constants that are no weight of the layer.
        self.foreign: set[str] = set()
        self.looks = 0
        self._names: dict[object, str] = {}
        #: Nothing is freed while it is recorded: identities and addresses would be given away again.
        self._alive: list[object] = []
        self._taken: set[str] = set()
        for name, tensor in operands.items():
            self._name(tensor, self._fresh(name, first=""))
        self._weights = [*module.named_parameters(), *module.named_buffers()]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.namespace != "aten":
            raise HarnessError(f"{func} is not an operation of torch itself: the step cannot be written down")
        used: list[str] = []
        if str(func) == "aten.lift_fresh.default":
            return func(*args, **kwargs)
        arguments = [self._written(value, used) for value in args]
        arguments += [
            f"{key}={self._written(value, used)}" for key, value in kwargs.items() if key not in _LEFT_OUT
        ]
        result = func(*args, **kwargs)
        self._alive += [args, kwargs, result]
        if str(func) == "aten._local_scalar_dense.default":
            self.looks += 1
            return result
        if isinstance(result, Tensor) and (known := self._known(result)) and not func._schema.is_mutable:
            # The same values of the same memory (a detach, a view of the same shape): one variable.
            self._name(result, known)
            return result
        name = self._fresh(func.overloadpacket.__name__)
        self._name_results(result, name)
        self.lines.append(Line(name, _call(func, arguments, kwargs), used, func._schema.is_mutable))
        return result

    def name_of(self, tensor: Tensor, used: list[str]) -> str:
        """The variable that holds ``tensor``; one that no operation made becomes a constant."""
        known = self._known(tensor)
        if known is not None:
            used.append(known.partition("[")[0])
            return known
        if tensor.ndim == 0 and tensor.dtype.is_floating_point:
            return f"torch.tensor({_number(tensor.detach().item())}, dtype={tensor.dtype})"
        base = next((name for name, weight in self._weights if weight is tensor), None)
        name = self._fresh(base or "constant", first="" if base else "_1")
        self.constants[name] = tensor
        if base is None:
            self.foreign.add(name)
        self._alive.append(tensor)
        self._name(tensor, name)
        used.append(name)
        return name

    def _known(self, tensor: Tensor) -> str | None:
        return next((self._names[key] for key in _keys(tensor) if key in self._names), None)

    def _name_results(self, result: Any, name: str) -> None:
        if isinstance(result, Tensor):
            # What an operation in place returns has a name, which stays.
            self._name(result, name)
        elif isinstance(result, tuple | list):
            for place, each in enumerate(result):
                self._name_results(each, f"{name}[{place}]")

    def _name(self, tensor: Tensor, name: str) -> None:
        for key in _keys(tensor):
            self._names.setdefault(key, name)

    def _fresh(self, base: str, first: str = "_1") -> str:
        base = re.sub(r"\W", "_", base).strip("_")
        name, count = base + first, 1
        while name in self._taken or keyword.iskeyword(name):
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name

    def _written(self, value: Any, used: list[str]) -> str:
        """``value`` as Python text; the variables that it names are appended to ``used``."""
        if isinstance(value, Tensor):
            return self.name_of(value, used)
        if isinstance(value, list | tuple):
            return f"[{', '.join(self._written(each, used) for each in value)}]"
        if isinstance(value, float):
            return _number(value)
        if value is None or isinstance(value, bool | int | complex | str):
            return repr(value)
        if isinstance(value, torch.dtype | torch.layout | torch.memory_format):
            return str(value)
        if isinstance(value, torch.device):
            return f"torch.device({str(value)!r})"
        raise HarnessError(f"a {type(value).__name__} as an argument cannot be written down")


class Line:
    """``name = call``; ``used``: the variables it reads; ``kept``: it changes one of them in place."""

    def __init__(self, name: str, call: str, used: list[str], kept: bool) -> None:
        self.name = name
        self.call = call
        self.used = used
        self.kept = kept


def _keys(tensor: Tensor) -> Iterator[object]:
    """What a tensor is known by: itself, and the memory it shows.

    Autograd and `torch.nn.Parameter` make new tensors of old memory without an operation.
    """
    yield id(tensor)
    if tensor.layout == torch.strided and tensor.numel():
        yield (
            tensor.untyped_storage().data_ptr(),
            tensor.storage_offset(),
            tuple(tensor.shape),
            tensor.stride(),
            tensor.dtype,
        )


def _call(func: Any, arguments: list[str], kwargs: Mapping[str, Any]) -> str:
    if str(func) in _OPERATORS and len(arguments) == 2 and not kwargs:
        return f"{arguments[0]} {_OPERATORS[str(func)]} {arguments[1]}"
    return f"{func}({', '.join(arguments)})"


def _number(value: float) -> str:
    return repr(value) if np.isfinite(value) else f'float("{value}")'
