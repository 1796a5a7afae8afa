"""Keras' layers of sequences in the neutral graph's terms: recurrent ones, either direction or both, embeddings, and
what is applied to each step by itself.

Source of the meanings: Keras 3.15, `keras/src/layers/rnn`, and tf_keras 2.21, `layers/rnn`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ported_models.sources.keras_activations import Translate
from ported_models.sources.keras_calls import Call
from ported_models.sources.keras_parameters import Shape, refusal
from ported_models.sources.steps import Step

#: The kind of a class, and the activations that it may have.
_KINDS = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "simple_rnn"}


def recurrent(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """The state before the first step is zero, and no step is left out: what has another is refused."""
    return _in_order(call, shapes, bool(call.config.get("go_backwards")))


def _in_order(call: Call, shapes: Sequence[Shape], reverse: bool) -> list[Step]:
    """Keras gives the states of a layer that goes backwards in the order in which they were made."""
    step = _direction(call, call.config, call.weights, reverse)
    if not (reverse and step.attributes["sequences"]):
        return [step]
    return [step, Step("take", {"axis": -2, "indices": tuple(reversed(range(shapes[0][0])))})]


def _direction(
    call: Call, config: Mapping[str, Any], weights: Mapping[str, np.ndarray], reverse: bool
) -> Step:
    kind = _KINDS[call.class_name]
    _require_plain(call, config)
    attributes: dict[str, Any] = {"reverse": reverse, "sequences": bool(config.get("return_sequences"))}
    if kind == "simple_rnn":
        attributes["activation"] = config.get("activation", "tanh")
    arrays: dict[str, np.ndarray] = {key: weights[key] for key in ("kernel", "recurrent_kernel")}
    if kind == "gru":
        # Keras 2 before 2.2 had neither the choice nor the second bias.
        attributes["reset_after"] = bool(config.get("reset_after", False))
    if "bias" in weights and weights["bias"].ndim == 2:
        arrays["bias"], arrays["recurrent_bias"] = weights["bias"]
    elif "bias" in weights:
        arrays["bias"] = weights["bias"]
    return Step(kind, attributes, arrays)


def _require_plain(call: Call, config: Mapping[str, Any]) -> None:
    """Raise UnsupportedLayerError for what another cell, another start or another order of the steps is."""
    if config.get("return_state"):
        raise refusal(call, "return_state", True, "False: a network of one output a layer")
    if config.get("stateful"):
        raise refusal(call, "stateful", True, "False: each input by itself; build it so and set its weights")
    if config.get("time_major"):
        raise refusal(call, "time_major", True, "False: (batch, time, feature)")
    if len(call.inputs) != 1:
        raise refusal(call, "tensors as its first state", len(call.inputs) - 1, "none: it begins at zero")
    known = ("tanh", "relu") if call.class_name == "SimpleRNN" else ("tanh",)
    if config.get("activation", "tanh") not in known:
        raise refusal(call, "activation", config["activation"], " or ".join(map(repr, known)))
    gates = config.get("recurrent_activation", "sigmoid")
    if call.class_name != "SimpleRNN" and gates != "sigmoid":
        raise refusal(call, "recurrent_activation", gates, "'sigmoid'")


def bidirectional(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """A layer from the first step to the last, one from the last to the first, each state at the place of its step."""
    forward = call.config["layer"]
    backward = call.config.get("backward_layer") or forward
    mode = call.config.get("merge_mode", "concat")
    classes = (str(forward["class_name"]), str(backward["class_name"]))
    if classes[0] not in _KINDS or classes[1] not in _KINDS:
        raise refusal(call, "layers of the classes", classes, f"of {', '.join(_KINDS)}")
    if forward["config"].get("go_backwards") or mode not in ("concat", "sum", "ave", "mul"):
        raise refusal(call, "(go_backwards, merge_mode)", (True, mode), "False, and concat, sum, ave or mul")
    second = {name.removesuffix("_2"): array for name, array in call.weights.items() if name.endswith("_2")}
    first = {name: array for name, array in call.weights.items() if not name.endswith("_2")}
    steps = [
        replace(
            _direction(replace(call, class_name=name), entry["config"], weights, reverse),
            reads=(0,),
        )
        for name, entry, weights, reverse in (
            (classes[0], forward, first, False),
            (classes[1], backward, second, True),
        )
    ]
    if mode == "concat":
        return [*steps, Step("concat", {"axis": -1}, reads=(1, 2))]
    joined = Step("multiply" if mode == "mul" else "add", reads=(1, 2))
    if mode != "ave":
        return [*steps, joined]
    units = steps[0].weights["recurrent_kernel"].shape[0]
    return [*steps, joined, Step("scale", {}, {"kernel": np.full(units, 0.5)})]


def embedding(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    if call.config.get("mask_zero"):
        raise refusal(
            call,
            "mask_zero",
            True,
            "False: steps hidden by their values are not read; cut the sequences instead",
        )
    return [Step("embedding", {}, {"kernel": call.weights["embeddings"]})]


def time_distributed(translate: Callable[[Call, Sequence[Shape]], list[Step]]) -> Translate:
    """A layer at each step. ``translate`` reads the layer itself.

    What works on the last axis alone is the layer itself; of a convolution or pool the steps are one place more, which
    its windows do not mix.
    """

    def read(call: Call, shapes: Sequence[Shape]) -> list[Step]:
        entry = call.config["layer"]
        steps_count, *shape = shapes[0]
        inner = replace(
            call,
            class_name=str(entry["class_name"]),
            config=entry["config"],
        )
        steps, sides = [], tuple(shape)
        for step in translate(inner, [sides]):
            changed = _at_each_step(call, inner, step, steps_count, sides)
            steps.append(changed)
            if step.kind in ("flatten", "reshape", "conv1d", "conv2d") or "pool" in step.kind:
                sides = _sides_after(step, sides)
        return steps

    return read


def _at_each_step(call: Call, inner: Call, step: Step, count: int, shape: Shape) -> Step:
    kind, attributes = step.kind, dict(step.attributes)
    if kind in ("dense", "batch_norm", "scale", "dropout", "prelu") or (not step.weights and kind in _EACH):
        return step
    if kind in ("layer_norm", "softmax"):
        return step
    if kind == "flatten":
        return Step("reshape", {"target": (count, int(np.prod(shape)))})
    if kind == "reshape" and -1 not in attributes["target"]:
        return Step("reshape", {"target": (count, *attributes["target"])})
    if kind in ("conv1d", "conv2d"):
        space = int(kind[4])
        padding = attributes["padding"]
        padding = padding if isinstance(padding, str) else ((0, 0), *padding)
        attributes |= {
            "strides": (1, *attributes["strides"]),
            "dilations": (1, *attributes["dilations"]),
            "padding": padding,
        }
        weights = {**step.weights, "kernel": step.weights["kernel"][None]}
        return Step(f"conv{space + 1}d", attributes, weights)
    if kind in ("max_pool1d", "max_pool2d", "average_pool1d", "average_pool2d"):
        attributes |= {key: (1, *attributes[key]) for key in ("pool_size", "strides")}
        return Step(f"{kind[:-2]}{int(kind[-2]) + 1}d", attributes)
    raise refusal(
        call,
        "the layer",
        inner.class_name,
        "a layer that is read at each step: dense, normalisation, "
        "activation, dropout, Flatten, Conv1D, Conv2D or a pool over windows",
    )


#: Activations of each value by itself.
_EACH = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "sigmoid", "tanh", "swish", "gelu", "mish"),
    *("hard_swish", "hard_sigmoid", "clip"),
)


def _sides_after(step: Step, shape: Shape) -> Shape:
    """The shape of a step's output at one step of time, as the builder works it out."""
    from ported_models.build import Builder

    builder = Builder("one", shape)
    builder.add(step.kind, "layer", attributes=step.attributes, weights=step.weights)
    return builder["layer"].shape
