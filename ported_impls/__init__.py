"""What is under test: the PyTorch port on Zennit's core, Zennit itself, and adapters for other candidates.

Nothing here imports torch before a backend prepares a model.
"""

from ported_impls.adapters import backend_from_composite, backend_from_function
from ported_impls.backend import TorchBackend
from ported_impls.zennit_candidate import zennit_backend

__all__ = ["TorchBackend", "backend_from_composite", "backend_from_function", "zennit_backend"]
