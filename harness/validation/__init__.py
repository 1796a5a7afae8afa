"""Whether relevance is finite, how it is distributed, and what each layer hands on of what it received."""

from harness.validation.analysis import Balance, Validation, validate

__all__ = ["Balance", "Validation", "validate"]
