"""torch modules are read as what they compute in evaluation mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.errors import InvalidInputError, ModelSourceError, UnsupportedLayerError
from ported_models import load_model
from ported_models.sources.torch_source import from_module, read_module
from tests.models.torch_checks import Function, check

MODULES_2D = [
    nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2), groups=2),
    nn.Conv2d(4, 6, (2, 3), padding="same", dilation=(1, 2), bias=False),
    nn.Conv2d(4, 8, 3, padding="valid", groups=4),
    nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
    nn.ConvTranspose2d(4, 6, 3, stride=3, output_padding=2, dilation=2),
    nn.BatchNorm2d(4, affine=False),
    nn.LayerNorm([4, 7, 9]),
    nn.LayerNorm([4, 7, 9], elementwise_affine=False),
    nn.LayerNorm(9),
    nn.Linear(9, 3),
    nn.Hardtanh(0.0, 6.0),
    nn.LeakyReLU(0.3),
    nn.ELU(0.5),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.SiLU(),
    nn.Softmax(dim=2),
    nn.Sequential(nn.Softmax2d(), nn.Tanh()),
    nn.MaxPool2d(3, 2, 1),
    nn.MaxPool2d((2, 4), ceil_mode=True),
    nn.AvgPool2d(3, 2, 1),
    nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    nn.AvgPool2d(3, 2, ceil_mode=True),
    nn.AdaptiveAvgPool2d(1),
    nn.AdaptiveAvgPool2d((7, 3)),
    nn.AdaptiveMaxPool2d((1, 1)),
    nn.ZeroPad2d((1, 0, 2, 1)),
    nn.ConstantPad2d(1, 0.0),
    nn.Upsample(scale_factor=2),
    nn.Upsample(size=(14, 18), mode="bilinear"),
    nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(252, 3)),
    nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 2, 3), nn.BatchNorm1d(2), nn.MaxPool1d(2), nn.AvgPool1d(2)),
    nn.Sequential(nn.Flatten(2), nn.ConvTranspose1d(4, 2, 3, stride=2), nn.AdaptiveAvgPool1d(1)),
]


@pytest.mark.parametrize("module", MODULES_2D, ids=lambda module: str(module).replace("\n", ""))
def test_a_module_computes_what_it_computes(module: nn.Module) -> None:
    check(module, 4, 7, 9)


FUNCTIONS = {
    "residual": lambda x: x + torch.relu(x) * x.sigmoid(),
    "in place": lambda x: F.relu(x, inplace=True).mul_(2.0).add_(x),
    "in place on a permuted tensor": lambda x: x.permute(0, 2, 3, 1).relu_().permute(0, 3, 1, 2) + x,
    "constants": lambda x: (1.5 - x / 3) * 2 - 0.25,
    "concat of channels": lambda x: torch.cat([x, F.silu(x)], 1),
    "concat of columns": lambda x: torch.cat((x, x.tanh()), dim=-1),
    "concat of one": lambda x: torch.cat([x], 1).relu(),
    "global mean": lambda x: x.mean([2, 3]),
    "global mean kept": lambda x: x * torch.mean(x, dim=(-2, -1), keepdim=True),
    "global maximum": lambda x: x.amax((2, 3)),
    "pool and squeeze": lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1),
    "view": lambda x: x.view(x.size(0), -1),
    "view by the shape": lambda x: x.reshape(x.shape[0], x.shape[1] * 7, -1).flatten(1),
    "view to a map": lambda x: F.max_pool2d(x.flatten(1).view(-1, 2, 14, 9), 2),
    "flatten": lambda x: torch.flatten(x, 1),
    "flatten channels last": lambda x: x.permute(0, 2, 3, 1).flatten(1),
    "transposed map": lambda x: F.max_pool2d(x.transpose(2, 3), (3, 1)),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1)),
    "clamp": lambda x: torch.clamp(x, 0, 6) + x.clamp(min=0),
    "interpolate": lambda x: F.interpolate(x, scale_factor=(1, 2), mode="bilinear"),
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
    "unsqueeze": lambda x: x.flatten(1).unsqueeze(1).tanh().flatten(1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_computes_what_it_computes(name: str) -> None:
    check(Function(FUNCTIONS[name]), 4, 7, 9)


def test_a_module_in_place_changes_what_is_read_afterwards() -> None:
    check(Function(lambda x, act: x.tanh() + act(x) + x, act=nn.ReLU(inplace=True)), 4, 7, 9)


def test_a_subclass_is_read_by_its_own_forward() -> None:
    class ReLU(nn.ReLU):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1.0

    check(nn.Sequential(ReLU()), 3)


def test_tokens_with_features_last_need_no_permute_layer() -> None:
    """A ConvNeXt block: permuted for norm and linear, permuted back, scaled by a parameter and added."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Conv2d(4, 4, 3, padding=1, groups=4)
            self.norm = nn.LayerNorm(4)
            self.grow, self.shrink = nn.Linear(4, 8), nn.Linear(8, 4)
            self.gamma = nn.Parameter(torch.ones(4, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(self.mix(x).permute(0, 2, 3, 1))
            y = self.shrink(F.gelu(self.grow(y))).permute(0, 3, 1, 2)
            return x + self.gamma * y

    check(Block(), 4, 7, 9)
    kinds = [layer.kind for layer in from_module(Block(), torch.zeros(1, 4, 7, 9)).layers]
    assert kinds == ["input", "conv2d", "layer_norm", "dense", "gelu", "dense", "scale", "add"]


def test_layers_are_named_by_their_module_path() -> None:
    module = nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), nn.Linear(3, 2))
    assert [layer.name for layer in from_module(module, torch.zeros(1, 3)).layers] == [
        "input",
        "0_0",
        "0_1",
        "1",
    ]


def test_the_second_use_of_a_module_and_functions_have_their_own_names() -> None:
    module = Function(lambda x, fc: F.relu(fc(F.relu(fc(x)))), fc=nn.Linear(3, 3))
    reading = read_module(module, torch.zeros(1, 3))
    assert [layer.name for layer in reading.graph] == ["input", "fc", "relu", "fc_use2", "relu_1"]
    assert reading.origins["fc_use2"] == "fc"


def test_the_example_is_torchs_layout_as_a_tensor_and_canonical_as_an_array() -> None:
    module = nn.Conv2d(3, 2, 1)
    assert from_module(module, torch.zeros(1, 3, 5, 4)).input_shape == (5, 4, 3)
    assert from_module(module, np.zeros((1, 5, 4, 3))).input_shape == (5, 4, 3)


def test_kernels_change_their_axes_only() -> None:
    """torch (out, in, height, width) is the graph's (height, width, in, out)."""
    module = nn.Conv2d(2, 3, (4, 5))
    kernel = from_module(module, torch.zeros(1, 2, 6, 6)).layers[1].weights["kernel"]
    assert kernel[3, 1, 0, 2] == module.weight[2, 0, 3, 1].item()


def test_output_padding_takes_back_cropping_before_it_appends() -> None:
    module = nn.ConvTranspose2d(1, 1, 3, stride=2, padding=(1, 0), output_padding=(1, 1))
    attributes = from_module(module, torch.zeros(1, 1, 4, 4)).layers[1].attributes
    assert attributes["padding"] == ((1, 0), (0, 0))
    assert attributes["output_padding"] == (0, 1)


def test_ceil_mode_of_max_pooling_is_padding_at_the_end() -> None:
    """7 values, window 2, stride 2: the fourth window has one value, so one is padded."""
    module = nn.MaxPool1d(2, ceil_mode=True)
    layer = from_module(module, torch.zeros(1, 1, 7)).layers[1]
    assert (layer.attributes["padding"], layer.shape) == (((0, 1),), (4, 1))


def test_torch_flattens_channels_first() -> None:
    layer = from_module(nn.Sequential(nn.Flatten()), torch.zeros(1, 2, 3, 3)).layers[1]
    assert layer.attributes["order"] == "channels_first"


@pytest.mark.parametrize(
    ("end", "removed"),
    [
        (nn.Softmax(1), "softmax"),
        (nn.LogSoftmax(dim=-1), "log_softmax"),
        (nn.Sigmoid(), "sigmoid"),
        (nn.Tanh(), None),
    ],
)
def test_the_ending_is_taken_off_and_recorded(end: nn.Module, removed: str | None) -> None:
    module = nn.Sequential(nn.Linear(3, 2), end)
    assert read_module(module, torch.zeros(1, 3)).removed == removed
    assert from_module(module, torch.zeros(1, 3)).removed == removed


def test_training_mode_is_read_as_evaluation_said_so_and_left_as_it_was() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Dropout())
    module[0].eval()
    with pytest.warns(UserWarning, match="'1' differs between training and evaluation"):
        from_module(module, torch.zeros(1, 3))
    assert [child.training for child in module] == [False, True]


def test_a_forward_that_asks_whether_it_trains_is_said() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.randn_like(x) if self.training else x.tanh()

    with pytest.warns(UserWarning, match="'0' differs between training and evaluation") as said:
        model = from_module(nn.Sequential(Noisy()), torch.zeros(1, 3))
    assert str(said[0].message) in model.notes


class Tokens(nn.Module):
    """(batch, time, feature): a dense layer a token, then the mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.gelu(self.mix(x)).mean(1))


@pytest.mark.parametrize(
    "example", [torch.zeros(1, 5, 3), np.zeros((1, 5, 3), np.float32)], ids=["tensor", "array"]
)
def test_axes_say_that_features_stand_last(example: torch.Tensor | np.ndarray) -> None:
    model = load_model(Tokens(), example=example, axes=("batch", "time", "feature"))
    assert model.graph.input.axes == ("batch", "time", "feature")
    assert model.input_shape == (5, 3)
    assert [layer.kind for layer in model.layers] == [
        "input",
        "dense",
        "gelu",
        "global_average_pool",
        "dense",
    ]


def test_a_layout_that_reading_contradicts_is_said() -> None:
    """Channels first is torch's own layout; a module whose first layer wants features last says which it took."""
    with pytest.warns(UserWarning, match=r"taken as \(batch, channel, time\)"):
        model = from_module(Tokens(), torch.zeros(1, 5, 3))
    assert model.input_shape == (3, 5)


@pytest.mark.parametrize(
    "axes", [("batch", "time"), ("time", "sample", "feature"), ("batch", "time", "place")]
)
def test_axes_that_name_nothing_are_an_error(axes: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInputError, match="for an example of 3 axes; expected as many different names"):
        from_module(Tokens(), torch.zeros(1, 5, 3), axes=axes)


def test_axes_are_for_torch_modules() -> None:
    with pytest.raises(InvalidInputError, match="axes= was given with 'digits-cnn', whose axes are known"):
        load_model("digits-cnn", axes=("batch", "feature"))


REFUSED = {
    "a layer without a kind": (nn.Softplus(), r"layer '0' \(Softplus\) is not supported"),
    "a recurrent layer whose batch comes second": (nn.GRU(9, 3), "batch_first=False"),
    "a divisor": (nn.AvgPool2d(2, divisor_override=3), "divisor_override=3"),
    "batch statistics": (nn.BatchNorm2d(4, track_running_stats=False), "no running statistics"),
    "a mean over the batch": (Function(lambda x: x.mean(0)), "axes without the batch"),
    "a log-softmax inside": (nn.Sequential(nn.LogSoftmax(1), nn.Tanh()), "stands inside the network"),
    "an unknown function": (Function(lambda x: torch.cumsum(x, 1)), r"'cumsum' \(cumsum\) is not supported"),
    "a dropout that is always on": (Function(lambda x: F.dropout(x)), "training=True in evaluation mode too"),
    "an unknown argument": (Function(lambda x: torch.add(x, x, out=x)), "out"),
    "a changed batch": (Function(lambda x: x.view(1, -1)), "the batch as an axis by itself"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_graph_cannot_express_is_an_error_that_names_it(name: str) -> None:
    module, message = REFUSED[name]
    with pytest.raises(UnsupportedLayerError, match=message):
        from_module(module.eval(), torch.zeros(2, 4, 7, 9))


def test_control_flow_on_values_is_not_sent_to_an_exporter_which_would_drop_a_side() -> None:
    said = "must not branch.*would hold the one side of it that the example takes"
    with pytest.raises(ModelSourceError, match=said):
        from_module(Function(lambda x: x if x.sum() > 0 else -x), torch.zeros(1, 3))


def test_two_inputs_are_an_error() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    with pytest.raises(
        ModelSourceError, match=r"forward takes several inputs.*give one for each with example="
    ):
        from_module(Two(), torch.zeros(1, 3))


class _Weighed(nn.Module):
    """Two inputs of one shape, of which the second counts twice, and a switch that need not be given."""

    def forward(self, x: Tensor, second: Tensor, switch: bool = False) -> Tensor:
        return x.flatten(1) + 2 * second.flatten(1)


class TestSeveralInputs:
    def test_a_tuple_is_in_the_order_of_forward_and_a_dict_in_any(self) -> None:
        x, second = torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 5)
        by_place = from_module(_Weighed(), (x, second))
        by_name = from_module(_Weighed(), {"second": second, "x": x})
        assert by_place.digest == by_name.digest
        assert [(each.name, each.shape) for each in by_place.inputs] == [
            ("x", (4, 5, 3)),
            ("second", (4, 5, 3)),
        ]

    def test_an_array_is_channels_last(self) -> None:
        x = np.zeros((2, 4, 5, 3))
        assert from_module(_Weighed(), (x, torch.zeros(2, 3, 4, 5))).inputs[0].shape == (4, 5, 3)

    def test_axes_are_named_by_input(self) -> None:
        class Steps(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.steps, self.row = nn.GRU(4, 3, batch_first=True), nn.Linear(5, 3)

            def forward(self, steps: Tensor, row: Tensor) -> Tensor:
                return self.steps(steps)[0].sum(1) + self.row(row)

        example = {"steps": torch.zeros(2, 6, 4), "row": torch.zeros(2, 5)}
        model = from_module(Steps().eval(), example, axes={"steps": ("batch", "time", "feature")})
        assert [each.axes for each in model.inputs] == [("batch", "time", "feature"), ("batch", "feature")]
        with pytest.raises(
            InvalidInputError, match=r"expected a mapping from one or more of its inputs \(steps, row\)"
        ):
            from_module(Steps().eval(), example, axes=("batch", "time", "feature"))

    @pytest.mark.parametrize(
        ("example", "words"),
        [
            ({"x": torch.zeros(1, 3)}, r"does not fit forward\(x, second, switch\): 'second' missing"),
            ({"x": torch.zeros(1, 3), "z": torch.zeros(1, 3)}, "'second' missing, forward takes no 'z'"),
            ((torch.zeros(1, 3),) * 4, "example= has 4 tensors, and forward takes 3 inputs by name"),
            ((torch.zeros(1, 3), torch.zeros(2, 3)), r"batches of different lengths \('x' 1, 'second' 2\)"),
            (
                (torch.zeros(1, 3), torch.zeros(3)),
                r"input 'second': example must be one batch.*found shape \(3,\)",
            ),
        ],
    )
    def test_examples_that_do_not_fit_are_one_line(self, example: Any, words: str) -> None:
        with pytest.raises(ModelSourceError, match=words) as refused:
            from_module(_Weighed(), example)
        assert "\n" not in str(refused.value)

    def test_a_layer_of_torchs_own_does_not_name_its_inputs(self) -> None:
        with pytest.raises(ModelSourceError, match="is a layer of torch's own and takes several inputs"):
            from_module(nn.Bilinear(3, 3, 2), (torch.zeros(1, 3), torch.zeros(1, 3)))

    def test_what_it_computes_is_compared_input_by_input(self) -> None:
        """A hook that exchanges the two is not read, and the outputs then differ."""
        module = _Weighed()
        module.register_forward_pre_hook(
            lambda module, args, given: (args, {"x": given["second"], "second": given["x"]}), with_kwargs=True
        )
        with pytest.raises(ModelSourceError, match="its own output differs"):
            from_module(module, (torch.zeros(2, 3), torch.zeros(2, 3)))

    def test_a_layer_that_has_the_name_of_an_input_keeps_it(self) -> None:
        class Named(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.x = nn.Linear(3, 2)

            def forward(self, x: Tensor, second: Tensor) -> Tensor:
                return self.x(x) + self.x(second)

        model = from_module(Named(), (torch.zeros(2, 3), torch.zeros(2, 3)))
        assert [(each.name, each.layer) for each in model.inputs] == [("x", "input_x"), ("second", "second")]
        assert model.graph["x"].kind == "dense"

    def test_what_is_not_read_is_named_as_ever(self) -> None:
        class Unread(nn.Module):
            def forward(self, x: Tensor, second: Tensor) -> Tensor:
                return torch.cumsum(x, 1) + second

        with pytest.raises(UnsupportedLayerError, match="cumsum"):
            from_module(Unread(), (torch.zeros(2, 3), torch.zeros(2, 3)))


def test_two_outputs_are_an_error() -> None:
    with pytest.raises(
        ModelSourceError, match=r"returns 2 outputs \(0: a tensor of shape \(1, 3\), 1: .*output=0"
    ):
        from_module(Function(lambda x: (x, x.relu())), torch.zeros(1, 3))


def test_an_example_without_a_batch_is_an_error() -> None:
    with pytest.raises(ModelSourceError, match="one batch"):
        from_module(nn.ReLU(), torch.zeros(3))
