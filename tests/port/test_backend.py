"""The backend as the harness sees it: protocol, versions, and what happens without torch."""

from __future__ import annotations

import re

import numpy as np
import pytest

from harness.backends import capability
from harness.methods import SUITE_METHODS, method
from ported_impls.adapters import backend_from_composite, backend_from_function
from ported_impls.backend import TorchBackend
from ported_impls.versions import function_digest
from ported_impls.zennit_candidate import zennit_backend
from ported_models.build import Builder
from ported_models.model import PortedModel
from tests.port.interpreter import output_of


def small_model() -> PortedModel:
    b = Builder("small", (2,))
    b.add("dense", "head", weights={"kernel": np.eye(2)})
    return PortedModel.from_graph(b.graph())


@pytest.mark.parametrize("backend", [TorchBackend(), zennit_backend()], ids=lambda backend: backend.name)
def test_the_protocol_is_met(backend):
    prepared = backend.prepare(small_model(), "float32")
    for name in ("logits", "steps", "programs"):
        assert capability(prepared, name) is prepared
    for name in ("activations", "deviations", "denominators"):
        assert capability(prepared, name) is None
    assert not any(backend.supports(method(name), small_model().graph) for name in SUITE_METHODS)


def test_versions_name_frameworks_and_source():
    version = TorchBackend().version()
    assert set(version) == {"torch", "zennit", "numpy", "source"}
    assert version["numpy"] == np.__version__
    assert re.fullmatch("[0-9a-f]{64}", version["source"])


def test_the_digest_of_a_function_follows_what_it_captured():
    def scaled(factor):
        return lambda twin, x, target, method: factor * x

    assert function_digest(scaled(2)) == function_digest(scaled(2)) != function_digest(scaled(3))


def test_a_function_without_a_file_is_never_taken_for_another():
    namespace: dict = {}
    exec("def typed_in(twin, x, target, method): return x", namespace)
    assert function_digest(namespace["typed_in"]) != function_digest(namespace["typed_in"])


def test_without_torch_preparing_says_how_to_install_it():
    lines = output_of("""
        import sys
        sys.modules["torch"] = None
        from harness.errors import MissingFrameworkError
        from ported_impls.adapters import backend_from_composite
        from ported_impls.backend import TorchBackend
        from ported_impls.zennit_candidate import zennit_backend

        for backend in (TorchBackend(), zennit_backend(), backend_from_composite("mine", print)):
            backend.version()
            try:
                backend.prepare(None, "float32")
            except MissingFrameworkError as error:
                print(error)
    """)
    assert lines == ["torch is not installed; install it with: pip install 'xai-harness[torch]'"] * 3


def test_importing_the_backends_imports_no_framework():
    lines = output_of("""
        import sys
        import ported_impls.adapters, ported_impls.array_function, ported_impls.backend
        import ported_impls.zennit_candidate
        print(sorted({"torch", "zennit", "tensorflow", "keras"} & set(sys.modules)))
    """)
    assert lines == ["[]"]


def test_adapters_refuse_what_they_cannot_run():
    with pytest.raises(ValueError, match="mine: the composite must be callable, found int"):
        backend_from_composite("mine", 3)
    with pytest.raises(ValueError, match=r"mine: head must be 'logit', .*'relu_logits' or None, found 'two'"):
        backend_from_composite("mine", print, head="two")
    with pytest.raises(KeyError, match="unknown framework 'pytorch'; did you mean 'torch'"):
        backend_from_function("mine", print, "pytorch")
