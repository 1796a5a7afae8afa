"""DLBacktrace 0.1.24: default mode, and contrast mode as its last version that has one (0.0.25) reads it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from harness.errors import InvalidInputError
from harness.graph import ACTIVATION_KINDS, AVERAGE_POOLING_KINDS, CONVOLUTION_KINDS, MAX_POOLING_KINDS
from harness.methods.backtrace_rules import (
    SATURATIONS,
    AttentionShare,
    Backtrace,
    BacktraceLstm,
    BacktraceStart,
    Contrast,
    EqualShare,
    LargestShare,
    MagnitudeShare,
    Reading,
    Saturation,
)
from harness.methods.composite import Assignment, Composite
from harness.methods.definition import Method
from harness.methods.entries import Entry, Parameters, choice, number
from harness.methods.rules import Gradient, Pass, Rule

DIALECT = "DLBacktrace 0.1.24"
#: A family has its own reference and candidate.
FAMILY = "backtrace"

#: What the package hands relevance through unchanged: activations, normalisations, weights that are multiplied to.
_PASSED = (
    *ACTIVATION_KINDS,
    "batch_norm",
    "layer_norm",
    "group_norm",
    "scale",
    "affine",
    "dropout",
    "embedding",
)
#: What only moves values: relevance is moved back.
_MOVED = ("flatten", "reshape", "permute", "concat", "zero_pad", "crop", "pad", "take")
#: Other products of two tensors have no rule: the package knows attention as one layer, and no other.
_ATTENTION = (
    Assignment(AttentionShare("both"), kinds=("matmul",), role="scores"),
    Assignment(AttentionShare("second"), kinds=("matmul",), role="weights_first"),
    Assignment(AttentionShare("first"), kinds=("matmul",), role="weights_second"),
)


def _composite(
    dense: Rule, convolution: Rule, average: Rule, largest: Rule, add: Rule, first: tuple[Assignment, ...]
) -> Composite:
    return Composite(
        (
            *first,
            Assignment(dense, kinds=("dense",)),
            Assignment(convolution, kinds=CONVOLUTION_KINDS),
            Assignment(average, kinds=AVERAGE_POOLING_KINDS),
            Assignment(largest, kinds=MAX_POOLING_KINDS),
            Assignment(add, kinds=("add",)),
            Assignment(EqualShare(), kinds=("multiply",)),
            *_ATTENTION,
            Assignment(Pass(), kinds=_PASSED),
            Assignment(Gradient(), kinds=_MOVED),
        )
    )


def _default(name: str, parameters: Parameters) -> Method:
    saturation = _saturation(name, parameters)
    zero = choice(name, parameters, "zero", "package", ("package", "bound", "none"))

    def kernel(reading: Reading) -> Backtrace:
        own: Literal["bound", "none"] = "bound" if reading == "linear" else "none"
        if zero != "package":
            own = "bound" if zero == "bound" else "none"
        return Backtrace(reading, replace(saturation, zero=own))

    add: Rule = EqualShare()
    if choice(name, parameters, "add", "equal", ("equal", "magnitude")) == "magnitude":
        add = MagnitudeShare()
    made = _composite(
        kernel("linear"),
        kernel("convolution"),
        MagnitudeShare(),
        _largest(name, parameters),
        add,
        (Assignment(BacktraceLstm(), kinds=("lstm",)),),
    )
    return Method(name, made, _start(name, parameters, scaler=1.0))


def _contrast(name: str, parameters: Parameters) -> Method:
    part = choice(name, parameters, "part", "for", ("for", "against"))
    start = replace(_start(name, parameters, scaler=None), part=part)  # type: ignore[arg-type]
    if start.task == "bbox-regression":
        raise InvalidInputError(
            f"{name}: contrast mode has no start for bbox-regression (0.0.25 raises UnboundLocalError); "
            "use task=classification, or backtrace.default"
        )
    line, windows = Contrast("linear"), Contrast("convolution")
    # Average pooling in one dimension is the only one that 0.0.25 reads as windows.
    in_one = (Assignment(windows, kinds=("average_pool1d",)),)
    return Method(name, _composite(line, windows, line, _largest(name, parameters), line, in_one), start)


def _largest(name: str, parameters: Parameters) -> LargestShare:
    padding = choice(name, parameters, "padding", "zero", ("zero", "lowest"))
    return LargestShare(padding)  # type: ignore[arg-type]


def _saturation(name: str, parameters: Parameters) -> Saturation:
    """That of an activation by name, or of its form and range.

    Raises UnknownNameError for an activation or form that does not exist, InvalidInputError for a missing range.
    """
    named = choice(name, parameters, "activation", "none", tuple(SATURATIONS))
    given = [key for key in ("low", "high", "function") if key in parameters]
    form = choice(name, parameters, "saturation", "named", ("named", "none", "mono", "non_mono"))
    if form == "named":
        if given:
            raise InvalidInputError(
                f"{name}: {given[0]} belongs to a saturation; write saturation=mono or saturation=non_mono too"
            )
        return SATURATIONS[named]
    if "activation" in parameters:
        raise InvalidInputError(
            f"{name}: activation and saturation exclude each other; leave one of them out"
        )
    low, high = (number(name, parameters, key, 0.0) if key in parameters else None for key in ("low", "high"))
    if form == "mono" and low is None and high is None:
        raise InvalidInputError(
            f"{name}: the range is missing; write saturation=mono,low=0 (or high=, or both)"
        )
    if form == "none" and given:
        raise InvalidInputError(f"{name}: saturation=none has no {given[0]}; leave it out")
    function = None
    if "function" in parameters:
        function = choice(name, parameters, "function", "swish", ("swish",))
    try:
        return Saturation(form, low, high, function)  # type: ignore[arg-type]
    except InvalidInputError as error:
        raise InvalidInputError(f"{name}: {error}") from None


def _start(name: str, parameters: Parameters, scaler: float | None) -> BacktraceStart:
    if parameters.get("scaler") == "output":
        scaler = None
    elif "scaler" in parameters:
        scaler = number(name, parameters, "scaler", 1.0)
    tasks = ("classification", "bbox-regression", "binary-segmentation")
    return BacktraceStart(
        choice(name, parameters, "task", "classification", tasks),  # type: ignore[arg-type]
        scaler,
        number(name, parameters, "multiplier", 100.0),
        number(name, parameters, "threshold", 0.5),
    )


_START = {
    "task": "classification (default), bbox-regression or binary-segmentation: which outputs the start is at",
    "multiplier": "of the start (default 100)",
    "threshold": "outputs above it count, in binary-segmentation (default 0.5)",
}
_PADDING = {"padding": "of max pooling: zero (default, as 0.1.24) or lowest (as 0.0.25)"}
_DEFAULT_PARAMETERS = {
    "activation": f"behind each layer with a kernel, for its saturation: {', '.join(SATURATIONS)} (default none)",
    "saturation": "mono or non_mono, with low, high and function, instead of an activation",
    "low": "below it the positive side is saturated",
    "high": "above it the negative side is saturated",
    "function": "of a saturation that is non_mono: swish",
    "zero": "package (default): a bound of 0 counts in dense layers only; bound or none: in all layers, in no layer",
    "add": "equal (default, as 0.1.24) or magnitude (as 0.0.25): how a sum shares",
    **_PADDING,
    "scaler": "at the start: a number (default 1) or output, the network's own",
    **_START,
}
_CONTRAST_PARAMETERS = {
    "part": "for (default) or against: which of the two relevances is shown",
    **_PADDING,
    "scaler": "of both starts: a number, or output, the network's own (default)",
    **_START,
}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "backtrace.default",
        FAMILY,
        DIALECT,
        "Sankarapu et al. 2024; `original_version` of each layer",
        _default,
        _DEFAULT_PARAMETERS,
    ),
    Entry(
        "backtrace.contrast",
        FAMILY,
        "DLBacktrace 0.0.25",
        "Sankarapu et al. 2024; `contrast.py`",
        _contrast,
        _CONTRAST_PARAMETERS,
    ),
)
