"""Attention, norms, sampling and what stands around them: the faults of ports of transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evidence.planted_bugs import Fault, Mutant
from harness.backends import backend_named
from harness.graph import Graph, Layer
from harness.methods import Rule, ShareProduct, SignedEpsilon, SoftmaxTaylor

from .arithmetic import nonzero
from .class_tokens import NAME as CLASS_TOKEN
from .planting import Exchange, Plant, Shares, after, exchange, formula, mutant, rebuilt
from .sites import Where

MASKDINO = "report on LRP for MaskDINO"
MASKDINO_CODE = "public code behind the report on LRP for MaskDINO"
SLIP = "usual slip in ports of transformers"
LARGE = ("vit-s-focus", "mask-decoder-quarter")
ZOO = ("vit-digits", "minilm-l6", *LARGE)
WITH_ATTENTION = ("encoder-net", "gated-net", "deformable-net", *ZOO)
#: The axis of the heads in the port: channels stand on axis 1, behind them head and token.
HEAD = 2


def mixes_values(layer: Layer, graph: Graph) -> bool:
    """A product of attention weights and values."""
    return layer.kind == "matmul" and not layer.attributes["transposed"]


def makes_scores(layer: Layer, graph: Graph) -> bool:
    return layer.kind == "matmul" and layer.attributes["transposed"]


def masks(layer: Layer, graph: Graph) -> bool:
    """Added to scores."""
    return layer.kind == "affine" and any(each.kind == "softmax" for each in graph.consumers(layer.name))


def scales_scores(layer: Layer, graph: Graph) -> bool:
    return layer.kind == "scale" and graph[layer.inputs[0]].kind == "matmul"


MIXED = Where(("matmul",), "last", (ShareProduct,), mixes_values)
SCORES = Where(("matmul",), "last", (ShareProduct,), makes_scores)
SOFTMAX = Where(("softmax",), "last", (SoftmaxTaylor,))
NORMS = Where(("layer_norm", "rms_norm"), "last")


def shared(shares: Callable[[Rule, Layer, tuple[Tensor, ...], Tensor], Sequence[Tensor]]) -> Exchange:
    """The hook of a layer of several inputs does ``shares`` instead."""
    return lambda healthy, layer, rule: Shares(partial(shares, rule, layer))


def canonical(x: Tensor) -> Tensor:
    """Channels last."""
    return x.movedim(1, -1)


def internal(x: Tensor) -> Tensor:
    return x.movedim(-1, 1)


def product_shares(
    factors: tuple[float, float], rule: Rule, layer: Layer, inputs: tuple[Tensor, ...], relevance: Tensor
) -> Sequence[Tensor]:
    """``factor * R a b / z`` for each operand; the exact zero of ``z`` is replaced."""
    a, b = map(canonical, inputs)
    if layer.attributes["transposed"]:
        b = b.mT
    q = canonical(relevance) / nonzero(a @ b)
    to_b = b * (a.mT @ q)
    if layer.attributes["transposed"]:
        to_b = to_b.mT
    return [internal(factors[0] * a * (q @ b.mT)), internal(factors[1] * to_b)]


def differentiated(
    rule: Rule, layer: Layer, inputs: tuple[Tensor, ...], relevance: Tensor
) -> Sequence[Tensor]:
    a, b = map(canonical, inputs)
    r = canonical(relevance)
    if layer.attributes["transposed"]:
        return [internal(r @ b), internal(r.mT @ a)]
    return [internal(r @ b.mT), internal(a.mT @ r)]


def softmax_gradient(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    y = torch.softmax(x, dim=module.dim)
    return y * (relevance - (y * relevance).sum(dim=module.dim, keepdim=True))


def softmax_gradient_times_input(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    return x * softmax_gradient(rule, module, x, relevance)


def norm_gradient(power: float, rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """The gradient of a norm over the channels, its derivative of the variance to the power ``-power``."""
    rms = isinstance(module, nn.RMSNorm)
    c = x if rms else x - x.mean(dim=1, keepdim=True)
    v = c.square().mean(dim=1, keepdim=True) + module.eps
    g = relevance * module.weight.reshape(-1, *(1,) * (x.ndim - 2))
    inner_part = g / v.sqrt() - c * (g * c).mean(dim=1, keepdim=True) / v**power
    return inner_part if rms else inner_part - inner_part.mean(dim=1, keepdim=True)


def sampled(maps: Tensor, places: Tensor, padding: str) -> Tensor:
    heads = maps.shape[2]
    read = F.grid_sample(
        maps.transpose(1, 2).flatten(0, 1),
        places.movedim(1, -1).flatten(0, 1),
        padding_mode=padding,
        align_corners=False,
    )
    return read.unflatten(0, (-1, heads)).transpose(1, 2)


def clamped(rule: Rule, layer: Layer, inputs: tuple[Tensor, ...], relevance: Tensor) -> Sequence[Tensor]:
    """Relevance divided by what was read, and splatted by the weights of a sampling that moves places to the border."""
    maps, places = (each.detach() for each in inputs)
    z = sampled(maps, places, layer.attributes["padding"])
    assert isinstance(rule, ShareProduct) and isinstance(rule.stabilizer, SignedEpsilon)
    epsilon = rule.stabilizer.epsilon
    with torch.enable_grad():
        seen = maps.clone().requires_grad_()
        read = sampled(seen, places, "border")
        (passed,) = torch.autograd.grad(read, seen, relevance / torch.where(z >= 0, z + epsilon, z - epsilon))
    return [maps * passed, torch.zeros_like(places)]


def of_all_heads(change: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    return lambda module, x, relevance: change(relevance)


def times_heads(relevance: Tensor) -> Tensor:
    return relevance * relevance.shape[HEAD]


def head_mean(x: Tensor) -> Tensor:
    return x.mean(dim=HEAD, keepdim=True).expand_as(x)


def without_bias(module: nn.Module, layer: Layer) -> nn.Module:
    module.bias = nn.Parameter(torch.zeros_like(module.bias), requires_grad=False)
    return module


def positions_shifted(module: nn.Module, layer: Layer) -> nn.Module:
    """Each token has the position of the one before; (feature, token)."""
    module.bias = nn.Parameter(module.bias.roll(1, dims=1).contiguous(), requires_grad=False)
    return module


def skipped(module: nn.Module, layer: Layer) -> nn.Module:
    return nn.Identity()


def along(axis: int, module: nn.Module, layer: Layer) -> nn.Module:
    module.dim = axis
    return module


class Averaged(nn.Module):
    """``inner``, then the mean over the heads for each of them."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.dim = inner.dim

    def forward(self, x: Tensor) -> Tensor:
        return head_mean(self.inner(x))


def key_and_value_exchanged(twin: nn.Module) -> None:
    twin._modules["key"], twin._modules["value"] = twin._modules["value"], twin._modules["key"]


def key_and_value(graph: Graph, method: object) -> tuple[str, ...]:
    return tuple(layer.name for layer in graph if layer.name in ("key", "value"))


def trained(module: nn.Module, layer: Layer) -> nn.Module:
    module.forward = lambda x: F.dropout(x, layer.attributes["rate"], training=True)
    return module


def tokens_for_samples(module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """(token, batch, feature) taken for (batch, token, feature); here there are as many of each."""
    return relevance.transpose(0, 2).contiguous()


def with_padding(padding: str, module: nn.Module, layer: Layer) -> nn.Module:
    module.padding = padding
    return module


MUTANTS = (
    mutant(
        "attention-to-both-operands",
        "attention weights are not held fixed: half of the relevance goes to them",
        exchange(MIXED, "attention-rule", shared(partial(product_shares, (0.5, 0.5)))),
        methods=("cp_lrp:epsilon=0",),
        models=WITH_ATTENTION,
        source="Achtibat et al. 2024: CP-LRP and AttnLRP",
    ),
    mutant(
        "attention-to-values-alone",
        "attention weights are held fixed where they should get half",
        exchange(MIXED, "attention-rule", shared(partial(product_shares, (0.0, 1.0)))),
        methods=("attnlrp:epsilon=0",),
        models=WITH_ATTENTION,
        source="Achtibat et al. 2024: CP-LRP and AttnLRP",
    ),
    mutant(
        "attention-not-halved",
        "each operand of a product gets all of its relevance",
        exchange(MIXED, "attention-rule", shared(partial(product_shares, (1.0, 1.0))), "residual-split"),
        methods=("attnlrp:epsilon=0",),
        models=WITH_ATTENTION,
        source=SLIP,
    ),
    mutant(
        "scores-differentiated",
        "query times key is differentiated",
        exchange(SCORES, "attention-rule", shared(differentiated)),
        methods=("attnlrp:epsilon=0",),
        models=("encoder-net", "gated-net", *ZOO),
        source=SLIP,
    ),
    mutant(
        "softmax-differentiated",
        "the softmax is differentiated",
        formula(SOFTMAX, "attention-rule", softmax_gradient),
        methods=("attnlrp", "attnlrp:norm=held"),
        models=WITH_ATTENTION,
        source=SLIP,
    ),
    mutant(
        "softmax-gradient-times-input",
        "the softmax gets its gradient times its input",
        formula(SOFTMAX, "attention-rule", softmax_gradient_times_input),
        methods=("attnlrp",),
        models=WITH_ATTENTION,
        source=SLIP,
    ),
    mutant(
        "attention-heads-not-divided",
        "relevance of a head is as large as that of all: the division by the number of heads is missing",
        after(MIXED, "heads", of_all_heads(times_heads), "attention-rule", "residual-split"),
        methods=("cp_lrp", "attnlrp"),
        models=WITH_ATTENTION,
        source=f"{MASKDINO}: relevance 8 times too large",
    ),
    mutant(
        "heads-averaged-on-the-way-back",
        "every head gets the mean of all heads' relevance",
        after(MIXED, "heads", of_all_heads(head_mean)),
        methods=("cp_lrp", "attnlrp"),
        models=WITH_ATTENTION,
        source=SLIP,
    ),
    mutant(
        "norm-of-another-power",
        "the derivative of layer norm has the variance to the power -1 where -3/2 belongs",
        formula(NORMS, "normalisation-rule", partial(norm_gradient, 1.0)),
        methods=("gradient", "input_t_gradient"),
        models=WITH_ATTENTION,
        source=f"{MASKDINO_CODE}: 10.8 % off",
    ),
    mutant(
        "norm-differentiated",
        "the norm is differentiated where relevance is handed on",
        formula(NORMS, "normalisation-rule", partial(norm_gradient, 1.5)),
        methods=("attnlrp", "cp_lrp"),
        models=WITH_ATTENTION,
        source=SLIP,
    ),
    mutant(
        "norm-handed-on",
        "relevance is handed on where the deviation is held fixed",
        formula(NORMS, "normalisation-rule", lambda rule, module, x, relevance: relevance),
        methods=("attnlrp:norm=held",),
        models=("encoder-net", "deformable-net", *LARGE),
        source=SLIP,
    ),
    mutant(
        "norm-returns-nothing",
        "the norm's code returns None: no relevance takes the way through it",
        formula(NORMS, "normalisation-rule", lambda rule, module, x, relevance: None),
        methods=("attnlrp", "cp_lrp:norm=held"),
        models=WITH_ATTENTION,
        source=f"{MASKDINO}: None from _align_shapes_for_layernorm",
    ),
    mutant(
        "sampling-clamped-on-the-way-back",
        "places outside the map are moved to its border on the way back: relevance appears from nothing",
        exchange(Where(("grid_sample",), "last", (ShareProduct,)), "sampling", shared(clamped)),
        methods=("cp_lrp", "attnlrp"),
        models=("deformable-net", "mask-decoder-quarter"),
        source=MASKDINO_CODE,
    ),
    mutant(
        "sampling-clamped",
        "the network moves places outside the map to its border",
        rebuilt(Where(("grid_sample",)), "sampling", partial(with_padding, "border")),
        methods=("cp_lrp", "gradient"),
        models=("deformable-net", "mask-decoder-quarter"),
        source=MASKDINO_CODE,
    ),
    mutant(
        "mask-ignored",
        "the mask is not added to the scores",
        rebuilt(Where(having=masks), "forward-attention", without_bias),
        methods=("attnlrp", "gradient"),
        models=("encoder-net",),
        source=SLIP,
    ),
    mutant(
        "scale-left-out",
        "the scores are not divided by the root of the features",
        rebuilt(Where(having=scales_scores), "forward-attention", skipped),
        methods=("attnlrp", "gradient"),
        models=("encoder-net", "gated-net", *ZOO),
        source=SLIP,
    ),
    mutant(
        "softmax-over-the-queries",
        "the softmax runs over the queries and not over the keys",
        rebuilt(Where(("softmax",), "last"), "forward-attention", partial(along, 3)),
        methods=("attnlrp", "gradient"),
        models=("encoder-net", "gated-net", *ZOO),
        source=SLIP,
    ),
    mutant(
        "key-and-value-exchanged",
        "the weights of key and value are exchanged",
        Plant(Fault("forward-attention", key_and_value, "forward"), whole=key_and_value_exchanged),
        methods=("attnlrp", "gradient"),
        models=("encoder-net", "gated-net"),
        source=SLIP,
    ),
    mutant(
        "attention-dropout-on",
        "dropout of the attention weights is on",
        rebuilt(Where(("dropout",)), "nondeterminism", trained),
        methods=("attnlrp", "gradient"),
        models=("encoder-net", "gated-net"),
        source=SLIP,
    ),
    mutant(
        "positions-shifted",
        "each token has the position embedding of the one before",
        rebuilt(
            Where(having=lambda layer, graph: layer.name == "positions"), "forward-weights", positions_shifted
        ),
        methods=("attnlrp", "gradient"),
        models=("encoder-net",),
        source=SLIP,
    ),
    Mutant(
        "class-token-dropped",
        "the port has no class token",
        (Fault("forward-layer", lambda graph, method: (CLASS_TOKEN,), "forward"),),
        partial(backend_named, "torch"),
        methods=("attnlrp", "gradient"),
        models=("encoder-pair", "vit-digits-pair"),
        source=SLIP,
    ),
    mutant(
        "attention-averaged-over-heads",
        "every head has the mean of all heads' attention weights",
        rebuilt(Where(("softmax",), "last"), "heads", lambda module, layer: Averaged(module)),
        methods=("cp_lrp",),
        models=WITH_ATTENTION,
        source="attention rollout averages over heads",
    ),
    mutant(
        "tokens-taken-for-samples",
        "relevance of (token, batch, feature) is taken for (batch, token, feature)",
        after(
            Where(("dense",), "middle", having=lambda layer, graph: layer.name == "up"),
            "layout",
            tokens_for_samples,
            "batch-coupling",
        ),
        methods=("cp_lrp", "attnlrp"),
        models=("encoder-net",),
        source=f"{MASKDINO}: (T, B, C) where (B, T, C) belongs",
    ),
)
