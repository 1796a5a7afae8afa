"""ONNX files as people have them: data beside the file, several outputs, open sizes, and what is refused in time."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from evidence.models.onnx_suite import Case, cases, outcome
from harness.errors import HarnessError, ModelSourceError, UnknownNameError, UnsupportedLayerError
from ported_models import load_model
from ported_models.onnx import read_onnx
from ported_models.onnx.own import OnnxSource
from tests.models.onnx_runs import exported, ints, node, whole_numbers
from tests.models.test_onnx_foreign import read_and_compare

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def dense_file(folder: Path) -> Path:
    """A dense layer whose weights stand in ``model.data`` beside ``model.onnx``."""
    proto = exported([node("MatMul", "x w")], ["n", 3], {"w": whole_numbers(0, 3, 4)})
    path = folder / "model.onnx"
    onnx.save_model(proto, path, save_as_external_data=True, location="model.data", size_threshold=0)
    return path


def pointed_at(path: Path, location: str) -> Path:
    """The file with its weights said to be at ``location``."""
    proto = onnx.load_model(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            entry.value = location if entry.key == "location" else entry.value
    path.write_bytes(proto.SerializeToString())
    return path


def test_weights_beside_the_file_are_read(tmp_path: Path) -> None:
    model = load_model(dense_file(tmp_path))
    assert np.array_equal(model.layers[1].weights["kernel"], whole_numbers(0, 3, 4))


@pytest.mark.parametrize(
    "where", ["../secret", "sub/../../secret", "{absolute}", "link", "folder/secret", ""]
)
def test_no_file_outside_of_the_folder_is_read(tmp_path: Path, where: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = dense_file(folder)
    secret = tmp_path / "secret"
    secret.write_bytes((folder / "model.data").read_bytes())
    (folder / "link").symlink_to(secret)
    (folder / "folder").symlink_to(tmp_path)
    pointed_at(path, where.format(absolute=secret))
    with pytest.raises(ModelSourceError, match="own folder") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_data_that_is_missing_or_short_is_said(tmp_path: Path) -> None:
    path = dense_file(tmp_path)
    (tmp_path / "model.data").write_bytes(b"1234")
    with pytest.raises(ModelSourceError, match="which has 4; copy the data file again"):
        load_model(path)
    (tmp_path / "model.data").unlink()
    with pytest.raises(ModelSourceError, match="which is not beside it"):
        load_model(path)


def two_outputs() -> onnx.ModelProto:
    proto = exported([node("Relu", "x", "a"), node("Neg", "x", "b")], ["n", 3], output="a")
    proto.graph.output.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, ["n", 3]))
    return proto


@pytest.mark.parametrize(("output", "kind"), [("a", "relu"), (0, "relu"), ("b", "scale"), (1, "scale")])
def test_one_of_several_outputs(output: str | int, kind: str) -> None:
    assert load_model(two_outputs(), output=output).layers[-1].kind == kind


def test_without_a_choice_the_outputs_are_listed() -> None:
    with pytest.raises(ModelSourceError, match=r"2 outputs \(0: a, 1: b\); say which"):
        load_model(two_outputs())
    with pytest.raises(UnknownNameError, match="unknown output"):
        load_model(two_outputs(), output="c")
    with pytest.raises(ModelSourceError, match="output=2, expected one of"):
        load_model(two_outputs(), output=2)


def open_image() -> onnx.ModelProto:
    kernel = whole_numbers(0, 2, 3, 3, 3)
    nodes = [node("Conv", "x w", "h"), node("GlobalAveragePool", "h")]
    return exported(nodes, ["n", 3, "height", "width"], {"w": kernel})


@pytest.mark.parametrize("shape", [(1, 8, 9, 3), (1, 3, 8, 9)])
def test_an_example_gives_open_sizes(shape: tuple[int, ...]) -> None:
    """Channels-last, as arrays are here, or as the file has it where only that fits."""
    assert load_model(open_image(), example=np.zeros(shape)).input_shape == (8, 9, 3)


def test_open_sizes_without_an_example_are_said() -> None:
    with pytest.raises(ModelSourceError, match="pass an array of the size that you want with example="):
        load_model(open_image())
    with pytest.raises(ModelSourceError, match="does not fit the input 'x'"):
        load_model(open_image(), example=np.zeros((1, 8, 9, 4)))


def test_axes_say_where_the_channels_are() -> None:
    relu = exported([node("Relu", "x")], [1, 2, 4, 5])
    assert load_model(relu).input_shape == (2, 4, 5)
    assert load_model(relu, axes=("batch", "channel", "height", "width")).input_shape == (4, 5, 2)
    assert load_model(relu, axes=("a", "b", "c", "d")).input_shape == (1, 2, 4, 5)


def test_initializers_that_are_listed_as_inputs_are_weights() -> None:
    proto = exported([node("MatMul", "x w")], ["n", 3], {"w": whole_numbers(0, 3, 4)})
    proto.ir_version = 3
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 4]))
    assert load_model(proto).layers[-1].shape == (4,)


def test_a_first_axis_that_is_mixed_with_others_is_no_batch_axis() -> None:
    model = load_model(exported([node("Flatten", "x", axis=2)], [2, 3, 4]))
    assert model.input_shape == (2, 3, 4)
    assert model.layers[-1].shape == (6, 4)
    assert any("no batch axis" in note for note in model.notes)
    with pytest.raises(UnsupportedLayerError, match="would merge samples"):
        load_model(exported([node("Flatten", "x", axis=2)], ["n", 3, 4]))


@pytest.mark.parametrize(
    ("one", "constants", "expected"),
    [
        (node("HardSwish", "x"), {}, ["hard_swish"]),
        (node("HardSigmoid", "x", alpha=0.25, beta=0.5), {}, ["hard_sigmoid"]),
        (node("Clip", "x low high"), {"low": np.float32(-1), "high": np.float32(2)}, ["clip"]),
        (node("PRelu", "x w"), {"w": whole_numbers(0, 3)}, ["prelu"]),
        (node("Slice", "x s e a k"), dict(zip("seak", map(ints, (3, -9, 2, -2)), strict=True)), ["take"]),
        (node("Gather", "x i", axis=2), {"i": ints(2, 0)}, ["take"]),
        (node("Pad", "x p", mode="reflect"), {"p": ints(0, 1, 0, 0, 0, 1)}, ["take", "take"]),
        (node("Pad", "x p", mode="edge"), {"p": ints(0, 0, 2, 0, 0, 0)}, ["take"]),
        (node("Pad", "x p v"), {"p": ints(0, 1, 0, 0, 0, 1), "v": np.float32(5)}, ["pad"]),
        (node("ReduceMean", "x", axes=[2]), {}, ["resample"]),
        (node("Add", "x w"), {"w": whole_numbers(0, 4, 3)}, ["affine"]),
        (node("Concat", "x w", axis=1), {"w": whole_numbers(0, 1, 2, 3)}, ["pad", "affine"]),
        (node("MatMul", "w x"), {"w": whole_numbers(0, 5, 4)}, ["permute", "dense"]),
        (node("Sub", "x x"), {}, ["scale", "add"]),
    ],
)
def test_an_operator_is_these_layers(
    one: onnx.NodeProto, constants: dict[str, np.ndarray], expected: list[str]
) -> None:
    """Loading holds both twins against ONNX Runtime."""
    model = load_model(exported([one], [1, 4, 3], constants))
    assert [layer.kind for layer in model.layers[1:]] == expected


@pytest.mark.parametrize(
    ("one", "constants"),
    [
        (
            node(
                "AveragePool",
                "x",
                kernel_shape=[2],
                strides=[2],
                pads=[1, 0],
                ceil_mode=1,
                count_include_pad=1,
            ),
            {},
        ),
        (node("MaxPool", "x", kernel_shape=[2], dilations=[2], pads=[1, 1]), {}),
        (node("InstanceNormalization", "x g b"), {"g": whole_numbers(0, 4), "b": whole_numbers(1, 4)}),
    ],
)
def test_channels_first_operators(one: onnx.NodeProto, constants: dict[str, np.ndarray]) -> None:
    read_and_compare(exported([one], [2, 4, 7], constants), 1e-5, channels_first=True)


def test_response_normalisation_over_channels() -> None:
    """ONNX operator LRN-13: x / (bias + alpha / size * sum of squares)**beta"""
    model = load_model(exported([node("LRN", "x", size=3, alpha=3.0, beta=1.0, bias=1.0)], [1, 3, 1, 1]))
    y = model.keras()(np.float32([1, 2, 3]).reshape(1, 1, 1, 3))
    assert np.allclose(np.ravel(y), [1 / 6, 2 / 15, 3 / 14])


def test_split_gives_each_reader_its_part() -> None:
    split = helper.make_node("Split", ["x"], ["a", "b"], axis=1)
    model = load_model(exported([split, node("Mul", "a b")], ["n", 6, 2]))
    assert [layer.kind for layer in model.layers[1:]] == ["crop", "crop", "multiply"]


def test_a_batch_norm_of_volumes() -> None:
    constants = {key: np.float32([1, 2]) for key in "gbmv"}
    proto = exported([node("BatchNormalization", "x g b m v")], [1, 2, 3, 2, 2], constants)
    load_model(proto)
    read_and_compare(proto, 1e-5, channels_first=True)


def loop_of(times: int) -> onnx.ModelProto:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Add", ["s", "s"], ["t"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("t", TensorProto.FLOAT, [1]),
        ],
    )
    nodes = [helper.make_node("Loop", ["m", "c", "w"], ["k"], body=body), node("Add", "x k")]
    constants = {"m": np.int64(times), "c": np.array(True), "w": np.float32([1])}
    graph = helper.make_graph(
        nodes,
        "loop",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def doubling_functions(levels: int) -> onnx.ModelProto:
    """``f0`` is a Relu, each further function calls the one before twice: 2 to the power of ``levels`` nodes."""
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = [
        helper.make_function("own", "f0", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], opset)
    ]
    for level in range(1, levels + 1):
        inner = [
            helper.make_node(f"f{level - 1}", ["a"], ["m"], domain="own"),
            helper.make_node(f"f{level - 1}", ["m"], ["b"], domain="own"),
        ]
        functions.append(helper.make_function("own", f"f{level}", ["a"], ["b"], inner, opset))
    graph = helper.make_graph(
        [helper.make_node(f"f{levels}", ["x"], ["y"], domain="own")],
        "functions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
    )
    return helper.make_model(graph, opset_imports=opset, functions=functions, ir_version=8)


def filled(*nodes: onnx.NodeProto, **constants: np.ndarray) -> onnx.ModelProto:
    proto = exported([*nodes, node("Add", "x k")], ["n", 3], constants)
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3]))
    return proto


@pytest.mark.parametrize(
    "proto",
    [
        filled(node("ConstantOfShape", "s", "k"), s=ints(1500, 1000, 1000)),
        filled(node("Expand", "o s", "k"), o=np.float32([1]), s=ints(1500, 1000, 1000)),
        filled(node("Tile", "o s", "k"), o=np.float32([1]), s=ints(1500000000)),
        exported([node("Range", "a b c", "r"), node("ReduceSum", "r", "k"), node("Add", "x k")], ["n", 3],
                 {"a": np.float32(0), "b": np.float32(1e12), "c": np.float32(1)}),
        loop_of(10**12),
        doubling_functions(20),
        exported([node("Pad", "x p")], ["n", 3], {"p": ints(0, 10**9, 0, 10**9)}),
        exported([node("Relu", "x")], ["n", 10**5, 10**5]),
    ],
    ids=["constant", "expand", "tile", "range", "loop", "functions", "pad", "input"],
)  # fmt: skip
def test_what_would_take_too_much_is_refused_in_time(proto: onnx.ModelProto) -> None:
    begun = time.monotonic()
    with pytest.raises(HarnessError, match=r"numbers|runs a graph of its own|nodes") as caught:
        load_model(proto)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("operator", ["Resize", "Concat", "GroupNormalization", "MaxPool", "PRelu"])
def test_a_sample_of_the_suite_that_ships_with_onnx(operator: str) -> None:
    """No case is wrong or a raw error; the whole table is reports/onnx-suite.md."""
    of_it = [case for case in suite() if case.operator == operator][:3]
    verdicts = [outcome(case) for case in of_it]
    assert of_it and {each.verdict for each in verdicts} == {"right"}, verdicts


@cache
def suite() -> list[Case]:
    return list(cases())


def sigmoid_file(bias: float) -> onnx.ModelProto:
    constants = {"w": whole_numbers(0, 3, 4), "b": np.full(4, bias, np.float32)}
    return exported(
        [node("MatMul", "x w", "h"), node("Add", "h b", "z"), node("Sigmoid", "z")], ["n", 3], constants
    )


@pytest.mark.tensorflow
@pytest.mark.torch
def test_a_small_probability_that_the_runtime_rounds_away_does_not_hide_the_network() -> None:
    """A logit near -25 is 1e-11 as a probability; ONNX Runtime's sigmoid is exact to 6e-8, and gives 0."""
    model = load_model(sigmoid_file(-25.0))
    assert [layer.kind for layer in model.layers] == ["input", "dense"]
    assert model.removed == "sigmoid"


def test_an_ending_that_does_not_make_the_files_output_is_found() -> None:
    proto = sigmoid_file(0.0)
    read = replace(read_onnx(proto, "net", "net.onnx"), ending="softmax")
    with pytest.raises(ModelSourceError, match="its output is not the softmax of the value before it"):
        OnnxSource(proto, read, "net.onnx").run(np.ones((2, 3), np.float32))


def test_the_advice_for_a_file_of_two_inputs_makes_it_one_that_loads() -> None:
    proto = exported([node("Add", "x z")], ["n", 3])
    proto.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [3]))
    proto = onnx.shape_inference.infer_shapes(proto)
    with pytest.raises(
        ModelSourceError, match=r"input 'z' has the shape \(3\).*append it to graph\.initializer"
    ):
        load_model(proto)
    proto.graph.initializer.append(numpy_helper.from_array(whole_numbers(0, 1, 3), "z"))
    del proto.graph.input[1]
    assert [layer.kind for layer in load_model(proto).layers] == ["input", "scale"]


def test_two_inputs_of_a_file_are_read_by_name() -> None:
    proto = exported([node("Sub", "z x", "d"), node("Relu", "d")], ["n", 3])
    proto.graph.input.append(helper.make_tensor_value_info("z.0", TensorProto.FLOAT, ["n", 3]))
    proto.graph.node[0].input[0] = "z.0"
    model = load_model(onnx.shape_inference.infer_shapes(proto))
    assert [(each.name, each.layer) for each in model.inputs] == [("x", "x"), ("z.0", "z_0")]
    assert model.graph.sources == (model.graph["x"], model.graph["z_0"])


def test_inputs_whose_first_axes_differ_are_refused() -> None:
    proto = exported([node("MatMul", "x z")], [4, 3])
    proto.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [3, 2]))
    proto = onnx.shape_inference.infer_shapes(proto)
    with pytest.raises(
        ModelSourceError, match=r"first axes of different sizes \('x' 4, 'z' 3\).*graph\.initializer"
    ):
        load_model(proto)


def test_open_sizes_of_several_inputs_are_given_by_name() -> None:
    nodes = [node("GlobalAveragePool", "x", "p"), node("Flatten", "p", "m"), node("Add", "m z")]
    proto = exported(nodes, ["n", 3, "height", "width"])
    proto.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 3]))
    proto = onnx.shape_inference.infer_shapes(proto)
    arrays = {"z": np.zeros((1, 3)), "x": np.zeros((1, 4, 5, 3))}
    for example in (arrays, (arrays["x"], arrays["z"])):
        model = load_model(proto, example=example)
        assert [each.shape for each in model.inputs] == [(4, 5, 3), (3,)]
    with pytest.raises(
        ModelSourceError, match="example= is not given by the names of its inputs; expected a mapping"
    ):
        load_model(proto, example={"y": arrays["x"]})
    with pytest.raises(
        ModelSourceError, match="axes= is not given by the names of its inputs; expected a mapping"
    ):
        load_model(proto, example=arrays, axes=("batch", "channel", "height", "width"))


def test_an_embedding_reads_rows_that_an_input_names() -> None:
    table = whole_numbers(1, 7, 4)
    nodes = [node("Gather", "table x", "rows"), node("ReduceMean", "rows", axes=[1], keepdims=0)]
    proto = exported(nodes, ["n", 5], {"table": table})
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    model = load_model(onnx.shape_inference.infer_shapes(proto))
    assert [layer.kind for layer in model.layers][:2] == ["input", "embedding"]
    assert model.graph.rows_of_input == 7


def _branch(operator: str) -> onnx.GraphProto:
    output = helper.make_tensor_value_info("b", TensorProto.FLOAT, ["n", 3])
    return helper.make_graph([helper.make_node(operator, ["x"], ["b"])], "branch", [], [output])


def test_a_network_that_depends_on_a_condition_is_refused_as_that() -> None:
    nodes = [
        node("ReduceSum", "x axes", "s", keepdims=0),
        node("Greater", "s zero", "c"),
        helper.make_node("If", ["c"], ["y"], then_branch=_branch("Relu"), else_branch=_branch("Tanh")),
    ]
    proto = exported(nodes, ["n", 3], {"zero": np.float32(0), "axes": ints(1)})
    with pytest.raises(UnsupportedLayerError) as caught:
        load_model(proto)
    assert "(If): it runs a graph of its own" in caught.value.unread[-1]


@pytest.mark.parametrize(
    ("nodes", "shape", "said"),
    [
        ([node("Relu", "x")], ["n", 4, 5], "(batch, time, channel)"),
        ([node("Relu", "x")], ["n", 4, 5, 3], "(batch, height, width, channel)"),
        ([node("Relu", "x", "h"), node("GlobalAveragePool", "h")], ["n", 3, 5, 5], ""),
        ([node("Relu", "x")], ["n", 4], ""),
    ],
    ids=["three axes", "four axes", "an operator on channels", "two axes"],
)
def test_what_is_assumed_of_axes_is_said(
    nodes: list[onnx.NodeProto], shape: list[int | str], said: str
) -> None:
    (*notes,) = read_onnx(exported(nodes, shape), "read").notes
    assert len(notes) == bool(said)
    assert all(f"it is read as {said}; where that is wrong" in note for note in notes)


def test_named_axes_are_assumed_no_more() -> None:
    read = read_onnx(exported([node("Relu", "x")], ["n", 4, 5]), "read", axes=("batch", "channel", "time"))
    assert read.notes == ()
    assert (read.graph.input.axes, read.graph.input.shape) == (("batch", "time", "channel"), (5, 4))


@pytest.mark.parametrize("training", [0, 1])
def test_a_kernel_that_a_batch_norm_of_constants_makes_is_computed(training: int) -> None:
    """Row (1, 3) has mean 2 and variance 1, row (2, 6) mean 4 and variance 4; in training mode those are taken.

    Then the rows are (-1, 1), (-1, 1) for an epsilon of zero; else they are (x - 1) / sqrt(4) with what is stored.
    """
    rows = np.array([[[1.0, 3.0], [2.0, 6.0]]], np.float32)
    stored = {"g": [1, 1], "b": [0, 0], "m": [1, 1], "v": [4, 4]}
    constants = {name: np.array(each, np.float32) for name, each in stored.items()}
    nodes = [
        node("BatchNormalization", "rows g b m v", "made", epsilon=0.0, training_mode=training),
        node("Squeeze", "made axes", "kernel"),
        node("Gemm", "x kernel", transB=1),
    ]
    weights = {"rows": rows, "axes": np.array([0]), **constants}
    if training:
        nodes[0].output.extend(["mean", "variance"])
    proto = exported(nodes, ["n", 2], weights, 15)
    model = load_model(proto)
    expected = [[-1.0, -1.0], [1.0, 1.0]] if training else [[0.0, 0.5], [1.0, 2.5]]
    assert model.graph[model.graph.output].weights["kernel"].tolist() == expected


def test_a_batch_norm_of_constants_before_opset_14_is_not_computed() -> None:
    """The evaluator of onnx 1.23.2 mixes the statistics of its input in."""
    constants = {name: np.ones(2, np.float32) for name in "gbmv"} | {"rows": np.ones((1, 2, 2), np.float32)}
    nodes = [node("BatchNormalization", "rows g b m v", "made"), node("Add", "x made")]
    with pytest.raises(HarnessError, match="is not computed in advance before opset 14"):
        load_model(exported(nodes, ["n", 2, 2], constants, 13))
