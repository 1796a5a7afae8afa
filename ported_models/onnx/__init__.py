"""ONNX, out and in: the neutral graph's file format, and the files that exporters make."""

from ported_models.onnx.neutral import softmax_was_removed
from ported_models.onnx.reader import onnx_to_graph, read_onnx, remove_final_softmax
from ported_models.onnx.writer import graph_to_onnx

__all__ = ["graph_to_onnx", "onnx_to_graph", "read_onnx", "remove_final_softmax", "softmax_was_removed"]
