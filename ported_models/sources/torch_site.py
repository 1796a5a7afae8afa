"""Where a torch operation stands while a module is read: its name, its graph, and how axes correspond.

A torch module keeps channels first, the graph channels last, and neither is asked to transpose at every
step: a :class:`Value` says which axis of the graph's layer each axis of the torch tensor is. A permuted
tensor is therefore the same layer read in another order, and becomes a ``permute`` layer only where an
operation needs the axes in their own places.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.errors import InvalidInputError, UnsupportedLayerError
from ported_models.build import Builder
from ported_models.sources.names import Names, canonical

Order = tuple[int, ...]
#: A number for every spatial axis, or one for all.
Sides = int | Sequence[int]
#: Reads one operation: ``operation(site, *arguments)`` returns a :class:`Value`, or several.
Operation = Callable[..., Any]


def sides_of(value: Sides, count: int) -> tuple[int, ...]:
    """``value`` as one number for each of ``count`` axes."""
    sides = (value,) * count if isinstance(value, int) else tuple(value)
    return tuple(int(side) for side in (sides * count if len(sides) == 1 else sides))


@dataclass(frozen=True)
class Value:
    """A torch tensor: axis ``i`` of it is axis ``order[i]`` of the output of ``layer`` (axis 0: the batch).

    ``sides``: the shape of the layer's output with the batch axis, channels last. ``beside``: how many axes before the
    batch, and how many behind it, torch has in one axis with it, as in (batch * head, token, feature).
    """

    layer: str
    order: Order
    sides: tuple[int, ...]
    beside: tuple[int, int] = (0, 0)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """For each axis that torch sees the places in ``order`` that it consists of: several for that of the batch."""
        place, (before, behind) = self.order.index(0), self.beside
        together = tuple(range(place - before, place + behind + 1))
        alone = [(each,) for each in range(len(self.order))]
        return (*alone[: place - before], together, *alone[place + behind + 1 :])

    @property
    def rank(self) -> int:
        """How many axes torch sees."""
        return len(self.order) - sum(self.beside)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that torch sees."""
        sides = [self.sides[axis] for axis in self.order]
        return tuple(math.prod(sides[place] for place in group) for group in self.groups)

    @property
    def batch_dim(self) -> int:
        """What torch calls the axis of the batch."""
        return self.order.index(0) - self.beside[0]

    @property
    def batch_first(self) -> bool:
        """Whether the batch is torch's first axis, and nothing is in one axis with it."""
        return self.order[0] == 0 and self.beside == (0, 0)

    def axis(self, dim: int) -> int:
        """The layer's axis that torch calls ``dim``; 0 for the batch's, whatever is in one axis with it."""
        (place, *more) = self.groups[dim]
        return 0 if more else self.order[place]

    def from_end(self, dim: int) -> int:
        """The layer's axis that torch calls ``dim``, counted from the end."""
        return self.axis(dim) - len(self.order)


def channels_first(rank: int) -> Order:
    """The order of a torch feature map: the last axis of the layer stands after the batch."""
    return (0, rank - 1, *range(1, rank - 1))


def features_last(order: Sequence[int]) -> Order:
    """The order of a tensor whose axes stand as in the layer, but for the batch, which stays where it is."""
    place = tuple(order).index(0)
    others = range(1, len(order))
    return (*others[:place], 0, *others[place:])


def as_it_is(rank: int) -> Order:
    """The order of a torch tensor whose features stand last, as in the layer."""
    return tuple(range(rank))


@dataclass(frozen=True, eq=False)
class Site:
    """One operation of the module. ``path``: its module path, or its name in the trace.

    ``dtype``: the module's own floating type, which constants get.
    """

    builder: Builder
    names: Names
    name: str
    path: str
    kind: str
    origin: str
    batch: int
    dtype: np.dtype
    origins: dict[str, str]
    notes: list[str]

    @property
    def where(self) -> str:
        """The operation, its type and its module, as messages begin."""
        return f"{self.origin}: layer {self.path!r} ({self.kind})"

    def refuse(self, found: str, expected: str) -> UnsupportedLayerError:
        """The error of an operation with parameters that the graph cannot express."""
        return UnsupportedLayerError(f"{self.where} has {found}, expected {expected}; change or replace it")

    def add(
        self,
        kind: str,
        values: Value | Sequence[Value],
        attributes: Mapping[str, Any] | None = None,
        weights: Mapping[str, np.ndarray] | None = None,
        order: Order | None = None,
        aside: bool = False,
    ) -> Value:
        """A layer that reads ``values``; its output is read in ``order`` (default: the first value's).

        ``aside``: it prepares or follows the layer that has the operation's own name.
        """
        values = (values,) if isinstance(values, Value) else tuple(values)
        taken = aside or self.name in self.builder
        name = self.names.free(f"{self.name}_{kind}") if taken else self.name
        try:
            self.builder.add(kind, name, [value.layer for value in values], attributes, weights)
        except InvalidInputError as error:
            raise UnsupportedLayerError(f"{self.where}: {error}") from None
        self.origins[name] = self.path
        sides = (self.batch, *self.builder[name].shape)
        if order is None:
            return Value(name, values[0].order, sides, values[0].beside)
        return Value(name, order, sides)

    def part(self, name: str) -> Site:
        """A place of its own for a part of the operation."""
        return replace(self, name=self.names.free(f"{self.name}_{name}"))

    def child(self, name: str) -> Site:
        """The place of a module inside of the operation's own."""
        path = f"{self.path}.{name}"
        return replace(self, name=self.names.free(canonical(path)), path=path)

    def arranged(self, value: Value, order: Order) -> Value:
        """``value`` as a layer that torch reads in ``order``; a ``permute`` layer where it is not yet."""
        if order.index(0) != value.order.index(0) or value.beside != (0, 0):
            self.check_batch(value)
        if value.order == order:
            return value
        dims = [0] * len(value.order)
        for ours, wanted in zip(value.order, order, strict=True):
            dims[wanted] = ours
        name = self.names.free(f"{self.name}_permute")
        self.builder.add("permute", name, value.layer, {"dims": tuple(dims[1:])})
        self.origins[name] = self.path
        return Value(name, order, (self.batch, *self.builder[name].shape), value.beside)

    def features_last(self, value: Value) -> Value:
        """``value`` with torch's axes as the layer's own, but for the batch, wherever it stands."""
        order = features_last(value.order)
        if value.beside != (0, 0) and value.order != order:
            return replace(self.arranged(replace(value, beside=(0, 0)), order), beside=value.beside)
        return value if value.order == order else self.arranged(value, order)

    def check_batch(self, value: Value) -> None:
        """Raise UnsupportedLayerError where the batch is not torch's first axis by itself."""
        if not value.batch_first:
            raise self.refuse(
                f"an input of shape {value.shape}, whose axis {value.batch_dim} is that of the batch",
                "the batch as the first axis, by itself",
            )

    def taken(self, value: Value, dim: int, indices: Sequence[int], aside: bool = False) -> Value:
        """``value`` with the entries at ``indices`` of the axis that torch calls ``dim``, in their order."""
        indices = tuple(int(index) for index in indices)
        if indices == tuple(range(value.shape[dim])):
            return value
        if not indices:
            raise self.refuse("an empty result", "at least one value along each axis")
        if value.axis(dim) == 0:
            raise self.refuse("values chosen along the batch axis", "the batch axis whole")
        return self.add("take", value, {"axis": value.from_end(dim), "indices": indices}, aside=aside)

    def feature_map(self, value: Value) -> Value:
        """``value`` with the channels where torch's convolutions, pools and batch norms look for them."""
        self.check_batch(value)
        return self.arranged(value, channels_first(value.rank))


def permuted(value: Value, dims: Sequence[int]) -> Value:
    """``torch.permute``: the same layer, its axes read in another order."""
    return replace(value, order=tuple(value.order[place] for dim in dims for place in value.groups[dim]))
