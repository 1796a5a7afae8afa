"""A module that runs with the numbers of its file computes what the file does, also in double precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from evidence.models.onnx_slopes import evaluator, in_double

pytestmark = pytest.mark.torch
EPSILON = 2.0**-10


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("kind", ["convolution", "transposed", "dense"])
def test_a_folded_batch_norm_is_the_file_s_own_in_double_precision(
    tmp_path: Path, kind: str, dynamo: bool
) -> None:
    """The evaluator is the independent source: it runs the file itself. Epsilon is one that a file holds exactly."""
    import torch
    from torch import nn

    from evidence.models.file_numbers import FileNumbers

    torch.manual_seed(0)
    layers, shape = {
        "convolution": ((nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, EPSILON)), (1, 3, 5, 5)),
        "transposed": ((nn.ConvTranspose2d(3, 4, 3), nn.BatchNorm2d(4, EPSILON)), (1, 3, 5, 5)),
        "dense": ((nn.Linear(6, 4), nn.BatchNorm1d(4, EPSILON)), (1, 6)),
    }[kind]
    norm = layers[1]
    with torch.no_grad():
        for each in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            each.uniform_(0.5, 1.5)
    module = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).eval()
    x = torch.randn(shape)
    module(x)
    path = tmp_path / "file.onnx"
    torch.onnx.export(module, (x,), path, dynamo=dynamo)
    proto = onnx.load(path)
    name, made = proto.graph.input[0].name, proto.graph.output[0].name
    (expected,) = evaluator(in_double(proto, made)).run(None, {name: x.double().numpy()})

    def apart() -> float:
        output = module.double()(x.double()).detach().numpy()
        return float(np.linalg.norm(output - expected) / np.linalg.norm(expected))

    folded = not any(node.op_type == "BatchNormalization" for node in proto.graph.node)
    if folded:
        assert apart() > 1e-10  # the module alone is another network in double precision
    with FileNumbers(proto):
        assert apart() < 1e-14


def test_a_kernel_that_is_not_the_module_s_own_is_not_taken() -> None:
    """A file whose kernel is off by more than rounding leaves the module as it is, so that the difference shows."""
    import torch
    from torch import nn

    from evidence.models.file_numbers import FileNumbers
    from tests.models.onnx_runs import exported, node

    module = nn.Linear(2, 2, bias=False).double()
    wrong = module.weight.detach().numpy().T.astype(np.float32) * np.float32(1.001)
    proto = exported([node("Gemm", "x w")], ["n", 2], {"w": wrong}, 13)
    x = torch.ones(1, 2, dtype=torch.float64)
    with FileNumbers(proto):
        assert torch.equal(module(x), x @ module.weight.T)


def test_a_hard_sigmoid_has_the_slope_of_the_file() -> None:
    """Its derivative too, where torch's own is a sixth in single precision whatever it computes in."""
    import torch
    from torch import nn

    from evidence.models.file_numbers import FileNumbers
    from tests.models.onnx_runs import exported, node

    slope = float(np.float32(0.1666))
    proto = exported([node("HardSigmoid", "x", alpha=slope, beta=0.5)], ["n", 3], {}, 13)
    x = torch.tensor([[-4.0, 1.5, 4.0]], dtype=torch.float64, requires_grad=True)
    with FileNumbers(proto):
        y = nn.Hardsigmoid()(x)
    y.sum().backward()
    assert y.tolist() == [[0.0, 1.5 * slope + 0.5, 1.0]]
    assert x.grad is not None and x.grad.tolist() == [[0.0, slope, 0.0]]


def test_a_product_with_a_number_has_the_number_of_the_file() -> None:
    import torch

    from evidence.models.file_numbers import FileNumbers
    from tests.models.onnx_runs import exported, node

    held = np.array(0.2, np.float32)
    proto = exported([node("Mul", "x fifth")], ["n", 2], {"fifth": held}, 13)
    x = torch.ones(1, 2, dtype=torch.float64)
    with FileNumbers(proto):
        assert (x * 0.2).tolist() == (0.2 * x).tolist() == x.mul(0.2).tolist() == [[float(held)] * 2]
        assert (x * 0.3).tolist() == [[0.3] * 2]  # the file holds no such number
