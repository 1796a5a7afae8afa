"""iNNvestigate 2.1.2: its analyzers by their own names (`innvestigate.analyzer.analyzers`).

Classes and files named in this package are those of that version;
`analyzer/relevance_based/relevance_analyzer.py` where no file is given.
"""

from harness.methods.dialects.innvestigate.entries import DIALECT, ENTRIES
from harness.methods.dialects.innvestigate.lrp import lrp_composite
from harness.methods.dialects.innvestigate.parameters import selecting

__all__ = ["DIALECT", "ENTRIES", "lrp_composite", "selecting"]
