"""Candidates that show no steps of their own: functions that return an attribution."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from evidence.planted_bugs import Fault, Mutant, Site
from harness import backend_from_function
from harness.backends import Backend
from harness.methods import Method

from .sites import convolutions, inner, output

FUNCTIONS = (
    "usual slip: a black-box function; guide from iNNvestigate to Zennit: wrappers around whole methods"
)


def logit(twin: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    return twin(x).gather(1, target[:, None])


def gradient_of_the_square(twin: nn.Module, x: Tensor, target: Tensor, method: Method) -> Tensor:
    """The gradient of half the logit's square: as if it started from the logit."""
    x.requires_grad_()
    (gradient,) = torch.autograd.grad((logit(twin, x, target) ** 2 / 2).sum(), x)
    return gradient


def gradient_of_the_next_class(twin: nn.Module, x: Tensor, target: Tensor, method: Method) -> Tensor:
    x.requires_grad_()
    following = (target + 1) % twin(x.detach()).shape[1]
    (gradient,) = torch.autograd.grad(logit(twin, x, following).sum(), x)
    return gradient


def gradient_tripled_at_one_layer(
    twin: nn.Module, x: Tensor, target: Tensor, method: Method, site: Site
) -> Tensor:
    """A backward hook trebles what one layer hands on."""
    x.requires_grad_()
    (name,) = site(twin.graph, method)
    handle = twin.get_submodule(name).register_full_backward_hook(
        lambda module, inside, outside: tuple(3 * each for each in inside)
    )
    try:
        (gradient,) = torch.autograd.grad(logit(twin, x, target).sum(), x)
    finally:
        handle.remove()
    return gradient


def gradient_that_leaves_weights_changed(
    twin: nn.Module, x: Tensor, target: Tensor, method: Method
) -> Tensor:
    """The gradient is right; afterwards one weight of the twin is another, for whoever runs it next."""
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(logit(twin, x, target).sum(), x)
    with torch.no_grad():
        next(twin.parameters()).mul_(1.001)
    return gradient


def absolute_gradient(twin: Any, x: Any, target: Any, method: Method) -> Any:
    """On the Keras twin."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        chosen = tf.gather(twin(x, training=False), target, axis=1, batch_dims=1)
    return tf.abs(tape.gradient(chosen, x))


def gradient_scaled(twin: Any, x: Any, target: Any, method: Method) -> Any:
    """On the Keras twin."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        chosen = tf.gather(twin(x, training=False), target, axis=1, batch_dims=1)
    return 19 * tape.gradient(chosen, x)


def _backend(name: str, function: Callable[..., Any], framework: str) -> Backend:
    """Of those in torch, autograd's gradients are the relevance of the layers."""
    layers = "gradient" if framework == "torch" else None
    return backend_from_function(name, function, framework, layers=layers)


def black_box(
    name: str, what: str, fault: Fault, function: Callable[..., Any], framework: str, **facts: Any
) -> Mutant:
    build = partial(_backend, name, function, framework)
    return Mutant(
        name, what, (fault,), build, ("gradient",), facts.pop("models"), FUNCTIONS, first_seen=True, **facts
    )


SMALL = ("digits-cnn", "ecg-cnn1d", "tokens-net")
ONE_CONVOLUTION = convolutions("middle", inner)


MUTANTS = (
    black_box(
        "function-starts-from-the-logit",
        "the gradient of half the logit's square",
        Fault("output-seed", output, "head"),
        gradient_of_the_square,
        "torch",
        models=SMALL,
    ),
    black_box(
        "function-explains-the-next-class",
        "the gradient of the logit of the next class",
        Fault("target", output, "head"),
        gradient_of_the_next_class,
        "torch",
        models=SMALL,
    ),
    black_box(
        "function-trebles-at-one-layer",
        "a backward hook trebles what one convolution hands on",
        Fault("scale", ONE_CONVOLUTION, "rule"),
        partial(gradient_tripled_at_one_layer, site=ONE_CONVOLUTION),
        "torch",
        models=("digits-cnn", "ecg-cnn1d"),
        hard=True,
    ),
    black_box(
        "function-leaves-weights-changed",
        "the gradient, after which one weight of the model is another",
        Fault("state", None, "run"),
        gradient_that_leaves_weights_changed,
        "torch",
        models=SMALL,
    ),
    black_box(
        "function-returns-the-absolute-gradient",
        "the absolute value of the gradient, from the Keras twin",
        Fault("absolute-contributions", None, "postprocess"),
        absolute_gradient,
        "tensorflow",
        models=SMALL,
    ),
    black_box(
        "function-scales-the-gradient",
        "19 times the gradient, from the Keras twin",
        Fault("scale", None, "postprocess"),
        gradient_scaled,
        "tensorflow",
        models=SMALL,
    ),
)
