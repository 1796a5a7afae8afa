"""Networks whose output is a map: one row of logits at each place. What is explained is their mean, or one place."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any, TypeGuard

from harness.errors import InvalidInputError
from harness.graph import Graph
from ported_models.build import Builder
from ported_models.model import PortedModel
from ported_models.proof import noted

MEAN = "mean"
#: Which output is explained: a name or place; "mean" over its places; one place (row, column); or an output and one of
#: the two.
Output = str | int | tuple[Any, ...] | None


def parts(output: Output) -> tuple[str | int | None, str | tuple[int, ...] | None]:
    """``output=`` as which of a file's outputs is meant, and what is made of its places."""
    if output is None or isinstance(output, int):
        return output, None
    if output == MEAN or _is_place(output):
        return None, output
    if isinstance(output, str):
        return output, None
    if isinstance(output, tuple) and len(output) == 2 and isinstance(output[0], str | int):
        chosen, places = output
        if places == MEAN or _is_place(places):
            return chosen, places
    raise InvalidInputError(
        f"output={output!r}, expected the name or place of an output, 'mean', a place (row, column), or a pair of "
        "an output and one of these, such as ('scores', 'mean')"
    )


def _is_place(value: Any) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and len(value) > 0 and all(isinstance(each, int) for each in value)


def reduced(model: PortedModel, places: str | tuple[int, ...] | None) -> PortedModel:
    """``model`` with its output's places taken together, or one of them taken, in layers of the graph's own.

    An output of one place, such as a pooling leaves that keeps its axes, is taken at that place.

    Raises InvalidInputError where the output is no map, or has no such place.
    """
    output = model.graph[model.graph.output]
    *sides, classes = output.shape
    words = f"{model.name}: its output {output.name!r} has shape (batch, {', '.join(map(str, output.shape))})"
    if not sides:
        if places is None:
            return model
        raise InvalidInputError(f"{words}, which is no map; leave out output={places!r}")
    if places is None and prod(sides) == 1:
        places = (0,) * len(sides)
    if places is None:
        example = ", ".join("0" for _ in sides)
        note = (
            f"{words}, a map; to explain it load it with output='mean' or with one place, output=({example})"
        )
        return noted(model, (note if len(sides) > 1 else note.replace("(0)", "(0,)"),))
    builder = Builder.of(model.graph)
    if isinstance(places, str):
        name = builder.add("global_average_pool", _free(model.graph, "mean"), output.name)
        note = (
            f"the output is a map: what is explained is its mean over {' by '.join(map(str, sides))} places"
        )
    else:
        if len(places) != len(sides) or any(
            not 0 <= at < side for at, side in zip(places, sides, strict=False)
        ):
            raise InvalidInputError(f"{words}; output={places} is no place of it")
        name = output.name
        for axis, at in enumerate(places):
            if sides[axis] > 1:
                attributes = {"axis": axis - len(output.shape), "indices": (at,)}
                name = builder.add("take", _free(model.graph, f"take_{axis}"), name, attributes)
        name = builder.add("reshape", _free(model.graph, "place"), name, {"target": (classes,)})
        note = f"the output is a map: what is explained is its {'place' if prod(sides) > 1 else 'only place'} {places}"
    return noted(replace(model, graph=builder.graph(name)), (note,))


def _free(graph: Graph, name: str) -> str:
    taken = {layer.name for layer in graph}
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    return unique
