"""What comes back from a run: named-axis arrays, the trace, its file format."""

from harness.trace.files import load_trace, load_trace_with_facts, save_trace
from harness.trace.trace import LayerTrace, Trace

__all__ = ["LayerTrace", "Trace", "load_trace", "load_trace_with_facts", "save_trace"]
