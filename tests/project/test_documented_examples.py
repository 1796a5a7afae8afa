"""The Python in README and docs runs as it stands there, and gives what it says."""

import re
from collections import OrderedDict
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


#: By page, the Python blocks that are not run here, and why.
NOT_RUN = {
    ("docs/add-a-backend.md", 4): "a skeleton; examples/candidate_with_layers.py is one that runs",
    ("docs/peers.md", 0): "the signature of a function that readers write",
    ("docs/pytest.md", 0): "run as a project: examples/port-your-own",
    ("docs/pytest.md", 1): "a mark alone",
    ("docs/pytest.md", 2): "needs a stored golden: tests/pytest_plugin",
    ("docs/transformers.md", 2): "300 targets take most of an hour; tests/harness/test_queries.py has a few",
}


def blocks_of(page: str) -> list[str]:
    return re.findall(
        r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def test_every_block_is_run_or_it_is_said_why_not() -> None:
    pages = ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
    every = {(page, number) for page in pages for number in range(len(blocks_of(page)))}
    source = Path(__file__).read_text(encoding="utf-8")
    run = {(page, int(number)) for page, number in re.findall(r'run_block\(\s*"([^"]+)", (\d+)', source)}
    # A number that is a parameter stands in the list of parameters.
    run |= {("docs/add-a-backend.md", number) for number in (2, 3)}
    run |= {("docs/bring-your-own-model.md", number) for number in (2, 3)}
    assert every == run | NOT_RUN.keys()
    assert not run & NOT_RUN.keys()


def run_block(page: str, number: int, **given: Any) -> dict[str, Any]:
    """Execute the Python block ``number`` of a page; returns the names that it leaves."""
    names = dict(given)
    exec(compile(blocks_of(page)[number], f"{page}, block {number}", "exec"), names)
    return names


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).random((1, 8, 8, 1))


def test_the_example_in_the_readme_prints_what_its_comments_say(capsys):
    run_block("README.md", 0)
    verdict, divergent, *_ = capsys.readouterr().out.splitlines()
    assert (verdict, divergent) == ("equivalent", "None")


@pytest.mark.nightly
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
    run_block("docs/transformers.md", 3, harness=harness)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        *("[CLS]", "the", "weather", "is", "lovely", "today", ".", "[SEP]")
    ]


def test_a_diagnosis_has_what_its_page_shows(x):
    names = run_block("docs/diagnose.md", 0, harness=harness, model="digits-cnn", x=x, backend="zennit")
    assert names["diagnosis"].complete
    assert names["diagnosis"].reproducer.is_dir()


@pytest.mark.nightly
def test_models_of_every_kind_load_as_the_page_says(tmp_path, monkeypatch):
    import keras
    import onnx
    import torch

    monkeypatch.chdir(tmp_path)
    onnx.save(harness.load_model("digits-cnn").onnx, "model.onnx")
    keras_model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 2, 3, stride=37), torch.nn.Flatten(), torch.nn.Linear(72, 4)
    )
    names = run_block(
        "docs/bring-your-own-model.md", 0, keras_model=keras_model, module=module.eval(), torch=torch
    )
    assert names["model"].input_shape == (224, 224, 3)


def test_several_inputs_are_explained_as_the_page_says(capsys):
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.row = torch.nn.Conv2d(3, 2, 3, stride=15), torch.nn.Linear(5, 4)
            self.logits = torch.nn.Linear(8 + 4, 3)

        def forward(self, image, table):
            return self.logits(torch.cat([self.conv(image).flatten(1), self.row(table)], 1))

    run_block("docs/bring-your-own-model.md", 5, module=Net().eval(), harness=harness, torch=torch, np=np)
    said = capsys.readouterr().out
    assert "[('image', (32, 32, 3)), ('table', (5,))]" in said
    assert "{'image': (2, 32, 32, 3), 'table': (2, 5)}" in said


@pytest.mark.nightly
def test_an_onnx_file_is_told_what_it_leaves_open(tmp_path, monkeypatch):
    """One that leaves its sizes open and has two outputs, one in which no operator says where the channels are."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    monkeypatch.chdir(tmp_path)

    def write(path, nodes, inputs, outputs, weights=()):
        def values(shapes):
            return [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in shapes.items()
            ]

        graph = helper.make_graph(
            [helper.make_node(kind, read, [gives]) for kind, read, gives in nodes],
            path,
            values(inputs),
            values(outputs),
            [numpy_helper.from_array(array, name) for name, array in weights],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        checker.check_model(model)
        save(model, path)

    rng = np.random.default_rng(0)
    write(
        "detector.onnx",
        [
            ("GlobalAveragePool", ["x"], "pooled"),
            ("Flatten", ["pooled"], "flat"),
            ("Gemm", ["flat", "to_scores"], "scores"),
            ("Gemm", ["flat", "to_boxes"], "boxes"),
        ],
        {"x": ["n", 3, "h", "w"]},
        {"scores": ["n", 5], "boxes": ["n", 4]},
        [
            (name, rng.normal(size=(3, size)).astype(np.float32))
            for name, size in (("to_scores", 5), ("to_boxes", 4))
        ],
    )
    write(
        "filter.onnx",
        [("Relu", ["x"], "positive"), ("Flatten", ["positive"], "y")],
        {"x": ["n", 2, 3, 4]},
        {"y": ["n", 24]},
    )
    names = run_block("docs/bring-your-own-model.md", 1, harness=harness, np=np)
    # The second of the two: channels last, as named.
    assert names["model"].input_shape == (3, 4, 2)


@pytest.mark.nightly
@pytest.mark.parametrize(("block", "steps"), [(2, 0), (3, 1)])
def test_sequences_load_with_their_axes_named(block, steps):
    import torch

    class Pooled(torch.nn.Module):
        """The mean over the steps, then a dense layer."""

        def __init__(self) -> None:
            super().__init__()
            self.dense = torch.nn.Linear(16, 4)

        def forward(self, x):
            return self.dense(x.mean(dim=steps))

    names = run_block(
        "docs/bring-your-own-model.md", block, harness=harness, module=Pooled().eval(), torch=torch
    )
    assert names["model"].input_shape == (50, 16)


@pytest.mark.nightly
def test_a_pair_is_verified_as_the_page_says():
    import keras
    import torch

    keras_model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(2, 3, name="block1_conv1"),
            keras.layers.Flatten(),
            keras.layers.Dense(3, name="logits"),
        ]
    )
    features = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3))
    dense = torch.nn.Linear(72, 3)
    kernel, bias = (torch.tensor(each) for each in keras_model.get_layer("block1_conv1").get_weights())
    weight, offset = (torch.tensor(each) for each in keras_model.get_layer("logits").get_weights())
    # Keras flattens (height, width, channel), torch (channel, height, width).
    weight = weight.reshape(6, 6, 2, 3).permute(3, 2, 0, 1).reshape(3, 72)
    for parameter, value in (
        (features[0].weight, kernel.permute(3, 2, 0, 1)),
        (features[0].bias, bias),
        (dense.weight, weight),
        (dense.bias, offset),
    ):
        parameter.data.copy_(value)
    module = torch.nn.Sequential(
        OrderedDict(features=features, flatten=torch.nn.Flatten(), logits=dense)
    ).eval()
    names = run_block(
        "docs/bring-your-own-model.md", 4, harness=harness, keras_model=keras_model, module=module
    )
    assert names["model"].verified
