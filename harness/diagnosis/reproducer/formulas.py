"""What a layer should give, as a few lines of plain NumPy for a reader to check; a text, not run here.

The text stands for itself: it shares nothing with the backends, and the script says how far its result is
from the one that was recorded. Formulas: `harness.methods.rules`.
"""

from __future__ import annotations

import inspect
import re

from harness import methods
from harness.graph import Layer
from harness.methods import (
    AlphaBeta,
    AlphaBetaX,
    Bounded,
    Deconvolution,
    Epsilon,
    Flat,
    Gamma,
    Gradient,
    GuidedReLU,
    Method,
    Pass,
    ReplaceZero,
    Rule,
    Sign,
    SignedEpsilon,
    Stabilizer,
    StdEpsilon,
    TimesSign,
    WSquare,
    Z,
    ZPlusFast,
)

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

_PARTS = """

def P(a):
    return np.maximum(a, 0.0)


def N(a):
    return np.minimum(a, 0.0)
"""

#: Rules at a layer with a kernel; ``{b}`` is the bias that the rule counts.
_Z = "z = f(x, W, {b})\nreturn [x * fT(R / S(z), W)]"
_STD = """\
z = f(x, W, {b})
epsilon = {factor!r} * x.reshape(len(x), -1).std(axis=1).reshape(-1, *(1,) * (z.ndim - 1))
return [x * fT(R / S(z + np.where(z >= 0, epsilon, -epsilon)), W)]"""
_SIGN = """\
sign = {sign}
return [sign * fT(R / S(f(x, W, {b})), W)]"""
_ALPHA = """\
s = R / S(f(P(x), P(W), P({b})) + f(N(x), N(W), {second_n}))
A = P(x) * fT(s, P(W)) + N(x) * fT(s, N(W))"""
_BETA = """\
t = R / S(f(P(x), N(W), N({b})) + f(N(x), P(W), {second_p}))
B = P(x) * fT(t, N(W)) + N(x) * fT(t, P(W))
return [{alpha!r} * A - {beta!r} * B]"""
_ALPHA_BETA_X = """\
def C(y, V, c):
    return y * fT(R / S(f(y, V, c)), V)

upper = {alpha[0]!r} * C(P(x), P(W), P(b)) + {alpha[1]!r} * C(N(x), N(W), N(b))
lower = {beta[0]!r} * C(P(x), N(W), N(b)) + {beta[1]!r} * C(N(x), P(W), P(b))
return [upper - lower]"""
_Z_PLUS = "return [x * fT(R / S(f(x, P(W))), P(W))]"
_GAMMA = """\
up, up_b = W + {gamma!r} * P(W), b + {gamma!r} * P(b)
return [x * fT(R / S(f(x, up, up_b)), up)]"""
_SIGNED_GAMMA = """\
up, up_b = W + {gamma!r} * P(W), b + {gamma!r} * P(b)
down, down_b = W + {gamma!r} * N(W), b + {gamma!r} * N(b)
z = f(x, W, b)
p = (z > 0) * R / S(f(P(x), up, up_b) + f(N(x), down))
n = (z < 0) * R / S(f(P(x), down, down_b) + f(N(x), up))
return [P(x) * fT(p, up) + N(x) * fT(p, down) + P(x) * fT(n, down) + N(x) * fT(n, up)]"""
_SQUARE = "ones = np.ones_like(x)\nreturn [fT(R / S(f(ones, W**2{b2})), W**2)]"
_FLAT = "V, ones = np.ones_like(W), np.ones_like(x)\nreturn [fT(R / S(f(ones, V)), V)]"
_BOUNDED = """\
low, high = np.full_like(x, {low!r}), np.full_like(x, {high!r})
s = R / S(f(x, W) - f(low, P(W)) - f(high, N(W)))
return [x * fT(s, W) - low * fT(s, P(W)) - high * fT(s, N(W))]"""

#: By head, what stands at the target.
_HEADS = {
    "logit": "logits[rows, target]",
    "one": "1.0",
    "relu_logit": "np.maximum(logits[rows, target], 0.0)",
}
_POSTPROCESSES = {
    "none": "relevance",
    "times_input": "relevance * x",
    "abs": "np.abs(relevance)",
    "square": "relevance**2",
}


def rule_formula(rule: Rule, layer: Layer) -> str | None:
    """``expected(inputs, R)`` and what it needs; it reads ``data`` for kernel and bias. None where there is none."""
    if isinstance(rule, Pass):
        return _function("return [R]")
    if layer.kind == "relu":
        return _at_relu(rule)
    if layer.kind == "add" and isinstance(rule, Z | Epsilon):
        stabilizer = rule.stabilizer if isinstance(rule, Z) else SignedEpsilon(rule.epsilon)
        shares = "z = sum(inputs)\nreturn [x * R / S(z) for x in inputs]"
        return _stabilizer(stabilizer) + _function(shares, one=False)
    linear, body = _map(layer), _body(rule, "bias" in layer.weights)
    if linear is None or body is None:
        return None
    division = _stabilizer_of(rule)
    shown = "" if division is None else _stabilizer(division)
    parts = _PARTS if re.search(r"\b[PN]\(", body) else ""
    return linear + shown + parts + _function(_weights(layer, "b" in re.findall(r"\w+", body)) + body)


def forward_formula(layer: Layer) -> str | None:
    """``expected(inputs, R)`` for the output of a layer."""
    map_text = _map(layer)
    if map_text is None:
        return None
    biased = "bias" in layer.weights
    return map_text + _function(_weights(layer, biased) + f"return [f(x, W{', b' if biased else ''})]")


def head_formula(method: Method) -> str:
    """``expected(inputs, R)`` for the relevance of the output; it reads ``data`` for the target."""
    body = (
        'logits, target = x, data["target"]\n'
        "rows, start = np.arange(len(logits)), np.zeros(logits.shape)\n"
        f"start[rows, target] = {_HEADS[method.head]}\n"
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
    return _function(f"x, relevance = inputs\nreturn [{result}]", one=False)


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
    found = (getattr(methods, first or second, None) for first, second in names)
    return [each for each in dict.fromkeys(found) if isinstance(each, type)]


def _function(body: str, one: bool = True) -> str:
    lines = [*(["(x,) = inputs"] if one and re.search(r"\bx\b", body) else []), *body.splitlines()]
    text = "".join(f"    {line}\n" if line else "\n" for line in lines)
    return f"\n\ndef expected(inputs, R):\n{text}"


def _map(layer: Layer) -> str | None:
    if layer.kind == "dense":
        return _DENSE
    if not layer.traits.plain_convolution or layer.attributes["groups"] != 1:
        return None
    space, padding = layer.input_shapes[0][:-1], tuple(layer.attributes["padding"])
    padded = ", ".join(str(n + sum(pair)) for n, pair in zip(space, padding, strict=True))
    inner = ", ".join(f"{pair[0]}:{pair[0] + n}" for n, pair in zip(space, padding, strict=True))
    return _CONVOLUTION.format(
        strides=tuple(layer.attributes["strides"]),
        dilations=tuple(layer.attributes["dilations"]),
        padding=padding,
        output=tuple(layer.shape[:-1]),
        padded=padded,
        inner=f":, {inner}",
    )


def _weights(layer: Layer, bias: bool) -> str:
    text = 'W = data["kernel"].astype(np.float64)\n'
    if bias:
        text += 'b = data["bias"].astype(np.float64)\n' if "bias" in layer.weights else "b = 0.0\n"
    return text


def _body(rule: Rule, biased: bool) -> str | None:
    """The formula at a layer with a kernel."""
    counted = "b" if biased and getattr(rule, "bias", True) else "0.0"
    match rule:
        case Z() | Epsilon():
            return _Z.format(b=counted)
        case StdEpsilon():
            return _STD.format(b=counted, factor=rule.factor)
        case Sign():
            return _SIGN.format(b=counted, sign=_sign(rule.threshold))
        case AlphaBeta():
            return _alpha_beta(rule, counted)
        case AlphaBetaX():
            return _ALPHA_BETA_X.format(alpha=rule.alpha, beta=rule.beta)
        case ZPlusFast():
            return _Z_PLUS
        case Gamma():
            return (_SIGNED_GAMMA if rule.signed else _GAMMA).format(gamma=rule.gamma)
        case WSquare():
            return _SQUARE.format(b2=", b**2" if rule.bias and biased else "")
        case Flat():
            return _FLAT
        case Bounded() if rule.times_inputs:
            return _BOUNDED.format(low=rule.low, high=rule.high)
        case Gradient():
            return "return [fT(R, W)]"
    return None


def _alpha_beta(rule: AlphaBeta, b: str) -> str:
    second = "0.0" if rule.split_bias else b
    alpha = _ALPHA.format(b=b, second_n=f"N({second})")
    if rule.beta == 0:
        return f"{alpha}\nreturn [{rule.alpha!r} * A]"
    beta = _BETA.format(b=b, second_p=f"P({second})", alpha=rule.alpha, beta=rule.beta)
    return f"{alpha}\n{beta}"


def _at_relu(rule: Rule) -> str | None:
    match rule:
        case Gradient():
            return _function("return [R * (x > 0)]")
        case GuidedReLU():
            return _function("return [np.maximum(R, 0.0) * (x > 0)]")
        case Deconvolution():
            return _function("return [np.maximum(R, 0.0)]")
    return None


def _sign(threshold: float) -> str:
    if threshold <= -1:
        return "np.ones_like(x)"
    return f"np.where(x >= {threshold!r}, 1.0, -1.0)"


def _stabilizer_of(rule: Rule) -> Stabilizer | None:
    if isinstance(rule, Epsilon):
        return SignedEpsilon(rule.epsilon)
    if isinstance(rule, StdEpsilon):
        return ReplaceZero()
    return getattr(rule, "stabilizer", None)


def _stabilizer(stabilizer: Stabilizer) -> str:
    match stabilizer:
        case ReplaceZero():
            what, value = "an exact zero is replaced", f"np.where(z == 0, {stabilizer.value!r}, z)"
        case SignedEpsilon():
            what = "epsilon is added on the side of the sign, sign(0) = +1"
            value = f"z + np.where(z >= 0, {stabilizer.epsilon!r}, {-stabilizer.epsilon!r})"
        case _:
            what, value = "not protected", "z"
    return f'\n\ndef S(z):\n    """The denominator: {what}."""\n    return {value}\n'
