"""Weights that an ONNX file keeps in files beside it, as torch exports: read from its own folder, nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx

from harness.errors import ModelSourceError


def external_tensors(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Every tensor of the file whose values stand in another file."""
    nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    tensors = [*_of_graph(proto.graph), *(tensor for node in nodes for tensor in _of_node(node))]
    unique = {id(tensor): tensor for tensor in tensors}
    return [tensor for tensor in unique.values() if tensor.data_location == onnx.TensorProto.EXTERNAL]


def _of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _of_node(node)


def _of_node(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from _of_graph(graph)


def read_external(proto: onnx.ModelProto, path: Path) -> None:
    """Put the values into ``proto``, the model at ``path``.

    Raises ModelSourceError for a file that is named by anything but a plain path inside the model's folder (absolute,
    with "..", a link), that is missing, or that is too short.
    """
    for tensor in external_tensors(proto):
        facts = {entry.key: entry.value for entry in tensor.external_data}
        data = _inside(facts.get("location", ""), path, tensor.name)
        try:
            offset = int(facts.get("offset", 0))
            length = int(facts["length"]) if "length" in facts else data.stat().st_size - offset
        except ValueError:
            raise ModelSourceError(
                f"{path}: the weight {tensor.name!r} has an offset or length that is no number; export it again"
            ) from None
        if offset < 0 or length < 0 or offset + length > data.stat().st_size:
            raise ModelSourceError(
                f"{path}: the weight {tensor.name!r} is said to be {length} bytes at {offset} of {data.name}, which "
                f"has {data.stat().st_size}; copy the data file again"
            )
        try:
            with data.open("rb") as file:
                file.seek(offset)
                tensor.raw_data = file.read(length)
        except OSError as error:
            raise ModelSourceError(f"{data}: cannot be read ({error.strerror})") from None
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT


def _inside(location: str, path: Path, weight: str) -> Path:
    """The data file that ``location`` names. Raises ModelSourceError where it is not in the model's own folder."""
    parts = PurePosixPath(location).parts
    plain = location and not PurePosixPath(location).is_absolute() and ".." not in parts
    if not plain or PureWindowsPath(location).drive or "\\" in location or "\0" in location:
        raise ModelSourceError(
            f"{path}: the weight {weight!r} is kept in {location[:200]!r}, expected a file in the model's own folder; "
            "no other is read"
        )
    data = path.parent
    for part in parts:
        data = data / part
        if data.is_symlink():
            raise ModelSourceError(
                f"{path}: the weight {weight!r} is kept in {location[:200]!r}, which is a link; expected a file in the "
                "model's own folder"
            )
    if not data.is_file():
        raise ModelSourceError(
            f"{path}: the weight {weight!r} is kept in {location[:200]!r}, which is not beside it; copy that file too"
        )
    return data
