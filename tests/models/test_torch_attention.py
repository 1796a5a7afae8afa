"""Transformers of torch: read as products, softmax and norms, and what torch computes itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness import load_model
from harness.errors import UnsupportedLayerError
from harness.graph import Graph
from harness.methods.composite import Assignment
from harness.methods.rules import Pass
from ported_impls.torchvision_shim import declare_missing_operators
from ported_models.sources.torch_source import read_module
from ported_models.twins import torch_twin
from ported_models.twins.forward import LAYER_BOUND, relative_difference, torch_logits
from tests.models.torch_checks import Function, randomised

TOKENS = ("batch", "token", "feature")
TIME_FIRST = ("token", "batch", "feature")
B, L, E, HEADS = 2, 5, 8, 4


def check(
    module: nn.Module, axes: Sequence[str] = TOKENS, shape: Sequence[int] | None = None, **sizes: int
) -> Graph:
    """The graph, after checking that the torch twin computes what the module does in float64."""
    module = randomised(module)
    sides = {"batch": B, "token": L, "feature": E, **sizes}
    shape = [sides[axis] for axis in axes] if shape is None else shape
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return check_on(module, x, axes)


def check_on(module: nn.Module, x: Tensor, axes: Sequence[str] | None) -> Graph:
    reading = read_module(module, x, axes=axes)
    with torch.no_grad():
        expected = module(x.clone()).numpy()
    canonical = x.numpy().transpose(np.argsort(reading.input_order))
    found = torch_logits(torch_twin.build(reading.graph, "float64"), canonical)
    found = found.transpose(reading.output_order)
    assert found.shape == expected.shape
    assert relative_difference(found, expected) <= LAYER_BOUND
    return reading.graph


def kinds(graph: Graph, *wanted: str) -> list[str]:
    return [layer.kind for layer in graph if layer.kind in wanted]


def held(graph: Graph) -> list[str]:
    """The products of which the first factor is found to be attention weights."""
    at = Assignment(Pass(), kinds=("matmul",), softmaxed=0)
    return [layer.name for layer in graph if at.applies(layer, graph)]


class Attention(nn.Module):
    """As people write it; ``mix``: how queries meet keys, and weights meet values."""

    def __init__(self, mix: Callable[[Tensor, Tensor, Tensor], Tensor], batch_dim: int = 0) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(E, 3 * E), nn.Linear(E, E)
        self.mix, self.batch_dim = mix, batch_dim

    def forward(self, x: Tensor) -> Tensor:
        first, second, _ = x.shape
        q, k, v = self.qkv(x).view(first, second, 3, HEADS, E // HEADS).unbind(2)
        order = (0, 2, 1, 3) if self.batch_dim == 0 else (1, 2, 0, 3)
        mixed = self.mix(q.permute(order), k.permute(order), v.permute(order))
        back = (0, 2, 1, 3) if self.batch_dim == 0 else (2, 0, 1, 3)
        return self.out(mixed.permute(back).reshape(first, second, E)) + x


def _weights(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return ((q @ k.transpose(-2, -1)) / math.sqrt(E // HEADS)).softmax(-1) @ v


def _einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("bhid,bhjd->bhij", q, k) * 0.3
    return torch.einsum("bhij,bhjd->bhid", torch.softmax(scores, dim=-1), v)


def _folded(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Heads beside the samples, as `F.multi_head_attention_forward` has them."""
    q, k, v = (each.reshape(-1, L, E // HEADS) for each in (q, k, v))
    scores = torch.bmm(q, k.mT)
    return torch.bmm(F.softmax(scores, dim=2), v).view(-1, HEADS, L, E // HEADS)


def _biased(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (each.flatten(0, 1) for each in (q, k, v))
    mask = torch.triu(torch.full((1, L, L), -1e9, dtype=q.dtype), 1)
    scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=0.5)
    return torch.matmul(scores.softmax(-1), v).unflatten(0, (-1, HEADS))


def _masked(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = (q @ k.mT).masked_fill(torch.ones(L, L).tril() == 0, float("-inf"))
    return scores.softmax(-1) @ v


MIXES = {
    "matmul": _weights,
    "einsum": _einsum,
    "heads beside samples": _folded,
    "baddbmm": _biased,
    "masked_fill": _masked,
    "sdpa": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.7),
    "sdpa causal": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    "sdpa with a mask": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, torch.ones(L, L).tril() == 1),
    "sdpa with scores": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, torch.eye(L, dtype=q.dtype)),
}


@pytest.mark.parametrize("batch_dim", [0, 1])
@pytest.mark.parametrize("name", MIXES)
def test_attention_by_hand_is_products_around_a_softmax(name: str, batch_dim: int) -> None:
    graph = check(Attention(MIXES[name], batch_dim), TOKENS if batch_dim == 0 else TIME_FIRST)
    assert kinds(graph, "matmul", "softmax") == ["matmul", "softmax", "matmul"]
    assert len(held(graph)) == 1


def test_one_sample_says_too_little_and_two_are_read() -> None:
    """(1, head, token, feature) as (head, token, feature) and back: the batch could be any axis of one."""
    module = randomised(Attention(_folded, 1))
    x = torch.randn(L, 1, E, dtype=torch.float64)
    graph = read_module(module, x, axes=TIME_FIRST).graph
    assert kinds(graph, "matmul", "softmax") == ["matmul", "softmax", "matmul"]
    assert graph.input.shape == (L, E)


class Multi(nn.Module):
    """`nn.MultiheadAttention` with what is given to it."""

    def __init__(self, given: dict[str, Any] | None = None, memory: bool = False, **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(E, HEADS, **options)
        self.given, self.memory = given or {}, memory

    def forward(self, x: Tensor) -> Tensor:
        memory = torch.tanh(x[:, 1:] if self.attention.batch_first else x[1:]) if self.memory else x
        return self.attention(x, memory, memory, **self.given)[0]


MULTI = {
    "self": Multi(batch_first=True),
    "without weights": Multi({"need_weights": False}, batch_first=True, bias=False),
    "cross": Multi(memory=True, batch_first=True),
    "time first": Multi(),
    "cross, time first": Multi(memory=True),
    "mask": Multi({"attn_mask": torch.ones(L, L).triu(1).bool()}, batch_first=True),
    "scores": Multi({"attn_mask": torch.eye(L).double()}),
    "mask of each head": Multi({"attn_mask": torch.eye(L).double().expand(B * HEADS, L, L)}),
    "padding": Multi({"key_padding_mask": torch.tensor([[False] * 4 + [True]] * B)}, batch_first=True),
}


@pytest.mark.parametrize("name", MULTI)
def test_torchs_multi_head_attention(name: str) -> None:
    module = MULTI[name]
    graph = check(module, TOKENS if module.attention.batch_first else TIME_FIRST)
    assert kinds(graph, "matmul", "softmax") == ["matmul", "softmax", "matmul"]
    assert len(held(graph)) == 1


@pytest.mark.parametrize("activation", ["relu", "gelu", F.silu, nn.LeakyReLU(0.2)])
@pytest.mark.parametrize("norm_first", [False, True])
def test_an_encoder_layer_of_torch(norm_first: bool, activation: Any) -> None:
    layer = nn.TransformerEncoderLayer(E, HEADS, 12, activation=activation, norm_first=norm_first)
    graph = check(layer, TIME_FIRST)
    assert kinds(graph, "matmul", "layer_norm", "add") == [
        *(["layer_norm"] if norm_first else []),
        *["matmul", "matmul", "add", "layer_norm", "add"],
        *([] if norm_first else ["layer_norm"]),
    ]


@pytest.mark.parametrize("batch_first", [False, True])
def test_an_encoder_and_a_decoder_of_torch(batch_first: bool) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Transformer(E, HEADS, 2, 1, 12, batch_first=batch_first)

        def forward(self, x: Tensor) -> Tensor:
            mask = nn.Transformer.generate_square_subsequent_mask(L, dtype=torch.float64)
            return self.model(x, x, tgt_mask=mask)

    graph = check(Both(), TOKENS if batch_first else TIME_FIRST)
    assert kinds(graph, "matmul") == ["matmul"] * 8
    assert len(held(graph)) == 4


class Translator(nn.Module):
    """Tokens through an encoder; learnt queries read them; axes (token, batch, feature) inside."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.places = nn.Embedding(11, E), nn.Parameter(torch.zeros(L, 1, E))
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(E, HEADS, 12), 1)
        self.queries = nn.Parameter(torch.zeros(3, 1, E))
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(E, HEADS, 12), 2, nn.LayerNorm(E))
        self.head = nn.Linear(3 * E, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        memory = self.encoder(self.embedding(tokens).transpose(0, 1) * math.sqrt(E) + self.places)
        found = self.decoder(self.queries.expand(-1, tokens.shape[0], -1), memory)
        return self.head(found.transpose(0, 1).flatten(1))


def test_tokens_through_an_encoder_and_learnt_queries() -> None:
    graph = check_on(randomised(Translator()), torch.randint(0, 11, (B, L)), None)
    assert graph.input.shape == (L,)
    assert graph[graph.output].shape == (4,)
    assert len(held(graph)) == 5


def test_rms_norms_as_module_and_function() -> None:
    module = Function(lambda x, norm: F.rms_norm(norm(x) + x, (L, E)), norm=nn.RMSNorm(E, eps=1e-3))
    assert kinds(check(module), "rms_norm") == ["rms_norm", "rms_norm"]


class Spelled(nn.Module):
    def __init__(self, norm: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.norm, self.gamma, self.beta = norm, nn.Parameter(torch.ones(E)), nn.Parameter(torch.zeros(E))
        self.linear = nn.Linear(E, E)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return self.norm(x, self.gamma, self.beta) + x


def _root(x: Tensor) -> Tensor:
    return torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-3)


def _deviation(x: Tensor) -> Tensor:
    return torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-3)


SPELLED = {
    "llama": ("rms_norm", lambda x, g, b: g * (x * _root(x)).type_as(x)),
    "t5": ("rms_norm", lambda x, g, b: g * (x / ((x * x).mean(dim=-1, keepdim=True) + 1e-3).sqrt())),
    "layer norm": ("layer_norm", lambda x, g, b: g * (x - x.mean(-1, keepdim=True)) / _deviation(x) + b),
    "layer norm without weights": (
        "layer_norm",
        lambda x, g, b: (x - x.mean(-1, keepdim=True)) / _deviation(x),
    ),
}


@pytest.mark.parametrize("axes", [TOKENS, TIME_FIRST])
@pytest.mark.parametrize("name", SPELLED)
def test_norms_that_are_spelled_out(name: str, axes: Sequence[str]) -> None:
    kind, norm = SPELLED[name]
    graph = check(Spelled(norm), axes)
    assert [layer.kind for layer in graph][1:] == ["dense", kind, "add"]
    assert next(layer for layer in graph if layer.kind == kind).attributes["epsilon"] == 1e-3


def test_a_norm_by_the_deviation_of_a_sample_is_no_layer_norm() -> None:
    """``x.var(-1)`` divides by one less than the number of features: it is refused, not read as something else."""
    with pytest.raises(UnsupportedLayerError, match=r"'var'|'sqrt'"):
        check(
            Spelled(
                lambda x, g, b: (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + 1e-3)
            )
        )


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_maps_are_read_at_places_of_the_network(padding: str) -> None:
    def sample(x: Tensor, linear: nn.Module) -> Tensor:
        maps = x.permute(0, 2, 1).reshape(-1, 2, 4, 4, 3).flatten(0, 1).permute(0, 3, 1, 2)
        places = torch.tanh(linear(x[:, :2, :6].flatten(1))).view(-1, 3, 2, 2) * 1.5
        found = F.grid_sample(maps, places, padding_mode=padding, align_corners=False)
        return found.unflatten(0, (-1, 2)).flatten(1)

    graph = check(Function(sample, linear=nn.Linear(12, 24)), shape=(B, 12, 8))
    assert kinds(graph, "grid_sample") == ["grid_sample"]


def test_a_class_token_and_positions_are_one_constant() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token, self.places = nn.Parameter(torch.ones(1, 1, E)), nn.Parameter(torch.ones(1, L + 1, E))

        def forward(self, x: Tensor) -> Tensor:
            return (torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places)[:, 0] + x.mean(1)

    graph = check(Tokens())
    assert kinds(graph, "pad", "affine") == ["pad", "affine"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x @ x.transpose(0, 2), "the batch before the last two axes, in the same place"),
        (lambda x: x.softmax(-1) @ torch.ones(2, 3, 3), "expected a matrix"),
        (lambda x: torch.einsum("ijk,ilm->ijlm", x, x), "is no matrix product"),
        (lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5), "dropout_p=0.5"),
        (lambda x: x.flatten(0, 1), "holds the batch and more"),
        (lambda x: x.transpose(0, 1).reshape(-1, 2), "holds the batch|the batch axis first"),
    ],
)
def test_what_is_not_read_says_so_in_one_line(function: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=message) as caught:
        read_module(Function(function), torch.zeros(2, 3, 3), axes=TOKENS)
    assert "\n" not in str(caught.value)


def torchvision_models() -> Any:
    declare_missing_operators()
    return pytest.importorskip("torchvision.models")


def test_a_vision_transformer_of_torchvision() -> None:
    models = torchvision_models()
    module = models.VisionTransformer(
        image_size=16, patch_size=8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=3
    )
    graph = check_on(randomised(module), torch.randn(2, 3, 16, 16, dtype=torch.float64), None)
    assert kinds(graph, "matmul", "layer_norm", "gelu") == [
        *["layer_norm", "matmul", "matmul", "layer_norm", "gelu"] * 2,
        "layer_norm",
    ]
    assert len(held(graph)) == 2
    assert kinds(graph, "pad", "affine") == ["pad", "affine"]


@pytest.mark.parametrize("side", [32, 40])
def test_a_swin_transformer_of_torchvision(side: int) -> None:
    """Of 40 pixels windows are padded, and merging pads an odd row."""
    models = torchvision_models()
    module = models.SwinTransformer(
        patch_size=[4, 4], embed_dim=4, depths=[2, 2], num_heads=[1, 2], window_size=[4, 4], num_classes=3
    )
    graph = check_on(randomised(module), torch.randn(2, 3, side, side, dtype=torch.float64), None)
    assert kinds(graph, "matmul") == ["matmul"] * 8
    assert len(held(graph)) == 4


def test_loading_proves_networks_whose_batch_is_inside() -> None:
    """Both twins against torch's own output, of one sample and of more."""
    torch.manual_seed(0)
    model = load_model(Attention(_folded, 1).eval(), example=torch.randn(L, 1, E), axes=TIME_FIRST)
    assert (model.input_shape, model.graph[model.graph.output].shape) == ((L, E), (L, E))
    assert load_model(Translator().eval(), example=torch.randint(0, 11, (1, L))).classes == 4
