"""What the sides of the libraries share: a table of calls as a backend, randomness handed in, layouts."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from harness.backends.protocol import Backend, Model, Prepared
from harness.errors import InvalidInputError, UnsupportedMethodError
from harness.files import installed_versions, source_digest
from harness.graph import WEIGHTED_KINDS, Graph
from harness.methods import Backward, Method, Smoothed, gaussian_noise
from ported_impls.adapters import backend_from_function
from ported_impls.capture import capture_layers

#: (twin, x, target, method) -> attribution; see `harness.backend_from_function`.
Function = Callable[[Any, Any, Any, Method], Any]


@dataclass(frozen=True)
class Call:
    """What a user of the library writes for a method of ours, and the function that does it.

    ``refuses``: why the library is not asked for a network; empty where it is.
    """

    says: str
    function: Function
    refuses: Callable[[Graph], str] = lambda graph: ""


def says(calls: Mapping[str, Call]) -> dict[str, str]:
    """By method of ours, what a user of the library writes."""
    return {method: call.says for method, call in calls.items()}


@dataclass(frozen=True)
class LibraryBackend:
    """``calls``, by the name of the method, as a backend whose candidate is a function without layers.

    ``framework``: as of `harness.backend_from_function`. ``dtypes``: what the library computes in.
    """

    name: str
    distributions: tuple[str, ...]
    framework: str
    calls: Mapping[str, Call]
    dtypes: tuple[str, ...] = ("float32", "float64")

    @property
    def function(self) -> Backend:
        return backend_from_function(self.name, self._run, self.framework)

    def version(self) -> dict[str, str]:
        return {
            **self.function.version(),
            **installed_versions(*self.distributions),
            "source": source_digest("ported_impls"),
        }

    def supports(self, method: Method, graph: Graph) -> str:
        """Why the library has no counterpart of ``method`` for such a network; empty where it has."""
        call = self.calls.get(method.name)
        return f"{self.name} has no counterpart of {method.name}" if call is None else call.refuses(graph)

    def prepare(self, model: Model, dtype: str, device: str = "cpu") -> Prepared:
        """Raises InvalidInputError for a dtype that the library does not compute in."""
        if dtype not in self.dtypes:
            raise InvalidInputError(f"{self.name} computes in {' and '.join(self.dtypes)}, not in {dtype!r}")
        return self.function.prepare(model, dtype, device)

    def _run(self, twin: Any, x: Any, target: Any, method: Method) -> Any:
        if method.name not in self.calls:
            raise UnsupportedMethodError(f"{self.name} has no counterpart of {method.name}")
        return self.calls[method.name].function(twin, x, target, method)


def one_by_one(function: Function, layers: bool = False) -> Function:
    """``function`` for each sample of the batch of a torch twin, the target an int, with the method's noise handed in.

    The results, each in the layout of `in_layout_of`, are joined to one array. ``layers``: as of `with_layers`.
    """

    def each(twin: Any, x: Any, target: Any, method: Method) -> Any:
        rows, relevances = [], []
        for place in range(len(x)):
            one = x[place : place + 1].clone()
            with noise_handed_in(method, x, place), capture_layers(twin, twin.graph) as captured:
                row = function(twin, one, int(target[place]), method)
            rows.append(in_layout_of(x, row))
            relevances.append(captured.relevances)
        attribution, shown = np.concatenate(rows), relevances[0]
        if not layers or not _accounts(twin, method, shown):
            return attribution
        return attribution, {name: np.concatenate([each[name] for each in relevances]) for name in shown}

    return each


def with_layers(function: Function) -> Function:
    """``function`` on the whole batch, and the gradients that autograd shows at the twin's layers: the relevance there.

    They are returned where the method is one run that reaches the input.
    """

    def whole(twin: Any, x: Any, target: Any, method: Method) -> Any:
        with capture_layers(twin, twin.graph) as captured:
            attribution = function(twin, x, target, method)
        return (
            (attribution, captured.relevances)
            if _accounts(twin, method, captured.relevances)
            else attribution
        )

    return whole


def _accounts(twin: Any, method: Method, relevances: Mapping[str, np.ndarray]) -> bool:
    return isinstance(method.procedure, Backward) and twin.graph.input.name in relevances


def kernel_rule(method: Method) -> Any:
    """The rule that ``method`` has for kernels."""
    return next(
        each.rule
        for each in method.composite.assignments
        if set(each.kinds) & set(WEIGHTED_KINDS) and not each.reads_input
    )


def square_images(graph: Graph) -> str:
    """Why a library of square images is not asked for a network; empty where it is."""
    shape = graph.input.shape
    return "" if len(shape) == 3 and shape[0] == shape[1] else f"it takes square images, the input is {shape}"


def in_layout_of(x: Any, result: Any) -> np.ndarray:
    """A library's map of one sample as (1, channel, *space), the layout of ``x``.

    It may come without its batch axis, with the channels last, or as one map for all channels, which is repeated.
    Raises InvalidInputError for any other shape.
    """
    array = result.detach().cpu().numpy() if hasattr(result, "detach") else np.asarray(result)
    wanted = (1, *x.shape[1:])
    spaces = wanted[2:]
    if array.shape in (wanted, wanted[1:]):
        return array.reshape(wanted)
    if array.shape in ((1, *spaces, wanted[1]), (*spaces, wanted[1])):
        return np.moveaxis(array.reshape(1, *spaces, wanted[1]), -1, 1)
    if array.size == np.prod(spaces) and [size for size in array.shape if size > 1] == [
        size for size in spaces if size > 1
    ]:
        return np.broadcast_to(array.reshape(1, 1, *spaces), wanted)
    raise InvalidInputError(
        f"the library returned shape {array.shape} for an input of {wanted} (batch, channel, space)"
    )


@contextmanager
def noise_handed_in(method: Method, x: Any, place: int | None = None) -> Iterator[None]:
    """Let torch's normal samples be those that ``method`` has for ``x`` (batch, channel, *space), in their order.

    ``place``: of one sample of the batch, where the library is given one. Samples are standard normal and multiplied by
    the deviation that the library asks for. Asking for more than there are raises ValueError.
    """
    procedure = method.procedure
    if not isinstance(procedure, Smoothed):
        yield
        return
    canonical = (len(x), *x.shape[2:], x.shape[1]) if x.dim() > 2 else tuple(x.shape)
    samples = iter(gaussian_noise(procedure, canonical))

    def standard(size: Any) -> Any:
        sample = next(samples, None)
        if sample is None:
            raise ValueError(f"the library draws more than the {procedure.samples} samples of {method.name}")
        placed = np.moveaxis(sample, -1, 1) if x.dim() > 2 else sample
        one = placed if place is None else placed[place : place + 1]
        return torch.tensor(one / procedure.scale, dtype=x.dtype).reshape(tuple(size))

    def normal(mean: Any, std: Any = 1.0, size: Any = None, **options: Any) -> Any:
        return mean + std * standard(std.shape if size is None else size)

    with (
        mock.patch.object(torch, "normal", normal),
        mock.patch.object(torch, "randn_like", lambda like, **options: standard(like.shape)),
    ):
        yield


def empty_module(name: str, **members: Any) -> None:
    """A module that a library imports and does not use here."""
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module


def bare_package(name: str, of: str) -> None:
    """The package ``name`` of distribution ``of``; its ``__init__``, which asks for more than is here, is not run."""
    module = types.ModuleType(name)
    module.__path__ = [str(Path(str(distribution(of).locate_file(name.replace(".", "/")))))]
    sys.modules[name] = module
