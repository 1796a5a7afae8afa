"""The reproducer: a folder with one small script and one data file that shows a finding's difference."""

from harness.diagnosis.reproducer.evidence import Evidence
from harness.diagnosis.reproducer.folder import write

__all__ = ["Evidence", "write"]
