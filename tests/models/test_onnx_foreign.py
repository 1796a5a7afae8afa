"""Files as exporters write them: read as layers, and the same function as ONNX Runtime computes from them.

Weights and inputs are small whole numbers, so sums of products are exact in float32 and outputs must be
equal; only functions that round (exponentials, roots) get a bound, and it says why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import helper

from harness.errors import ModelSourceError, UnsupportedLayerError
from harness.graph import Graph
from ported_models.onnx import graph_to_onnx, onnx_to_graph, read_onnx
from ported_models.onnx.layout import channels_first_order, inverse
from tests.models.onnx_runs import exported, ints, node, run_onnx, whole_numbers

EPS = float(np.finfo(np.float32).eps)


def read_and_compare(proto: onnx.ModelProto, bound: float = 0.0, channels_first: bool = False) -> Graph:
    """The file's graph, after checking that it computes what the file does on whole numbers.

    ``channels_first``: the file's input is channels-first, so the graph's is the same moved to channels last.
    The output is compared value by value in the file's own order (all outputs here have rank 2, or have
    their channels first).
    """
    graph = onnx_to_graph(proto, "read", "file.onnx")
    sizes = [dim.dim_value or 2 for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    x = whole_numbers(7, *sizes)
    canonical = x.transpose(inverse(channels_first_order(x.ndim))) if channels_first else x
    assert graph.input.shape == canonical.shape[1:]
    expected, found = run_onnx(proto, x), run_onnx(graph_to_onnx(graph), canonical)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= bound * np.abs(expected).max()
    return graph


def kinds(graph: Graph) -> list[str]:
    return [layer.kind for layer in graph.layers[1:]]


def refused(
    nodes: Sequence[onnx.NodeProto], shape: Sequence[int | str], message: str, **options: object
) -> None:
    with pytest.raises(UnsupportedLayerError, match=message) as caught:
        onnx_to_graph(exported(nodes, shape, **options), "read", "file.onnx")
    assert str(caught.value).startswith("file.onnx: node ")
    assert "\n" not in str(caught.value)


class TestMatrixProducts:
    def test_matmul_and_add_are_one_dense_layer(self) -> None:
        constants = {"w": whole_numbers(0, 3, 4), "b": whole_numbers(1, 4)}
        graph = read_and_compare(
            exported([node("MatMul", "x w", "h"), node("Add", "b h")], ["n", 3], constants)
        )
        assert kinds(graph) == ["dense"]
        assert graph[graph.output].weights["bias"].tolist() == constants["b"].tolist()

    def test_a_subtracted_bias_is_a_negative_one(self) -> None:
        constants = {"w": whole_numbers(0, 3, 4), "b": whole_numbers(1, 4)}
        graph = read_and_compare(
            exported([node("MatMul", "x w", "h"), node("Sub", "h b")], ["n", 3], constants)
        )
        assert kinds(graph) == ["dense"]

    def test_a_product_that_two_nodes_read_keeps_its_sum_apart(self) -> None:
        constants = {"w": whole_numbers(0, 3, 4), "b": whole_numbers(1, 4)}
        nodes = [node("MatMul", "x w", "h"), node("Add", "h b", "s"), node("Add", "s h")]
        assert kinds(read_and_compare(exported(nodes, ["n", 3], constants))) == ["dense", "scale", "add"]

    @pytest.mark.parametrize("transposed", [0, 1])
    def test_gemm_with_its_factors(self, transposed: int) -> None:
        kernel = whole_numbers(0, 4, 3) if transposed else whole_numbers(0, 3, 4)
        nodes = [node("Gemm", "x w b", transB=transposed, alpha=2.0, beta=0.5)]
        graph = read_and_compare(exported(nodes, ["n", 3], {"w": kernel, "b": whole_numbers(1, 1, 4)}))
        assert graph[graph.output].weights["kernel"].shape == (3, 4)

    def test_a_product_of_two_layers_of_a_sample_is_one(self) -> None:
        nodes = [node("Relu", "x", "h"), node("MatMul", "x h", "p"), node("Flatten", "p")]
        assert kinds(read_and_compare(exported(nodes, ["n", 3, 3]))) == ["relu", "matmul", "flatten"]

    def test_a_product_over_the_batch_is_refused(self) -> None:
        refused([node("Relu", "x", "h"), node("MatMul", "x h")], ["n", 3], "multiplies along the batch axis")

    def test_weights_that_are_computed_from_constants_are_folded(self) -> None:
        constants = {"w": whole_numbers(0, 4, 3)}
        nodes = [node("Transpose", "w", "v", perm=[1, 0]), node("MatMul", "x v")]
        assert kinds(read_and_compare(exported(nodes, ["n", 3], constants))) == ["dense"]

    def test_weights_in_constant_nodes_count_as_weights(self) -> None:
        tensor = onnx.numpy_helper.from_array(whole_numbers(0, 3, 4))
        nodes = [node("Constant", "", "w", value=tensor), node("MatMul", "x w")]
        assert kinds(read_and_compare(exported(nodes, ["n", 3]))) == ["dense"]


class TestConvolutions:
    @pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
    @pytest.mark.parametrize("space", [1, 2])
    def test_padding_by_name_becomes_numbers(self, space: int, auto_pad: str) -> None:
        constants = {"w": whole_numbers(0, 4, 3, *(2,) * space), "b": whole_numbers(1, 4)}
        nodes = [node("Conv", "x w b", auto_pad=auto_pad, strides=[2] * space)]
        graph = read_and_compare(exported(nodes, ["n", 3, *(5,) * space], constants), channels_first=True)
        assert kinds(graph) == [f"conv{space}d"]
        # 5 values, stride 2: 3 windows of 2 need 6 values, the sixth after or before.
        expected = {"SAME_UPPER": (0, 1), "SAME_LOWER": (1, 0)}.get(auto_pad, (0, 0))
        assert graph[graph.output].attributes["padding"] == (expected,) * space

    def test_groups_dilations_and_uneven_padding(self) -> None:
        constants = {"w": whole_numbers(0, 6, 2, 2, 3)}
        nodes = [node("Conv", "x w", group=2, dilations=[2, 1], pads=[0, 1, 2, 0])]
        graph = read_and_compare(exported(nodes, ["n", 4, 5, 6], constants), channels_first=True)
        assert graph[graph.output].attributes["padding"] == ((0, 2), (1, 0))

    def test_a_bias_added_after_the_convolution_belongs_to_it(self) -> None:
        constants = {"w": whole_numbers(0, 4, 3, 2, 2), "b": whole_numbers(1, 1, 4, 1, 1)}
        nodes = [node("Conv", "x w", "h"), node("Add", "h b")]
        assert kinds(read_and_compare(exported(nodes, ["n", 3, 5, 5], constants), channels_first=True)) == [
            "conv2d"
        ]

    @pytest.mark.parametrize(
        "options",
        [
            {"pads": [1, 0], "output_padding": [1]},
            {"output_shape": [9]},
            {"output_shape": [8], "auto_pad": "SAME_UPPER"},
            {"auto_pad": "SAME_UPPER"},
            {"auto_pad": "SAME_LOWER"},
            {"group": 2},
            {"dilations": [2]},
        ],
        ids=str,
    )
    def test_transposed_convolutions(self, options: dict[str, object]) -> None:
        constants = {"w": whole_numbers(0, 4, 3, 3), "b": whole_numbers(1, 3 * int(options.get("group", 1)))}
        nodes = [node("ConvTranspose", "x w b", strides=[2], **options)]
        graph = read_and_compare(exported(nodes, ["n", 4, 4], constants), channels_first=True)
        assert kinds(graph) == ["conv_transpose1d"]


class TestNormalisations:
    def test_batch_norm(self) -> None:
        constants = {key: whole_numbers(n, 3) for n, key in enumerate("gbm")} | {"v": np.float32([3, 8, 15])}
        nodes = [node("BatchNormalization", "x g b m v", epsilon=1.0)]
        # One subtraction, root, division, product and sum: at most 8 roundings on each side.
        graph = read_and_compare(
            exported(nodes, ["n", 3, 4, 4], constants), bound=16 * EPS, channels_first=True
        )
        assert kinds(graph) == ["batch_norm"]
        assert graph[graph.output].attributes["epsilon"] == 1.0

    def test_batch_norm_in_training_mode_is_refused(self) -> None:
        constants = {key: np.ones(3, np.float32) for key in "gbmv"}
        training = helper.make_node("BatchNormalization", list("xgbmv"), ["y", "m2", "v2"], training_mode=1)
        refused([training], [2, 3], "training mode", constants=constants)

    def test_a_folded_batch_norm_is_a_scale(self) -> None:
        constants = {"a": whole_numbers(0, 3), "b": whole_numbers(1, 3)}
        graph = read_and_compare(exported([node("Mul", "a x", "h"), node("Add", "h b")], ["n", 3], constants))
        assert kinds(graph) == ["scale"]
        assert graph[graph.output].weights["kernel"].tolist() == constants["a"].tolist()
        assert graph[graph.output].weights["bias"].tolist() == constants["b"].tolist()

    @pytest.mark.parametrize(
        ("operator", "inputs", "kernel", "bias"),
        [
            ("Mul", "x c", 4, None),
            ("Add", "c x", 1, 4),
            ("Sub", "x c", 1, -4),
            ("Sub", "c x", -1, 4),
            ("Div", "x c", 0.25, None),
            ("Neg", "x", -1, None),
        ],
    )
    def test_a_lone_constant_is_a_scale(
        self, operator: str, inputs: str, kernel: float, bias: float | None
    ) -> None:
        constants = {"c": np.float32(4)} if "c" in inputs.split() else {}
        graph = read_and_compare(exported([node(operator, inputs)], ["n", 3], constants))
        weights = graph[graph.output].weights
        assert weights["kernel"].tolist() == [kernel] * 3
        assert weights.get("bias", np.array(None)).tolist() == (None if bias is None else [bias] * 3)

    @pytest.mark.parametrize("axis", [-1, 1])
    def test_layer_norm(self, axis: int) -> None:
        sizes = (4, 5)[axis:] if axis < 0 else (4, 5)
        constants = {"g": whole_numbers(0, *sizes), "b": whole_numbers(1, *sizes)}
        nodes = [node("LayerNormalization", "x g b", "h", axis=axis, epsilon=0.5), node("Flatten", "h")]
        # A mean and a variance of 20 values: at most 20 roundings each, on either side.
        graph = read_and_compare(exported(nodes, ["n", 4, 5], constants), bound=80 * EPS)
        assert kinds(graph) == ["layer_norm", "flatten"]
        assert graph.layers[1].attributes == {"epsilon": 0.5, "axes_count": len(sizes)}

    def test_a_tensor_that_is_normalised_and_added_again_is_normalised_once(self) -> None:
        """The nodes of the first norm stand behind ``x`` as the sum does; they belong to the first alone."""
        constants = {
            "g": whole_numbers(0, 5) + 9,
            "w": whole_numbers(2, 5, 5),
            "two": np.float32(2),
            "e": np.float32(1e-3),
        }

        def norm(x: str, y: str) -> list[onnx.NodeProto]:
            return [
                node("ReduceMean", x, f"{x}m", axes=[-1]),
                node("Sub", f"{x} {x}m", f"{x}d"),
                node("Pow", f"{x}d two", f"{x}q"),
                node("ReduceMean", f"{x}q", f"{x}v", axes=[-1]),
                node("Add", f"{x}v e", f"{x}w"),
                node("Sqrt", f"{x}w", f"{x}s"),
                node("Div", f"{x}d {x}s", f"{x}z"),
                node("Mul", f"{x}z g", y),
            ]

        sums = [node("MatMul", "h w", "p"), node("Add", "x p", "t")]
        nodes = [*norm("x", "h"), *sums, *norm("t", "u"), node("Flatten", "u")]
        graph = read_and_compare(exported(nodes, ["n", 4, 5], constants), bound=400 * EPS)
        assert kinds(graph) == ["layer_norm", "dense", "add", "layer_norm", "flatten"]

    @pytest.mark.parametrize("spelling", ["torch", "keras"])
    def test_layer_norm_spelled_out(self, spelling: str) -> None:
        constants = {
            "g": whole_numbers(0, 5) + 9,
            "b": whole_numbers(1, 5),
            "two": np.float32(2),
            "e": np.float32(1e-3),
        }
        variance = [
            node("ReduceMean", "x", "m", axes=[-1]),
            node("Sub", "x m", "d"),
            node("Pow", "d two", "q"),
            node("ReduceMean", "q", "v", axes=[-1]),
            node("Add", "v e", "w"),
            node("Sqrt", "w", "s"),
        ]
        endings = {
            "torch": [node("Div", "d s", "z"), node("Mul", "z g", "h"), node("Add", "h b", "n")],
            "keras": [
                node("Reciprocal", "s", "r"),
                node("Mul", "r g", "k"),
                node("Mul", "x k", "xk"),
                node("Mul", "m k", "mk"),
                node("Sub", "b mk", "rest"),
                node("Add", "xk rest", "n"),
            ],
        }
        nodes = [*variance, *endings[spelling], node("Flatten", "n")]
        graph = read_and_compare(exported(nodes, ["n", 4, 5], constants), bound=80 * EPS)
        assert kinds(graph) == ["layer_norm", "flatten"]
        layer = graph.layers[1]
        assert layer.attributes == {"epsilon": float(np.float32(1e-3)), "axes_count": 1}
        assert layer.weights["gamma"].tobytes() == constants["g"].tobytes()
        assert layer.weights["beta"].tobytes() == constants["b"].tobytes()


#: Spellings of activations, their constants as scalars, and the kind they are.
SPELLED_OUT = {
    "swish": ([node("Sigmoid", "x", "s"), node("Mul", "x s")], {}, "swish", {}),
    "gelu-torch": (
        [
            node("Div", "x root2", "a"),
            node("Erf", "a", "e"),
            node("Add", "e one", "s"),
            node("Mul", "x s", "p"),
            node("Mul", "p half"),
        ],
        {"root2": math.sqrt(2), "one": 1.0, "half": 0.5},
        "gelu",
        {"approximate": "none"},
    ),
    "gelu-tf2onnx": (
        [
            node("Mul", "x half", "h"),
            node("Mul", "rroot2 x", "a"),
            node("Erf", "a", "e"),
            node("Add", "one e", "s"),
            node("Mul", "h s"),
        ],
        {"rroot2": math.sqrt(0.5), "one": 1.0, "half": 0.5},
        "gelu",
        {"approximate": "none"},
    ),
    "gelu-tanh": (
        [
            node("Pow", "x three", "c"),
            node("Mul", "c k", "kc"),
            node("Add", "x kc", "i"),
            node("Mul", "i q", "qi"),
            node("Tanh", "qi", "t"),
            node("Add", "t one", "s"),
            node("Mul", "x s", "p"),
            node("Mul", "half p"),
        ],
        {"three": 3.0, "k": 0.044715, "q": math.sqrt(2 / math.pi), "one": 1.0, "half": 0.5},
        "gelu",
        {"approximate": "tanh"},
    ),
    "leaky-relu": (
        [node("Mul", "x slope", "a"), node("Max", "x a")],
        {"slope": 0.25},
        "leaky_relu",
        {"alpha": 0.25},
    ),
}


class TestActivations:
    @pytest.mark.parametrize(
        ("one", "kind", "attributes"),
        [
            (node("Relu", "x"), "relu", {}),
            (node("Clip", "x low high"), "relu6", {}),
            (node("Clip", "x low"), "relu", {}),
            (node("LeakyRelu", "x", alpha=0.25), "leaky_relu", {"alpha": 0.25}),
            (node("PRelu", "x quarter"), "leaky_relu", {"alpha": 0.25}),
            (node("Elu", "x"), "elu", {"alpha": 1.0}),
            (node("Selu", "x"), "selu", {}),
            (node("Sigmoid", "x"), "sigmoid", {}),
            (node("Tanh", "x"), "tanh", {}),
            (node("Softmax", "x"), "softmax", {"axis": -1}),
            (node("Gelu", "x", approximate="tanh"), "gelu", {"approximate": "tanh"}),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_one_operator_is_one_layer(
        self, one: onnx.NodeProto, kind: str, attributes: dict[str, object]
    ) -> None:
        bounds = {"low": np.float32(0), "high": np.float32(6), "quarter": np.float32([0.25])}
        constants = {name: bounds[name] for name in one.input if name in bounds}
        graph = read_and_compare(exported([one], ["n", 5], constants, opset=20))
        assert kinds(graph) == [kind]
        assert graph[graph.output].attributes == attributes

    def test_clip_with_attributes_as_before_opset_11(self) -> None:
        nodes = [node("Clip", "x", min=0.0, max=6.0)]
        assert kinds(read_and_compare(exported(nodes, ["n", 5], opset=9))) == ["relu6"]

    @pytest.mark.parametrize("name", SPELLED_OUT)
    def test_an_activation_spelled_out_is_one_layer(self, name: str) -> None:
        nodes, scalars, kind, attributes = SPELLED_OUT[name]
        constants = {key: np.float32(value) for key, value in scalars.items()}
        # At most 8 operations, each rounded once, on either side.
        graph = read_and_compare(exported(nodes, ["n", 9], constants), bound=16 * EPS)
        assert kinds(graph) == [kind]
        assert graph[graph.output].attributes == attributes

    def test_what_only_resembles_gelu_is_not_read_as_gelu(self) -> None:
        """x * sigmoid(1.702 x), the quick approximation, is none of the graph's two; it stays as it is."""
        nodes = [node("Mul", "x k", "a"), node("Sigmoid", "a", "s"), node("Mul", "x s")]
        graph = read_and_compare(exported(nodes, ["n", 9], {"k": np.float32(1.702)}))
        assert kinds(graph) == ["scale", "sigmoid", "multiply"]

    def test_a_final_softmax_goes_and_is_reported(self) -> None:
        read = read_onnx(exported([node("Relu", "x", "h"), node("Softmax", "h")], ["n", 3]), "read")
        assert (kinds(read.graph), read.removed) == (["relu"], "softmax")

    def test_a_final_log_softmax_and_a_final_sigmoid_go_too(self) -> None:
        for operator, expected in (("LogSoftmax", "log_softmax"), ("Sigmoid", "sigmoid")):
            proto = exported([node("Relu", "x", "h"), node(operator, "h")], ["n", 3])
            read = read_onnx(proto, "read")
            assert (kinds(read.graph), read.removed) == (["relu"], expected)

    def test_of_two_endings_one_goes(self) -> None:
        proto = exported(
            [node("Relu", "x", "h"), node("Softmax", "h", "s"), node("LogSoftmax", "s")], ["n", 3]
        )
        read = read_onnx(proto, "read")
        assert (kinds(read.graph), read.removed) == (["relu", "softmax"], "log_softmax")

    def test_a_log_softmax_inside_is_refused(self) -> None:
        refused([node("LogSoftmax", "x", "s"), node("Relu", "s")], ["n", 3], "stands inside the network")

    def test_old_softmax_over_several_axes_is_refused(self) -> None:
        refused([node("Softmax", "x", axis=1)], [1, 2, 3], "before opset 13", opset=11)


class TestPooling:
    @pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"auto_pad": "SAME_UPPER"},
            {"auto_pad": "SAME_LOWER"},
            {"pads": [1, 0, 0, 1]},
            {"ceil_mode": 1},
        ],
        ids=str,
    )
    def test_windows(self, operator: str, options: dict[str, object]) -> None:
        nodes = [node(operator, "x", kernel_shape=[2, 2], strides=[2, 2], **options)]
        graph = read_and_compare(exported(nodes, ["n", 3, 5, 7]), bound=2 * EPS, channels_first=True)
        assert kinds(graph) == [{"MaxPool": "max_pool2d", "AveragePool": "average_pool2d"}[operator]]

    def test_ceil_mode_takes_no_window_that_begins_beyond_the_values(self) -> None:
        # 4 values, window 1, stride 3: rounding (4 - 1) / 3 up or down is the same, two windows;
        # with one padded value after them a third window would begin on padding alone.
        nodes = [node("MaxPool", "x", kernel_shape=[2], strides=[3], pads=[0, 1], ceil_mode=1)]
        graph = read_and_compare(exported(nodes, ["n", 1, 5]), channels_first=True)
        assert graph[graph.output].shape == (2, 1)

    def test_average_that_counts_its_padding(self) -> None:
        nodes = [node("AveragePool", "x", kernel_shape=[2], pads=[1, 0], count_include_pad=1)]
        graph = read_and_compare(exported(nodes, ["n", 1, 4]), channels_first=True)
        assert graph[graph.output].attributes["count_include_pad"] is True

    @pytest.mark.parametrize("operator", ["GlobalAveragePool", "GlobalMaxPool"])
    def test_global_pooling(self, operator: str) -> None:
        nodes = [node(operator, "x", "h"), node("Flatten", "h")]
        graph = read_and_compare(exported(nodes, ["n", 3, 4, 4]), channels_first=True)
        assert kinds(graph)[0] == {"A": "global_average_pool", "M": "global_max_pool"}[operator[6]]

    @pytest.mark.parametrize("opset", [11, 18])
    @pytest.mark.parametrize("keepdims", [0, 1])
    def test_a_mean_over_space_is_global_pooling(self, keepdims: int, opset: int) -> None:
        axes = {"constants": {"a": ints(2, 3)}} if opset >= 18 else {}
        mean = (
            node("ReduceMean", "h a", "m", keepdims=keepdims)
            if axes
            else node("ReduceMean", "h", "m", keepdims=keepdims, axes=[-2, -1])
        )
        nodes = [node("MaxPool", "x", "h", kernel_shape=[1, 1]), mean, node("Flatten", "m")]
        graph = read_and_compare(exported(nodes, ["n", 3, 4, 4], opset=opset, **axes), channels_first=True)
        assert kinds(graph)[1] == "global_average_pool"
        assert graph.layers[2].attributes["keepdims"] == bool(keepdims)


class TestLayout:
    def test_transpositions_around_convolutions_vanish(self) -> None:
        constants = {"w": whole_numbers(0, 4, 3, 2, 2)}
        nodes = [
            node("Transpose", "x", "nchw", perm=[0, 3, 1, 2]),
            node("Conv", "nchw w", "h"),
            node("Transpose", "h", "nhwc", perm=[0, 2, 3, 1]),
            node("Relu", "nhwc", "r"),
            node("Flatten", "r"),
        ]
        graph = read_and_compare(exported(nodes, ["n", 4, 4, 3], constants))
        assert kinds(graph) == ["conv2d", "relu", "flatten"]
        assert graph[graph.output].attributes["order"] == "channels_last"

    def test_flattening_channels_first_is_recorded(self) -> None:
        constants = {"w": whole_numbers(0, 4, 3, 2, 2)}
        nodes = [node("Conv", "x w", "h"), node("Flatten", "h")]
        graph = read_and_compare(exported(nodes, ["n", 3, 4, 4], constants), channels_first=True)
        assert graph[graph.output].attributes["order"] == "channels_first"

    def test_the_input_is_channels_first_where_its_first_reader_that_cares_is(self) -> None:
        constants = {
            "w": whole_numbers(0, 4, 3, 2, 2),
            "m": whole_numbers(1, 3, 1, 1),
            "p": ints(0, 0, 1, 0, 0, 0, 0, 1),
        }
        nodes = [node("Sub", "x m", "c"), node("Pad", "c p", "q"), node("Conv", "q w")]
        graph = read_and_compare(exported(nodes, ["n", 3, 4, 5], constants), channels_first=True)
        assert kinds(graph) == ["scale", "zero_pad", "conv2d"]

    def test_a_transposition_that_means_something_is_a_permute_layer(self) -> None:
        nodes = [node("Transpose", "x", "t", perm=[0, 2, 1, 3]), node("Flatten", "t")]
        graph = read_and_compare(exported(nodes, ["n", 2, 3, 4]))
        assert kinds(graph) == ["permute", "flatten"]

    @pytest.mark.parametrize("batch", ["n", 3])
    def test_a_shape_computed_from_the_batch_is_followed(self, batch: int | str) -> None:
        constants = {"zero": ints(0), "one": ints(1), "rest": np.array([-1], np.int32)}
        nodes = [
            node("Transpose", "x", "t", perm=[0, 2, 3, 1]),
            node("Shape", "x", "s"),
            node("Cast", "s", "s32", to=onnx.TensorProto.INT32),
            node("Slice", "s32 zero one zero", "b"),
            helper.make_node("Concat", ["b", "rest"], ["f"], axis=0),
            node("Cast", "f", "f64", to=onnx.TensorProto.INT64),
            node("Reshape", "t f64"),
        ]
        graph = read_and_compare(exported(nodes, [batch, 3, 4, 5], constants))
        assert kinds(graph)[-1] == "flatten"

    @pytest.mark.parametrize("target", [(0, -1), (-1, 24)])
    def test_reshape_to_rows_is_a_flatten(self, target: tuple[int, ...]) -> None:
        graph = read_and_compare(exported([node("Reshape", "x t")], ["n", 4, 6], {"t": ints(*target)}))
        assert kinds(graph) == ["flatten"]

    def test_reshape_to_an_image_that_a_convolution_reads(self) -> None:
        constants = {"t": ints(-1, 3, 2, 2), "w": whole_numbers(0, 2, 3, 2, 1)}
        nodes = [node("Reshape", "x t", "h"), node("Conv", "h w", "c"), node("Flatten", "c")]
        graph = read_and_compare(exported(nodes, ["n", 12], constants))
        assert kinds(graph) == ["reshape", "conv2d", "flatten"]
        assert graph.layers[1].shape == (2, 2, 3)

    def test_reshape_that_merges_samples_is_refused(self) -> None:
        refused([node("Reshape", "x t")], ["n", 4, 6], "in one axis with", constants={"t": ints(-1, 6)})
        refused([node("Reshape", "x t")], ["n", 4, 6], "mixes the batch axis", constants={"t": ints(4, -1)})

    def test_an_output_with_the_batch_behind_is_followed_where_the_batch_has_no_fixed_size(self) -> None:
        read = read_onnx(exported([node("Transpose", "x", perm=[1, 0, 2])], ["n", 4, 6]), "read")
        assert (read.free, read.tensors[read.output].order) == (0, (1, 0, 2))
        read = read_onnx(exported([node("Transpose", "x", perm=[1, 0, 2])], [3, 4, 6]), "read")
        assert (read.free, read.graph[read.graph.output].shape) == (1, (4, 3, 6))

    def test_a_series_through_a_two_dimensional_convolution(self) -> None:
        """tf2onnx writes a one-dimensional convolution as a two-dimensional one of height 1."""
        constants = {"w": whole_numbers(0, 4, 3, 1, 2), "a": ints(2)}
        nodes = [
            node("Transpose", "x", "t", perm=[0, 2, 1]),
            node("Unsqueeze", "t a", "u"),
            node("Conv", "u w", "c"),
            node("Squeeze", "c a", "s"),
            node("Transpose", "s", "l", perm=[0, 2, 1]),
            node("Flatten", "l"),
        ]
        graph = read_and_compare(exported(nodes, ["n", 6, 3], constants))
        assert kinds(graph) == ["reshape", "conv2d", "reshape", "flatten"]


class TestPlaces:
    @pytest.mark.parametrize("opset", [9, 17])
    def test_a_slice_is_a_crop(self, opset: int) -> None:
        old = opset < 10
        constants = {} if old else {"s": ints(1, 0), "e": ints(-1, 3), "a": ints(2, 3)}
        cut = (
            node("Slice", "h", "c", starts=[1, 0], ends=[-1, 3], axes=[2, 3])
            if old
            else node("Slice", "h s e a", "c")
        )
        nodes = [node("MaxPool", "x", "h", kernel_shape=[1, 1]), cut, node("Flatten", "c")]
        graph = read_and_compare(exported(nodes, ["n", 2, 4, 5], constants, opset=opset), channels_first=True)
        assert graph.layers[2].kind == "crop"
        assert graph.layers[2].attributes["padding"] == ((1, 1), (0, 2))

    @pytest.mark.parametrize(
        ("options", "interpolation"),
        [
            (
                {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
                "nearest",
            ),
            ({"mode": "nearest", "coordinate_transformation_mode": "half_pixel"}, "nearest"),
            ({"mode": "linear", "coordinate_transformation_mode": "half_pixel"}, "bilinear"),
            ({"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}, "bilinear"),
        ],
        ids=["tf2onnx", "half-pixel", "bilinear", "torch"],
    )
    def test_resize_by_whole_factors_is_an_upsampling(
        self, options: dict[str, str], interpolation: str
    ) -> None:
        constants = {"k": np.float32([1, 1, 2, 3])}
        nodes = [
            node("MaxPool", "x", "h", kernel_shape=[1, 1]),
            helper.make_node("Resize", ["h", "", "k"], ["u"], **options),
            node("Flatten", "u"),
        ]
        # Four products of weights that are thirds, each rounded: 8 roundings on either side.
        graph = read_and_compare(
            exported(nodes, ["n", 2, 3, 4], constants), bound=16 * EPS, channels_first=True
        )
        assert graph.layers[2].attributes == {"size": (2, 3), "interpolation": interpolation}

    def test_resize_to_sizes(self) -> None:
        nodes = [
            node("MaxPool", "x", "h", kernel_shape=[1, 1]),
            helper.make_node("Resize", ["h", "", "", "sizes"], ["u"], mode="nearest"),
        ]
        proto = exported(nodes, [1, 2, 3, 4], {"sizes": ints(1, 2, 6, 8)}, output="u")
        assert onnx_to_graph(proto, "read").layers[2].attributes["size"] == (2, 2)


class TestBranches:
    @pytest.mark.parametrize(("operator", "kind"), [("Add", "add"), ("Sum", "add"), ("Mul", "multiply")])
    def test_two_layers_meet(self, operator: str, kind: str) -> None:
        nodes = [node("Relu", "x", "h"), node(operator, "x h")]
        assert kinds(read_and_compare(exported(nodes, ["n", 5]))) == ["relu", kind]

    def test_branches_of_different_axis_order_are_aligned(self) -> None:
        constants = {"w": whole_numbers(0, 4, 4, 1, 1)}
        nodes = [
            node("Transpose", "x", "t", perm=[0, 3, 1, 2]),
            node("Conv", "t w", "c"),
            node("Transpose", "c", "back", perm=[0, 2, 3, 1]),
            node("Add", "x back", "s"),
            helper.make_node("Concat", ["s", "back"], ["j"], axis=3),
            node("Flatten", "j"),
        ]
        graph = read_and_compare(exported(nodes, ["n", 3, 3, 4], constants))
        assert kinds(graph) == ["conv2d", "add", "concat", "flatten"]

    def test_inputs_of_different_ranks_are_refused(self) -> None:
        nodes = [node("Flatten", "x", "h"), node("Add", "x h")]
        refused(nodes, [1, 3, 3], "different ranks")


class TestFiles:
    def test_dropout_stays_and_identity_and_casts_vanish(self) -> None:
        nodes = [
            node("Identity", "x", "i"),
            node("Cast", "i", "c", to=onnx.TensorProto.FLOAT),
            node("Dropout", "c r", "d"),
            node("Relu", "d"),
        ]
        graph = read_and_compare(exported(nodes, ["n", 3], {"r": np.float32(0.25)}))
        assert kinds(graph) == ["dropout", "relu"]
        assert graph.layers[1].attributes["rate"] == 0.25

    def test_a_cast_to_whole_numbers_is_refused(self) -> None:
        nodes = [node("Cast", "x", "c", to=onnx.TensorProto.INT64), node("Relu", "c")]
        refused(nodes, [1, 3], "expected float or double")

    def test_nodes_that_the_output_does_not_need_are_left_out(self) -> None:
        nodes = [node("HardSwish", "x", "unused"), node("Relu", "x")]
        assert kinds(onnx_to_graph(exported(nodes, ["n", 3]), "read")) == ["relu"]

    def test_local_functions_of_an_exporter_are_opened(self) -> None:
        proto = exported([helper.make_node("Block", ["x"], ["y"], name="block", domain="custom")], ["n", 3])
        body = [node("Relu", "a", "b"), node("Tanh", "b", "c")]
        proto.functions.append(
            helper.make_function("custom", "Block", ["a"], ["c"], body, [helper.make_opsetid("", 17)])
        )
        assert kinds(read_and_compare(proto)) == ["relu", "tanh"]

    def test_an_operator_of_another_domain_is_refused(self) -> None:
        odd = helper.make_node("Relu", ["x"], ["y"], name="odd", domain="com.microsoft")
        refused([odd], [1, 3], r"node 'odd' \(com.microsoft.Relu\)")

    def test_a_variable_input_size_is_refused(self) -> None:
        with pytest.raises(ModelSourceError, match=r"shape \(n, 3, h, w\).*fixed input size"):
            onnx_to_graph(exported([node("Relu", "x")], ["n", 3, "h", "w"]), "read", "file.onnx")

    def test_two_outputs_are_refused(self) -> None:
        proto = exported([node("Relu", "x", "a"), node("Tanh", "x")], ["n", 3])
        proto.graph.output.append(helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, None))
        with pytest.raises(
            ModelSourceError, match=r"2 outputs \(0: y, 1: a\); say which one .* output=\'y\'"
        ):
            onnx_to_graph(proto, "read", "file.onnx")

    def test_an_output_that_is_constant_is_refused(self) -> None:
        proto = exported([node("Relu", "c")], ["n", 3], {"c": np.float32([1])})
        with pytest.raises(ModelSourceError, match="does not depend on the input"):
            onnx_to_graph(proto, "read", "file.onnx")


class TestSumsAndRepetitions:
    @pytest.mark.parametrize(("axes", "keepdims"), [([1], 1), ([2, 3], 1), ([1, 2], 0)])
    def test_a_sum_is_a_matrix_of_ones_along_each_axis(self, axes: list[int], keepdims: int) -> None:
        constants = {"a": np.array(axes, np.int64), "w": whole_numbers(0, 4, 3, 1, 1)}
        nodes = [
            node("Conv", "x w", "h"),
            node("ReduceSum", "h a", "s", keepdims=keepdims),
            node("Flatten", "s"),
        ]
        read_and_compare(exported(nodes, ["n", 3, 4, 5], constants), channels_first=True)

    def test_an_axis_of_one_is_repeated(self) -> None:
        constants = {"s": np.array([1, 1, 4, 5], np.int64), "w": whole_numbers(0, 4, 3, 1, 1)}
        nodes = [
            node("Conv", "x w", "h"),
            node("GlobalAveragePool", "h", "g"),
            node("Expand", "g s", "e"),
            node("Mul", "h e"),
        ]
        # A mean of 20 whole numbers: rounded once.
        graph = read_and_compare(exported(nodes, ["n", 3, 4, 5], constants), 4 * EPS, channels_first=True)
        assert [layer.shape for layer in graph.layers if layer.kind == "take"] == [(4, 1, 4), (4, 5, 4)]

    def test_a_shape_that_does_not_fit_is_refused(self) -> None:
        constants = {"s": np.array([1, 3, 4, 9], np.int64)}
        nodes = [node("Expand", "x s", "e"), node("GlobalAveragePool", "e")]
        refused(nodes, ["n", 3, 4, 5], "does not fit its input", constants=constants)

    def test_a_row_of_all_values_and_a_table_of_places_are_taken_together(self) -> None:
        """As torch's exporter writes `as_strided`; here every other of the 12 means, in another order."""
        table = np.array([10, 0, 4, 2, 8, 6], np.int64).reshape(1, 3, 1, 2)
        constants = {"all": np.array([-1], np.int64), "t": table, "w": whole_numbers(0, 12, 3, 1, 1)}
        nodes = [
            node("Conv", "x w", "h"),
            node("GlobalMaxPool", "h", "g"),
            node("Reshape", "g all", "r"),
            node("Gather", "r t", "s", axis=0),
            node("Flatten", "s"),
        ]
        graph = read_and_compare(exported(nodes, [1, 3, 4, 5], constants), channels_first=True)
        assert "take" in kinds(graph)
