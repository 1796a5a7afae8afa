"""Transformers in ONNX files: attention as exporters write it, unfused; the same numbers as ONNX Runtime's."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor, nn

from harness.errors import UnsupportedLayerError
from harness.graph import Graph
from harness.methods.composite import Assignment
from harness.methods.rules import Pass
from ported_models.onnx import graph_to_onnx, read_onnx
from ported_models.onnx.layout import inverse
from ported_models.onnx.operators.constants import alike
from ported_models.twins.layout import to_canonical
from tests.models.onnx_runs import exported, ints, node, run_onnx, whole_numbers

#: Products of a few dozen numbers near one, in float32, in another order.
BOUND = 1e-6


def check(proto: onnx.ModelProto, batch: int = 2, bound: float = BOUND) -> Graph:
    """The graph, after checking that it computes what the file does."""
    read = read_onnx(proto, "read", "file.onnx")
    value = proto.graph.input[0]
    sizes = [dim.dim_value or batch for dim in value.type.tensor_type.shape.dim]
    x = np.random.default_rng(0).standard_normal(sizes).astype(np.float32)
    order = read.tensors[value.name].order
    expected = run_onnx(proto, x)
    expected = expected.transpose(inverse(read.tensors[read.output].order))
    found = to_canonical(run_onnx(graph_to_onnx(read.graph), x.transpose(inverse(order))))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= bound * np.abs(expected).max()
    return read.graph


def kinds(graph: Graph, *wanted: str) -> list[str]:
    return [layer.kind for layer in graph if layer.kind in wanted]


def held(graph: Graph) -> list[str]:
    """The products of which the first factor is found to be attention weights."""
    at = Assignment(Pass(), kinds=("matmul",), softmaxed=0)
    return [layer.name for layer in graph if at.applies(layer, graph)]


# -- as torch's exporter writes networks ------------------------------------------------------------


class Network(nn.Module):
    """A class token and positions, an encoder layer, learnt queries that read it; tokens first where not ``first``."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first, self.token = first, nn.Parameter(torch.randn(1, 1, 8))
        self.places, self.queries = nn.Parameter(torch.randn(1, 6, 8)), nn.Parameter(torch.randn(1, 3, 8))
        self.encoder = nn.TransformerEncoderLayer(8, 2, 12, activation="gelu", batch_first=first)
        self.decoder = nn.TransformerDecoderLayer(8, 2, 12, batch_first=first)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        queries = self.queries.expand(x.shape[0], -1, -1)
        if not self.first:
            x, queries = x.transpose(0, 1), queries.transpose(0, 1)
        y = self.decoder(queries, self.encoder(x))
        y = y if self.first else y.transpose(0, 1)
        return self.head(y[:, 0] + y.mean(1))


def written(module: nn.Module, x: Tensor, opset: int, free_batch: bool) -> onnx.ModelProto:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its one operator has no form in ONNX
    file = io.BytesIO()
    try:
        torch.onnx.export(
            module.eval(), (x,), file, dynamo=False, opset_version=opset, input_names=["x"],
            dynamic_axes={"x": {0: "batch"}} if free_batch else None,
        )  # fmt: skip
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return onnx.load_model_from_string(file.getvalue())


@pytest.mark.parametrize("opset", [14, 17])
@pytest.mark.parametrize("free_batch", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_encoders_and_decoders_as_torch_exports_them(first: bool, free_batch: bool, opset: int) -> None:
    """Heads stand in one axis with the batch there; norms and GELU are spelled out before opset 17 and 20."""
    torch.manual_seed(0)
    graph = check(written(Network(first), torch.randn(2 if free_batch else 1, 5, 8), opset, free_batch))
    # The decoder's self attention reads nothing but constants.
    assert kinds(graph, "matmul", "softmax") == ["matmul", "softmax", "matmul"] * 2
    assert kinds(graph, "layer_norm", "gelu") == ["layer_norm", "gelu", *["layer_norm"] * 3]
    assert kinds(graph, "pad") == ["pad"]
    assert len(held(graph)) == 2


def test_a_class_token_and_positions_are_one_constant() -> None:
    """(5, 2) to (6, 2): a row of zeros in front, then one constant: the token, and the positions of all rows."""
    token, places = whole_numbers(0, 1, 1, 2), whole_numbers(1, 1, 6, 2)
    shape = [
        node("Shape", "x", "shape"), node("Gather", "shape zero", "batch"),
        node("Concat", "batch one two", "sides", axis=0), node("Expand", "token sides", "tokens"),
    ]  # fmt: skip
    nodes = [*shape, node("Concat", "tokens x", "all", axis=1), node("Add", "all places")]
    constants = {"token": token, "places": places, "zero": ints(0), "one": ints(1), "two": ints(2)}
    graph = check(exported(nodes, ["n", 5, 2], constants), bound=0.0)
    assert kinds(graph, "pad", "affine") == ["pad", "affine"]
    bias = graph[graph.output].weights["bias"]
    assert bias[0].tolist() == (token[0, 0] + places[0, 0]).tolist()
    assert bias[1:].tolist() == places[0, 1:].tolist()


# -- operator by operator ---------------------------------------------------------------------------


def test_a_second_factor_is_read_as_it_is_or_as_transposed() -> None:
    for last, transposed in (
        (node("Identity", "h", "t"), False),
        (node("Transpose", "h", "t", perm=[0, 2, 1]), True),
    ):
        nodes = [node("Tanh", "x", "h"), last, node("MatMul", "x t")]
        graph = check(exported(nodes, ["n", 3, 3]))
        assert graph[graph.output].kind == "matmul"
        assert graph[graph.output].attributes["transposed"] is transposed
        assert kinds(graph, "permute") == []


@pytest.mark.parametrize("left", [False, True])
def test_a_factor_of_length_one_is_repeated(left: bool) -> None:
    nodes = [node("ReduceMean", "x", "h", axes=[1]), node("MatMul", "h x" if left else "x h")]
    graph = check(exported(nodes, ["n", 2, 3, 3], opset=13))
    assert graph[graph.output].shape == (2, 3, 3)


def test_a_constant_mask_is_added_and_a_condition_chooses() -> None:
    mask = np.triu(np.full((3, 3), -1e4, np.float32), 1)
    seen = np.tril(np.ones((1, 3, 3), bool))
    low = np.float32(-1e4)
    for nodes, constants in (
        ([node("Add", "s mask", "m")], {"mask": mask}),
        ([node("Where", "seen s low", "m")], {"seen": seen, "low": low}),
        ([node("Not", "seen", "not"), node("Where", "not low s", "m")], {"seen": seen, "low": low}),
    ):
        all_nodes = [
            node("Transpose", "x", "t", perm=[0, 2, 1]), node("MatMul", "x t", "s"), *nodes,
            node("Softmax", "m", "w", axis=-1), node("MatMul", "w x"),
        ]  # fmt: skip
        graph = check(exported(all_nodes, ["n", 3, 4], constants))
        assert kinds(graph, "matmul", "affine", "softmax") == ["matmul", "affine", "softmax", "matmul"]
        assert len(held(graph)) == 1


RMS = {
    "a division": [
        *[node("Mul", "x x", "q"), node("ReduceMean", "q", "m", axes=[-1]), node("Add", "m e", "v")],
        *[node("Sqrt", "v", "r"), node("Div", "x r", "n"), node("Mul", "n g")],
    ],
    "a reciprocal": [
        *[node("Pow", "x two", "q"), node("ReduceMean", "q", "m", axes=[2]), node("Add", "m e", "v")],
        *[node("Sqrt", "v", "r"), node("Reciprocal", "r", "i"), node("Mul", "x i", "n"), node("Mul", "g n")],
    ],
}


@pytest.mark.parametrize("name", RMS)
def test_rms_norms_in_their_spellings(name: str) -> None:
    gamma = whole_numbers(0, 4) + np.float32(0.5)
    constants = {"two": np.float32(2), "e": np.float32(1e-3), "g": gamma}
    graph = check(exported(RMS[name], ["n", 3, 4], constants, opset=13))
    assert kinds(graph, "rms_norm") == ["rms_norm"]
    assert graph[graph.output].attributes["epsilon"] == np.float32(1e-3)
    assert graph[graph.output].weights["gamma"].tolist() == gamma.tolist()


@pytest.mark.parametrize(
    ("equation", "shape"),
    [
        ("bij,bkj->bik", [3, 4]),
        ("bqhd,bkhd->bhqk", [3, 2, 4]),
        ("bhqd,bhkd->bhqk", [2, 3, 4]),
        ("bqhd,bqkd->bhkq", [3, 2, 4]),
        ("...id,...jd->...ij", [2, 3, 4]),
    ],
)
def test_einsum_of_two_tensors(equation: str, shape: Sequence[int]) -> None:
    nodes = [node("Tanh", "x", "h"), node("Einsum", "x h", equation=equation)]
    assert kinds(check(exported(nodes, ["n", *shape])), "matmul") == ["matmul"]


@pytest.mark.parametrize(
    ("equation", "weights", "operands"),
    [("btd,dhk->bhtk", (4, 2, 3), "x w"), ("hkd,btd->bthk", (2, 3, 4), "w x")],
)
def test_einsum_with_weights(equation: str, weights: Sequence[int], operands: str) -> None:
    nodes = [node("Einsum", operands, equation=equation)]
    assert kinds(check(exported(nodes, ["n", 5, 4], {"w": whole_numbers(0, *weights)})), "dense") == ["dense"]


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_maps_are_read_at_places_of_the_network(padding: str) -> None:
    nodes = [
        helper.make_node("Split", ["x", "parts"], ["maps", "p"], axis=1),
        node("Transpose", "p", "t", perm=[0, 2, 3, 1]),
        node("GridSample", "maps t", mode="bilinear", padding_mode=padding, align_corners=0),
    ]  # fmt: skip
    graph = check(exported(nodes, ["n", 5, 4, 4], {"parts": ints(3, 2)}))
    assert kinds(graph, "grid_sample") == ["grid_sample"]


def test_constants_are_resized_by_onnx_runtime() -> None:
    """Position embeddings of another size: what ONNX's reference and ONNX Runtime make of them differs."""
    constants = {
        "w": whole_numbers(0, 1, 3, 3, 3),
        "sizes": ints(1, 3, 4, 4),
        "k": whole_numbers(1, 3, 3, 1, 1),
    }
    nodes = [
        helper.make_node("Resize", ["w", "", "", "sizes"], ["r"], mode="cubic"),
        node("Conv", "x k", "c"), node("Add", "c r"),
    ]  # fmt: skip
    assert kinds(check(exported(nodes, ["n", 3, 4, 4], constants)), "affine") == ["affine"]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("Transpose", "x", "t", perm=[2, 1, 0]), node("MatMul", "x t")], "along the batch axis"),
        ([node("Einsum", "x x", equation="bij,cij->bc")], "batch"),
        ([node("Einsum", "x x", equation="bij,bij->bij")], "no matrix product"),
        ([node("Transpose", "x", "t", perm=[1, 2, 0]), node("Softmax", "t", axis=-1)], "over the batch"),
    ],
)
def test_what_is_not_read_says_so_in_one_line(nodes: list[onnx.NodeProto], message: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=message) as caught:
        read_onnx(exported(nodes, ["n", 3, 3]), "read", "file.onnx")
    assert "\n" not in str(caught.value)


def test_samples_of_a_constant_may_be_rounded_apart_and_no_more() -> None:
    """A product of equal samples is not rounded alike in each on every processor."""
    one = np.random.default_rng(0).standard_normal((1, 3, 4)).astype(np.float32)
    apart = np.concatenate([one, np.nextafter(one, np.float32(9))])
    assert alike(apart) and alike(np.repeat(one, 3, 0)) and alike(np.full((2, 1), -np.inf, np.float32))
    assert not alike(np.concatenate([one, one * np.float32(1.0001)]))
    assert not alike(np.array([[1], [2]]))
    assert not alike(np.array([[-np.inf, 1], [-np.inf, 2]], np.float32))
