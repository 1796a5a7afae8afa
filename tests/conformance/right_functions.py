"""Right implementations of methods as functions, written as users write them: none looks at how the harness does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from evidence.functions import numpy_gradient
from harness.methods import Method, cam_layer, gaussian_noise


def logit(twin: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    return twin(x).gather(1, target[:, None])[:, 0]


def gradient(twin: nn.Module, x: Tensor, target: Tensor, method: Method) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(logit(twin, x, target).sum(), x)[0]


def gradient_by_vmap(twin: nn.Module, x: Tensor, target: Tensor, method: Method) -> Tensor:
    """Sample by sample, by function transforms."""
    own = torch.func.grad(lambda sample, chosen: twin(sample[None])[0].gather(0, chosen[None])[0])
    return torch.func.vmap(own)(x, target)


def gradient_times_input(twin: nn.Module, x: Tensor, target: Tensor, method: Method) -> Tensor:
    return x * gradient(twin, x, target, method)


def path_loop(twin: nn.Module, x: Tensor, target: Tensor, method: Method) -> Tensor:
    steps = method.procedure.steps  # type: ignore[union-attr]
    total = torch.zeros_like(x)
    for k in range(steps):
        total += gradient(twin, k / steps * x, target, method)
    return x * total / steps


def path_batch(twin: nn.Module, x: Tensor, target: Tensor, method: Method) -> Tensor:
    """All steps in one batch of ``steps * batch`` samples."""
    steps = method.procedure.steps  # type: ignore[union-attr]
    along = (torch.arange(steps, dtype=x.dtype) / steps).reshape(-1, *(1,) * x.ndim)
    points = (along * x).flatten(0, 1)
    gradients = gradient(twin, points, target.repeat(steps), method)
    return x * gradients.reshape(steps, *x.shape).mean(dim=0)


def noisy(x: Tensor, method: Method) -> Iterator[Tensor]:
    """``x`` with each of the samples that the method hands in, which are channels last."""
    shape = (x.shape[0], *x.shape[2:], x.shape[1])
    for noise in gaussian_noise(method.procedure, shape):  # type: ignore[arg-type]
        yield x + torch.from_numpy(np.moveaxis(noise, -1, 1)).to(x.dtype)


def smoothgrad_loop(twin: nn.Module, x: Tensor, target: Tensor, method: Method) -> Tensor:
    return torch.stack([gradient(twin, each, target, method) for each in noisy(x, method)]).mean(dim=0)


def smoothgrad_batch(twin: nn.Module, x: Tensor, target: Tensor, method: Method) -> Tensor:
    points = list(noisy(x, method))
    gradients = gradient(twin, torch.cat(points), target.repeat(len(points)), method)
    return gradients.reshape(len(points), *x.shape).mean(dim=0)


@contextmanager
def hooked(twin: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    handles = [m.register_full_backward_hook(hook) for m in twin.modules() if isinstance(m, nn.ReLU)]
    yield
    for handle in handles:
        handle.remove()


def guided_backprop(twin: nn.Module, x: Tensor, target: Tensor, method: Method) -> Tensor:
    """Started from one and multiplied by the logit afterwards."""
    with hooked(twin, lambda module, passed, received: (passed[0].clamp(min=0),)):
        found = gradient(twin, x, target, method)
    return found * logit(twin, x, target).detach().reshape(-1, *(1,) * (x.ndim - 1))


def guided_backprop_of_one(twin: nn.Module, x: Tensor, target: Tensor, method: Method) -> Tensor:
    """As Captum's: started from one, whatever the method says."""
    with hooked(twin, lambda module, passed, received: (passed[0].clamp(min=0),)):
        return gradient(twin, x, target, method)


def deconvnet(twin: nn.Module, x: Tensor, target: Tensor, method: Method) -> Tensor:
    """Started from the logit."""
    x = x.detach().requires_grad_()
    with hooked(twin, lambda module, passed, received: (received[0].clamp(min=0),)):
        own = logit(twin, x, target)
        return torch.autograd.grad(own, x, own.detach())[0]


def grad_cam(twin: Any, x: Tensor, target: Tensor, method: Method) -> np.ndarray:
    """At the last convolution after its ReLU; back only as far as there."""
    layer = cam_layer(twin.graph, method.procedure.layer)  # type: ignore[union-attr]
    kept: list[Tensor] = []
    module = dict(twin.named_modules())[layer.name]
    handle = module.register_forward_hook(lambda module, args, output: kept.append(output.requires_grad_()))
    own = logit(twin, x, target).sum()
    handle.remove()
    (received,) = torch.autograd.grad(own, kept)
    space = list(range(2, x.ndim))
    weighed = (kept[0] * received.mean(dim=space, keepdim=True)).sum(dim=1).detach()
    heat = weighed.clamp(min=0) / weighed.amax(dim=[axis - 1 for axis in space], keepdim=True)
    maps = np.stack([_as_large(each, x.shape[2:]) for each in heat.numpy()])
    return np.repeat(maps[:, None], x.shape[1], axis=1)


def _as_large(heat: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """An image by way of eight bits and Pillow's bicubic filter, a line by straight lines between its values."""
    if len(size) == 1:
        return np.interp(np.linspace(0, len(heat) - 1, size[0]), np.arange(len(heat)), heat)
    heat = heat - heat.min()
    levels = (255 * (heat / (heat.max() or 1))).astype(np.uint8)
    image = Image.fromarray(levels).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(image).astype(heat.dtype)


def keras_gradient(twin: Any, x: Any, target: Any, method: Method) -> Any:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        chosen = tf.gather(twin(x, training=False), target, batch_dims=1)
    return tape.gradient(chosen, x)


def keras_path(twin: Any, x: Any, target: Any, method: Method) -> Any:
    steps = method.procedure.steps  # type: ignore[union-attr]
    return x * sum(keras_gradient(twin, k / steps * x, target, method) for k in range(steps)) / steps


def numpy_gradient_times_input(graph: Any, x: np.ndarray, target: np.ndarray, method: Method) -> np.ndarray:
    return x * numpy_gradient.gradient(graph, x, target, method)


@dataclass(frozen=True)
class Right:
    """``seed_only``: it starts from another value than the method, and does nothing else differently."""

    function: Callable[..., Any]
    method: str
    framework: str = "torch"
    seed_only: bool = False

    def __str__(self) -> str:
        return self.function.__name__


PATH = "integrated_gradients:steps=8"
SMOOTH = "smoothgrad:augment_by_n=6"
RIGHT = (
    Right(gradient, "gradient"),
    Right(gradient_by_vmap, "gradient"),
    Right(gradient_times_input, "input_t_gradient"),
    Right(path_loop, PATH),
    Right(path_batch, PATH),
    Right(smoothgrad_loop, SMOOTH),
    Right(smoothgrad_batch, SMOOTH),
    Right(guided_backprop, "guided_backprop"),
    Right(guided_backprop_of_one, "guided_backprop", seed_only=True),
    Right(deconvnet, "deconvnet"),
    Right(grad_cam, "grad_cam"),
    Right(keras_gradient, "gradient", "tensorflow"),
    Right(keras_path, PATH, "tensorflow"),
    Right(numpy_gradient.gradient, "gradient", "numpy"),
    Right(numpy_gradient_times_input, "input_t_gradient", "numpy"),
)
