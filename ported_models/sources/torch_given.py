"""What a torch module is given: one input or several by name, an example of each, and how its axes lie."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from harness.errors import InvalidInputError, ModelSourceError
from harness.graph import Axes
from ported_models.sources.torch_site import Order, as_it_is, channels_first
from ported_models.twins.layout import to_internal

#: What the axis that stands last in the graph may be called.
FEATURES = ("channel", "feature")
#: One tensor, or several by the name of forward's parameter.
Tensors: TypeAlias = torch.Tensor | dict[str, torch.Tensor]


@dataclass(frozen=True)
class Given:
    """One input of a module. ``name``: that of forward's parameter; empty for a module of one input, however called.

    ``example``: one batch as the module takes it. ``order``: which axis of the graph's input each axis of the module's
    is. ``axes``: what the module's are called, in its order; None where that is left to their number.
    """

    name: str
    example: torch.Tensor
    order: Order
    axes: Axes | None = None

    @property
    def sides(self) -> tuple[int, ...]:
        """The example's shape with the batch first and channels last."""
        return tuple(int(self.example.shape[self.order.index(axis)]) for axis in range(len(self.order)))

    def repeated(self, times: int) -> Given:
        """The same with every sample of the example repeated."""
        example = self.example.repeat_interleave(times, self.order.index(0))
        return Given(self.name, example, self.order, self.axes)

    def tensor(self, x: np.ndarray) -> torch.Tensor:
        """An array (batch, ..., channel) as the module takes it."""
        moved = torch.from_numpy(np.ascontiguousarray(x.transpose(self.order)))
        return moved.to(self.example.device, self.example.dtype)


def given_inputs(
    module: nn.Module, example: Any, axes: Any, origin: str, sort: bool = True
) -> tuple[Given, ...]:
    """The inputs of ``module``: one, or as many as ``example`` has, a tuple in the order of forward or a dict by name.

    ``axes``: as of `harness.load_model`; of several inputs a dict by name. ``sort``: several are put in the order of
    forward's parameters, whatever that of the dict.

    Raises ModelSourceError for examples that do not fit, InvalidInputError for axes that do not.
    """
    if isinstance(example, tuple | list) and len(example) == 1:
        (example,) = example
    if not isinstance(example, tuple | list | Mapping):
        if isinstance(axes, Mapping):
            raise InvalidInputError(
                f"{origin}: axes= is a mapping, expected the names of the axes of one input"
            )
        return (_given(module, "", example, axes, origin),)
    by_name = _by_name(module, example, origin)
    if sort:
        order = list(inspect.signature(module.forward).parameters)
        by_name = {name: by_name[name] for name in order if name in by_name}
    if axes is not None and (not isinstance(axes, Mapping) or not set(axes) <= set(by_name)):
        raise InvalidInputError(
            f"{origin}: axes={axes!r}, expected a mapping from one or more of its inputs "
            f"({', '.join(by_name)}) to the names of its axes"
        )
    given = tuple(
        _given(module, name, one, (axes or {}).get(name), f"{origin}, input {name!r}")
        for name, one in by_name.items()
    )
    batches = {each.name: each.sides[0] for each in given}
    if len(set(batches.values())) > 1:
        listed = ", ".join(f"{name!r} {count}" for name, count in batches.items())
        raise ModelSourceError(
            f"{origin}: the examples have batches of different lengths ({listed}), expected the same"
        )
    return given


def _by_name(module: nn.Module, example: Sequence[Any] | Mapping[str, Any], origin: str) -> dict[str, Any]:
    """The examples by the names of forward's parameters. Raises ModelSourceError where they are none."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = [each.name for each in parameters if each.kind in kinds]
    if not isinstance(example, Mapping):
        if len(example) > len(names):
            raise ModelSourceError(
                f"{origin}: example= has {len(example)} tensors, and forward takes {len(names)} inputs by name "
                f"({', '.join(names)})"
            )
        example = dict(zip(names, example, strict=False))
    unknown = [name for name in example if name not in names]
    needed = [each.name for each in parameters if each.default is each.empty and each.kind in kinds]
    missing = [name for name in needed if name not in example]
    if unknown or missing:
        wrong = [f"{', '.join(map(repr, missing))} missing"] if missing else []
        wrong += [f"forward takes no {', '.join(map(repr, unknown))}"] if unknown else []
        raise ModelSourceError(
            f"{origin}: example= does not fit forward({', '.join(names)}): {', '.join(wrong)}; give one tensor for each"
        )
    return dict(example)


def _given(module: nn.Module, name: str, example: Any, axes: Any, origin: str) -> Given:
    rank = _checked_rank(example, origin)
    named = None if axes is None else checked_axes(axes, rank, origin)
    return Given(name, example_tensor(module, example, named), input_order(rank, named), named)


def _checked_rank(example: Any, origin: str) -> int:
    """The number of the example's axes. Raises ModelSourceError for fewer than two."""
    shape = tuple(int(side) for side in getattr(example, "shape", ()))
    if len(shape) < 2:
        raise ModelSourceError(
            f"{origin}: example must be one batch, of two axes or more; found shape {shape}; "
            "pass e.g. torch.zeros(1, 3, 224, 224)"
        )
    return len(shape)


def input_order(rank: int, axes: Axes | None) -> Order:
    """Which axis of the graph's input each axis of the module's is: channels first, or as ``axes`` says."""
    if axes is None:
        return channels_first(rank) if rank > 2 else as_it_is(rank)
    return tuple(graph_axes(axes).index(axis) for axis in axes)


def graph_axes(axes: Axes) -> Axes:
    """The module's axes in the order of the graph: the batch first, channels or features last."""
    return tuple(sorted(axes, key=lambda axis: (axis != "batch", axis in FEATURES)))


def checked_axes(axes: Sequence[str], rank: int, origin: str) -> Axes:
    """``axes`` as names of the axes of an input. Raises InvalidInputError where they are not."""
    names = tuple(str(axis) for axis in axes)
    last = sum(axis in FEATURES for axis in names)
    if len(names) != rank or len(set(names)) != rank or "batch" not in names or last != (rank > 2):
        raise InvalidInputError(
            f"{origin}: axes={names} for an example of {rank} axes; expected as many different names, one of them "
            '"batch", one of three or more "channel" or "feature", e.g. ("batch", "time", "feature")'
        )
    return names


def example_tensor(module: nn.Module, example: Any, axes: Axes | None = None) -> torch.Tensor:
    """``example`` as the module takes it: torch's layout (batch, channel, ...), its floating type and device.

    Whole numbers stay what they are where the module has an embedding to read rows with.

    ``example``: a torch tensor in torch's layout, or an array (batch, ..., channel); with ``axes`` both have
    the module's own order.
    """
    if not isinstance(example, torch.Tensor):
        array = np.asarray(example)
        example = torch.from_numpy(np.ascontiguousarray(to_internal(array) if axes is None else array))
    if example.is_meta:
        example = torch.zeros(example.shape)
    first = next((tensor for tensor in module.parameters() if tensor.is_floating_point()), None)
    if not example.is_floating_point() and any(isinstance(child, nn.Embedding) for child in module.modules()):
        return example.detach().to(first.device if first is not None else "cpu")
    if first is None:
        return example if example.is_floating_point() else example.float()
    return example.detach().to(first.device, first.dtype)


def examples_of(given: Sequence[Given]) -> Tensors:
    """The examples as the module is called with them."""
    if len(given) == 1 and not given[0].name:
        return given[0].example
    return {each.name: each.example for each in given}
