"""What is right, in NumPy float64: one function per rule, readable before fast, no framework."""

from reference_impls.oracle.backend import OracleBackend, PreparedOracle
from reference_impls.oracle.rules import propagate
from reference_impls.oracle.run import explain

__all__ = ["OracleBackend", "PreparedOracle", "explain", "propagate"]
