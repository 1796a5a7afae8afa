"""signxai2 0.13.0: the functions of `signxai/torch_signxai/methods/wrappers.py`. Runs in its interpreter only.

The package's own `__init__` asks for TensorFlow 2.12; the wrappers need Zennit alone. Each is called with one sample,
its batch axis, and ``target_class``; ten are written twice, and the second is the one there is.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

from harness.methods import CATALOGUE, GradCam, Method, cam_layer
from harness.methods.definition import TimesSign
from harness.methods.dialects.signxai import published_names
from ported_impls.libraries.adapter import Call, LibraryBackend, bare_package, one_by_one, says


def _wrappers() -> Any:
    import ported_impls.torchvision_shim  # noqa: F401  (Zennit beside a CPU-only torch)

    bare_package("signxai", "signxai2")
    bare_package("signxai.torch_signxai", "signxai2")
    from signxai.torch_signxai.methods import wrappers

    return wrappers


def _called(name: str) -> Any:
    def call(twin: Any, x: Any, target: int, method: Method) -> Any:
        options: dict[str, Any] = {"target_class": target}
        if name.endswith("_x_sign_mu") and isinstance(method.postprocess, TimesSign):
            options["mu"] = method.postprocess.threshold
        if name in ("grad_cam", "grad_cam_timeseries") and isinstance(method.procedure, GradCam):
            options["target_layer"] = twin.get_submodule(cam_layer(twin.graph, method.procedure.layer).name)
        with contextlib.redirect_stdout(io.StringIO()):  # it reports what it does, a line a call
            return getattr(_wrappers(), name)(twin, x, **options)

    return one_by_one(call, layers=True)


def method_of(name: str) -> str:
    """What a name of signxai is called in the catalogue."""
    own = f"{name}:dialect=signxai"
    return own if own in CATALOGUE else name


CALLS = {
    method_of(name): Call(f"{name}(model, x, target_class=target)", _called(name))
    for name in published_names()  # all of them are there
}
SAYS = says(CALLS)
backend = LibraryBackend("signxai2-0.13", ("signxai2", "zennit"), "torch", CALLS)
