"""Everything that may be done differently at a step, subject by subject."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from harness.steps import Deviation, Step
from reference_impls.deviations.backward.absolutes import absolutes
from reference_impls.deviations.backward.alpha_beta import alphas_and_betas, gammas
from reference_impls.deviations.backward.attention import attentions
from reference_impls.deviations.backward.batch_norms import batch_norms
from reference_impls.deviations.backward.bias import biases
from reference_impls.deviations.backward.branches import residuals
from reference_impls.deviations.backward.coupling import batches, heads
from reference_impls.deviations.backward.derivatives import derivatives
from reference_impls.deviations.backward.halves import halves
from reference_impls.deviations.backward.input_values import bounds, ones_and_inputs
from reference_impls.deviations.backward.layout import flattenings, layouts
from reference_impls.deviations.backward.limits import limits
from reference_impls.deviations.backward.magnitude import scales
from reference_impls.deviations.backward.mapping import activations, other_rules
from reference_impls.deviations.backward.pooling import poolings
from reference_impls.deviations.backward.preactivation import outputs
from reference_impls.deviations.backward.precision import formats, missing_numbers
from reference_impls.deviations.backward.rounded_products import products
from reference_impls.deviations.backward.signs import clipped, thresholds
from reference_impls.deviations.backward.stabilizers import epsilons, forms
from reference_impls.deviations.backward.standard_deviations import standard_deviations
from reference_impls.deviations.backward.transposes import transposes
from reference_impls.oracle.linear import Arrays

#: From a step and what was observed to what might have been done.
Subject = Callable[[Step, Arrays], Iterator[Deviation]]
#: The order decides between two that come to the
#: same: what a rule has as a parameter first, another rule next, what only describes the result last.
SUBJECTS: tuple[Subject, ...] = (
    standard_deviations,
    epsilons,
    biases,
    alphas_and_betas,
    gammas,
    thresholds,
    bounds,
    ones_and_inputs,
    outputs,
    poolings,
    batch_norms,
    residuals,
    attentions,
    flattenings,
    halves,
    other_rules,
    activations,
    derivatives,
    forms,
    clipped,
    absolutes,
    heads,
    batches,
    missing_numbers,
    layouts,
    transposes,
    formats,
    products,
    scales,
    limits,
)


#: Those that exchange places or channels, or concern the edge: an excerpt of patches may not have them.
OF_PLACES = (ones_and_inputs, flattenings, layouts, transposes)


def deviations(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """What might be done differently at this step, subject after subject.

    ``observed``: the candidate's result, (batch, *input shape) for each input; NaN and infinity may be among it. Of
    several edges one that was not seen is NaN throughout.
    """
    return _of(SUBJECTS, step, observed)


def deviations_of_places(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """Those of :func:`deviations` that exchange places or channels, or concern the edge."""
    return _of(OF_PLACES, step, observed)


def _of(subjects: Iterable[Subject], step: Step, observed: Arrays) -> Iterator[Deviation]:
    observed = tuple(np.asarray(part, dtype=np.float64) for part in observed)
    for subject in subjects:
        with np.errstate(all="ignore"):
            deviations = list(subject(step, observed))
        yield from deviations
