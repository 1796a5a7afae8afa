"""How the tests find out which framework they need (tests/frameworks.py)."""

from pathlib import Path

import pytest

from tests.frameworks import needs_of_functions, needs_of_import, needs_of_module


@pytest.mark.parametrize(
    "module, needs",
    [
        ("tensorflow.math", {"tensorflow"}),
        ("keras", {"tensorflow"}),
        ("torch.nn", {"torch"}),
        ("zennit.rules", {"torch"}),
        ("ported_impls.hooks", {"torch"}),
        ("reference_impls.tensorflow.backend", {"tensorflow"}),
        ("ported_models.twins.keras_twin", {"tensorflow"}),
        ("ported_models.sources.torch_source", {"torch"}),
        ("ported_models.twins.layout", set()),
        ("reference_impls.oracle.backend", set()),
        ("harness.api", set()),
        ("torchlike", set()),
    ],
)
def test_a_package_needs_its_framework(module, needs):
    assert needs_of_import(module) == needs


def written(folder: Path, text: str) -> Path:
    path = folder / "test_sample.py"
    path.write_text(text)
    return path


def test_a_module_needs_what_it_imports_at_its_top(tmp_path):
    path = written(tmp_path, "import torch.nn\nfrom reference_impls import tensorflow\n")
    assert needs_of_module(path) == {"torch", "tensorflow"}


def test_an_import_inside_a_function_is_the_functions_own_need(tmp_path):
    path = written(
        tmp_path,
        "def test_one():\n    import keras\n\ndef test_other():\n    pass\n",
    )
    assert needs_of_module(path) == set()
    assert needs_of_functions(path) == {"test_one": {"tensorflow"}, "test_other": set()}


def test_a_need_passes_from_helpers_and_fixtures_to_the_test_that_uses_them(tmp_path):
    path = written(
        tmp_path,
        "def helper(model):\n    return model.torch()\n\n"
        "def output(model):\n    return helper(model)\n\n"
        "def twin():\n    import keras\n\n"
        "def test_both(twin):\n    assert output(1)\n\n"
        "def test_neither():\n    assert True\n",
    )
    needs = needs_of_functions(path)
    assert needs["test_both"] == {"torch", "tensorflow"}
    assert needs["test_neither"] == set()


def test_a_backend_asked_for_by_name_is_a_need(tmp_path):
    path = written(
        tmp_path,
        "def test_both():\n    compare(backend_named('tensorflow'), explain(x, backend='zennit'))\n\n"
        "def test_a_label():\n    Trace(backend='torch')\n",
    )
    assert needs_of_functions(path) == {"test_both": {"tensorflow", "torch"}, "test_a_label": set()}


@pytest.mark.parametrize("folder, framework", [("reference", "tensorflow"), ("port", "torch")])
def test_a_test_of_one_side_needs_its_framework_whatever_it_imports(folder, framework):
    below = (Path(__file__).parents[1] / folder).glob("test_*.py")
    assert framework in needs_of_module(next(below))
