"""What others do differently, one layer's step at a time: carried out in float64, with the cause by name."""

from reference_impls.deviations.backward.carrying import carry_out
from reference_impls.deviations.backward.registry import deviations, deviations_of_places

__all__ = ["carry_out", "deviations", "deviations_of_places"]
