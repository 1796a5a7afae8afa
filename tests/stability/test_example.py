"""`docs/stability.md` says what `reports/stability.json` holds, and the composite is the notebook's."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

import harness
from harness.graph import KERNEL_KINDS
from harness.methods import Bounded, Epsilon, Gamma, Pass, Unprotected, Z

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = ROOT / "benchmarks" / "stability_example.py"
    spec = importlib.util.spec_from_file_location("stability_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_stored_figures(example: ModuleType) -> None:
    page = example.PAGE.read_text(encoding="utf-8")
    figures = json.loads(example.FIGURES.read_text(encoding="utf-8"))
    assert example.render(page, figures) == page, "run: python benchmarks/stability_example.py --only-page"
    for name in example.BLOCKS:
        assert f"<!-- figures: {name} -->" in page


def test_what_the_page_says_in_words_is_in_the_figures(example: ModuleType) -> None:
    """The sentences around the tables: each is a comparison of figures, and holds for those stored."""
    runs = json.loads(example.FIGURES.read_text(encoding="utf-8"))["runs"]
    for name, run in runs.items():
        if name.endswith("stabilized"):
            assert run["origin"] is None
        else:
            origin = run["origin"]
            assert (origin["layer"], origin["kind"], origin["count"]) == ("block1_conv1", "R/0", 14)
            # The 3 x 3 pixels of three channels that an output in a corner sees lie inside the picture as 2 x 2.
            assert run["input"]["counts"]["nan"] == 4 * (2 * 2) * 3
    run = next(run for name, run in runs.items() if name.endswith("stabilized"))
    (total,) = run["totals"]
    assert 0.3 < total["passed"] / total["received"] < 0.36
    assert total["bias"] / (total["received"] - total["passed"]) > 0.7
    for each in run["layers"]:
        if each["rule"].startswith("Epsilon"):
            assert each["condition"] < 10
    by_end = {(each["of"], each["end"]): each for each in run["input"]["extremes"]}
    assert by_end["relevance", "max"]["input"] == 0
    for each in (run for name, run in runs.items() if name.endswith("stabilized")):
        turned = {form["form"]: form["turned"] for form in each["forms"]["results"]}
        assert turned["signed"] == 0
        assert turned["rms"] > 3 * turned["plain"] > 0


@pytest.mark.nightly
def test_rules_stand_where_the_notebook_puts_them(example: ModuleType) -> None:
    """torchvision's `features` 0, 2..14, 17..28 and the classifier, in the names of `vgg16-mri`."""
    graph = harness.load_model("vgg16-mri").graph
    rules = example.notebook_method(Unprotected()).composite.assign(graph)
    kernels = [layer.name for layer in graph if layer.kind in KERNEL_KINDS]
    by_rule = [type(rules[name]) for name in kernels]
    assert by_rule == [Bounded] + [Gamma] * 6 + [Epsilon] * 6 + [Z] * 4
    assert (kernels[1], kernels[6], kernels[7], kernels[12]) == (
        "block1_conv2",
        "block3_conv3",
        "block4_conv1",
        "block5_conv3",
    )
    assert isinstance(rules["block1_conv1_relu"], Pass)
