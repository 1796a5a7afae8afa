"""What a rule computes at a layer, as a few lines of plain NumPy: its terms, printed."""

from __future__ import annotations

from harness.graph import Layer
from harness.methods import (
    AddedEpsilon,
    AlphaBetaOfMaxima,
    BatchNormReverse,
    Deconvolution,
    FusedBatchNorm,
    Gradient,
    GuidedReLU,
    HeldNorm,
    Linearized,
    Pass,
    ReplaceZero,
    Rule,
    ShareProduct,
    SignedEpsilon,
    SignSplit,
    SoftmaxTaylor,
    Unprotected,
    Z,
)
from harness.steps import Formula
from reference_impls.oracle.parts import Stabilizing, TimesDeviation
from reference_impls.oracle.terms import ONES, Product, Terms, terms_of

_PART = "\n\ndef {name}(a):\n    return np.{does}(a, 0.0)\n"
_PARTS = {name: _PART.format(name=name, does=does) for name, does in (("P", "maximum"), ("N", "minimum"))}


def formula(layer: Layer, rule: Rule) -> Formula | None:
    """The formula of ``rule`` at ``layer``; None where there is no short one (batch norms, most derivatives).

    Raises UnsupportedMethodError for an unknown rule.
    """
    match rule:
        case Pass():
            return Formula("return [R]")
        case Gradient() if layer.kind == "relu":
            return Formula("return [R * (x > 0)]")
        case Gradient():
            return Formula("return [fT(R, W)]") if layer.traits.weighted else None
        case GuidedReLU():
            return Formula("return [np.maximum(R, 0.0) * (x > 0)]") if layer.kind == "relu" else None
        case Deconvolution():
            return Formula("return [np.maximum(R, 0.0)]")
        case Linearized() if layer.traits.weighted:
            return formula(layer, Z(stabilizer=rule.stabilizer))
        case SoftmaxTaylor():
            axis = layer.attributes["axis"]
            return Formula(
                f"e = np.exp(x - x.max(axis={axis}, keepdims=True))\n"
                f"y = e / e.sum(axis={axis}, keepdims=True)\n"
                f"return [np.where(np.isneginf(x), 0.0, x) * (R - y * R.sum(axis={axis}, keepdims=True))]"
            )
        case ShareProduct():
            return _product(layer, rule)
        case SignSplit():
            return Formula(
                "z = sum(inputs)\n"
                "up = np.where(z > 0, R / S(sum(P(x) for x in inputs)), 0.0)\n"
                "down = np.where(z > 0, 0.0, R / S(sum(N(x) for x in inputs)))\n"
                "return [P(x) * up + N(x) * down for x in inputs]",
                "".join(_PARTS.values()) + _stabilizer(rule.stabilizer),
            )
        case FusedBatchNorm() | BatchNormReverse() | Linearized() | AlphaBetaOfMaxima() | HeldNorm():
            return None
    terms = terms_of(rule)
    if terms.cancels:
        return None
    if layer.kind == "add" and terms.at_sums:
        return Formula(
            "s = R / S(sum(inputs))\nreturn [x * s for x in inputs]", _stabilizer(terms.stabilizer)
        )
    body = _body(terms, "bias" in layer.weights)
    parts = "".join(text for name, text in _PARTS.items() if f"{name}(" in body)
    return Formula(body, parts + _stabilizer(terms.stabilizer))


def _product(layer: Layer, rule: ShareProduct) -> Formula | None:
    """At a matrix product; None at others."""
    if layer.kind != "matmul":
        return None
    upright = "np.swapaxes(b, -1, -2)" if layer.attributes["transposed"] else "b"
    to_b = "np.swapaxes(a, -1, -2) @ q"
    both = {
        "a": f"a * (q @ np.swapaxes({upright}, -1, -2))",
        "b": f"b * ({f'np.swapaxes({to_b}, -1, -2)' if layer.attributes['transposed'] else to_b})",
    }
    zeros = {"first": ("b",), "second": ("a",), "both": ()}[rule.to]
    shares = ", ".join(f"np.zeros({name}.shape)" if name in zeros else text for name, text in both.items())
    times = "2 * " if rule.to == "both" else ""
    return Formula(
        f"a, b = inputs\nq = R / S({times}(a @ {upright}))\nreturn [{shares}]", _stabilizer(rule.stabilizer)
    )


def _body(terms: Terms, biased: bool) -> str:
    """A line for the quotient of each term, and one for what is passed down."""
    lines = []
    read = ", x" if isinstance(terms.stabilizer, TimesDeviation) else ""
    for place, term in enumerate(terms.terms):
        own = f"f(x, W{', b' if biased else ''})"
        relevance = f"np.where({own} {'>' if term.only > 0 else '<'} 0, R, 0.0)" if term.only else "R"
        below = " + ".join(_below(product, biased) for product in term.below)
        lines.append(f"s = {relevance} / S({below}{read})")
        share = " + ".join(_above(product) for product in term.above)
        if term.factor != 1:
            share = f"{term.factor!r} * ({share})"
        lines.append(f"R_x = {share}" if place == 0 else f"R_x = R_x + {share}")
    return "\n".join([*lines, "return [R_x]"])


def _below(product: Product, biased: bool) -> str:
    own = "b" if product.whole_bias else product.weights.text.format("b")
    bias = f", {own}" if product.bias and biased else ""
    return f"f({product.inputs.text.format('x')}, {product.weights.text.format('W')}{bias})"


def _above(product: Product) -> str:
    passed = f"fT(s, {product.weights.text.format('W')})"
    return passed if product.inputs == ONES else f"{product.inputs.text.format('x')} * {passed}"


def _stabilizer(stabilizer: Stabilizing) -> str:
    match stabilizer:
        case ReplaceZero():
            words, lines = "an exact zero is replaced", [f"np.where(z == 0, {stabilizer.value!r}, z)"]
        case SignedEpsilon():
            words = "epsilon is added on the side of the sign, sign(0) = +1"
            lines = [f"z + np.where(z >= 0, {stabilizer.epsilon!r}, {-stabilizer.epsilon!r})"]
        case AddedEpsilon():
            words = "epsilon is added, whatever the sign"
            lines = [f"z + {stabilizer.epsilon!r}"]
        case Unprotected():
            words, lines = "not protected", ["z"]
        case TimesDeviation():
            words = "epsilon is a multiple of the standard deviation of the sample's input"
            lines = [
                f"epsilon = {stabilizer.factor!r} * x.reshape(len(x), -1).std(axis=1)",
                "epsilon = epsilon.reshape(-1, *(1,) * (z.ndim - 1))",
                "z = z + np.where(z >= 0, epsilon, -epsilon)",
                f"np.where(z == 0, {ReplaceZero().value!r}, z)",
            ]
    read = "z, x" if isinstance(stabilizer, TimesDeviation) else "z"
    text = "".join(f"    {line}\n" for line in (*lines[:-1], f"return {lines[-1]}"))
    return f'\n\ndef S({read}):\n    """The denominator: {words}."""\n{text}'
