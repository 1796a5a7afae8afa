"""Sources of several outputs: which one is explained is said by name or place, and the message says how."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import harness
from harness.errors import ModelSourceError, UnknownNameError
from ported_models.twins.forward import LOGITS_BOUND, relative_difference

pytestmark = [pytest.mark.torch, pytest.mark.tensorflow]
torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")
nn, kl = torch.nn, keras.layers

X = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)


class Heads(NamedTuple):
    scores: Any
    boxes: Any


class TwoHeads(nn.Module):
    """``scores`` (batch, 5) and ``boxes`` (batch, 2), as ``wrap`` puts them together."""

    def __init__(self, wrap: Callable[[Any, Any], Any], boxes: Any = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.scores, self.boxes = nn.Linear(6, 4), nn.Linear(4, 5), boxes or nn.Linear(4, 2)
        self.wrap = wrap

    def forward(self, x: Any) -> Any:
        body = torch.relu(self.body(x))
        return self.wrap(self.scores(body), self.boxes(body))


def in_a_tuple() -> tuple[Any, dict[str, Any], Any]:
    module = TwoHeads(lambda scores, boxes: (scores, boxes))
    return module, {"example": torch.from_numpy(X)}, module(torch.from_numpy(X))[1].detach().numpy()


def with_fields() -> tuple[Any, dict[str, Any], Any]:
    module = TwoHeads(Heads)
    return module, {"example": torch.from_numpy(X)}, module(torch.from_numpy(X)).boxes.detach().numpy()


def in_a_dictionary() -> tuple[Any, dict[str, Any], Any]:
    module = TwoHeads(lambda scores, boxes: {"scores": scores, "boxes": boxes})
    return module, {"example": torch.from_numpy(X)}, module(torch.from_numpy(X))["boxes"].detach().numpy()


def _heads() -> tuple[Any, Any, Any]:
    keras.utils.set_random_seed(0)
    source = keras.Input((6,))
    body = kl.Dense(4, activation="relu")(source)
    return source, kl.Dense(5, name="scores", activation="softmax")(body), kl.Dense(2, name="boxes")(body)


def of_keras() -> tuple[Any, dict[str, Any], Any]:
    source, scores, boxes = _heads()
    model = keras.Model(source, [scores, boxes])
    return model, {}, np.asarray(model(X)[1])


def of_keras_by_key() -> tuple[Any, dict[str, Any], Any]:
    source, scores, boxes = _heads()
    model = keras.Model(source, {"scores": scores, "boxes": boxes})
    return model, {}, np.asarray(model(X)["boxes"])


def in_a_file(folder: Path, name: str) -> tuple[Any, dict[str, Any], Any]:
    """An ONNX file, or one of Keras."""
    if name.endswith(".onnx"):
        module, _, boxes = in_a_tuple()
        names = {"output_names": ["scores", "boxes"], "input_names": ["x"]}
        torch.onnx.export(module.eval(), (torch.from_numpy(X),), folder / name, dynamo=False, **names)
        return folder / name, {}, boxes
    model, _, boxes = of_keras()
    model.save(folder / name)
    return folder / name, {}, boxes


SOURCES = (in_a_tuple, with_fields, in_a_dictionary, of_keras, of_keras_by_key)
FILES = ("heads.onnx", "heads.keras", "heads.h5")


@pytest.fixture(params=[*SOURCES, *FILES], ids=lambda each: each if isinstance(each, str) else each.__name__)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, dict[str, Any], Any]:
    made = request.param
    return in_a_file(tmp_path, made) if isinstance(made, str) else made()


def test_the_output_is_chosen_by_place_and_by_name(source: tuple[Any, dict[str, Any], Any]) -> None:
    """The expected numbers are the source's own."""
    given, options, boxes = source
    unnamed = isinstance(given, TwoHeads) and not hasattr(given(torch.from_numpy(X)), "boxes")
    unnamed = unnamed and not isinstance(given(torch.from_numpy(X)), dict)
    for output in (1,) if unnamed else (1, "boxes"):
        model = harness.load_model(given, **options, output=output)
        assert relative_difference(np.asarray(model.keras()(X)), boxes) <= LOGITS_BOUND
        assert "scores" not in [layer.name for layer in model.layers]
        trace = harness.explain(model, X, "gradient", target=1)
        other = harness.explain(model, X, "gradient", backend="torch", target=1)
        assert harness.compare(trace, other).passed
    assert harness.load_model(given, **options, output=0).layers[-1].shape == (5,)


def test_what_is_to_be_said_is_in_the_message(source: tuple[Any, dict[str, Any], Any]) -> None:
    given, options, _ = source
    with pytest.raises(ModelSourceError, match=r"2 outputs \(0: .*, 1: .*\); say which .*output=0"):
        harness.load_model(given, **options)
    with pytest.raises(ModelSourceError, match="output=2, expected one of 0: "):
        harness.load_model(given, **options, output=2)
    with pytest.raises(
        (ModelSourceError, UnknownNameError), match=r"have no names|unknown output of .* 'bxes'.*'boxes'"
    ):
        harness.load_model(given, **options, output="bxes")


def test_what_only_another_output_reads_need_not_be_read() -> None:
    module = TwoHeads(lambda scores, boxes: (scores, torch.cumsum(boxes, 1)))
    example = torch.from_numpy(X)
    model = harness.load_model(module, example=example, output=0)
    own = module(example)[0].detach().numpy()
    assert relative_difference(np.asarray(model.keras()(X)), own) <= LOGITS_BOUND
    with pytest.raises(harness.HarnessError, match="cumsum"):
        harness.load_model(module, example=example, output=1)


def test_a_softmax_of_the_chosen_output_is_taken_off() -> None:
    model, options, _ = of_keras()
    chosen = harness.load_model(model, **options, output="scores")
    assert chosen.removed == "softmax"
    assert harness.load_model(model, **options, output="boxes").removed is None


def test_one_output_in_a_tuple_is_that_output() -> None:
    module = TwoHeads(lambda scores, boxes: (scores,))
    assert harness.load_model(module, example=torch.from_numpy(X)).layers[-1].shape == (5,)


def test_an_output_that_is_no_tensor_is_named() -> None:
    module = TwoHeads(lambda scores, boxes: (scores, (boxes, boxes)))
    with pytest.raises(ModelSourceError, match="returns a tuple as output 1, expected one tensor"):
        harness.load_model(module, example=torch.from_numpy(X), output=1)


def test_a_nested_model_has_one_output() -> None:
    source, scores, boxes = _heads()
    inner = keras.Model(source, [scores, boxes], name="inner")
    outer = keras.Input((6,))
    model = keras.Model(outer, inner(outer)[0])
    with pytest.raises(
        ModelSourceError, match=r"nested model 'inner' has its outputs \(scores, boxes\) in a list"
    ):
        harness.load_model(model)


def test_a_map_of_several_outputs_is_taken_together() -> None:
    """The mean of a map of two places is that of the two rows that the dense layer gives."""
    keras.utils.set_random_seed(0)
    source = keras.Input((2, 2, 3))
    model = keras.Model(source, [kl.Dense(4, name="map")(source), kl.Dense(2)(kl.Flatten()(source))])
    x = np.random.default_rng(1).standard_normal((1, 2, 2, 3)).astype(np.float32)
    loaded = harness.load_model(model, output=("map", "mean"))
    expected = np.asarray(model(x)[0]).mean((1, 2))
    assert relative_difference(np.asarray(loaded.keras()(x)), expected) <= LOGITS_BOUND


@pytest.mark.parametrize("name", ["digits-cnn"])
def test_a_source_of_one_output_takes_none(name: str) -> None:
    with pytest.raises(
        harness.HarnessError, match="which has one output; it is for files, Keras models and torch"
    ):
        harness.load_model(name, output=0)
