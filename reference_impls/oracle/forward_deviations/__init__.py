"""What implementers do differently in the forward pass of one layer, and which of it gives what was observed."""

from reference_impls.oracle.forward_deviations.altering import carry_forward
from reference_impls.oracle.forward_deviations.search import forward_deviations

__all__ = ["carry_forward", "forward_deviations"]
