"""Every idea of the page, in its order."""

from evidence.dialects.ideas import (
    backward,
    batch_norm,
    batches,
    contributions,
    division,
    input_layer,
    sampling,
)

IDEAS = (
    *batch_norm.IDEAS,
    *division.IDEAS,
    *contributions.IDEAS,
    *input_layer.IDEAS,
    *backward.IDEAS,
    *sampling.IDEAS,
    *batches.IDEAS,
)

__all__ = ["IDEAS"]
