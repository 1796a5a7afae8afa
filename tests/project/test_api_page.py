"""docs/api.md is current, and holds the public API as it is fixed."""

from __future__ import annotations

import inspect
import re

import pytest

import harness
from evidence.api import PAGE, SECTIONS, page

#: What other programs are written against; see also tests/project/typed_program.py.
FIXED = {
    "load_model": "source name example axes output",
    "load_pair": "keras_model torch_module layer_map example name",
    "explain": "model x method backend target dtype layers",
    "compare": "reference candidate tolerance floor",
    "diagnose": "model x method reference candidate target dtype",
    "load_trace": "path",
    "register_backend": "name backend",
    "backend_from_composite": "name composite head",
    "backend_from_function": "name function framework layers",
    "list_methods": "",
    "list_models": "",
    "list_backends": "",
    "parametrize_with_methods": "model methods candidate",
}
ATTRIBUTES = {
    "LoadedModel": "name input_shape layers keras torch onnx",
    "LoadedPair": "verified first_difference",
    "Trace": "attribution layers target logits save plot",
    "LayerTrace": "activation relevance",
    "Comparison": "verdict table passed first_divergent plot",
    "Diagnosis": "stage layer cause explanation findings reproducer residual left",
    "Finding": "stage layer cause words also",
}


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m evidence.api"


def test_the_page_holds_every_public_name() -> None:
    shown = {member.__name__ for members in SECTIONS.values() for member in members}
    assert set(harness.__all__) - {"HarnessError"} <= shown


@pytest.mark.parametrize(("name", "parameters"), FIXED.items(), ids=FIXED)
def test_a_call_takes_what_is_fixed(name: str, parameters: str) -> None:
    taken = list(inspect.signature(getattr(harness, name)).parameters)
    assert taken[: len(parameters.split())] == parameters.split()


@pytest.mark.parametrize(("name", "attributes"), ATTRIBUTES.items(), ids=ATTRIBUTES)
def test_the_page_shows_what_a_result_has(name: str, attributes: str) -> None:
    section = re.split(r"^##+ ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (shown,) = [each for each in section if each.startswith((f"`{name}`", f"`harness.{name}`"))]
    rows = set(re.findall(r"^\| `(\w+)", shown, re.MULTILINE))
    assert set(attributes.split()) <= rows
