"""Study 1: factors that were fitted until two maps had one size."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from evidence.case_studies import ports
from evidence.case_studies.measure import (
    Json,
    Kept,
    agreement,
    diagnosed,
    port_run,
    reference_run,
)
from evidence.case_studies.planted import (
    ALPHA_BETA,
    FACTOR,
    FORGOTTEN,
    FROM_ONE,
    NO_NORM_HOOK,
    NO_POOLING_HOOK,
    NO_SCALE_HOOK,
    PASSED_NORM,
    SIGNED_CONVOLUTION,
    SIGNED_POOLING,
    WITHOUT_INPUT,
)
from evidence.case_studies.ports import Port
from harness.api import load_model

#: Epsilon in signxai's names, and the factor that a guide from iNNvestigate to Zennit fits for it.
FITTED = {"0_001": 21.0, "0_01": 30.0, "0_1": 20.8, "0_2": 19.0, "0_5": 4.4}
#: signxai2 0.5.0, `LRPAnalyzer`.
RELEASED_FACTOR = 26.197906
PORTS = {
    port.name: port
    for port in (
        Port("from one", ports.as_asked, (FROM_ONE,), starts_from_one=True),
        Port("epsilon forgotten", ports.forgetful, (FROM_ONE, FORGOTTEN), starts_from_one=True),
        Port(
            "another composite",
            ports.released,
            (FROM_ONE, ALPHA_BETA, SIGNED_CONVOLUTION, SIGNED_POOLING, PASSED_NORM, NO_SCALE_HOOK, FACTOR),
            starts_from_one=True,
            factor=RELEASED_FACTOR,
        ),
        Port(
            "no factor x",
            ports.forgetful_without_input,
            (FROM_ONE, WITHOUT_INPUT, FORGOTTEN, NO_POOLING_HOOK, NO_NORM_HOOK, NO_SCALE_HOOK),
            starts_from_one=True,
        ),
    )
}
MODELS = ("digits-cnn", "vgg16-mri")
#: Epsilon and ports that are diagnosed. On the large network one epsilon, and not D, which is wrong at every layer.
DIAGNOSED = {
    "digits-cnn": (tuple(FITTED), tuple(PORTS)),
    "vgg16-mri": (("0_1",), ("from one", "epsilon forgotten", "another composite")),
}


def value(epsilon: str) -> float:
    """``0_01`` is 0.01."""
    return float(epsilon.replace("_", ".", 1))


def measure(kept: Kept) -> None:
    """Measure what is not there yet."""
    for name in MODELS:
        model = load_model(name)
        first, second = [np.asarray(example()) for example in model.examples.values()][:2]
        for epsilon in FITTED:
            method = f"lrp_epsilon_{epsilon}"
            kept.case(f"factors: {name}: {epsilon}", partial(_sizes, model, first, second, method))
            epsilons, ports_of_it = DIAGNOSED[name]
            for port in ports_of_it if epsilon in epsilons else ():
                kept.case(
                    f"factors: {name}: {epsilon}: {port}",
                    partial(diagnosed, model, first, method, PORTS[port]),
                )


def _sizes(model: Any, first: np.ndarray, second: np.ndarray, method: str) -> Json:
    """What the guide measures of every port; a factor that the port has of its own is left out of the count."""
    one, other = (reference_run(model, x, method) for x in (first, second))
    reference, second_reference = summed(one.attribution), summed(other.attribution)
    return {
        "logit": float(one.logits[0, one.target[0]]),
        "second logit": float(other.logits[0, other.target[0]]),
        "mean": float(np.abs(reference).mean()),
        "ports": {
            port.name: _scaled(
                reference,
                summed(port_run(model, first, method, port, one).attribution) / port.factor,
                second_reference,
                summed(port_run(model, second, method, port, other).attribution) / port.factor,
            )
            for port in PORTS.values()
        },
    }


def _scaled(
    reference: np.ndarray, candidate: np.ndarray, second_reference: np.ndarray, second_candidate: np.ndarray
) -> Json:
    factor = fitted_factor(reference, candidate)
    return {
        "factor": factor,
        "mean": float(np.abs(candidate).mean()),
        "before": agreement(reference, candidate),
        "after": agreement(reference, factor * candidate),
        "second input": agreement(second_reference, factor * second_candidate),
    }


def summed(attribution: np.ndarray) -> np.ndarray:
    """Over the channels, as the guide does before it compares."""
    return attribution.sum(axis=-1)


def fitted_factor(reference: np.ndarray, candidate: np.ndarray) -> float:
    """``mean |TF| / mean |PT|``"""
    return float(np.abs(reference).mean() / np.abs(candidate).mean())
