"""DLBacktrace in PyTorch: whole tensors at a time, on any device, in memory that a chunk size bounds.

Contributions are never made one by one. Their sums over a window are outputs of the layer's own module with the sizes
of its weights and inputs, and the way back is that module's gradient.
"""
