"""From a name to its method, the grammar as a whole; and the names that signxai publishes, for the listing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.errors import InvalidInputError, UnknownNameError
from harness.methods.definition import Method
from harness.methods.dialects.signxai.gradients import (
    BASES,
    CAM,
    CAM_LAYERS,
    MU,
    SUFFIX,
    based,
    cam_parameters,
    grad_cam,
)
from harness.methods.dialects.signxai.lrp import lrp
from harness.methods.entries import Entry, Parameters

DIALECT = "signxai 1.1.9.2"

_PLAIN_EPSILONS = ("0_001", "0_01", "0_1", "0_2", "0_5", "1", "5", "10", "20", "50", "75", "100")
_STD_FACTORS = ("0_1", "0_25", "0_5", "1", "2", "3")
_ALL_PREFIXES = ("lrpsign", "lrpz", "zblrp", "w2lrp", "flatlrp")
#: Rules that signxai does not list with every input layer rule.
_PREFIXES: dict[str, tuple[str, ...]] = {
    "z": ("lrpsign", "zblrp", "w2lrp", "flatlrp"),
    **{f"epsilon_{value}": ("lrpsign", "lrpz", "zblrp") for value in ("0_001", "0_2", "0_5", "5")},
    **{f"epsilon_{value}": ("lrpsign", "lrpz") for value in ("50", "75", "1_std_x", "2_std_x", "3_std_x")},
}


def parse(name: str, parameters: Parameters) -> Method | None:
    """The method of a signxai name; None where the name has no form of this grammar.

    Raises InvalidInputError or UnknownNameError where it has, and a value is out of range.
    """
    parsed = based(name, parameters) or grad_cam(name, parameters) or lrp(name, parameters)
    if parsed is None:
        _explain_near_miss(name)
    return parsed


def _explain_near_miss(name: str) -> None:
    """Raise InvalidInputError for a name that starts like one of this dialect and writes its numbers wrongly."""
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
    for network in CAM_LAYERS:
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

    suffix = SUFFIX.search(name)
    base = name[: suffix.start()] if suffix else name
    if base in BASES:
        extra = MU if name.endswith("_mu") else {}
        of = BASES[base]
        return Entry(name, of.family, DIALECT, of.source, build, {**of.parameters, **extra})
    cam = CAM.match(name)
    if cam:
        return Entry(name, "cam", DIALECT, "Selvaraju et al. 2017", build, cam_parameters(name))
    source = "Gumpfer et al. 2023" if name.startswith("lrpsign") else "Bach et al. 2015"
    return Entry(name, "lrp", DIALECT, source, build)


ENTRIES: tuple[Entry, ...] = tuple(_entry(name) for name in published_names())
