"""What comes back from a run: named-axis arrays, the trace, its file format."""

from harness.trace.trace import LayerTrace, Trace

__all__ = ["LayerTrace", "Trace"]
