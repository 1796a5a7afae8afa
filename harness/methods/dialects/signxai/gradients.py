"""Names with a base and a suffix (``gradient_x_sign_mu_0_5``), and Grad-CAM."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.methods.composite import GRADIENT, Composite
from harness.methods.definition import Method, Postprocess, TimesSign
from harness.methods.dialects.signxai.composites import (
    DECONVOLUTION,
    GUIDED,
    GUIDED_CAM,
    GUIDED_CAM_SEQUENTIAL,
)
from harness.methods.dialects.signxai.numbers import NUMBER, check_known, read_number, write_number
from harness.methods.entries import Parameters, choice, number, whole
from harness.methods.procedures import GradCam, IntegratedGradients, Smoothed, UniformNoise


@dataclass(frozen=True)
class _Base:
    """What a name without suffix means; the entry of the listing with it."""

    family: str
    source: str
    build: Callable[[str, Parameters], Method]
    parameters: Mapping[str, str]


def _always(composite: Composite, **fields: Any) -> Callable[[str, Parameters], Method]:
    """A method without parameters; ``fields``: its other fields."""
    return lambda name, parameters: Method(name, composite, **fields)


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


_SAMPLING = {
    "augment_by_n": "samples, 1 or more (default 50)",
    "noise_scale": "standard deviation of the noise, above 0 (default 0.2)",
    "seed": "of the generator that both sides share (default 0)",
}
BASES: dict[str, _Base] = {
    "gradient": _Base("gradient", "Simonyan et al. 2014", _always(GRADIENT, head="one"), {}),
    "input_t_gradient": _Base(
        "gradient", "Shrikumar et al. 2016", _always(GRADIENT, head="one", postprocess="times_input"), {}
    ),
    # Neither library sets the head of the two to one, so both start from the logit.
    "guided_backprop": _Base("gradient", "Springenberg et al. 2015", _always(GUIDED), {}),
    "deconvnet": _Base("gradient", "Zeiler and Fergus 2014", _always(DECONVOLUTION), {}),
    "integrated_gradients": _Base(
        "path",
        "Sundararajan et al. 2017, eq. 3",
        _integrated,
        {"steps": "points on the path, 2 or more (default 50)"},
    ),
    "smoothgrad": _Base("sampling", "Smilkov et al. 2017", _smoothed("mean"), _SAMPLING),
    "vargrad": _Base("sampling", "Adebayo et al. 2018", _smoothed("variance"), _SAMPLING),
    "random_uniform": _Base(
        "baseline", "`random_uniform`", _always(GRADIENT, head="one", procedure=UniformNoise()), {}
    ),
}
SUFFIX = re.compile(rf"_x_(?:(?P<input>input)|sign(?:_mu(?:_(?P<mu>{NUMBER}))?)?)$")
MU = {"mu": "threshold of the sign, any number (default 0)"}


def based(name: str, parameters: Parameters) -> Method | None:
    """``base``, ``base_x_input``, ``base_x_sign``, ``base_x_sign_mu_<number>``; None for another form."""
    suffix = SUFFIX.search(name)
    base = name[: suffix.start()] if suffix else name
    if base not in BASES or (suffix and base == "random_uniform"):
        return None
    asks_mu = suffix is not None and name.endswith("_mu")
    check_known(name, parameters, {**BASES[base].parameters, **(MU if asks_mu else {})})
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

CAM = re.compile(
    r"(?P<guided>guided_)?grad_cam(?:_(?P<form>timeseries|VGG16ILSVRC|VGG16MITPL365|MNISTCNN))?$"
)
CAM_LAYERS = {"VGG16ILSVRC": "block5_conv3", "VGG16MITPL365": "relu5_3", "MNISTCNN": "conv2d_1"}
CAM_PARAMETERS = {"layer": "canonical name of the layer (default: the last convolution)"}


def grad_cam(name: str, parameters: Parameters) -> Method | None:
    form = CAM.match(name)
    if form is None:
        return None
    alias = CAM_LAYERS.get(form["form"] or "")
    check_known(name, parameters, cam_parameters(name))
    if form["form"] == "timeseries" and form["guided"]:
        return None
    procedure = GradCam(
        parameters.get("layer", alias),
        "linear" if form["form"] == "timeseries" else "bicubic_8bit",
        guided=bool(form["guided"]),
    )
    written = choice(name, parameters, "model", "functional", ("functional", "sequential"))
    guided = GUIDED_CAM if written == "functional" else GUIDED_CAM_SEQUENTIAL
    return Method(name, guided if form["guided"] else GRADIENT, head="one", procedure=procedure)


def cam_parameters(name: str) -> dict[str, str]:
    """By parameter of a Grad-CAM name, what it means."""
    form = CAM.match(name)
    assert form is not None, name
    return {**({} if form["form"] in CAM_LAYERS else CAM_PARAMETERS), **(_WRITTEN if form["guided"] else {})}


_WRITTEN = {
    "model": "functional (default) or sequential: a Sequential model with activations inside its layers, whose first "
    "ReLU is not guided"
}
