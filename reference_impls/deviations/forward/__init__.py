"""What implementers do differently in the forward pass of one layer, and which of it gives what was observed."""

from reference_impls.deviations.forward.altering import carry_forward
from reference_impls.deviations.forward.preprocessing import habits
from reference_impls.deviations.forward.search import forward_deviations

__all__ = ["carry_forward", "forward_deviations", "habits"]
