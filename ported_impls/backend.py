"""The port under test as a backend of the harness."""

from __future__ import annotations

from harness.backends.protocol import Model, Prepared
from harness.checks import require_device
from harness.files import installed_versions, source_digest
from harness.graph import Graph
from harness.methods import Method
from ported_impls.versions import require_torch_and_zennit


class TorchBackend:
    """Every method of the catalogue in PyTorch, by hooks on Zennit's core; the rules are `harness.methods.rules`."""

    name = "torch"

    def version(self) -> dict[str, str]:
        return {**installed_versions("torch", "zennit", "numpy"), "source": source_digest("ported_impls")}

    def supports(self, method: Method, graph: Graph) -> str:
        """Every rule and procedure of LRP and its kin is implemented; a misplaced rule is an error of the run."""
        return "" if method.family == "usual" else f"the family {method.family!r} has a port of its own"

    def prepare(self, model: Model, dtype: str, device: str = "cpu") -> Prepared:
        """Raises MissingFrameworkError without torch, InvalidInputError for a device that is not here."""
        require_torch_and_zennit()
        from ported_impls.composite import method_composite
        from ported_impls.devices import OnDevice, devices, twin_on
        from ported_impls.edges import rectified_edges
        from ported_impls.layout import ported_by_hand
        from ported_impls.run import HookedTwin
        from ported_impls.shared import SharedPasses

        require_device(self.name, device, devices())
        twin = twin_on(model.torch(dtype), device)
        prepared = HookedTwin(
            model=model,
            twin=twin,
            composite=lambda method: method_composite(method, twin.graph),
            edges=lambda method: rectified_edges(twin.graph, method.composite.assign(twin.graph)),
            deciding_name=lambda method: "",
            passes=None if ported_by_hand(model) else SharedPasses(twin),
        )
        return prepared if device == "cpu" else OnDevice(prepared, device)
