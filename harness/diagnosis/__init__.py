"""Where two implementations part, and why: localise, explain, reproduce."""

from harness.diagnosis.causes import CAUSES
from harness.diagnosis.diagnosis import diagnose
from harness.diagnosis.findings import Finding, Stage
from harness.diagnosis.result import Diagnosis

__all__ = ["CAUSES", "Diagnosis", "Finding", "Stage", "diagnose"]
