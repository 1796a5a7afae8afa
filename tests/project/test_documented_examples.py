"""The Python in README and docs runs as it stands there, and gives what it says."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness
from harness.token_texts import token_texts
from ported_models.build import Builder
from ported_models.model import PortedModel
from ported_models.zoo import minilm
from ported_models.zoo.fetch import is_cached

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]


def run_block(page: str, number: int, **given: Any) -> dict[str, Any]:
    """Execute the Python block ``number`` of a page; returns the names that it leaves."""
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    names = dict(given)
    exec(compile(blocks[number], f"{page}, block {number}", "exec"), names)
    return names


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).random((1, 8, 8, 1))


def test_the_example_in_the_readme_prints_what_its_comments_say(capsys):
    run_block("README.md", 0)
    verdict, divergent, *_ = capsys.readouterr().out.splitlines()
    assert (verdict, divergent) == ("equivalent", "None")


def test_the_guide_to_porting_finds_that_zennits_rule_differs_and_the_forward_pass_does_not():
    comparison = run_block("docs/port-a-method.md", 0)["comparison"]
    assert comparison.verdict == "divergent"
    assert comparison.first_divergent_forward is None
    assert comparison.first_divergent is not None


def test_a_zennit_composite_becomes_a_backend(x):
    trace = run_block("docs/add-a-backend.md", 0, x=x)["trace"]
    assert trace.backend == "mine"
    assert trace.attribution.shape == x.shape


def test_a_function_becomes_a_backend_that_agrees_with_the_reference(x):
    run_block("docs/add-a-backend.md", 1, harness=harness)
    reference = harness.explain("digits-cnn", x, "gradient", dtype="float64")
    candidate = harness.explain(
        "digits-cnn", x, "gradient", backend="mine", target=reference.target, dtype="float64"
    )
    assert harness.compare(reference, candidate).passed


@pytest.mark.parametrize(
    ("block", "name", "asked", "shown"),
    [(2, "smooth", "smoothgrad:augment_by_n=3", False), (3, "by_layer", "gradient", True)],
)
def test_functions_that_take_noise_and_show_layers_agree_with_the_reference(x, block, name, asked, shown):
    names = run_block("docs/add-a-backend.md", 1, harness=harness)
    names = run_block("docs/add-a-backend.md", block, **names)
    reference = harness.explain("digits-cnn", x, asked, dtype="float64")
    candidate = harness.explain(
        "digits-cnn", x, asked, backend=names[name], target=reference.target, dtype="float64"
    )
    assert bool(candidate.layers) == shown
    assert harness.compare(reference, candidate).passed


def test_a_method_of_ones_own_is_explained_by_name(x):
    names = run_block("docs/add-a-method.md", 0, x=x)
    assert names["trace"].method == names["mine"]


@pytest.mark.nightly
def test_the_bench_in_its_page_runs(capsys):
    found = run_block("docs/bench.md", 0)["found"]
    assert found.comparison.passed
    assert len(capsys.readouterr().out.splitlines()) == len(found.rows) + 2


def test_a_vision_transformer_is_explained_the_same_on_both_sides():
    names = run_block("docs/transformers.md", 0)
    assert names["comparison"].passed
    assert names["heads"].shape == (1, 4, 17, 17)


def test_a_model_is_told_what_its_tokens_are_called():
    builder = Builder("text", (3,), axes=("batch", "token"))
    model = run_block("docs/transformers.md", 1, model=PortedModel.from_graph(builder.graph()))["model"]
    assert token_texts(model, np.zeros((2, 3))) == (("<s>", "a", "b"),) * 2


def test_the_tokens_of_a_text_of_ones_own_are_printed(capsys):
    pytest.importorskip("tokenizers")
    if not is_cached(minilm.WEIGHTS):
        pytest.skip("minilm-l6 is not fetched")
    run_block("docs/transformers.md", 2, harness=harness)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        *("[CLS]", "the", "weather", "is", "lovely", "today", ".", "[SEP]")
    ]
