"""`If` operators whose condition is known before anything is run, each put by the branch that it takes.

Exporters write one where a size decides (``squeeze`` if the axis has one entry) or a number that the file's user gives
(a sampling rate). A condition is known where it follows from constants of the file and from sizes. What runs in turns
(Loop, Scan), and an `If` on values of the input, stays: that is another network for another input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from ported_models.onnx.folding import too_large
from ported_models.onnx.layout import channels_first_order
from ported_models.onnx.reading import DYNAMIC_BATCH, Sizes, computed
from ported_models.onnx.sizes import LARGEST_SHAPE, inferred_sizes

#: How often what a chosen branch holds is looked at again. Files have branches in branches a few deep.
_ROUNDS = 64
#: Where the batch is open, a condition has to come out alike for these.
_BATCHES = (1, DYNAMIC_BATCH)


def without_branches(proto: onnx.ModelProto, sizes: Sizes = None) -> onnx.ModelProto:
    """``proto`` with the branches that are taken in the place of each `If` whose condition is known.

    ``sizes``: those of an example of the input, channels last or in the file's order, where the file leaves some open.
    The same object where there is no such `If`.
    """
    for _ in range(_ROUNDS):
        if not any(node.op_type == "If" for node in proto.graph.node):
            break
        known = _known(proto, sizes)
        chosen = {
            node.output[0]: bool(known[node.input[0]].reshape(()))
            for node in proto.graph.node
            if node.op_type == "If" and node.input[0] in known and known[node.input[0]].size == 1
        }
        if not chosen:
            break
        proto = _unfolded(proto, chosen)
    return proto


def _known(proto: onnx.ModelProto, sizes: Sizes) -> dict[str, np.ndarray]:
    """The small tensors that are the same for every input of these sizes, by name."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    dims = inputs[0].type.tensor_type.shape.dim if inputs else []
    batches = _BATCHES if len(dims) and dims[0].dim_value < 1 else _BATCHES[:1]
    first, *others = (_reckoned(_of_sizes(proto, inputs, sizes, batch)) for batch in batches)
    return {
        name: array
        for name, array in first.items()
        if all(name in other and np.array_equal(other[name], array) for other in others)
    }


def _of_sizes(
    proto: onnx.ModelProto, inputs: Sequence[onnx.ValueInfoProto], sizes: Sizes, batch: int
) -> onnx.ModelProto:
    """``proto`` with the open sizes of its input filled in where the example says which they are."""
    filled = onnx.ModelProto()
    filled.CopyFrom(proto)
    for value in filled.graph.input:
        if value.name in {each.name for each in inputs}:
            dims = value.type.tensor_type.shape.dim
            example = sizes.get(value.name) if isinstance(sizes, Mapping) else sizes
            given = _in_the_files_order([dim.dim_value for dim in dims], example)
            for place, dim in enumerate(dims):
                if dim.dim_value < 1 and (place == 0 or given is not None):
                    dim.dim_value = batch if place == 0 or given is None else given[place]
    return filled


def _in_the_files_order(dims: Sequence[int], given: Sequence[int] | None) -> tuple[int, ...] | None:
    """The sizes of an example as the file has them; None where that is not to be told."""
    if given is None or len(given) != len(dims):
        return None
    moved = tuple(given[axis] for axis in channels_first_order(len(given)))
    fits = {
        sides
        for sides in (moved, tuple(given))
        if all(dim in (0, side) for dim, side in zip(dims[1:], sides[1:], strict=True))
    }
    return fits.pop() if len(fits) == 1 else None


def _reckoned(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    """What the conditions of ``proto`` are reckoned from: small constants and sizes, and what follows from them."""
    known = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in proto.graph.initializer
        if np.prod(tensor.dims) <= LARGEST_SHAPE
    }
    _follow(proto, proto.graph.node, known, {})
    sizes = inferred_sizes(_with_constants(proto, known))
    _follow(proto, _of_conditions(proto.graph.node), known, sizes)
    return known


def _follow(
    proto: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    known: dict[str, np.ndarray],
    sizes: Mapping[str, Sequence[int]],
) -> None:
    """Add to ``known`` what ``nodes``, in forward order, make of it and of ``sizes``."""
    for node in nodes:
        if node.output[0] not in known:
            found = _values(proto, node, known, sizes)
            known.update((name, array) for name, array in found.items() if np.size(array) <= LARGEST_SHAPE)


def _with_constants(proto: onnx.ModelProto, known: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """``proto`` with what is known in the place of the nodes that compute it: sizes are inferred from that."""
    folded = onnx.ModelProto()
    folded.CopyFrom(proto)
    del folded.graph.node[:]
    folded.graph.node.extend(node for node in proto.graph.node if node.output[0] not in known)
    given = {tensor.name for tensor in proto.graph.initializer}
    folded.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), name) for name, array in known.items() if name not in given
    )
    return folded


def _of_conditions(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes that the condition of an `If` is computed by, as far back as constants and sizes, in their order."""
    wanted: set[str] = set()
    kept = []
    for node in reversed(nodes):
        if node.op_type == "If":
            wanted.add(node.input[0])
        elif wanted.intersection(node.output):
            kept.append(node)
            wanted.update(() if node.op_type == "Shape" else node.input)
    return kept[::-1]


def _values(
    proto: onnx.ModelProto,
    node: onnx.NodeProto,
    known: Mapping[str, np.ndarray],
    sizes: Mapping[str, Sequence[int]],
) -> dict[str, np.ndarray]:
    """The outputs of ``node`` where its inputs are known, or the sizes that it asks for; else none."""
    if node.op_type == "Shape" and all(sizes.get(node.input[0], [0])):
        start = next((each.i for each in node.attribute if each.name == "start"), None)
        end = next((each.i for each in node.attribute if each.name == "end"), None)
        return {node.output[0]: np.array(sizes[node.input[0]][start:end], np.int64)}
    given = {name: known[name] for name in node.input if name in known}
    if any(name and name not in given for name in node.input):
        return {}
    opset = {each.domain: each.version for each in proto.opset_import}.get("", 1)
    if too_large(node, [given.get(name) for name in node.input], opset):
        return {}
    try:
        arrays = computed(node, given, list(proto.opset_import), proto.ir_version)
    except Exception:  # the evaluator raises whatever its operators raise: the reader will say what is wrong
        return {}
    return dict(zip((name for name in node.output if name), map(np.asarray, arrays), strict=True))


def _unfolded(proto: onnx.ModelProto, chosen: Mapping[str, bool]) -> onnx.ModelProto:
    """``proto`` with the nodes of the chosen branches in place of the `If` with that first output."""
    flat = onnx.ModelProto()
    flat.CopyFrom(proto)
    del flat.graph.node[:]
    taken = _names(proto.graph)
    for node in proto.graph.node:
        if node.output[0] not in chosen or node.op_type != "If":
            flat.graph.node.append(node)
            continue
        wanted = "then_branch" if chosen[node.output[0]] else "else_branch"
        (branch,) = (entry.g for entry in node.attribute if entry.name == wanted)
        _append(flat.graph, branch, node, taken)
    return flat


def _append(graph: onnx.GraphProto, branch: onnx.GraphProto, node: onnx.NodeProto, taken: set[str]) -> None:
    """Add the nodes and weights of ``branch`` to ``graph``; its outputs get the names of the `If`'s."""
    inside = [tensor.name for tensor in branch.initializer]
    inside += [name for each in branch.node for name in each.output if name]
    names = dict(zip((value.name for value in branch.output), node.output, strict=False))
    called = {name: names[name] for name in inside if name in names}
    for name in inside:
        if name not in called:
            own, number = name, 1
            while own in taken:
                number += 1
                own = f"{name}_{number}"
            called[name] = own
        taken.add(called[name])
    for tensor in branch.initializer:
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = called[tensor.name]
    for each in branch.node:
        added = graph.node.add()
        added.CopyFrom(each)
        _rename(added, called)


def _rename(node: onnx.NodeProto, called: Mapping[str, str]) -> None:
    """Call tensors otherwise, in the node and in the graphs inside it."""
    node.input[:] = [called.get(name, name) for name in node.input]
    node.output[:] = [called.get(name, name) for name in node.output]
    for graph in (each for entry in node.attribute for each in (entry.g, *entry.graphs)):
        for inner in graph.node:
            _rename(inner, called)
        for value in graph.output:
            value.name = called.get(value.name, value.name)


def _names(graph: onnx.GraphProto) -> set[str]:
    """The names of all tensors of ``graph`` itself."""
    made = {name for node in graph.node for name in node.output}
    return made | {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
