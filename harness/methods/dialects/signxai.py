"""signxai 1.1.9.2: the grammar of its method names (`methods/wrappers.py`) and what they mean.

A name is a base with a suffix, ``gradient_x_sign_mu_0_5``, or an LRP name, a prefix for the input layer
followed by the rule: ``lrpsign_epsilon_0_25_std_x_mu_0_5``. Numbers are written with underscores for the
point and ``neg_`` for the minus sign. Classes and files named here are those of that version.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from harness.errors import InvalidInputError, UnknownNameError
from harness.graph import AVERAGE_POOLING_KINDS, CONVOLUTION_KINDS, WEIGHTED_KINDS
from harness.methods.composite import GRADIENT, Assignment, Composite
from harness.methods.definition import Method, Postprocess, TimesSign
from harness.methods.entries import Entry, Parameters, bounds, checked_alpha_beta, number, whole
from harness.methods.procedures import (
    GradCam,
    IntegratedGradients,
    Smoothed,
    UniformNoise,
)
from harness.methods.rules import (
    AlphaBeta,
    BatchNormReverse,
    Bounded,
    Deconvolution,
    Epsilon,
    Flat,
    Gradient,
    GuidedReLU,
    KernelRule,
    Pass,
    Sign,
    StdEpsilon,
    WSquare,
    Z,
)

DIALECT = "signxai 1.1.9.2"

#: The bounds that `..._VGG16ILSVRC` stands for: a mean-free BGR image.
ILSVRC_BOUNDS = (-123.68, 151.061)


# Composites ----------------------------------------------------------------------------------------------


def lrp_composite(
    rule: KernelRule, input_layer_rule: KernelRule | None = None, before: tuple[Assignment, ...] = ()
) -> Composite:
    """One rule for all kernels (`LRP._create_analysis`, `LRP._default_reverse_mapping`).

    Batch norms always get :class:`BatchNormReverse`; every other layer with one input of its output's shape
    passes relevance on unchanged, whatever it computes (activations, layer norm, a pooling with stride one,
    a square permutation). A kernel behind nothing but reshaping or zero padding is an input layer.
    """
    first = (
        (Assignment(input_layer_rule, kinds=WEIGHTED_KINDS, reads_input=True, through_padding=True),)
        if input_layer_rule is not None
        else ()
    )
    return Composite(
        (
            *first,
            *before,
            Assignment(rule, kinds=WEIGHTED_KINDS),
            Assignment(BatchNormReverse(), kinds=("batch_norm",)),
            Assignment(Z(), kinds=("add", *AVERAGE_POOLING_KINDS)),
            Assignment(Pass(), same_shape=True),
            Assignment(Gradient()),
        )
    )


#: Whatever has "relu" in the name of its activation or class (`checks.contains_activation`).
_RELU_LIKE = ("relu", "relu6", "leaky_relu")
_GUIDED = Composite((Assignment(GuidedReLU(per_edge=True), kinds=_RELU_LIKE), Assignment(Gradient())))
_DECONVOLUTION = Composite(
    (Assignment(Deconvolution(per_edge=True), kinds=_RELU_LIKE), Assignment(Gradient()))
)
#: `build_guided_model` touches plain ReLUs only, and TensorFlow sums the shares before it rectifies.
_GUIDED_CAM = Composite((Assignment(GuidedReLU(), kinds=("relu",)), Assignment(Gradient())))


# Numbers in names ----------------------------------------------------------------------------------------

_NUMBER = r"(?:neg_)?\d+(?:_\d+)?"


def read_number(text: str) -> float:
    """``0_25`` as 0.25, ``neg_0_5`` as -0.5."""
    value = float(text.removeprefix("neg_").replace("_", "."))
    return -value if text.startswith("neg_") else value


def write_number(value: float) -> str:
    """The inverse of :func:`read_number`, without trailing zeros; raises InvalidInputError if it has no such form."""
    plain = f"{abs(value):.12f}".rstrip("0").rstrip(".")
    if float(plain) != abs(value):
        raise InvalidInputError(f"{value:g} cannot be written in a name; use a value with up to 12 decimals")
    return ("neg_" if value < 0 else "") + plain.replace(".", "_")


# Names with a base and a suffix --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Base:
    """What a name without suffix means; the entry of the listing with it."""

    family: str
    source: str
    build: Callable[[str, Parameters], Method]
    parameters: Mapping[str, str]


def _plain(name: str, parameters: Parameters) -> Method:
    return Method(name, GRADIENT, head="one")


def _times_input(name: str, parameters: Parameters) -> Method:
    return Method(name, GRADIENT, head="one", postprocess="times_input")


def _guided(name: str, parameters: Parameters) -> Method:
    """Neither reading sets the head to one, so both start from the logit."""
    return Method(name, _GUIDED)


def _deconvnet(name: str, parameters: Parameters) -> Method:
    return Method(name, _DECONVOLUTION)


def _integrated(name: str, parameters: Parameters) -> Method:
    steps = whole(name, parameters, "steps", 50, least=2)
    return Method(name, GRADIENT, head="one", procedure=IntegratedGradients(steps, endpoint=True))


def _smoothed(statistic: str) -> Callable[[str, Parameters], Method]:
    def build(name: str, parameters: Parameters) -> Method:
        procedure = Smoothed(
            whole(name, parameters, "augment_by_n", 50, least=1),
            number(name, parameters, "noise_scale", 0.2),
            statistic,  # type: ignore[arg-type]
            seed=whole(name, parameters, "seed", 0, least=0),
        )
        return Method(name, GRADIENT, head="one", procedure=procedure)

    return build


def _random_uniform(name: str, parameters: Parameters) -> Method:
    return Method(name, GRADIENT, head="one", procedure=UniformNoise())


_SAMPLING = {
    "augment_by_n": "samples, 1 or more (default 50)",
    "noise_scale": "standard deviation of the noise, above 0 (default 0.2)",
    "seed": "of the generator that both sides share (default 0)",
}
BASES: dict[str, _Base] = {
    "gradient": _Base("gradient", "Simonyan et al. 2014", _plain, {}),
    "input_t_gradient": _Base("gradient", "Shrikumar et al. 2016", _times_input, {}),
    "guided_backprop": _Base("gradient", "Springenberg et al. 2015", _guided, {}),
    "deconvnet": _Base("gradient", "Zeiler and Fergus 2014", _deconvnet, {}),
    "integrated_gradients": _Base(
        "path",
        "Sundararajan et al. 2017, eq. 3",
        _integrated,
        {"steps": "points on the path, 2 or more (default 50)"},
    ),
    "smoothgrad": _Base("sampling", "Smilkov et al. 2017", _smoothed("mean"), _SAMPLING),
    "vargrad": _Base("sampling", "Adebayo et al. 2018", _smoothed("variance"), _SAMPLING),
    "random_uniform": _Base("baseline", "`random_uniform`", _random_uniform, {}),
}
_SUFFIX = re.compile(rf"_x_(?:(?P<input>input)|sign(?:_mu(?:_(?P<mu>{_NUMBER}))?)?)$")
_MU = {"mu": "threshold of the sign, any number (default 0)"}


def _based(name: str, parameters: Parameters) -> Method | None:
    """``base``, ``base_x_input``, ``base_x_sign``, ``base_x_sign_mu_<number>``; None for another form."""
    suffix = _SUFFIX.search(name)
    base = name[: suffix.start()] if suffix else name
    if base not in BASES or (suffix and base == "random_uniform"):
        return None
    asks_mu = suffix is not None and name.endswith("_mu")
    _known(name, parameters, {**BASES[base].parameters, **(_MU if asks_mu else {})})
    after: Postprocess
    if suffix is None:
        return BASES[base].build(name, parameters)
    if suffix["input"]:
        after = "times_input"
    elif suffix["mu"]:
        threshold = read_number(suffix["mu"])
        name = f"{base}_x_sign_mu_{write_number(threshold)}"
        after = TimesSign(threshold)
    else:
        after = TimesSign(number(name, parameters, "mu", 0.0))
    built = BASES[base].build(name, parameters)
    return Method(built.name, built.composite, built.head, after, built.procedure)


# Grad-CAM ------------------------------------------------------------------------------------------------

_CAM = re.compile(
    r"(?P<guided>guided_)?grad_cam(?:_(?P<form>timeseries|VGG16ILSVRC|VGG16MITPL365|MNISTCNN))?$"
)
_CAM_LAYERS = {"VGG16ILSVRC": "block5_conv3", "VGG16MITPL365": "relu5_3", "MNISTCNN": "conv2d_1"}
_CAM_PARAMETERS = {"layer": "canonical name of the layer (default: the last convolution)"}


def _cam(name: str, parameters: Parameters) -> Method | None:
    form = _CAM.match(name)
    if form is None:
        return None
    alias = _CAM_LAYERS.get(form["form"] or "")
    _known(name, parameters, {} if alias else _CAM_PARAMETERS)
    if form["form"] == "timeseries" and form["guided"]:
        return None
    procedure = GradCam(
        parameters.get("layer", alias),
        "linear" if form["form"] == "timeseries" else "bicubic_8bit",
        guided=bool(form["guided"]),
    )
    return Method(name, _GUIDED_CAM if form["guided"] else GRADIENT, head="one", procedure=procedure)


# LRP -----------------------------------------------------------------------------------------------------

_LRP = re.compile(
    r"(?P<prefix>lrp|lrpsign|lrpz|zblrp|w2lrp|flatlrp)_"
    rf"(?:(?P<z>z)|epsilon_(?P<epsilon>{_NUMBER})(?P<std>_std_x)?"
    rf"|alpha_(?P<alpha>{_NUMBER})_beta_(?P<beta>{_NUMBER})|sequential_composite_(?P<preset>[ab]))"
    rf"(?:_mu_(?P<mu>{_NUMBER}))?(?P<ilsvrc>_VGG16ILSVRC)?$"
)
_INPUT_RULES: dict[str, KernelRule | None] = {
    "lrp": None,
    "lrpsign": Sign(),
    "lrpz": Z(),
    "w2lrp": WSquare(),
    "flatlrp": Flat(),
    "zblrp": Bounded(times_inputs=False),
}
_BOUNDS = {"low": "lower bound of the input (default -1)", "high": "upper bound of the input (default 1)"}


def _lrp(name: str, parameters: Parameters) -> Method | None:
    """``<prefix>_<rule>[_mu_<number>][_VGG16ILSVRC]``; None for another form."""
    found = _LRP.match(name)
    if found is None:
        return None
    prefix = found["prefix"]
    if found["mu"] and prefix != "lrpsign":
        raise InvalidInputError(f"{name}: mu is the threshold of lrpsign_..., not of {prefix}_...")
    if found["ilsvrc"] and prefix != "zblrp":
        raise InvalidInputError(
            f"{name}: VGG16ILSVRC stands for the bounds of zblrp_..., not of {prefix}_..."
        )
    _known(name, parameters, _BOUNDS if prefix == "zblrp" and not found["ilsvrc"] else {})

    input_rule = _INPUT_RULES[prefix]
    if found["mu"]:
        input_rule = Sign(threshold=read_number(found["mu"]))
    if prefix == "zblrp":
        low, high = ILSVRC_BOUNDS if found["ilsvrc"] else bounds(name, parameters, -1.0, 1.0)
        input_rule = Bounded(low=low, high=high, times_inputs=False)

    rule, before, text = _rule(name, found)
    name = f"{prefix}_{text}"
    if found["mu"]:
        name += f"_mu_{write_number(read_number(found['mu']))}"
    return Method(name + (found["ilsvrc"] or ""), lrp_composite(rule, input_rule, before))


def _rule(name: str, found: re.Match[str]) -> tuple[KernelRule, tuple[Assignment, ...], str]:
    """The rule of the kernels, assignments that come before it, and how the name writes it."""
    if found["z"]:
        return Z(), (), "z"
    if found["epsilon"]:
        value = read_number(found["epsilon"])
        if value <= 0:
            raise InvalidInputError(f"{name}: epsilon must be above 0, found {value:g}")
        text = f"epsilon_{write_number(value)}"
        return (StdEpsilon(value), (), f"{text}_std_x") if found["std"] else (Epsilon(value), (), text)
    if found["preset"]:
        convolution = AlphaBeta(1, 0) if found["preset"] == "a" else AlphaBeta(2, 1)
        before = (Assignment(convolution, kinds=CONVOLUTION_KINDS),)
        return Epsilon(0.1), before, f"sequential_composite_{found['preset']}"
    alpha, beta = checked_alpha_beta(name, read_number(found["alpha"]), read_number(found["beta"]))
    return AlphaBeta(alpha, beta), (), f"alpha_{write_number(alpha)}_beta_{write_number(beta)}"


# The grammar as a whole ----------------------------------------------------------------------------------


def parse(name: str, parameters: Parameters) -> Method | None:
    """The method of a signxai name; None where the name has no form of this grammar.

    Raises InvalidInputError or UnknownNameError where it has, and a value is out of range.
    """
    parsed = _based(name, parameters) or _cam(name, parameters) or _lrp(name, parameters)
    if parsed is None:
        _explain_near_miss(name)
    return parsed


def _explain_near_miss(name: str) -> None:
    """Raise InvalidInputError for a name that starts like one of ours and says its numbers wrongly."""
    rule = re.match(r"(lrp|lrpsign|lrpz|zblrp|w2lrp|flatlrp)_(epsilon|alpha)_", name)
    if rule is None:
        return
    if rule[2] == "epsilon":
        raise InvalidInputError(
            f"{name}: epsilon must be a number above 0 with underscores for the point, as in {rule[1]}_epsilon_0_25"
        )
    raise InvalidInputError(
        f"{name}: alpha and beta must be numbers with alpha - beta = 1, as in {rule[1]}_alpha_2_beta_1"
    )


def _known(name: str, parameters: Parameters, known: Mapping[str, str]) -> None:
    for key in parameters:
        if not known:
            raise InvalidInputError(f"{name} takes no parameters after a colon, found {key!r}")
        if key not in known:
            raise UnknownNameError(f"parameter of {name}", key, known)


# The listing ---------------------------------------------------------------------------------------------

_PLAIN_EPSILONS = ("0_001", "0_01", "0_1", "0_2", "0_5", "1", "5", "10", "20", "50", "75", "100")
_STD_FACTORS = ("0_1", "0_25", "0_5", "1", "2", "3")
_ALL_PREFIXES = ("lrpsign", "lrpz", "zblrp", "w2lrp", "flatlrp")
#: Rules that signxai does not list with every input layer rule.
_PREFIXES: dict[str, tuple[str, ...]] = {
    "z": ("lrpsign", "zblrp", "w2lrp", "flatlrp"),
    **{f"epsilon_{value}": ("lrpsign", "lrpz", "zblrp") for value in ("0_001", "0_2", "0_5", "5")},
    **{f"epsilon_{value}": ("lrpsign", "lrpz") for value in ("50", "75", "1_std_x", "2_std_x", "3_std_x")},
}


def published_names() -> Iterator[str]:
    """The 152 names of `methods/wrappers.py`."""
    yield "random_uniform"
    for base in ("gradient", "guided_backprop", "smoothgrad", "deconvnet"):
        yield base
        if base in ("gradient", "smoothgrad"):
            yield f"{base}_x_input"
        yield f"{base}_x_sign"
        yield f"{base}_x_sign_mu"
        yield from (f"{base}_x_sign_mu_{mu}" for mu in ("0", "0_5", "neg_0_5"))
    yield from ("input_t_gradient", "integrated_gradients", "vargrad", "grad_cam", "grad_cam_timeseries")
    for network in _CAM_LAYERS:
        yield from (f"grad_cam_{network}", f"guided_grad_cam_{network}")
    rules = (
        "z",
        *(f"epsilon_{value}" for value in _PLAIN_EPSILONS),
        *(f"epsilon_{value}_std_x" for value in _STD_FACTORS),
        "alpha_1_beta_0",
        "sequential_composite_a",
        "sequential_composite_b",
    )
    for rule in rules:
        yield f"lrp_{rule}"
        for prefix in _PREFIXES.get(rule, _ALL_PREFIXES):
            yield f"{prefix}_{rule}" + ("_VGG16ILSVRC" if prefix == "zblrp" else "")
        if rule in ("epsilon_100", "epsilon_0_25_std_x"):
            yield from (f"lrpsign_{rule}_mu_{mu}" for mu in ("0", "0_5", "neg_0_5"))


def _entry(name: str) -> Entry:
    def build(typed: str, parameters: Parameters) -> Method:
        parsed = parse(typed, parameters)
        if parsed is None:
            raise UnknownNameError("method", typed, published_names())
        return parsed

    suffix = _SUFFIX.search(name)
    base = name[: suffix.start()] if suffix else name
    if base in BASES:
        extra = _MU if name.endswith("_mu") else {}
        of = BASES[base]
        return Entry(name, of.family, DIALECT, of.source, build, {**of.parameters, **extra})
    cam = _CAM.match(name)
    if cam:
        parameters = {} if cam["form"] in _CAM_LAYERS else _CAM_PARAMETERS
        return Entry(name, "cam", DIALECT, "Selvaraju et al. 2017", build, parameters)
    source = "Gumpfer et al. 2023" if name.startswith("lrpsign") else "Bach et al. 2015"
    return Entry(name, "lrp", DIALECT, source, build)


ENTRIES: tuple[Entry, ...] = tuple(_entry(name) for name in published_names())
