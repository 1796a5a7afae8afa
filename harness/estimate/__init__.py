"""What a case will take in time, memory and bytes, before it is computed."""

from harness.estimate.ahead import expectation, how_far_off
from harness.estimate.machine import Machine, known_machine, measured_machine
from harness.estimate.prediction import Estimate, estimate
from harness.estimate.work import Work, work_of

__all__ = [
    "Estimate",
    "Machine",
    "Work",
    "estimate",
    "expectation",
    "how_far_off",
    "known_machine",
    "measured_machine",
    "work_of",
]
