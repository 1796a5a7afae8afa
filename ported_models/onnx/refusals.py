"""All layers of an ONNX file that cannot be read, found in one go."""

from __future__ import annotations

from math import prod

import onnx

from harness.errors import UnsupportedLayerError, described
from ported_models.limits import LARGEST_LAYER
from ported_models.onnx.layout import canonical_order, channels_first_order
from ported_models.onnx.reading import Reading, Tensor
from ported_models.onnx.sizes import inferred_sizes

_NO_LAYER = "the neutral graph has no layer for this operator"
_CONTROL_FLOW = "it runs a graph of its own, in turns or on a condition, expected one network for every input"


def no_layer(node: onnx.NodeProto) -> str:
    """What is said of a node that no operator reads."""
    return _CONTROL_FLOW if node.op_type in ("If", "Loop", "Scan") else _NO_LAYER


class Refusals:
    """What could not be read so far.

    Where the size of such a node's output is known a layer stands in for it, so that the nodes behind it are looked at
    as well; those behind one of unknown size are named only where no operator of their type is read at all.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._unread: list[str] = []
        self._unknown: set[str] = set()
        self._stand_ins: set[str] = set()
        self._sizes: dict[str, list[int]] | None = None

    def __bool__(self) -> bool:
        return bool(self._unread)

    def depends(self, node: onnx.NodeProto) -> bool:
        """Whether ``node`` reads something of which not even the size is known."""
        return not self._unknown.isdisjoint(node.input)

    def add(self, node: onnx.NodeProto, error: UnsupportedLayerError) -> None:
        """``node`` cannot be read, as ``error`` says."""
        self._unread.append(str(error))
        for output in filter(None, node.output):
            self._stand_in(node, output)

    def fails(self, node: onnx.NodeProto, error: Exception) -> None:
        """Reading ``node`` raises ``error``, which is none of the harness's own."""
        try:
            self._reading.unsupported(node, f"its attributes or constants do not fit it ({described(error)})")
        except UnsupportedLayerError as refusal:
            self.add(node, refusal)

    def untried(self, node: onnx.NodeProto, no_reader: bool) -> None:
        """``node`` reads what is not known; ``no_reader``: no operator of its type is read."""
        if no_reader:
            try:
                self._reading.unsupported(node, no_layer(node))
            except UnsupportedLayerError as error:
                self._unread.append(str(error))
        self._unknown.update(filter(None, node.output))

    def check(self) -> None:
        """Raise UnsupportedLayerError where something could not be read."""
        if self._unread:
            read = [layer for layer in self._reading.builder.layers if layer.name not in self._stand_ins]
            raise UnsupportedLayerError.of_all(self._unread, read)

    def _stand_in(self, node: onnx.NodeProto, output: str) -> None:
        if self._sizes is None:
            self._sizes = inferred_sizes(self._reading.proto)
        sizes = self._sizes.get(output, [])
        reading, rank = self._reading, len(sizes)
        if rank < 2 or any(size < 1 for size in sizes[1:]) or prod(sizes[1:]) > LARGEST_LAYER or reading.free:
            self._unknown.add(output)
            return
        read = [reading.tensors[name].order for name in node.input if name in reading.tensors]
        kept = [order for order in read if len(order) == rank]
        first = channels_first_order(rank) if reading.reads_channels_first(output) else canonical_order(rank)
        order = kept[0] if kept else first
        name = f"unread {len(self._stand_ins)}"
        canonical = [sizes[axis] for axis in (order.index(place) for place in range(rank))]
        reading.builder.stand_in(name, canonical[1:])
        self._stand_ins.add(name)
        reading.tensors[output] = Tensor(name, order)
