"""The PyTorch port of DLBacktrace as a backend of the harness."""

from __future__ import annotations

from harness.backends.protocol import Model, Prepared
from harness.checks import require_device
from harness.errors import InvalidInputError
from harness.files import installed_versions, source_digest
from harness.graph import Graph
from harness.methods import BacktraceStart, Backward, Method
from ported_impls.versions import require_torch_and_zennit


class BacktraceTorch:
    """Both modes in PyTorch, vectorised and batched, in float32 and float64.

    ``chunk``: how many numbers the tensors of one step may hold together; None for 2**24, or what one output channel
    of one sample takes where that is more. Raises InvalidInputError for a chunk below 1.
    """

    def __init__(self, chunk: int | None = None) -> None:
        if chunk is not None and chunk < 1:
            raise InvalidInputError(f"backtrace-torch: the chunk must be 1 number or more, found {chunk}")
        self.name = "backtrace-torch"
        self._chunk = chunk

    def version(self) -> dict[str, str]:
        """Versions, the source's digest, and the chunk size: results of other sizes differ in their last bits."""
        return {
            **installed_versions("torch", "numpy"),
            "chunk": "by shape" if self._chunk is None else str(self._chunk),
            "source": source_digest("ported_impls"),
        }

    def supports(self, method: Method, graph: Graph) -> str:
        """Why a rule, the start or the procedure of ``method`` is none of this family; else empty."""
        own = "it runs backtrace.default and backtrace.contrast"
        if not isinstance(method.head, BacktraceStart):
            return f"it has no head {method.head!r}; {own}"
        if method.procedure != Backward() or method.postprocess != "none":
            return f"it has one run backwards, and no post-processing; {own}"
        return ""

    def prepare(self, model: Model, dtype: str, device: str = "cpu") -> Prepared:
        """Raises MissingFrameworkError without torch, InvalidInputError for a device that is not here or a pair ported
        by hand, whose torch side nobody knows to be called layer by layer.
        """
        require_torch_and_zennit()
        from ported_impls.devices import OnDevice, devices, twin_on
        from ported_impls.dlbacktrace.run import TwinBacktrace
        from ported_impls.layout import ported_by_hand

        require_device(self.name, device, devices())
        if ported_by_hand(model):
            raise InvalidInputError(
                f"{self.name} runs a network layer by layer, which a pair ported by hand need not do; "
                "load one side alone, or compare with a method of the backend 'torch'"
            )
        prepared = TwinBacktrace(twin_on(model.torch(dtype), device), self._chunk)
        return prepared if device == "cpu" else OnDevice(prepared, device)
