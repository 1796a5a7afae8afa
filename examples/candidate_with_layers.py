"""Guided backprop in plain torch as a candidate: every layer's relevance, and every layer's step.

xai-harness run --model digits-cnn --method guided_backprop --candidate examples/candidate_with_layers.py:Candidate
"""

import numpy as np
import torch

from harness.backends import Arrays


class Candidate:
    name = "guided backprop in torch"

    def version(self):
        return {"torch": torch.__version__}

    def supports(self, method, graph):
        return "" if method.name == "guided_backprop" else "it is guided backprop and nothing else"

    def prepare(self, model, dtype, device="cpu"):
        return Prepared(model.torch(dtype))


class Prepared:
    def __init__(self, twin):
        self.twin = twin  # a torch.nn.Module whose submodules have the names of the graph's layers

    def run(self, x, method, target, layers):
        graph, value = self.twin.graph, {self.twin.graph.input.name: x}
        for layer in graph.layers[1:]:
            read = [to_torch(value[name]) for name in layer.inputs]
            value[layer.name] = to_numpy(self.twin.get_submodule(layer.name)(*read))
        logits = value[graph.output]
        relevance = {graph.output: np.eye(logits.shape[1], dtype=x.dtype)[target] * logits}
        for layer in reversed(graph.layers[1:]):
            read = tuple(value[name] for name in layer.inputs)
            shares = self.step(layer, read, relevance[layer.name], method)
            for name, share in zip(layer.inputs, shares, strict=True):
                relevance[name] = relevance.get(name, 0) + share
        return Arrays(logits, relevance[graph.input.name], value, relevance)

    def step(self, layer, inputs, relevance, method):
        x = [to_torch(each).requires_grad_() for each in inputs]
        received = np.maximum(relevance, 0) if layer.kind == "relu" else relevance
        shares = torch.autograd.grad(self.twin.get_submodule(layer.name)(*x), x, to_torch(received))
        return tuple(to_numpy(share) for share in shares)


# The harness's arrays are channels last, torch's have the channels on axis 1.
def to_torch(array):
    return torch.from_numpy(np.array(np.moveaxis(array, -1, 1) if array.ndim > 2 else array, order="C"))


def to_numpy(tensor):
    array = tensor.detach().numpy()
    return np.moveaxis(array, 1, -1) if array.ndim > 2 else array
