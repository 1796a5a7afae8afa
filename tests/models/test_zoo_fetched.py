"""The whole zoo, the fetched networks included: their weights are downloaded unless they are cached."""

from __future__ import annotations

import functools

import numpy as np
import onnxruntime
import pytest

from ported_models import zoo
from ported_models.model import PortedModel
from ported_models.zoo.catalogue import ENTRIES
from ported_models.zoo.fetch import cached_path
from tests.models.onnx_runs import assert_twins_agree

ENTRY = {entry.name: entry for entry in ENTRIES}
#: Of a hundred megabytes of weights and more, too long for every push.
LARGE = ("minilm-l6", "vgg16-mri", "vgg19-cifar10")


@functools.cache
def loaded(name: str) -> PortedModel:
    return zoo.load(name)


def run_onnx(source: str | bytes, x: np.ndarray) -> np.ndarray:
    """The first output that ONNX Runtime computes, from a path or a serialized proto."""
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def logits(name: str, example: str) -> np.ndarray:
    """ONNX Runtime's logits of the neutral graph on one example, (classes,)."""
    model = loaded(name)
    return run_onnx(model.onnx.SerializeToString(), model.examples[example]())[0]


def named(name: str, example: str) -> str:
    """The label that network ``name`` gives one of its examples."""
    labels = loaded(name).labels
    assert labels is not None
    return labels[int(logits(name, example).argmax())]


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores.astype(np.float64) - scores.max())
    return powers / powers.sum()


def facts_agree(name: str) -> None:
    model, entry = loaded(name), ENTRY[name]
    assert (model.name, model.input_shape) == (name, entry.input_shape)
    assert model.labels == entry.labels()
    assert model.classes == len(entry.labels())
    assert entry.available


def test_vgg16_is_as_its_entry_says() -> None:
    facts_agree("vgg16-mri")
    assert loaded("vgg16-mri").removed == "softmax"


def test_xception_is_as_its_entry_says() -> None:
    facts_agree("fer-xception")
    assert loaded("fer-xception").removed == "softmax"


@pytest.mark.torch
def test_efficientnet_is_as_its_entry_says() -> None:
    facts_agree("efficientnet-lite0")
    assert loaded("efficientnet-lite0").removed is None


def test_vgg16_finds_no_tumour_in_a_template_of_normal_brains() -> None:
    assert named("vgg16-mri", "axial-18mm") == "notumor"


def test_xception_sees_the_smile() -> None:
    assert named("fer-xception", "astronaut") == "happy"


@pytest.mark.torch
def test_efficientnet_names_what_its_photographs_show() -> None:
    assert named("efficientnet-lite0", "cat") in ("tabby", "tiger cat", "Egyptian cat")
    assert named("efficientnet-lite0", "espresso") == "espresso"
    assert named("efficientnet-lite0", "tripod") == "tripod"


def test_vgg16_computes_what_the_file_of_the_package_computes() -> None:
    weights, x = ENTRY["vgg16-mri"].weights, loaded("vgg16-mri").examples["axial-26mm"]()
    assert weights is not None
    expected = run_onnx(str(cached_path(weights)), x)[0]
    # Two orders of float32 sums on logits of size 10: some 1e-5 in the logits, as much in a probability.
    np.testing.assert_allclose(softmax(logits("vgg16-mri", "axial-26mm")), expected, rtol=0, atol=1e-5)


def test_xception_computes_what_keras_makes_of_the_file_of_the_package() -> None:
    import keras

    weights, x = ENTRY["fer-xception"].weights, loaded("fer-xception").examples["astronaut"]()
    assert weights is not None
    original = keras.models.load_model(cached_path(weights), compile=False, safe_mode=True)
    expected = np.asarray(original([x]))[0]
    np.testing.assert_allclose(softmax(logits("fer-xception", "astronaut")), expected, rtol=0, atol=1e-6)


@pytest.mark.thinned(0.4)
@pytest.mark.tensorflow
@pytest.mark.torch
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.nightly] if name in LARGE else [])
        for name in zoo.names()
        if name != "mask-decoder"
    ],
)
def test_the_twins_and_onnx_runtime_compute_the_same_network(name: str) -> None:
    # mask-decoder takes minutes, and its quarter has the same layers.
    model = loaded(name)
    assert_twins_agree(model, next(iter(model.examples.values()))())
