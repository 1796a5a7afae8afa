"""What a layer should give, as a few lines of plain NumPy for a reader to check; a text, not run here.

The text stands for itself: it shares nothing with the backends, and the script says how far its result is
from the one that was recorded. Formulas: `harness.methods.rules`.
"""

from __future__ import annotations

import inspect
import re

from harness import methods
from harness.graph import Layer
from harness.methods import BacktraceStart, Method, Rule, TimesSign
from harness.steps import Formula

_DENSE = '''

def f(x, W, b=0.0):
    """The layer without its activation."""
    return x @ W + b


def fT(s, W):
    """Its transpose."""
    return s @ W.T
'''

_CONVOLUTION = '''
STRIDES, DILATIONS = {strides}, {dilations}
PADDING = {padding}  # (before, after) for each spatial axis
OUTPUT = {output}  # its spatial shape


def met(offset):
    """The index of what all windows meet with one entry of the kernel."""
    axes = zip(offset, OUTPUT, STRIDES, DILATIONS)
    return (slice(None), *(slice(o * d, o * d + (n - 1) * s + 1, s) for o, n, s, d in axes))


def f(x, W, b=0.0):
    """The layer without its activation."""
    x = np.pad(x, ((0, 0), *PADDING, (0, 0)))
    return sum(x[met(offset)] @ W[offset] for offset in np.ndindex(W.shape[:-2])) + b


def fT(s, W):
    """Its transpose."""
    padded = np.zeros((len(s), {padded}, W.shape[-2]))
    for offset in np.ndindex(W.shape[:-2]):
        padded[met(offset)] += s @ W[offset].T
    return padded[{inner}]
'''

#: By head, what stands at the target.
_HEADS = {
    "logit": "logits[rows, target]",
    "one": "1.0",
    "relu_logit": "np.maximum(logits[rows, target], 0.0)",
}
#: Those of every class.
_WHOLE_HEADS = {
    "logits": "logits",
    "ones": "np.ones_like(logits)",
    "relu_logits": "np.maximum(logits, 0.0)",
}
_POSTPROCESSES = {
    "none": "relevance",
    "times_input": "relevance * x",
    "abs": "np.abs(relevance)",
    "square": "relevance**2",
}


def rule_formula(formula: Formula | None, layer: Layer) -> str | None:
    """``expected(inputs, R)`` and what it needs; None where there is no formula, or none of the layer itself."""
    if formula is None:
        return None
    of_layer = _map(layer) if re.search(r"\bfT?\(", formula.body) else ""
    return None if of_layer is None else of_layer + formula.functions + _function(formula.body)


def forward_formula(layer: Layer) -> str | None:
    """``expected(inputs, R)`` for the output of a layer."""
    of_layer = _map(layer)
    bias = ", b" if "bias" in layer.weights else ""
    return None if of_layer is None else of_layer + _function(f"return [f(x, W{bias})]")


def head_formula(method: Method) -> str | None:
    """``expected(inputs, R)`` for the relevance of the output; it reads ``data`` for the target.

    None for a start of DLBacktrace that is not at the target alone.
    """
    head = method.head
    if head in _WHOLE_HEADS:
        return _function(f"logits = x\nreturn [{_WHOLE_HEADS[head]}]")
    if not isinstance(head, BacktraceStart):
        value = _HEADS[head]
    elif head.task != "classification" or head.part == "against":
        return None
    else:
        value = f"{head.multiplier!r} * "
        value += "logits[rows, target]" if head.scaler is None else repr(head.scaler)
    body = (
        'logits, target = x, data["target"]\n'
        "rows, start = np.arange(len(logits)), np.zeros(logits.shape)\n"
        f"start[rows, target] = {value}\n"
        "return [start]"
    )
    return _function(body)


def postprocess_formula(method: Method) -> str:
    """``expected(inputs, R)`` for the attribution, from the input and its relevance."""
    chosen = method.postprocess
    if isinstance(chosen, TimesSign):
        result = f"relevance * {_sign(chosen.threshold)}"
    else:
        result = _POSTPROCESSES[chosen]
    return _function(f"x, relevance = inputs\nreturn [{result}]")


def words_of(rule: Rule) -> str:
    """The rule with its parameters, its formula and its source, as the catalogue defines it.

    What its parameters and its definition refer to follows.
    """
    texts, pending = [repr(rule)], _named(repr(rule))
    for defined in pending:
        text = (inspect.getdoc(defined) or "").replace("``", "")
        texts.append(f"{defined.__name__}: " + re.sub(r":class:`~?([^`]*)`", r"\1", text))
        pending += [other for other in _named(text) if other not in pending]
    return "\n\n".join(texts)


def _named(text: str) -> list[type]:
    """The rules and stabilizers that a definition refers to, or a value is made of."""
    names = re.findall(r":class:`~?(\w+)`|\b([A-Z]\w*)\(", text)
    values = (getattr(methods, first or second, None) for first, second in names)
    return [each for each in dict.fromkeys(values) if isinstance(each, type)]


def _function(body: str) -> str:
    read = [] if "inputs" in body or not re.search(r"\bx\b", body) else ["(x,) = inputs"]
    text = "".join(f"    {line}\n" for line in [*read, *body.splitlines()])
    return f"\n\ndef expected(inputs, R):\n{text}"


def _map(layer: Layer) -> str | None:
    """The layer's weights, read from ``data``, its map and the transpose; None where there is no short text."""
    if layer.kind == "dense":
        return _weights(layer) + _DENSE
    if not layer.traits.plain_convolution or layer.attributes["groups"] != 1:
        return None
    space, padding = layer.input_shapes[0][:-1], tuple(layer.attributes["padding"])
    padded = ", ".join(str(n + sum(pair)) for n, pair in zip(space, padding, strict=True))
    inner = ", ".join(f"{pair[0]}:{pair[0] + n}" for n, pair in zip(space, padding, strict=True))
    return _weights(layer) + _CONVOLUTION.format(
        strides=tuple(layer.attributes["strides"]),
        dilations=tuple(layer.attributes["dilations"]),
        padding=padding,
        output=tuple(layer.shape[:-1]),
        padded=padded,
        inner=f":, {inner}",
    )


def _weights(layer: Layer) -> str:
    names = {"kernel": "W", "bias": "b"}
    read = [f'{names[each]} = data["{each}"].astype(np.float64)\n' for each in names if each in layer.weights]
    return "\n" + "".join(read)


def _sign(threshold: float) -> str:
    if threshold <= -1:
        return "np.ones_like(x)"
    return f"np.where(x >= {threshold!r}, 1.0, -1.0)"
