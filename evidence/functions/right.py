"""Right implementations of methods as functions: a loop over samples, one batch, Keras, NumPy's own, Captum's.

None looks at how the harness does it. Where a library has a habit of its own (Captum starts from one), what the
method says is put right in the function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evidence.functions import lrp, numpy_gradient
from harness.graph import Graph
from harness.methods import (
    Backward,
    Deconvolution,
    GuidedReLU,
    IntegratedGradients,
    Method,
    Smoothed,
    TimesSign,
    gaussian_noise,
)

#: (twin, x, target, method) -> attribution.
Function = Callable[[Any, Any, Any, Method], Any]
#: Methods, each of them on every network that it is meant for.
METHODS = (
    "gradient",
    "gradient.baseline",
    "gradient_x_input",
    "gradient_x_sign",
    "gradient_x_sign_mu_0_5",
    "input_t_gradient",
    "guided_backprop",
    "guided_backprop_x_sign",
    "deconvnet",
    "deconvnet_x_sign_mu_neg_0_5",
    "integrated_gradients:steps=8",
    "integrated_gradients:dialect=signxai,steps=8",
    "smoothgrad:augment_by_n=4",
    "smoothgrad_x_input:augment_by_n=4",
    "vargrad:augment_by_n=4",
    "lrp.z",
    "lrp.epsilon",
    "lrp.epsilon:epsilon=0.25",
    "lrp.alpha_1_beta_0",
    "lrp.alpha_2_beta_1",
    "lrp.w_square",
    "lrp.flat",
    "lrp.sequential_preset_a",
    "lrp.sequential_preset_b_flat",
    "deep_taylor",
    "lrp.gamma",
    "epsilon_plus_flat",
    "lrp_z",
    "lrpsign_z",
    "lrp_epsilon_0_25_std_x",
    "lrp_alpha_2_beta_1",
    "w2lrp_epsilon_0_1",
)


def method_as_it_says(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
    """Any of :data:`METHODS`, all samples in one batch."""
    procedure = method.procedure
    if isinstance(procedure, Backward):
        relevance = lrp.explain(twin, x, target, method)
    else:
        runs = torch.stack([lrp.explain(twin, each, target, method) for each in _points(x, procedure)])
        relevance = _joined(runs, x, procedure)
    return treated(relevance, x, method)


def sample_by_sample(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
    """The same in a loop over samples; not for noise, which is drawn for a whole batch."""
    return torch.cat(
        [method_as_it_says(twin, x[i : i + 1], target[i : i + 1], method) for i in range(len(x))]
    )


def _points(x: Tensor, procedure: Any) -> Iterator[Tensor]:
    if isinstance(procedure, IntegratedGradients):
        last = procedure.steps - 1 if procedure.endpoint else procedure.steps
        for k in range(procedure.steps):
            yield procedure.baseline + k / last * (x - procedure.baseline)
        return
    assert isinstance(procedure, Smoothed)
    for noise in gaussian_noise(procedure, (x.shape[0], *x.shape[2:], x.shape[1])):
        yield x + torch.from_numpy(np.ascontiguousarray(np.moveaxis(noise, -1, 1))).to(x.dtype)


def _joined(runs: Tensor, x: Tensor, procedure: Any) -> Tensor:
    runs = {"none": runs, "abs": runs.abs(), "square": runs**2}[procedure.each]
    if isinstance(procedure, IntegratedGradients):
        return (x - procedure.baseline) * runs.mean(dim=0)
    return runs.mean(dim=0) if procedure.statistic == "mean" else runs.var(dim=0, correction=0)


def treated(relevance: Any, x: Any, method: Method) -> Any:
    """What the method makes of the relevance of the input; tensors or arrays."""
    how = method.postprocess
    if isinstance(how, TimesSign):
        return relevance * (2.0 * ((x >= how.threshold) | (how.threshold <= -1)) - 1.0)
    return {"none": relevance, "times_input": relevance * x, "abs": abs(relevance), "square": relevance**2}[
        how
    ]


# --- by autograd ------------------------------------------------------------------------------------------


def gradient_of_logit(twin: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(twin(x).gather(1, target[:, None]).sum(), x)[0]


def own_logit(twin: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """(batch, 1, ...), to multiply what starts from one."""
    with torch.no_grad():
        return twin(x).gather(1, target[:, None]).reshape(-1, *(1,) * (x.ndim - 1))


@contextmanager
def _rectified(twin: Any, method: Method) -> Iterator[None]:
    """The hooks that people put on every `nn.ReLU` for guided backpropagation and deconvolution."""

    def guided(module: nn.Module, passed: Any, received: Any) -> Any:
        return (passed[0].clamp(min=0),)

    def deconvolved(module: nn.Module, passed: Any, received: Any) -> Any:
        return (received[0].clamp(min=0),)

    rules = {type(each.rule): each.rule for each in method.composite.assignments}
    hook = guided if GuidedReLU in rules else deconvolved if Deconvolution in rules else None
    handles = [
        module.register_full_backward_hook(hook)
        for module in twin.modules()
        if hook is not None and isinstance(module, nn.ReLU)
    ]
    yield
    for handle in handles:
        handle.remove()


def by_autograd(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
    """Gradients with hooks on the ReLUs; the points of a path or the noisy samples as one large batch."""
    procedure = method.procedure
    points = [x] if isinstance(procedure, Backward) else list(_points(x, procedure))
    with _rectified(twin, method):
        gradient = gradient_of_logit(twin, torch.cat(points), target.repeat(len(points)))
    if method.head == "logit":
        gradient = gradient * torch.cat([own_logit(twin, each, target) for each in points])
    runs = gradient.reshape(len(points), *x.shape)
    return treated(runs[0] if isinstance(procedure, Backward) else _joined(runs, x, procedure), x, method)


def by_keras(twin: Any, x: Any, target: Any, method: Method) -> Any:
    """Gradients on the Keras twin."""
    import tensorflow as tf

    def run(point: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(point)
            chosen = tf.gather(twin(point, training=False), target, batch_dims=1)
        gradient = tape.gradient(chosen, point)
        return (
            gradient * tf.reshape(chosen, (-1, *(1,) * (len(x.shape) - 1)))
            if method.head == "logit"
            else gradient
        )

    procedure = method.procedure
    if isinstance(procedure, Backward):
        return treated(run(x).numpy(), x.numpy(), method)
    assert isinstance(procedure, IntegratedGradients)
    last = procedure.steps - 1 if procedure.endpoint else procedure.steps
    return x * sum(run(k / last * x) for k in range(procedure.steps)) / procedure.steps


def by_numpy(graph: Graph, x: np.ndarray, target: np.ndarray, method: Method) -> np.ndarray:
    """NumPy's own, without a framework."""
    return np.asarray(treated(numpy_gradient.gradient(graph, x, target, method), x, method))


# --- Captum's ---------------------------------------------------------------------------------------------


def by_captum(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
    """Captum 0.9.0, times the logit where the method starts from that, and post-processed as the method says."""
    import captum.attr as attr

    x = x.detach().clone().requires_grad_()
    procedure = method.procedure
    if isinstance(procedure, IntegratedGradients):
        # Its left Riemann sum has the points k / steps.
        path: Tensor = attr.IntegratedGradients(twin).attribute(
            x, target=target, n_steps=procedure.steps, method="riemann_left"
        )
        return path.detach()
    rules = {type(each.rule) for each in method.composite.assignments}
    if GuidedReLU in rules:
        attribution = attr.GuidedBackprop(twin).attribute(x, target=target)
    elif Deconvolution in rules:
        attribution = attr.Deconvolution(twin).attribute(x, target=target)
    else:
        attribution = attr.Saliency(twin).attribute(x, target=target, abs=False)
    own = own_logit(twin, x.detach(), target) if method.head == "logit" else 1.0
    return treated(attribution.detach() * own, x.detach(), method)


@dataclass(frozen=True)
class Right:
    """``methods``: what it is right for. ``dtype``: what it is compared in."""

    name: str
    function: Function
    framework: str
    methods: tuple[str, ...]
    models: tuple[str, ...] = ()
    needs: str = ""


_GRADIENTS = METHODS[:6]
#: Guided backpropagation rectifies at a ReLU6 as well, where hooks on every `nn.ReLU` do nothing.
_GUIDED, _DECONVOLVED = METHODS[6:7], METHODS[8:9]
#: signxai rectifies what each reader of a ReLU hands back before it is summed, hooks do after: alike without branches.
_HOOKED_BY_EDGE = (METHODS[7], METHODS[9])
_PATHS = METHODS[10:12]
_NOISY = METHODS[12:15]
SMALL = ("digits-cnn", "ecg-cnn1d")
LARGE = ("fer-xception", "efficientnet-lite0")
WITHOUT_RELU6 = (*SMALL, LARGE[0])

FUNCTIONS = (
    Right("batch", method_as_it_says, "torch", METHODS),
    Right(
        "loop over samples", sample_by_sample, "torch", tuple(m for m in METHODS if m not in _NOISY), SMALL
    ),
    Right("autograd", by_autograd, "torch", (*_GRADIENTS, *_DECONVOLVED, *_PATHS, *_NOISY)),
    Right("Captum", by_captum, "torch", (*_GRADIENTS, *_DECONVOLVED, _PATHS[0]), needs="captum"),
    Right("autograd", by_autograd, "torch", _GUIDED, WITHOUT_RELU6),
    Right("Captum", by_captum, "torch", _GUIDED, WITHOUT_RELU6, needs="captum"),
    Right("autograd", by_autograd, "torch", _HOOKED_BY_EDGE, SMALL),
    Right("Captum", by_captum, "torch", _HOOKED_BY_EDGE, SMALL, needs="captum"),
    Right("Keras", by_keras, "tensorflow", (*_GRADIENTS, *_PATHS), (*SMALL, LARGE[0])),
    Right("NumPy", by_numpy, "numpy", _GRADIENTS, SMALL),
)
