"""A network that a user ported by hand: a Keras and a torch model, aligned layer by layer."""

from ported_models.pair.load import load_pair
from ported_models.pair.ported_pair import ForwardRow, PortedPair

__all__ = ["ForwardRow", "PortedPair", "load_pair"]
