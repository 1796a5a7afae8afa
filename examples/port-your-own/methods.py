"""Three explanation methods, ported to torch by hand. Two of them are wrong."""

import torch

EPSILON = 0.25


def gradient(network, x, target):
    x = x.clone().requires_grad_()
    network(x).gather(1, target[:, None]).sum().backward()
    return x.grad


def guided_backprop(network, x, target):
    """Only positive gradients pass a ReLU; but where the ReLU was closed nothing should pass either."""

    def positive(module, gradient_in, gradient_out):
        return (gradient_out[0].clamp(min=0),)

    handles = [
        module.register_full_backward_hook(positive)
        for module in network.modules()
        if isinstance(module, torch.nn.ReLU)
    ]
    result = gradient(network, x, target)
    for handle in handles:
        handle.remove()
    return result


def lrp_epsilon(network, x, target):
    """Relevance of every layer; but what is divided by is the output without the bias."""
    layers = {name: module for name, module in network.named_modules() if not list(module.children())}
    seen = []  # name and input of each layer, in the order in which they ran
    handles = [
        module.register_forward_hook(
            lambda _, given, output, name=name: seen.append((name, given[0].detach()))
        )
        for name, module in layers.items()
    ]
    logits = network(x).detach()
    for handle in handles:
        handle.remove()
    relevance = logits * torch.nn.functional.one_hot(target, logits.shape[1])
    shown = {}
    for name, a in reversed(seen):
        module, a = layers[name], a.requires_grad_()
        if not isinstance(module, torch.nn.Flatten):  # torch flattens in another order than Keras
            shown[name] = relevance.movedim(1, -1) if relevance.ndim > 2 else relevance
        z = module(a)
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            z = z - module(torch.zeros_like(a))
            share = relevance / (z + EPSILON * torch.where(z >= 0, 1.0, -1.0)).detach()
            relevance = a.detach() * torch.autograd.grad(z, a, share)[0]
        elif not isinstance(module, torch.nn.ReLU):
            relevance = torch.autograd.grad(z, a, relevance)[0]
    return relevance, shown


METHODS = {
    "gradient": gradient,
    "guided_backprop": guided_backprop,
    "lrp.epsilon:epsilon=0.25": lrp_epsilon,
}


def explain(network, x, target, method):
    return METHODS[method.name](network, x, target)
