"""ONNX, out and in: the neutral graph's file format, and the files that exporters make."""

from ported_models.onnx.neutral import removed_ending
from ported_models.onnx.reader import ReadFile, onnx_to_graph, read_onnx
from ported_models.onnx.writer import graph_to_onnx

__all__ = ["ReadFile", "graph_to_onnx", "onnx_to_graph", "read_onnx", "removed_ending"]
