"""The plugin protocol and the registry."""

from harness.backends.protocol import Backend, Model, Prepared, Steps

__all__ = ["Backend", "Model", "Prepared", "Steps"]
