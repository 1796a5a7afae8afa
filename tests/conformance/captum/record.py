"""Records what Captum 0.9.0 itself says of two small networks, for `test_captum.py`.

Runs in an interpreter that has it (`pip install captum==0.9.0 torch`), which is why nothing of this project is
imported: ``python record.py recorded.npz``. Everything is float64. A key is the network and the name of the method
here; samples are explained one at a time.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

import numpy as np
import torch
from captum.attr import LRP, DeepLift, DeepLiftShap, IntegratedGradients
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule, IdentityRule
from torch import Tensor, nn

Explain = Callable[[nn.Module, Tensor, int], Tensor]


class Image(nn.Module):
    """(3, 9, 9): what Captum's LRP has default rules for; overlapping windows of the max pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu1 = nn.ReLU()
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        self.conv2 = nn.Conv2d(4, 3, 2)
        self.tanh = nn.Tanh()
        self.average = nn.AvgPool2d(2)
        self.dense = nn.Linear(12, 6)
        self.relu2 = nn.ReLU()
        self.logits = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.pool(self.relu1(self.norm(self.conv1(x))))
        h = self.average(self.tanh(self.conv2(h)))
        return self.logits(self.relu2(self.dense(h.flatten(1))))


class Series(nn.Module):
    """(2, 14): the activations that DeepLift rescales and LRP does not know, and one that it does not rescale."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(2, 4, 3)
        self.elu = nn.ELU(0.5)
        self.pool = nn.MaxPool1d(2)
        self.conv2 = nn.Conv1d(4, 3, 2)
        self.leaky = nn.LeakyReLU(0.125)
        self.dense1 = nn.Linear(15, 6)
        self.sigmoid = nn.Sigmoid()
        self.dense2 = nn.Linear(6, 5)
        self.silu = nn.SiLU()
        self.logits = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.leaky(self.conv2(self.pool(self.elu(self.conv1(x)))))
        return self.logits(self.silu(self.dense2(self.sigmoid(self.dense1(h.flatten(1))))))


def integrated(steps: int, method: str, baseline: float = 0.0, multiply: bool = True) -> Explain:
    return lambda net, x, target: IntegratedGradients(net, multiply).attribute(
        x, baseline, target=target, n_steps=steps, method=method
    )


def deep_lift(baseline: float = 0.0, multiply: bool = True) -> Explain:
    return lambda net, x, target: DeepLift(net, multiply).attribute(x, baseline, target=target)


def deep_lift_shap(*values: float) -> Explain:
    def explain(net: nn.Module, x: Tensor, target: int) -> Tensor:
        baselines = torch.cat([torch.full_like(x, value) for value in values])
        return DeepLiftShap(net).attribute(x, baselines, target=target)

    return explain


def lrp(rule: Callable[[], object] | None = None, **others: Callable[[], object]) -> Explain:
    """``rule`` at every layer with a kernel, ``others`` at those of their names."""

    def explain(net: nn.Module, x: Tensor, target: int) -> Tensor:
        for name, layer in net.named_children():
            if name in others:
                layer.rule = others[name]()
            elif rule is not None and isinstance(layer, nn.Conv2d | nn.Linear):
                layer.rule = rule()
        return LRP(net).attribute(x, target=target)

    return explain


_PATH = "integrated_gradients:dialect=captum"
PATHS: dict[str, Explain] = {
    _PATH: integrated(50, "gausslegendre"),
    f"{_PATH},n_steps=7,method=riemann_left": integrated(7, "riemann_left"),
    f"{_PATH},n_steps=7,method=riemann_right": integrated(7, "riemann_right"),
    f"{_PATH},n_steps=10,method=riemann_middle": integrated(10, "riemann_middle"),
    f"{_PATH},n_steps=9,method=riemann_trapezoid": integrated(9, "riemann_trapezoid"),
    f"{_PATH},n_steps=5,multiply_by_inputs=false": integrated(5, "gausslegendre", 0.0, False),
}
#: On the path of an image from a constant there would be ties under the max pooling, which rounding decides.
FROM_ELSEWHERE: dict[str, Explain] = {
    f"{_PATH},n_steps=9,method=riemann_middle,baselines=0.5": integrated(9, "riemann_middle", 0.5),
}
LIFTS: dict[str, Explain] = {
    "deep_lift": deep_lift(),
    "deep_lift:baselines=0.5": deep_lift(0.5),
    "deep_lift:multiply_by_inputs=false": deep_lift(0.0, False),
    "deep_lift_shap:baselines=-0.5/0/1": deep_lift_shap(-0.5, 0.0, 1.0),
}
_LRP = "lrp:dialect=captum"
RULES: dict[str, Explain] = {
    _LRP: lrp(),
    f"{_LRP},epsilon=0.25": lrp(lambda: EpsilonRule(0.25)),
    f"{_LRP},rule=Gamma": lrp(GammaRule),
    f"{_LRP},rule=Gamma,gamma=0.5,set_bias_to_zero=true": lrp(lambda: GammaRule(0.5, set_bias_to_zero=True)),
    f"{_LRP},rule=Alpha1_Beta0": lrp(Alpha1_Beta0_Rule),
    f"{_LRP},rule=Alpha1_Beta0,set_bias_to_zero=true": lrp(lambda: Alpha1_Beta0_Rule(set_bias_to_zero=True)),
    f"{_LRP},batch_norm=Identity": lrp(norm=IdentityRule),
    f"{_LRP},rule=Gamma/Alpha1_Beta0/Epsilon": lrp(conv1=GammaRule, conv2=Alpha1_Beta0_Rule),
}


def main(path: str) -> None:
    torch.manual_seed(1)
    warnings.simplefilter("ignore")
    kept: dict[str, np.ndarray] = {}
    for name, net, shape, methods in (
        ("image", Image(), (2, 3, 9, 9), {**PATHS, **LIFTS, **RULES}),
        ("series", Series(), (2, 2, 14), {**PATHS, **FROM_ELSEWHERE, **LIFTS}),
    ):
        # The networks are float64, the default dtype is not: `torch.linspace` gives Captum its places in that one.
        net.double().eval()
        for module in net.modules():
            if hasattr(module, "weight"):
                nn.init.normal_(module.weight, std=0.5)
                nn.init.normal_(module.bias, std=0.25)
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
        x = torch.randn(shape, dtype=torch.float64)
        # A stretch without change from the baseline 0.
        x[0, ..., :4] = 0.0
        target = [0, 2]
        kept[f"{name} x"] = x.numpy().copy()
        kept[f"{name} target"] = np.array(target)
        kept[f"{name} logits"] = net(x).detach().numpy()
        kept |= {f"{name}/{key}": value.numpy().copy() for key, value in net.state_dict().items()}
        for method, explain in methods.items():
            samples = [explain(net, x[k : k + 1].clone(), target[k]).detach() for k in range(len(x))]
            kept[f"{name} {method}"] = torch.cat(samples).numpy()
    np.savez_compressed(path, **kept)


if __name__ == "__main__":
    main(sys.argv[1])
