"""A network of several inputs is explained by input: numbers by hand, the implementations, and what is done wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import harness
from harness.backends import backend_named
from harness.comparison import NoiseFloor
from harness.comparison.floor import MULTIPLE, derived
from harness.comparison.metrics import relative_l2
from harness.comparison.verdict import by_measured_floor, judge
from harness.errors import InvalidInputError, MethodDoesNotApplyError
from harness.graph import Input
from harness.methods import Bounded, Epsilon, Flat, method
from ported_models.build import Builder
from ported_models.model import PortedModel
from tests.several_inputs import (
    IMAGE,
    TABLE,
    WORDS,
    IdsNumbers,
    ImageTable,
    TwoTables,
    exported,
    ids_and_numbers,
    image_and_table,
    in_torch,
    keras_ids_numbers,
    keras_image_table,
    keras_two_towers,
    two_tables,
)

Arrays = Mapping[str, np.ndarray]
#: Of numbers that come of fewer than 16 operations, each rounded once.
ROUNDED = 16 * np.finfo(np.float64).eps


def tiny() -> PortedModel:
    """logits = V (relu(A image + a) + relu(B table)), image (1, 2, 1) and table (2)."""
    inputs = [
        Input("image", "image", (1, 2, 1), ("batch", "height", "width", "channel")),
        Input("table", "table", (2,), ("batch", "feature")),
    ]
    b = Builder.of_several("tiny", inputs)
    b.add("flatten", "flat", "image")
    b.add("dense", "a", "flat", weights={"kernel": np.array([[1.0, -1.0], [2.0, 1.0]]), "bias": [1.0, 0.0]})
    b.add("relu", "a_relu")
    b.add("dense", "b", "table", weights={"kernel": np.array([[3.0, 1.0], [1.0, -2.0]])})
    b.add("relu", "b_relu")
    b.add("add", "sum", ["a_relu", "b_relu"])
    b.add("dense", "logits", weights={"kernel": np.array([[2.0, 0.0], [-1.0, 1.0]])})
    return harness.load_model(b.graph())


#: a: (1 * 1 + 2 * 2 + 1, -1 + 2) = (6, 1); b: (3 * 1 + 2, 1 - 4) = (5, -3), the second switched off; sum: (11, 1);
#: the logits: (2 * 11 - 1, 1) = (21, 1).
X = {"table": np.array([[1.0, 2.0]]), "image": np.array([[[[1.0], [2.0]]]])}
#: By method, what of the first logit falls to (the two pixels) and to (the two numbers).
BY_HAND = {
    # V's first column is (2, -1). Both units of a are on, of b the first alone.
    "gradient": ([1 * 2 + -1 * -1, 2 * 2 + 1 * -1], [3 * 2, 1 * 2]),
    "input_t_gradient": ([1 * 3, 2 * 3], [1 * 6, 2 * 2]),
    # Of the sum's relevance (22, -1) the two branches get theirs in the ratio of what they add: (12, -1) and (10, 0).
    # The first unit of a is 1 + 4 + bias 1, so 12 goes 2, 8 and 2 to the bias; the second is -1 + 2: 1 and -2.
    "lrp.z": ([2 + 1, 8 - 2], [10 * 3 / 5, 10 * 2 / 5]),
}


@pytest.mark.parametrize("backend", ["oracle", "tensorflow", "torch"])
@pytest.mark.parametrize("name", BY_HAND)
def test_the_numbers_are_those_by_hand(name: str, backend: str) -> None:
    trace = harness.explain(tiny(), X, name, backend, target=0, dtype="float64")
    assert trace.logits.tolist() == [[21.0, 1.0]]
    image, table = BY_HAND[name]
    found = trace.attribution
    assert list(found) == ["image", "table"]
    assert found["image"].shape == (1, 1, 2, 1) and found["table"].shape == (1, 2)
    np.testing.assert_allclose(found["image"].ravel(), image, rtol=ROUNDED)
    np.testing.assert_allclose(found["table"].ravel(), table, rtol=ROUNDED)


@pytest.mark.parametrize("backend", ["oracle", "tensorflow", "torch"])
def test_epsilon_is_in_each_denominator(backend: str) -> None:
    """21 / 21.5 of the logit is handed on; the branches get (12, -1) and (10, 0) of it, as with Z: a sum has no kernel.

    a: z + 0.5 is (6.5, 1.5), the contributions (1, 4) and (-1, 2). b: z + 0.5 is 5.5, the contributions (3, 2).
    """
    trace = harness.explain(tiny(), X, "lrp.epsilon:epsilon=0.5", backend, target=0, dtype="float64")
    kept = 21 / 21.5
    image = kept * np.array([12 * 1 / 6.5 - 1 * -1 / 1.5, 12 * 4 / 6.5 - 1 * 2 / 1.5])
    table = kept * np.array([10 * 3 / 5.5, 10 * 2 / 5.5])
    np.testing.assert_allclose(trace.attribution["image"].ravel(), image, rtol=ROUNDED)
    np.testing.assert_allclose(trace.attribution["table"].ravel(), table, rtol=ROUNDED)


def test_the_layer_of_an_input_has_its_activation_and_relevance() -> None:
    trace = harness.explain(tiny(), X, "lrp.z", target=0, dtype="float64")
    for name in X:
        np.testing.assert_array_equal(trace.layers[name].activation, X[name])
        np.testing.assert_array_equal(trace.layers[name].relevance, trace.attribution[name])
    assert trace.layers["image"].axes == ("batch", "height", "width", "channel")


class TestTheImplementationsAgree:
    METHODS = ("gradient", "lrp.z", "lrp.epsilon", "lrp.sequential_preset_a_flat")

    @staticmethod
    @cache
    def loaded(name: str) -> tuple[Any, Arrays]:
        module, text = ImageTable(), IdsNumbers()
        torch_inputs = {
            "image and table": (module, image_and_table()),
            "ids and numbers": (text, ids_and_numbers()),
        }
        match name:
            case "Keras, image and table":
                return harness.load_model(keras_image_table()), image_and_table()
            case "Keras, inputs in a dict":
                return harness.load_model(keras_image_table("dict")), image_and_table()
            case "Keras, two towers":
                return harness.load_model(keras_two_towers()), two_tables()
            case "Keras, ids and numbers":
                return harness.load_model(keras_ids_numbers()), ids_and_numbers()
        source, _, what = name.partition(", ")
        network, x = torch_inputs[what]
        if source == "torch":
            return harness.load_model(network.eval(), example=in_torch(x)), x
        names = ("image", "table") if "image" in x else ("ids", "numbers")
        return harness.load_model(exported(network, x, names), name="exported"), x

    SOURCES = (
        "Keras, image and table",
        "Keras, inputs in a dict",
        "Keras, two towers",
        "Keras, ids and numbers",
        "torch, image and table",
        "torch, ids and numbers",
        "ONNX, image and table",
        "ONNX, ids and numbers",
    )

    @pytest.mark.parametrize("source", SOURCES)
    @pytest.mark.parametrize("name", METHODS)
    def test_in_both_precisions(self, source: str, name: str) -> None:
        model, x = self.loaded(source)
        targets = np.array([0, 2])
        oracle, reference, candidate = (
            harness.explain(model, x, name, backend, targets, "float64")
            for backend in ("oracle", "tensorflow", "torch")
        )
        assert set(reference.attribution) == set(x)
        for each in x:
            assert reference.attribution[each].shape == x[each].shape
        assert all(np.abs(array).max() > 0 for each, array in reference.attribution.items() if each != "ids")
        assert harness.compare(oracle, reference).passed
        assert harness.compare(reference, candidate).passed
        single = [harness.explain(model, x, name, backend, targets) for backend in ("tensorflow", "torch")]
        assert harness.compare(*single).passed

    @pytest.mark.parametrize("name", ["lrp.z", "lrp.epsilon"])
    def test_a_token_gets_the_sum_over_its_features(self, name: str) -> None:
        """What is explained of numbers of rows is the embedding's output, as for a network of that one input."""
        model, x = self.loaded("torch, ids and numbers")
        trace = harness.explain(model, x, name, target=1, dtype="float64")
        assert np.abs(trace.attribution["ids"]).min() > 0
        words = trace.layers["words"].relevance
        np.testing.assert_allclose(trace.attribution["ids"], words.sum(-1), rtol=ROUNDED)

    def test_the_gradient_is_autograds_by_input(self) -> None:
        module, x = ImageTable().double().eval(), image_and_table()
        model = harness.load_model(module, example=in_torch(x, torch.float64))
        tensors = {name: each.requires_grad_() for name, each in in_torch(x, torch.float64).items()}
        module(**tensors)[:, 1].sum().backward()
        for backend in ("oracle", "tensorflow", "torch"):
            found = harness.explain(model, x, "gradient", backend, 1, "float64").attribution
            image = np.moveaxis(tensors["image"].grad.numpy(), 1, -1)
            bound = MULTIPLE * derived("float64", model.graph).of_attribution()
            assert relative_l2(image, found["image"]) <= bound
            assert relative_l2(tensors["table"].grad.numpy(), found["table"]) <= bound

    @pytest.mark.parametrize(
        "name", ["integrated_gradients:steps=4", "smoothgrad:augment_by_n=4", "deep_lift"]
    )
    def test_methods_of_many_runs_move_all_inputs(self, name: str) -> None:
        model, x = self.loaded("torch, image and table")
        traces = [harness.explain(model, x, name, each, 0, "float64") for each in ("tensorflow", "torch")]
        assert harness.compare(*traces).passed


class TestRulesOfTheFirstLayer:
    """Flat, w-square and bounds belong to each layer that reads an input, as they would in a network of it alone."""

    @pytest.mark.parametrize(
        "name",
        [
            "lrp.flat",
            "lrp.w_square",
            "lrp.sequential_preset_a_flat",
            "lrp.epsilon:input_layer_rule=w_square",
            "lrp.epsilon:input_layer_rule=bounded",
            "deep_taylor.bounded:low=-4,high=4",
            "flatlrp_epsilon_1",
        ],
    )
    def test_they_apply_to_each_reader(self, name: str) -> None:
        asked = method(name)
        rules = asked.composite.assign(tiny().graph)
        alone = Builder("alone", (2,))
        alone.add("dense", "b", weights={"kernel": np.ones((2, 2))})
        alone.add("relu", "b_relu")
        alone.add("dense", "logits", weights={"kernel": np.ones((2, 2))})
        wanted = asked.composite.assign(alone.graph())
        assert rules["a"] == rules["b"] == wanted["b"]
        assert rules["logits"] == wanted["logits"]

    def test_zennit_means_the_first_module_alone(self) -> None:
        """As on a network of one input that two layers read: its composites name the first layer of a kind."""
        rules = method("epsilon_plus_flat").composite.assign(tiny().graph)
        assert isinstance(rules["a"], Flat) and isinstance(rules["b"], Epsilon)

    def test_a_branch_gets_what_it_gets_alone(self) -> None:
        """The branch of the table as a network of its own, given the relevance that it got beside the other."""
        model = tiny()
        both = harness.explain(model, X, "lrp.sequential_preset_a_flat", target=0, dtype="float64")
        # Flat: what reaches a unit of b goes to the two numbers in equal parts.
        received = both.layers["b"].relevance.sum()
        np.testing.assert_allclose(both.attribution["table"], [[received / 2, received / 2]], rtol=ROUNDED)

    def test_bounds_hold_for_every_input(self) -> None:
        rules = method("deep_taylor.bounded:low=-4,high=4").composite.assign(tiny().graph)
        assert isinstance(rules["a"], Bounded) and isinstance(rules["b"], Bounded)


class TestWrongInputs:
    @staticmethod
    @cache
    def model() -> Any:
        return tiny()

    @pytest.mark.parametrize(
        ("x", "words"),
        [
            (
                {"image": X["image"]},
                r"'table' missing; expected \{'image': \(batch, 1, 2, 1\), 'table': \(batch, 2\)\}",
            ),
            ({**X, "tabel": X["table"]}, "no input is called 'tabel'"),
            ({**X, "table": X["image"]}, "the input 'table' has shape"),
            (
                {**X, "table": X["table"][0]},
                r"the input 'table' has shape \(2,\) and has no batch axis|no batch axis",
            ),
            ({**X, "image": np.zeros((1, 1, 1, 2))}, "channels-first"),
            ({**X, "table": np.array([["a", "b"]])}, "the input 'table' must be numeric"),
            ({**X, "table": np.array([[np.nan, 1.0]])}, "the input 'table' has 1 NaN or infinite values"),
            ({**X, "table": np.ones((3, 2))}, "batches of different lengths: 'image' 1, 'table' 3"),
            (X["image"], "has the inputs 'image', 'table', found one array"),
        ],
    )
    def test_each_is_one_line(self, x: Any, words: str) -> None:
        with pytest.raises(InvalidInputError, match=words) as refused:
            harness.explain(self.model(), x, "gradient", "oracle", dtype="float64")
        assert "\n" not in str(refused.value)

    def test_the_order_of_the_names_says_nothing(self) -> None:
        one = harness.explain(self.model(), X, "gradient", "oracle", 0, "float64")
        other = harness.explain(self.model(), dict(reversed(X.items())), "gradient", "oracle", 0, "float64")
        assert one.case.digest == other.case.digest

    def test_two_of_one_shape_exchanged_are_another_input(self) -> None:
        model = harness.load_model(TwoTables().eval(), example=in_torch(two_tables()))
        x = two_tables()
        turned = {"left": x["right"], "right": x["left"]}
        one, other = (
            harness.explain(model, each, "gradient", target=0, dtype="float64") for each in (x, turned)
        )
        assert one.case.digest != other.case.digest
        assert not np.allclose(one.logits, other.logits)

    def test_numbers_of_rows_are_checked_where_they_are_such(self) -> None:
        model, x = TestTheImplementationsAgree.loaded("torch, ids and numbers")
        for wrong, words in ((np.full((2, 5), 0.5), "found 0.5"), (np.full((2, 5), WORDS), f"found {WORDS}")):
            with pytest.raises(
                InvalidInputError, match=f"the input 'ids' of IdsNumbers is numbers of rows.*{words}"
            ):
                harness.explain(model, {**x, "ids": wrong}, "gradient")

    def test_a_mapping_for_one_input_is_refused(self) -> None:
        builder = Builder("one", (2,))
        builder.add("dense", "logits", weights={"kernel": np.ones((2, 2))})
        with pytest.raises(InvalidInputError, match=r"'x'.*but one has one input; give its array alone"):
            harness.explain(harness.load_model(builder.graph()), {"x": np.ones((1, 2))}, "gradient", "oracle")

    @pytest.mark.parametrize("name", ["grad_cam", "attention_rollout"])
    def test_methods_of_places_are_refused(self, name: str) -> None:
        with pytest.raises((MethodDoesNotApplyError, InvalidInputError)):
            harness.explain(self.model(), X, name)

    def test_a_path_is_refused_where_one_input_names_rows(self) -> None:
        model, x = TestTheImplementationsAgree.loaded("torch, ids and numbers")
        with pytest.raises(MethodDoesNotApplyError, match="its input 'ids' is numbers of rows"):
            harness.explain(model, x, "integrated_gradients")


def test_an_input_that_nothing_reads_gets_zeros_and_a_note() -> None:
    class Deaf(TwoTables):
        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return self.logits(torch.relu(self.a(left)))

    model, x = harness.load_model(Deaf().eval(), example=in_torch(two_tables())), two_tables()
    assert model.notes == ("the output does not depend on the input 'right': its attribution is zero",)
    for backend in ("oracle", "tensorflow", "torch"):
        trace = harness.explain(model, x, "lrp.epsilon", backend, 0, "float64")
        assert not trace.attribution["right"].any() and trace.attribution["left"].any()
    # It is an input all the same.
    with pytest.raises(InvalidInputError, match="'right' missing"):
        harness.explain(model, {"left": x["left"]}, "gradient")


def test_a_trace_is_stored_with_its_inputs(tmp_path) -> None:
    trace = harness.explain(tiny(), X, "lrp.z", "oracle", 0, "float64")
    trace.save(tmp_path / "trace.safetensors")
    stored = harness.load_trace(tmp_path / "trace.safetensors")
    assert stored.inputs == trace.inputs
    for name in X:
        np.testing.assert_array_equal(stored.attribution[name], trace.attribution[name])
    assert len(stored.plot().axes) == 3  # a map with its scale, and bars
    assert repr(trace).endswith("inputs {'image': (1, 1, 2, 1), 'table': (1, 2)}, target [0], 10 layers)")


def test_the_neutral_file_gives_the_same_model_back() -> None:
    model = tiny()
    again = PortedModel.from_onnx(model.onnx, "tiny")
    assert again.digest == model.digest and again.inputs == model.inputs


# Candidates -------------------------------------------------------------------------------------------


def gradient(twin: Any, x: Any, target: Any, asked: Any) -> dict[str, torch.Tensor]:
    given = {name: each.clone().requires_grad_() for name, each in x.items()}
    twin(given).gather(1, target[:, None]).sum().backward()
    return {name: each.grad for name, each in given.items()}


def keras_gradient(twin: Any, x: Any, target: Any, asked: Any) -> Any:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        logit = tf.gather(twin(x), target, axis=1, batch_dims=1)
    return tape.gradient(logit, x)


def exchanged(twin: Any, x: Any, target: Any, asked: Any) -> dict[str, torch.Tensor]:
    found = gradient(twin, x, target, asked)
    return {"left": found["right"], "right": found["left"]}


def forgetful(twin: Any, x: Any, target: Any, asked: Any) -> dict[str, torch.Tensor]:
    found = gradient(twin, x, target, asked)
    return {**found, "right": torch.zeros_like(found["right"])}


def a_thousandth(twin: Any, x: Any, target: Any, asked: Any) -> dict[str, torch.Tensor]:
    found = gradient(twin, x, target, asked)
    return {**found, "right": 1.001 * found["right"]}


def test_an_input_may_be_called_attribution_and_has_its_own_floor() -> None:
    b = Builder.of_several(
        "named", [Input(name, name, (2,), ("batch", "feature")) for name in ("attribution", "table")]
    )
    b.add("add", "sum", ["attribution", "table"])
    b.add("dense", "logits", weights={"kernel": np.eye(2)})
    model = harness.load_model(b.graph())
    x = {name: np.array([[1.0, 2.0]]) for name in ("attribution", "table")}
    one = harness.explain(model, x, "gradient", "oracle", 0, "float64")
    other = replace(one, attribution_array=one.attribution_array * [1.1, 1, 1.1, 1])
    by_bound = judge(one, other, derived("float64", model.graph), ruling="bound")
    floor = NoiseFloor("float64", "by hand", 0.0, inputs={"attribution": 0.05, "table": 0.001})
    rows = {row.layer: row for row in by_measured_floor(by_bound, floor).inputs}
    assert rows["attribution of attribution"].verdict == "equivalent"
    assert rows["attribution of table"].verdict == "divergent"


class TestFunctions:
    @staticmethod
    @cache
    def model() -> Any:
        return harness.load_model(TwoTables().eval(), example=in_torch(two_tables()))

    def compared(self, function: Callable[..., Any], framework: str = "torch", **options: Any) -> Any:
        backend = harness.backend_from_function("mine", function, framework, **options)
        traces = (
            harness.explain(self.model(), two_tables(), "gradient", each, 1, "float64")
            for each in ("tensorflow", backend)
        )
        return harness.compare(*traces)

    def test_they_get_the_inputs_by_name_and_return_them_so(self) -> None:
        assert self.compared(gradient).passed
        assert self.compared(keras_gradient, "tensorflow").passed

    def test_their_layers_are_judged_where_autograd_shows_them(self) -> None:
        comparison = self.compared(gradient, layers="gradient")
        assert comparison.passed and {"left", "right"} <= {row.layer for row in comparison.rows}

    def test_an_image_is_in_the_frameworks_own_layout(self) -> None:
        model = harness.load_model(ImageTable().eval(), example=in_torch(image_and_table()))
        seen = {}

        def look(twin: Any, x: Any, target: Any, asked: Any) -> Any:
            seen.update({name: tuple(each.shape) for name, each in x.items()})
            return gradient(twin, x, target, asked)

        backend = harness.backend_from_function("mine", look, "torch")
        trace = harness.explain(model, image_and_table(), "gradient", backend, 1, "float64")
        height, width, channels = IMAGE
        assert seen == {"image": (2, channels, height, width), "table": (2, TABLE)}
        reference = harness.explain(model, image_and_table(), "gradient", "tensorflow", 1, "float64")
        assert harness.compare(reference, trace).passed

    def test_arrays_of_the_graph(self) -> None:
        """A NumPy function is given arrays by name: here the gradient of the two linear layers, by hand."""

        def by_hand(graph: Any, x: Any, target: Any, asked: Any) -> Any:
            weights = {
                name: {key: array.astype(np.float64) for key, array in graph[name].weights.items()}
                for name in ("a", "b", "logits")
            }
            start = weights["logits"]["kernel"][:, target].T
            return {
                name: (start * (x[name] @ weights[layer]["kernel"] + weights[layer]["bias"] > 0))
                @ weights[layer]["kernel"].T
                for name, layer in (("left", "a"), ("right", "b"))
            }

        assert self.compared(by_hand, "numpy").passed

    @pytest.mark.parametrize(
        ("function", "cause", "words"),
        [
            (exchanged, "layout", "the attributions of the inputs 'left' and 'right' are exchanged"),
            (forgetful, "scale", "the attribution of the input 'right' is zero"),
            (a_thousandth, "scale", "the attribution of the input 'right' is multiplied by 1.001"),
        ],
    )
    def test_a_fault_is_named(self, function: Callable[..., Any], cause: str, words: str) -> None:
        comparison = self.compared(function)
        assert not comparison.passed and comparison.first_divergent == "attribution"
        backend = harness.backend_from_function("mine", function, "torch")
        found = harness.diagnose(self.model(), two_tables(), "gradient", None, backend, 1, "float64")
        assert (found.stage, found.cause, found.findings[0].words) == ("postprocess", cause, words)
        assert found.left < 1e-14

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize(("factor", "right"), [(1.0, True), (1.01, False), (-1.0, False)])
    def test_an_input_of_small_relevance_is_judged_on_its_own(
        self, factor: float, right: bool, dtype: str
    ) -> None:
        """Beside the left input's attribution, 1e20 times as large, nobody would see that of the right one."""
        x = {name: 1e-20 * each if name == "right" else each for name, each in two_tables().items()}

        def function(twin: Any, x: Any, target: Any, asked: Any) -> Any:
            found = gradient(twin, x, target, asked)
            return {"left": x["left"] * found["left"], "right": factor * x["right"] * found["right"]}

        backend = harness.backend_from_function("mine", function, "torch")
        comparison = harness.compare(
            *(
                harness.explain(self.model(), x, "input_t_gradient", each, 1, dtype)
                for each in ("tensorflow", backend)
            )
        )
        assert comparison.passed is right
        found = harness.diagnose(self.model(), x, "input_t_gradient", None, backend, 1, dtype)
        assert bool(found.findings) is not right
        if not right:
            assert comparison.attribution.verdict in ("identical", "equivalent")
            assert comparison.worst.layer == "attribution of right"
            assert comparison.verdict in ("close", "divergent")
            assert found.cause == "scale"
            assert found.findings[0].words.startswith("the attribution of the input 'right' ")

    @pytest.mark.parametrize(
        ("made", "words"),
        [
            (
                lambda found: found["left"],
                "returned Tensor, expected a mapping with an attribution for each input",
            ),
            (lambda found: {"left": found["left"]}, "returned 'left', expected a mapping.*'left', 'right'"),
            (lambda found: {**found, "right": found["right"][:1]}, r"of the input 'right' of shape \(1, 4\)"),
            (lambda found: {**found, "right": "a"}, "for an attribution of the input 'right'"),
        ],
    )
    def test_what_is_no_attribution_of_each_is_one_line(self, made: Callable[..., Any], words: str) -> None:
        def function(twin: Any, x: Any, target: Any, asked: Any) -> Any:
            return made(gradient(twin, x, target, asked))

        backend = harness.backend_from_function("mine", function, "torch")
        with pytest.raises(InvalidInputError, match=words) as refused:
            harness.explain(self.model(), two_tables(), "gradient", backend, 1)
        assert "\n" not in str(refused.value)

    def test_what_a_function_writes_into_an_input_shows(self) -> None:
        def writes(twin: Any, x: Any, target: Any, asked: Any) -> Any:
            found = gradient(twin, x, target, asked)
            x["right"].zero_()
            return found

        backend = harness.backend_from_function("mine", writes, "torch")
        trace = harness.explain(self.model(), two_tables(), "gradient", backend, 1)
        assert "its input" in trace.provenance["state"]

    def test_the_twins_refuse_other_names(self) -> None:
        with pytest.raises(InvalidInputError, match="is given 'left', expected 'left', 'right'"):
            self.model().torch()({"left": torch.zeros(1, TABLE)})
        with pytest.raises(InvalidInputError, match="is given 'left', expected 'left', 'right'"):
            self.model().keras()({"left": np.zeros((1, TABLE))})


class _Planted:
    """The port with a fault at the inputs: what reaches two of one shape is exchanged, or one gets nothing."""

    name = "planted"

    def __init__(self, fault: str) -> None:
        self._port, self._fault = backend_named("torch"), fault

    def version(self) -> dict[str, str]:
        return self._port.version()

    def supports(self, asked: Any, graph: Any) -> str:
        return self._port.supports(asked, graph)

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> Any:
        return _PlantedRun(self._port.prepare(model, dtype, device), model.graph, self._fault)


class _PlantedRun:
    def __init__(self, port: Any, graph: Any, fault: str) -> None:
        self._port, self._fault = port, fault
        self._left, self._right = graph.inputs

    def run(self, x: np.ndarray, asked: Any, target: np.ndarray, layers: bool) -> Any:
        found = self._port.run(x, asked, target, layers)
        left, right = (found.attribution[:, each.places] for each in (self._left, self._right))
        new = (right, left) if self._fault == "exchange" else (left, np.zeros_like(right))
        joined = np.concatenate(new, axis=1)
        if not layers:
            return replace(found, attribution=joined)
        shown = {**found.relevances, "left": new[0], "right": new[1], "inputs": joined}
        return replace(found, attribution=joined, relevances=shown)


@pytest.mark.parametrize(
    ("fault", "differing"), [("exchange", {"left", "right", "inputs"}), ("forget", {"right", "inputs"})]
)
@pytest.mark.parametrize("name", ["gradient", "lrp.epsilon"])
def test_a_fault_at_an_input_is_found_at_its_layer(fault: str, differing: set[str], name: str) -> None:
    """What differs is the relevance of the inputs; "b" is the layer whose step should have made that of the first."""
    model, x = TestFunctions.model(), two_tables()
    reference = harness.explain(model, x, name, "tensorflow", 1, "float64")
    candidate = harness.explain(model, x, name, _Planted(fault), 1, "float64")
    comparison = harness.compare(reference, candidate)
    assert comparison.verdict == "divergent"
    assert {row.layer for row in comparison.rows if row.verdict == "divergent"} == differing
    assert comparison.first_divergent == "b"


def test_many_targets_come_back_by_input() -> None:
    found = harness.explain_many(tiny(), X, "lrp.z", [0, 1], "torch", "float64")
    for place, target in enumerate((0, 1)):
        alone = harness.explain(tiny(), X, "lrp.z", "torch", target, "float64")
        for name in X:
            np.testing.assert_allclose(
                found.attributions[name][place], alone.attribution[name][0], rtol=ROUNDED
            )
            np.testing.assert_allclose(
                found.trace(place).attribution[name], alone.attribution[name], rtol=ROUNDED
            )
    with pytest.raises(InvalidInputError, match="those of one sample, found 2 samples"):
        harness.explain_many(
            tiny(), {name: np.repeat(array, 2, 0) for name, array in X.items()}, "lrp.z", [0, 1]
        )
