"""Recurrent operators: LSTM, GRU and RNN, in one direction or both (ONNX operators LSTM-14, GRU-14, RNN-14)."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from ported_models.onnx.layout import canonical_order, weight_from_onnx
from ported_models.onnx.naming import first_output
from ported_models.onnx.operators.shaping import reshaped
from ported_models.onnx.reading import Reading, Tensor, attribute

#: By operator: the kind, how many gates it has, and the activations of one direction where the file names none.
_KINDS = {
    "LSTM": ("lstm", 4, ("Sigmoid", "Tanh", "Tanh")),
    "GRU": ("gru", 3, ("Sigmoid", "Tanh")),
    "RNN": ("simple_rnn", 1, ("Tanh",)),
}
#: By ``direction``: for each of them, whether it runs from the last step to the first.
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def _recurrent(reading: Reading, node: onnx.NodeProto) -> None:
    """(time, batch, feature) to all states, (time, direction, batch, unit), or the last, (direction, batch, unit).

    The first state is zero and every step is taken; what has another start, other gates or other steps is refused.
    """
    kind, _, _ = _KINDS[node.op_type]
    direction = attribute(node, "direction", "forward")
    if direction not in _DIRECTIONS:
        reading.unsupported(node, f"direction={direction!r}, expected one of {', '.join(_DIRECTIONS)}")
    x = _by_step(reading, node)
    steps = reading.builder[x.layer].shape[0]
    _check_plain(reading, node, steps)
    outputs = [name if name and reading.uses(name) else "" for name in node.output]
    states, last, *cell = (*outputs, "", "")[: len(outputs) + 2]
    if any(cell):
        reading.unsupported(node, "its last cell state is read, expected its states alone")
    directions = _DIRECTIONS[direction]
    made = []
    for number, reverse in enumerate(directions):
        attributes = {"reverse": reverse, "sequences": bool(states)} | _choice(reading, node, number)
        order = canonical_order(3) if states else canonical_order(2)
        made.append(reading.emit(node, kind, [x], attributes, _weights(reading, node, number), order=order))
    if last:
        parts = made
        if states:
            steps_taken = [0 if reverse else steps - 1 for reverse in directions]
            taken = [
                reading.emit(node, "take", [part], {"axis": -2, "indices": (step,)})
                for part, step in zip(made, steps_taken, strict=True)
            ]
            parts = [reading.emit(node, "flatten", [part], order=canonical_order(2)) for part in taken]
        y = parts[0] if len(parts) == 1 else reading.emit(node, "concat", parts, {"axis": -1})
        _give(reading, node, y, len(parts), last)
    # After the last ones, because a layer without a name for its output takes that of the first, all states.
    if states:
        y = made[0] if len(made) == 1 else reading.emit(node, "concat", made, {"axis": -1})
        _give(reading, node, y, len(made), states)


def _by_step(reading: Reading, node: onnx.NodeProto) -> Tensor:
    """The input as a layer (batch, time, feature). Raises BatchAxisError where the file's second axis is no batch."""
    if attribute(node, "layout", 0):
        reading.unsupported(node, "layout=1, expected 0: (time, batch, feature)")
    x = reading.tensor(node, anywhere=True)
    sizes = reading.own_sizes(x)
    if len(sizes) != 3:
        reading.unsupported(node, f"its input has {len(sizes)} axes, expected (time, batch, feature)")
    if reading.free:
        if sizes[1] != 1:
            reading.unsupported(node, f"its batch is {sizes[1]} sequences in one sample, expected 1")
        reshaped(reading, node, x, (sizes[0], sizes[2]))
        x = reading.tensors[first_output(node)]
    elif reading.place(node, x, 1) != x.order.index(0):
        reading.mixes_batch(node, "it takes its second axis as the batch: its steps would be samples")
    else:
        x = reading.arranged(node, x, (1, 0, 2))
    return Tensor(x.layer, canonical_order(3))


def _give(reading: Reading, node: onnx.NodeProto, y: Tensor, directions: int, output: str) -> None:
    """Let ``output`` be ``y``, (batch, time, direction * unit) or without the time, in the file's axes.

    The file has an axis of directions before the batch; where all that reads it takes that axis off, none is made.
    """
    *steps, units = reading.builder[y.layer].shape
    reader = reading.only_reader(output)
    if directions == 1 and not reading.free and reader is not None and _squeezes(reading, reader, len(steps)):
        reading.rename(reader, Tensor(y.layer, (1, 0, 2) if steps else (0, 1)))
        reading.done.add(reader.output[0])
        return
    batch = (1,) if reading.free else ()
    target = (*steps, directions, *batch, units // directions)
    order = canonical_order(len(target) + 1)
    y = reading.emit(node, "reshape", [y], {"target": target}, order=order, output=output)
    if not reading.free:
        axes = order[1:-1]
        reading.rename(node, Tensor(y.layer, (*axes, 0, order[-1])), output)


def _squeezes(reading: Reading, node: onnx.NodeProto, axis: int) -> bool:
    """Whether it takes off ``axis``, and no other."""
    if node.op_type != "Squeeze":
        return False
    listed = reading.constants.get(node.input[1]) if len(node.input) > 1 else attribute(node, "axes")
    return listed is not None and list(listed) == [axis]


def _check_plain(reading: Reading, node: onnx.NodeProto, steps: int) -> None:
    lengths = reading.constant(node, 4, "list of sequence lengths")
    if lengths is not None and (lengths != steps).any():
        reading.unsupported(
            node, f"its sequences have lengths of their own, expected all {steps} steps of each"
        )
    for index, name in ((5, "first state"), (6, "first cell state")):
        first = reading.constant(node, index, name)
        if first is not None and first.any():
            reading.unsupported(node, f"its {name} is not zero, expected that it begins at zero")
    peepholes = reading.constant(node, 7, "peepholes")
    if peepholes is not None and peepholes.any():
        reading.unsupported(node, "its gates see the cell state (peepholes), expected none")
    for key in ("clip", "input_forget"):
        if attribute(node, key):
            reading.unsupported(node, f"{key}={attribute(node, key)}, expected none")


def _choice(reading: Reading, node: onnx.NodeProto, number: int) -> dict[str, Any]:
    """The activations of direction ``number``, and where a GRU resets."""
    kind, _, usual = _KINDS[node.op_type]
    given = [
        each.decode() if isinstance(each, bytes) else each for each in attribute(node, "activations", [])
    ]
    own = tuple(each.capitalize() for each in given[number * len(usual) : (number + 1) * len(usual)]) or usual
    if kind == "simple_rnn" and own in (("Tanh",), ("Relu",)):
        return {"activation": own[0].lower()}
    if own != usual:
        reading.unsupported(node, f"its activations are {', '.join(own)}, expected {', '.join(usual)}")
    return {"reset_after": bool(attribute(node, "linear_before_reset", 0))} if kind == "gru" else {}


def _weights(reading: Reading, node: onnx.NodeProto, number: int) -> dict[str, np.ndarray | None]:
    """Those of direction ``number``. The two biases act as their sum, but for a GRU that resets after its product."""
    kind, gates, _ = _KINDS[node.op_type]
    kernel, recurrent = (
        reading.constant(node, index, what) for index, what in ((1, "kernel"), (2, "weights"))
    )
    if kernel is None or recurrent is None:
        reading.unsupported(node, "it has no weights")
    units = recurrent.shape[-1]
    both = reading.constant(node, 3, "bias")
    biases = np.zeros(2 * gates * units, kernel.dtype) if both is None else both[number]
    bias, recurrent_bias = (weight_from_onnx(kind, "bias", each, 3, 0) for each in np.split(biases, 2))
    arrays: dict[str, np.ndarray | None] = {
        "kernel": weight_from_onnx(kind, "kernel", kernel[number], 3, 0),
        "recurrent_kernel": weight_from_onnx(kind, "recurrent_kernel", recurrent[number], 3, 0),
    }
    if both is None:
        return arrays
    if kind == "gru" and attribute(node, "linear_before_reset", 0):
        return {**arrays, "bias": bias, "recurrent_bias": recurrent_bias}
    return {**arrays, "bias": bias + recurrent_bias}


OPERATORS = dict.fromkeys(_KINDS, _recurrent)
