"""The names of iNNvestigate's analyzers, with parameters and sources."""

from __future__ import annotations

from collections.abc import Callable

from harness.methods.definition import Method
from harness.methods.dialects.innvestigate.gradients import (
    POSTPROCESS,
    deconvnet,
    gradient,
    guided,
    integrated_gradients,
    many_runs,
    random_noise,
    smoothgrad,
)
from harness.methods.dialects.innvestigate.lrp import deep_taylor, fixed, lrp, preset
from harness.methods.dialects.innvestigate.parameters import (
    BN_PARAMETER,
    INPUT_RULE_PARAMETERS,
    LRP_PARAMETERS,
    RULES,
)
from harness.methods.entries import Entry, Parameters, above_zero, alpha_and_beta, flag
from harness.methods.procedures import InputItself
from harness.methods.rules import AlphaBeta, Epsilon, Flat, KernelRule, WSquare, Z, ZPlusFast

DIALECT = "iNNvestigate 2.1.2"

_BACH = "Bach et al. 2015"
_MONTAVON = "Montavon et al. 2017"
_SEED = {"seed": "of the generator that both sides share (default 0)"}
_NOISE = {"stddev": "of the noise, above 0 (default 1)", **_SEED}
_BOX = {
    "low": "lower bound of the input, or one a channel: -2.1/-2/-1.8 (required)",
    "high": "upper bound of the input, or one a channel (required)",
}


def _z(name: str, parameters: Parameters) -> KernelRule:
    return Z(flag(name, parameters, "bias", True))


def _epsilon(name: str, parameters: Parameters) -> KernelRule:
    return Epsilon(above_zero(name, parameters, "epsilon", 1e-7), flag(name, parameters, "bias", True))


def _alpha_beta(name: str, parameters: Parameters) -> KernelRule:
    alpha, beta = alpha_and_beta(name, parameters)
    return AlphaBeta(alpha, beta, flag(name, parameters, "bias", True))


def _line(
    name: str,
    family: str,
    source: str,
    build: Callable[[str, Parameters], Method],
    parameters: dict[str, str] | None = None,
) -> Entry:
    return Entry(name, family, DIALECT, source, build, parameters or {})


def _lrp_line(
    name: str, source: str, rule: Callable[[str, Parameters], KernelRule], **parameters: str
) -> Entry:
    return _line(name, "lrp", source, fixed(rule), {**parameters, **LRP_PARAMETERS})


def _preset_line(name: str, convolution: KernelRule, flat_input: bool, parameters: dict[str, str]) -> Entry:
    kept = {
        key: meaning
        for key, meaning in LRP_PARAMETERS.items()
        if not (flat_input and key in INPUT_RULE_PARAMETERS) and not key.startswith("until")
    }
    all_of = {"epsilon": "of dense layers, above 0 (default 0.1)", **kept, **BN_PARAMETER, **parameters}
    return _line(name, "lrp", "Lapuschkin et al. 2017", preset(convolution, flat_input), all_of)


_INSIDE = {
    "activation_layers": "gradient (default: ReLUs that are layers) or pass (those inside a layer with a kernel)"
}
_UNTIL = {key: meaning for key, meaning in LRP_PARAMETERS.items() if key.startswith("until")}

ENTRIES: tuple[Entry, ...] = (
    _line("input", "baseline", "`Input`", many_runs(lambda *_: InputItself())),
    _line("random", "baseline", "`Random`", many_runs(random_noise), _NOISE),
    _line("gradient", "gradient", "Simonyan et al. 2014", gradient("none"), POSTPROCESS),
    _line("gradient.baseline", "gradient", "Simonyan et al. 2014", gradient("none"), POSTPROCESS),
    _line("input_t_gradient", "gradient", "Shrikumar et al. 2016", gradient("times_input")),
    _line("deconvnet", "gradient", "Zeiler and Fergus 2014", deconvnet),
    _line("guided_backprop", "gradient", "Springenberg et al. 2015", guided),
    _line(
        "integrated_gradients",
        "path",
        "Sundararajan et al. 2017, eq. 3",
        many_runs(integrated_gradients),
        {
            "steps": "points on the path, 2 or more (default 64)",
            "reference_inputs": "value of the baseline at every place (default 0)",
            **POSTPROCESS,
        },
    ),
    _line(
        "smoothgrad",
        "sampling",
        "Smilkov et al. 2017",
        many_runs(smoothgrad),
        {
            "augment_by_n": "samples, 1 or more (default 64)",
            "noise_scale": "accepted and not used, as in iNNvestigate: the noise has standard deviation 1",
            **_SEED,
            **POSTPROCESS,
        },
    ),
    _line(
        "lrp",
        "lrp",
        _BACH,
        lrp,
        {
            "rule": f"{', '.join(RULES)}; or one for each kernel, last kernel first: rule=Z/Flat",
            **LRP_PARAMETERS,
            **BN_PARAMETER,
        },
    ),
    _lrp_line(
        "lrp.z",
        f"{_BACH}, eq. 56",
        _z,
        bias="true (default) or false: the bias counts in the denominator or not (`LRPZIgnoreBias`)",
    ),
    _lrp_line(
        "lrp.epsilon",
        f"{_BACH}, eq. 58",
        _epsilon,
        epsilon="signed stabilizer, above 0 (default 1e-7)",
        bias="true (default) or false: the bias counts in the denominator or not",
    ),
    _lrp_line("lrp.w_square", f"{_MONTAVON}, w^2 rule", lambda *_: WSquare()),
    _lrp_line("lrp.flat", "Lapuschkin et al. 2019", lambda *_: Flat()),
    _lrp_line(
        "lrp.alpha_beta",
        f"{_BACH}, eq. 60",
        _alpha_beta,
        alpha="1 or more; alpha - beta must be 1, so one of the two is enough",
        beta="0 or more",
        bias="true (default) or false: the bias counts in the denominators or not",
    ),
    _lrp_line("lrp.alpha_1_beta_0", f"{_BACH}, eq. 60", lambda *_: AlphaBeta(1, 0)),
    _lrp_line("lrp.alpha_1_beta_0_IB", f"{_BACH}, eq. 60, no bias", lambda *_: AlphaBeta(1, 0, bias=False)),
    _lrp_line("lrp.alpha_2_beta_1", f"{_BACH}, eq. 60", lambda *_: AlphaBeta(2, 1)),
    _lrp_line("lrp.alpha_2_beta_1_IB", f"{_BACH}, eq. 60, no bias", lambda *_: AlphaBeta(2, 1, bias=False)),
    _lrp_line("lrp.z_plus", f"{_MONTAVON}, z+ rule", lambda *_: AlphaBeta(1, 0, bias=False)),
    _lrp_line("lrp.z_plus_fast", f"{_MONTAVON}, z+ rule for x >= 0", lambda *_: ZPlusFast()),
    _preset_line("lrp.sequential_preset_a", AlphaBeta(1, 0), False, _UNTIL),
    _preset_line("lrp.sequential_preset_b", AlphaBeta(2, 1), False, _UNTIL),
    _preset_line("lrp.sequential_preset_a_flat", AlphaBeta(1, 0), True, {}),
    _preset_line("lrp.sequential_preset_b_flat", AlphaBeta(2, 1), True, {}),
    _preset_line(
        "lrp.sequential_preset_b_flat_until_idx",
        AlphaBeta(2, 1),
        True,
        {"until_layer_idx": "kernels up to this place get Flat (0 is the input; all layers count)"},
    ),
    _line("deep_taylor", "deep_taylor", _MONTAVON, deep_taylor(bounded=False), _INSIDE),
    _line("deep_taylor.bounded", "deep_taylor", _MONTAVON, deep_taylor(bounded=True), {**_BOX, **_INSIDE}),
)
