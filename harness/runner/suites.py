"""What is run together: suites by name, and the selection a command line makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from harness.errors import InvalidInputError, UnknownNameError
from harness.methods import (
    ALL_METHODS,
    SUITE_METHODS,
    InputPlusNoise,
    Smoothed,
    UniformNoise,
    method,
)


@dataclass(frozen=True)
class Suite:
    """Models, methods and dtypes; ``batch`` samples of each model's examples are explained at once."""

    name: str
    models: tuple[str, ...]
    methods: tuple[str, ...] = SUITE_METHODS
    dtypes: tuple[str, ...] = ("float64", "float32")


#: What is asked of networks that are too large for the whole catalogue: a method for each rule, and of each family.
LARGE_METHODS = (
    *SUITE_METHODS,
    "deconvnet",
    "guided_backprop",
    "guided_backprop:dialect=zennit",
    "gradient:postprocess=abs",
    "gradient_x_sign",
    "deep_taylor",
    "deep_taylor.bounded:low=-1,high=1",
    "lrp.sequential_preset_a",
    "lrp.sequential_preset_b",
    "lrp.sequential_preset_a_flat",
    "lrp.sequential_preset_b_flat",
    "lrp.gamma",
    "lrp_epsilon_0_1_std_x",
    "lrp_sequential_composite_a",
    "lrpsign_z",
    "w2lrp_z",
    "flatlrp_z",
    "epsilon_plus",
    "epsilon_plus_flat",
    "epsilon_alpha2_beta1",
    "epsilon_gamma_box:low=-1,high=1",
    "excitation_backprop",
    "grad_cam",
)
_ALL_MODELS = ("digits-cnn", "ecg-cnn1d", "fer-xception", "efficientnet-lite0", "vgg16-mri")
SUITES = {
    suite.name: suite
    for suite in (
        Suite("quick", ("digits-cnn",)),
        Suite("default", _ALL_MODELS),
        Suite("large", ("efficientnet-lite0", "vgg16-mri"), LARGE_METHODS),
        Suite("catalogue", _ALL_MODELS, ALL_METHODS),
    )
}

#: Samples in a batch, for the models small enough that a batch costs nothing; one for every other.
BATCH = {"digits-cnn": 2, "ecg-cnn1d": 2}


def suite_named(name: str) -> Suite:
    """The suite of a name; raises UnknownNameError with the nearest match."""
    if name not in SUITES:
        raise UnknownNameError("suite", name, SUITES)
    return SUITES[name]


def select_methods(patterns: Sequence[str], among: Sequence[str]) -> tuple[str, ...]:
    """The methods of ``among`` that match any glob, then the patterns that are names of their own.

    A pattern without a wildcard that ``among`` does not hold is taken as a method name
    (``lrp.epsilon:epsilon=0.33``) and must parse; a glob that matches nothing is an error.
    """
    if not patterns:
        return tuple(among)
    chosen: list[str] = []
    for pattern in patterns:
        if any(character in pattern for character in "*?["):
            matches = [name for name in among if fnmatchcase(name, pattern)]
            if not matches:
                raise InvalidInputError(f"no method matches {pattern!r}; see: xai-harness methods")
        else:
            matches = [method(pattern).name]
        chosen += [name for name in matches if name not in chosen]
    return tuple(chosen)


def is_sampled(name: str) -> bool:
    """Whether a method draws samples, for each of which the network is run, or that are the result."""
    return isinstance(method(name).procedure, Smoothed | InputPlusNoise | UniformNoise)


def known_methods() -> tuple[str, ...]:
    """Every catalogue name, those that need parameters with some, and every composite the suites run."""
    return ALL_METHODS
