"""Networks that are easily read as another network: each computes what its source does, or is refused in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from harness.errors import HarnessError
from ported_models import load_model
from ported_models.twins.forward import keras_logits, torch_logits
from ported_models.twins.layout import to_canonical
from tests.models.onnx_runs import exported, node, whole_numbers

SHAPE = (2, 3, 8, 8)
#: What issues call right: relative, in L2, of the source's own output.
RIGHT = 1e-5


def image() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))


class Net(nn.Module):
    """A module of a function of itself and one tensor; ``members`` become modules, parameters or attributes."""

    def __init__(self, function: Callable[..., Any], **members: Any) -> None:
        super().__init__()
        self.function = function
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def weights(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))))


def small(changed: Callable[[nn.Module], Any]) -> nn.Sequential:
    """A convolution that ``changed`` has been at, and a dense layer."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    changed(net[0])
    return net


def loaded_from_state(norm: Callable[[nn.Module], Any], part: str) -> nn.Module:
    """A module whose hook has not run since its weights were loaded."""
    first, second = small(norm), small(norm)
    with torch.no_grad():
        dict(first[0].named_parameters())[part].mul_(3.0)
    second.load_state_dict(first.state_dict())
    return second


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight + 1


def equalised(module: nn.Conv2d) -> None:
    """The weight is made anew before every forward pass, by a hook of the user's own."""
    module.register_forward_pre_hook(
        lambda module, args: setattr(
            module, "weight", nn.Parameter(module.bias.reshape(4, 1, 1, 1) * torch.ones(4, 3, 3, 3))
        )
    )


def standardised(net: Any, x: Tensor) -> Tensor:
    weight = (net.w - net.w.mean((1, 2, 3), keepdim=True)) / (net.w.std((1, 2, 3), keepdim=True) + 1e-5)
    return F.conv2d(x, weight).mean((2, 3))


def replaced(net: nn.Module) -> nn.Module:
    net[1].forward = lambda x: x.clamp(min=0) * 2  # type: ignore[assignment]
    return net


def hooked(where: int | None, hook: Callable[..., Any], before: bool = False) -> nn.Module:
    net = small(lambda module: None)
    module = net if where is None else net[where]
    (module.register_forward_pre_hook if before else module.register_forward_hook)(hook)
    return net


def tied() -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 192), nn.Tanh(), nn.Linear(192, 192))
    net[3].weight = net[1].weight
    return net


def in_place_on_a_view(net: Any, x: Tensor) -> Tensor:
    y = torch.tanh(x)
    y.view(2, -1).relu_()
    return y.mean((2, 3))


def in_place_on_a_clone(net: Any, x: Tensor) -> Tensor:
    y = torch.tanh(x)
    return (y.clone().relu_() - 1 + y).mean((2, 3))


def in_place_behind_a_dropout(net: Any, x: Tensor) -> Tensor:
    y = torch.tanh(x)
    z = net.drop(y)
    return (z.relu_() + y).mean((2, 3))


def in_place_on_the_last_view(net: Any, x: Tensor) -> Tensor:
    return net.fc(torch.flatten(torch.tanh(x), 1).relu_())


def random_numbers(net: Any, x: Tensor) -> Tensor:
    return (x + torch.randn(1)).mean((2, 3))


class Counting(nn.Module):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return (x * self.calls).mean((2, 3))


def with_defaults(
    net: Any, x: Tensor, scale: float = 2.0, mask: Tensor | None = None, *, size: Any = (1, 3)
) -> Any:
    x = x.mean((2, 3)) * scale if scale > 1 else x
    return x.view(-1, size[1]) if mask is None else x * mask


class Defaults(nn.Module):
    forward = with_defaults


def on_another_device() -> nn.Module:
    return small(lambda module: None).to("meta")


class Subclass(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.abs(), self.bias)


NORM = nn.utils.weight_norm


#: By name: what makes the module, and a pattern of its refusal, or None where it is right.
def _halves_in_place(x: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=2)
    return torch.cat([first.relu_(), second], dim=2)


def _whole_through_half(x: torch.Tensor) -> torch.Tensor:
    x[:, :1].relu_()
    return x


TORCH: dict[str, tuple[Callable[[], nn.Module], str | None]] = {
    "weight norm": (lambda: small(NORM), None),
    "weight norm after load_state_dict": (lambda: loaded_from_state(NORM, "weight_g"), None),
    "weight norm as a parametrization": (
        lambda: loaded_from_state(parametrizations.weight_norm, "parametrizations.weight.original0"),
        None,
    ),
    "spectral norm": (lambda: small(nn.utils.spectral_norm), None),
    "spectral norm as a parametrization": (lambda: small(parametrizations.spectral_norm), None),
    "orthogonal": (lambda: small(lambda m: parametrizations.orthogonal(m)), None),
    "pruned": (lambda: small(lambda m: prune.l1_unstructured(m, "weight", 0.5)), None),
    "pruned, after load_state_dict": (
        lambda: loaded_from_state(lambda m: prune.l1_unstructured(m, "weight", 0.5), "weight_orig"),
        None,
    ),
    "a parametrization of the user's": (
        lambda: small(lambda m: parametrize.register_parametrization(m, "weight", Doubled())),
        None,
    ),
    "a parametrized bias": (
        lambda: small(lambda m: parametrize.register_parametrization(m, "bias", Doubled())),
        None,
    ),
    "a weight that a hook makes": (lambda: small(equalised), None),
    "a hook that looks": (lambda: hooked(0, lambda m, args, output: None), None),
    "a hook that doubles": (
        lambda: hooked(0, lambda m, args, output: output * 2),
        r"first layer that differs is '0' \(conv2d\): module '0' has forward hooks",
    ),
    "a hook before a layer": (
        lambda: hooked(1, lambda m, args: (args[0] - 1,), before=True),
        r"first layer that differs is '1' \(relu\): module '1' has forward hooks",
    ),
    "a hook on the whole module": (
        lambda: hooked(None, lambda m, args, output: output * 2),
        "no layer that can be watched differs: the module itself has forward hooks",
    ),
    "a hook on a part": (
        lambda: nn.Sequential(hooked(None, lambda m, args, output: output * 2), nn.Tanh()),
        None,
    ),
    "a forward that was replaced": (
        lambda: replaced(small(lambda m: None)),
        r"first layer that differs is '1' \(relu\): the forward of module '1' was replaced",
    ),
    "a transposed parameter": (
        lambda: Net(lambda net, x: F.linear(x.flatten(1), net.w.transpose(0, 1)), w=weights(192, 4)),
        None,
    ),
    "a transposed square parameter": (
        lambda: Net(lambda net, x: F.linear(x.mean((2, 3)), net.w.transpose(0, 1)), w=weights(3, 3)),
        None,
    ),
    "a repeated parameter": (
        lambda: Net(
            lambda net, x: F.linear(x.mean((2, 3)), net.w, net.b.repeat(2)), w=weights(4, 3), b=weights(2)
        ),
        None,
    ),
    "standardised weights": (lambda: Net(standardised, w=weights(4, 3, 3, 3)), None),
    "a standard deviation": (lambda: Net(lambda net, x: (x * net.w.std()).mean((2, 3)), w=weights(5)), None),
    "a variance of a parameter": (
        lambda: Net(lambda net, x: (x / net.w.var(0).view(1, 3, 1, 1)).mean((2, 3)), w=weights(5, 3)),
        None,
    ),
    "normalised weights": (
        lambda: Net(lambda net, x: F.linear(x.mean((2, 3)), F.normalize(net.w, dim=1)), w=weights(4, 3)),
        None,
    ),
    "a parameter as an argument by name": (
        lambda: Net(
            lambda net, x: F.linear(x.mean((2, 3)), weight=net.w.softmax(-1), bias=net.w.sum(dim=1)),
            w=weights(4, 3),
        ),
        None,
    ),
    "an entry of a parameter": (lambda: Net(lambda net, x: (x * net.w[1]).mean((2, 3)), w=weights(5)), None),
    "a parameter changed in place": (
        lambda: Net(lambda net, x: (x * net.w.clone().mul_(2)[0]).mean((2, 3)), w=weights(5)),
        None,
    ),
    "a parameter through a module": (
        lambda: Net(
            lambda net, x: F.linear(x.mean((2, 3)), net.act(net.w)), w=weights(4, 3), act=nn.Softplus()
        ),
        None,
    ),
    "a product of parameters": (
        lambda: Net(
            lambda net, x: F.linear(x.mean((2, 3)), torch.einsum("ij,jk->ik", net.w, net.v)),
            w=weights(4, 2),
            v=weights(2, 3),
        ),
        None,
    ),
    "a tensor made in forward": (
        lambda: Net(lambda net, x: (x * torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)).mean((2, 3))),
        None,
    ),
    "arithmetic that fails": (
        lambda: Net(lambda net, x: F.linear(x.mean((2, 3)), net.w.view(7)), w=weights(4, 3)),
        "view.*fails|on constants only",
    ),
    "in place on a view": (lambda: Net(in_place_on_a_view), "works in place on memory that 'tanh' shows too"),
    "in place on a clone": (lambda: Net(in_place_on_a_clone), None),
    "in place behind a dropout": (
        lambda: Net(in_place_behind_a_dropout, drop=nn.Dropout()),
        "works in place",
    ),
    "in place on the last view": (lambda: Net(in_place_on_the_last_view, fc=nn.Linear(192, 4)), None),
    "a dropout that is always on": (lambda: Net(lambda net, x: F.dropout(x).mean((2, 3))), "training=True"),
    "a batch norm of the batch": (
        lambda: Net(
            lambda net, x: F.batch_norm(x, net.m, net.v, training=True).mean((2, 3)),
            m=torch.zeros(3),
            v=torch.ones(3),
        ),
        "training=True",
    ),
    "random numbers": (lambda: Net(random_numbers), "changes from call to call"),
    "a count of its calls": (lambda: Counting(), "changes from call to call"),
    "shared weights": (tied, None),
    "a subclass of a layer": (lambda: nn.Sequential(nn.Flatten(), Subclass(192, 4)), None),
    "lazy layers": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), None),
    "a layer made in forward": (lambda: Net(lambda net, x: nn.ReLU()(x).mean((2, 3))), None),
    "a layer with weights made in forward": (
        lambda: Net(lambda net, x: nn.Linear(8, 2)(x).mean((2, 3))),
        "forward makes a Linear with weights of its own",
    ),
    "TorchScript": (lambda: torch.jit.script(small(lambda m: None)), "is TorchScript"),
    "a batch axis that goes with one sample": (
        lambda: Net(lambda net, x: net.fc(x.mean((2, 3), keepdim=True).squeeze()), fc=nn.Linear(3, 2)),
        None,
    ),
    "arguments that have a default": (Defaults, None),
    "axes of one by index": (
        lambda: Net(lambda net, x: (x * x.mean((2, 3))[:, :, None, None]).flatten(1)[..., None].squeeze(2)),
        None,
    ),
    "a part by index": (
        lambda: Net(lambda net, x: x.mean((2, 3))[:, 1:]),
        None,
    ),
    "halves that are changed in place": (
        lambda: Net(lambda net, x: _halves_in_place(x.tanh()).mean((2, 3))),
        "works in place on memory",
    ),
    "a whole that is changed through its half": (
        lambda: Net(lambda net, x: _whole_through_half(x.tanh()).mean((2, 3))),
        "works in place on memory",
    ),
    "a branch on the number of samples": (
        lambda: Net(lambda net, x: (x.tanh() if x.shape[0] == 2 else x).mean((2, 3))),
        "output on a batch of 2 changes when one sample more is in the batch",
    ),
    "a branch on a value, as a number": (
        lambda: Net(lambda net, x: (x.tanh() if float(x.sum()) > 0 else x).mean((2, 3))),
        "must not branch or loop on the values of tensors",
    ),
    "a loop on a value": (
        lambda: Net(lambda net, x: sum([x] * int(x.sum() > 0), x).mean((2, 3))),
        "must not branch or loop on the values of tensors",
    ),
    "a branch on the height": (
        lambda: Net(lambda net, x: (x.tanh() if x.shape[2] == x.size(-2) else x).mean((2, 3))),
        None,
    ),
    "the size of the batch as a number": (
        lambda: Net(lambda net, x: x.mean((2, 3)) * x.shape[0]),
        "output on a batch of 2 changes when one sample more is in the batch",
    ),
    "a hook that ends the process": (
        lambda: hooked(0, lambda m, args, output: sys.exit(0)),
        r"fails on an input .*SystemExit: 0",
    ),
    "parameters without values": (on_another_device, "'0.weight' is on the meta device"),
    "half precision": (lambda: small(lambda m: None).half(), "computes in half precision"),
    "half precision of the brain": (lambda: small(lambda m: None).bfloat16(), "computes in half precision"),
    "a memory format": (lambda: small(lambda m: None).to(memory_format=torch.channels_last), None),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TORCH)
def test_a_torch_module_is_read_as_itself_or_refused(name: str) -> None:
    make, refusal = TORCH[name]
    torch.manual_seed(0)
    module = make().eval()
    # The figure that counts is taken from a module of its own, on another input than loading sees.
    x = image()
    if refusal is None:
        model = load_model(module, example=torch.zeros(SHAPE))
        with torch.no_grad():
            own = to_canonical(module(x.clone()).numpy())
        canonical = to_canonical(x.numpy())
        check(own, model, canonical)
    else:
        with pytest.raises(HarnessError, match=refusal) as caught:
            load_model(module, example=torch.zeros(SHAPE))
        assert "\n" not in str(caught.value)


def check(own: np.ndarray, model: Any, x: np.ndarray) -> None:
    for logits in (keras_logits(model.keras(), x), torch_logits(model.torch(), x)):
        assert np.linalg.norm(logits - own) <= RIGHT * np.linalg.norm(own)


L = keras.layers


def with_lora(kind: str) -> keras.Model:
    layer = L.Dense(4, name="layer") if kind == "dense" else L.Conv2D(4, 3, name="layer")
    model = keras.Sequential([keras.Input((6, 6, 3)), layer, L.Flatten(), L.Dense(3)])
    layer.enable_lora(2)
    for weight in layer.weights:
        weight.assign(np.random.default_rng(4).normal(size=weight.shape))
    return model


def called_in_training(layer: keras.layers.Layer) -> keras.Model:
    x = keras.Input((6, 6, 3))
    return keras.Model(x, L.Dense(3)(L.Flatten()(layer(L.Conv2D(4, 3)(x), training=True))))


def nested_in_training() -> keras.Model:
    inner = keras.Sequential([keras.Input((6, 6, 3)), L.Conv2D(4, 3), L.Dropout(0.5, name="drop")])
    x = keras.Input((6, 6, 3))
    return keras.Model(x, L.Dense(3)(L.Flatten()(inner(x, training=True))))


def patched_layer() -> keras.Model:
    model = keras.Sequential(
        [keras.Input((6, 6, 3)), L.Flatten(name="fl"), L.Dense(3, name="fc"), L.ReLU(name="end")]
    )
    layer, own = model.get_layer("fc"), model.get_layer("fc").call
    layer.call = lambda inputs, training=None: own(inputs) * 2
    return model


class Dense(keras.layers.Dense):  # a class of the user's, named like Keras' own
    def call(self, inputs: Any, training: Any = None) -> Any:
        return super().call(inputs) + 1.0


class Overridden(keras.Model):
    def call(self, inputs: Any, training: Any = None) -> Any:
        return super().call(inputs) * 2.0


def overridden() -> keras.Model:
    x = keras.Input((6, 6, 3))
    return Overridden(x, L.Dense(3)(L.Flatten()(x)))


def read_twice() -> keras.Model:
    x, dense = keras.Input((6, 6, 3)), L.Dense(3)
    return keras.Model(x, L.Dense(2)(L.Flatten()(dense(dense(x)))))


def stack(*layers: Any) -> keras.Model:
    return keras.Sequential([keras.Input((6, 6, 3)), *layers])


def mixed(policy: str, made_single: bool = False) -> keras.Model:
    model = stack(*(kind(4, dtype=policy) for kind in (L.Dense, L.Dense)), L.Flatten())
    for layer in model.layers if made_single else []:
        layer.dtype_policy = "float32"
    return model


def ending_in_a_model(calls: int) -> keras.Model:
    """The output is what a functional model inside gives, which Keras counts from one."""
    x = keras.Input((6, 6, 3))
    inner, y = keras.Model(x, L.Conv2D(3, 1)(L.ReLU()(x))), x
    for _ in range(calls):
        y = inner(y)
    return keras.Model(x, y)


def quantised() -> keras.Model:
    model = stack(L.Flatten(), L.Dense(3))
    model.quantize("int8")
    return model


KERAS: dict[str, tuple[Callable[[], Any], str | None]] = {
    "a dense layer with LoRA": (lambda: with_lora("dense"), None),
    "a convolution with LoRA": (lambda: with_lora("conv"), None),
    "a batch norm in training": (
        lambda: called_in_training(L.BatchNormalization(name="bn")),
        "'bn'.*training=True",
    ),
    "a frozen batch norm in training": (
        lambda: called_in_training(L.BatchNormalization(trainable=False)),
        None,
    ),
    "a dropout in training": (
        lambda: called_in_training(L.Dropout(0.5, name="drop")),
        "'drop'.*training=True",
    ),
    "noise in training": (lambda: called_in_training(L.GaussianNoise(0.5, name="n")), "'n'.*training=True"),
    "a nested model in training": (nested_in_training, "drop'.*training=True"),
    "a call that was replaced": (
        patched_layer,
        r"first layer that differs is 'fc' \(dense\): the call of layer 'fc' was replaced",
    ),
    "a class of the user's": (lambda: stack(L.Flatten(), Dense(3)), "a class of your own"),
    "a model that overrides call": (overridden, "Overridden"),
    "a layer that is used twice": (read_twice, None),
    "int8 weights": (quantised, "."),
    "half precision": (lambda: mixed("mixed_float16"), "computes in half precision"),
    "half precision of the brain": (lambda: mixed("mixed_bfloat16"), "computes in half precision"),
    "half precision made single": (lambda: mixed("mixed_float16", made_single=True), None),
    "a model at the end": (lambda: ending_in_a_model(1), None),
    "a model twice at the end": (lambda: ending_in_a_model(2), None),
    "outputs by name": (
        lambda: keras.Model(x := keras.Input((6, 6, 3)), {"a": L.Flatten()(x), "b": L.Dense(2)(x)}),
        r"2 outputs \(0: a, 1: b\)",
    ),
    "a function of the user's": (
        lambda: stack(L.Dense(3, activation=lambda x: 2 * x)),
        "'a function of your own'",
    ),
    "a regulariser and a constraint": (
        lambda: stack(L.Flatten(), L.Dense(3, kernel_constraint="non_neg", kernel_regularizer="l2")),
        None,
    ),
    "weights that a wrapper makes": (
        lambda: stack(L.SpectralNormalization(L.Conv2D(3, 2)), L.Flatten()),
        "not supported",
    ),
    "double precision": (lambda: stack(L.Conv2D(3, 2, dtype="float64"), L.Flatten(dtype="float64")), None),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KERAS)
def test_a_keras_model_is_read_as_itself_or_refused(name: str) -> None:
    make, refusal = KERAS[name]
    model = make()
    x = np.random.default_rng(5).standard_normal((2, 6, 6, 3)).astype(np.float32)
    if refusal is None:
        loaded = load_model(model)
        check(np.asarray(model(x, training=False)), loaded, x)
    else:
        with pytest.raises(HarnessError, match=refusal) as caught:
            load_model(model)
        assert "\n" not in str(caught.value)


def edited_neutral() -> onnx.ModelProto:
    """A file that this project wrote, and somebody changed: the node says another thing than its description."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    proto = load_model(module, example=torch.zeros(1, 3, 8, 8)).onnx
    (relu,) = [one for one in proto.graph.node if one.op_type == "Relu"]
    relu.op_type = "Sigmoid"
    return proto


def dropout_in_training() -> onnx.ModelProto:
    constants = {"w": whole_numbers(0, 3, 4), "ratio": np.float32(0.5), "mode": np.array(True)}
    nodes = [node("MatMul", "x w", "h"), node("Dropout", "h ratio mode", name="drop")]
    return exported(nodes, ["n", 3], constants, opset=13)


def half_precision() -> onnx.ModelProto:
    proto = exported([node("MatMul", "x w", "y")], ["n", 3], {"w": whole_numbers(0, 3, 4).astype(np.float16)})
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    return proto


ONNX: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "a file that was edited": (edited_neutral, r"first layer that differs is '1' \(relu\)"),
    "a dropout in training": (dropout_in_training, "changes from call to call|drop"),
    "half precision": (half_precision, "computes in half precision"),
}


@pytest.mark.parametrize("name", ONNX)
def test_an_onnx_file_is_read_as_itself_or_refused(name: str) -> None:
    make, refusal = ONNX[name]
    with pytest.raises(HarnessError, match=refusal) as caught:
        load_model(make())
    assert "\n" not in str(caught.value)


def test_loading_leaves_a_module_as_it_was() -> None:
    """No attribute of the tracer's, no changed buffer, no hook, no other mode."""

    def function(net: Any, x: Tensor) -> Tensor:
        net.seen.add_(1)
        return net.fc(x.mean((2, 3)) * torch.tensor(2.0))

    module = Net(function, fc=nn.Linear(3, 2))
    module.register_buffer("seen", torch.zeros(()))
    before = set(vars(module)), {name: value.clone() for name, value in module.state_dict().items()}
    load_model(module, example=image())
    assert set(vars(module)) == before[0]
    assert all(torch.equal(value, before[1][name]) for name, value in module.state_dict().items())
    assert module.training and not module.fc._forward_hooks


def test_an_output_that_underflows_in_a_softmax_is_still_compared() -> None:
    """A factor of 1.1 on logits of a hundred shows in no probability above 1e-4 of the largest."""
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Softmax(1))
    net[0].weight.data = torch.diag(torch.tensor([100.0, 30.0, -10.0]))
    net[0].register_forward_hook(lambda module, args, output: output * 1.1)
    with pytest.raises(HarnessError, match=r"layer that differs is '0' \(dense\)"):
        load_model(net, example=torch.ones(1, 3))


@pytest.mark.parametrize(
    "hook",
    [
        lambda m, args, output: output * len(output),
        lambda m, args, output: output / (1 + output.std(0, False)),
    ],
    ids=["by-number", "by-spread"],
)
def test_samples_that_depend_on_each_other_are_found_with_an_example_of_one(hook: Callable[..., Any]) -> None:
    with pytest.raises(HarnessError, match="output on a batch of 1 changes when one sample more"):
        load_model(hooked(1, hook), example=image()[:1])


def test_a_module_made_for_one_number_of_samples_is_read() -> None:
    module = Net(lambda net, x: net.fc(x.mean((2, 3)).view(2, 3)), fc=nn.Linear(3, 4))
    check(
        module(image()).detach().numpy(), load_model(module, example=image()), to_canonical(image().numpy())
    )


def test_a_module_that_drops_the_batch_axis_of_one_sample_is_refused_for_one() -> None:
    module = Net(lambda net, x: x.mean((2, 3), keepdim=True).squeeze())
    with pytest.raises(
        HarnessError, match=r"its own output has shape \(3,\), that of the Keras twin .* \(1, 3\)"
    ):
        load_model(module, example=image()[:1])
