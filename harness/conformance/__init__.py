"""Conformance cases in pytest: what `harness.pytest_plugin` and `harness.parametrize_with_methods` are made of."""

from harness.conformance.parametrize import Parameters, parametrize_with_methods

__all__ = ["Parameters", "parametrize_with_methods"]
