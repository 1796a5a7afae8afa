"""The zoo's transformers: each against torch's own layers, the paper's formula, or figures that others published."""

from __future__ import annotations

import functools
import importlib.util

import numpy as np
import pytest

import harness
from harness.errors import InvalidInputError
from harness.graph import Graph
from ported_models.build import Builder
from ported_models.model import PortedModel
from ported_models.twins.layout import to_canonical
from ported_models.zoo import mask_decoder, minilm, vit_digits, vit_focus
from ported_models.zoo.attention import attention
from ported_models.zoo.fetch import cached_path, is_cached
from tests.models.onnx_runs import run_onnx

MINILM = pytest.mark.skipif(not is_cached(minilm.WEIGHTS), reason="minilm-l6 is not fetched")
FOCUS = pytest.mark.skipif(not is_cached(vit_focus.WEIGHTS), reason="vit-s-focus is not fetched")
TOKENIZER = pytest.mark.skipif(
    importlib.util.find_spec("tokenizers") is None, reason="the package tokenizers is not installed"
)


def outputs(graph: Graph, x: np.ndarray) -> np.ndarray:
    """ONNX Runtime's, in float32."""
    return to_canonical(run_onnx(PortedModel.from_graph(graph).onnx, x.astype(np.float32)))


# Attention -------------------------------------------------------------------------------------------------


@pytest.mark.torch
def test_attention_of_query_key_and_value_is_torchs() -> None:
    import torch
    from torch import nn

    torch.manual_seed(0)
    layer, x = (
        nn.MultiheadAttention(8, 2, batch_first=True),
        np.random.default_rng(0).standard_normal((2, 5, 8)),
    )
    nn.init.normal_(layer.in_proj_bias)
    matrices, biases = layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3)
    weights = {
        part: {"kernel": matrix.detach().numpy().T, "bias": bias.detach().numpy()}
        for part, matrix, bias in zip(
            ("query", "key", "value", "output"),
            (*matrices, layer.out_proj.weight),
            (*biases, layer.out_proj.bias),
            strict=True,
        )
    }
    builder = Builder("cross", (5, 8), axes=("batch", "token", "feature"))
    query = builder.add("take", "query", "input", {"axis": -2, "indices": (4, 1, 2)}, axes=mask_decoder.QUERY)
    key = builder.add("affine", "placed", "input", weights={"bias": np.ones((5, 8), np.float32)})
    attention(builder, "attention", weights.__getitem__, 2, query, key, "input")
    tokens = torch.tensor(x, dtype=torch.float32)
    expected, _ = layer(tokens[:, [4, 1, 2]], tokens + 1, tokens)
    np.testing.assert_allclose(outputs(builder.graph(), x), expected.detach().numpy(), rtol=0, atol=1e-5)
    assert builder["attention_scores"].axes == ("batch", "head", "query", "token")
    assert builder["attention_output"].axes == ("batch", "query", "feature")


def test_axes_are_named_for_each_axis_of_the_output() -> None:
    builder = Builder("axes", (4, 6))
    with pytest.raises(InvalidInputError, match="axes are batch, token, expected batch and 2 more names"):
        builder.add("relu", "relu", axes=("batch", "token"))


# vit-digits ------------------------------------------------------------------------------------------------


@pytest.mark.torch
def test_the_vision_transformer_is_torchs() -> None:
    import torch
    from torch import nn

    torch.manual_seed(0)
    module = vit_digits.module().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = np.random.default_rng(0).random((3, *vit_digits.INPUT_SHAPE), np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).numpy()
    graph = vit_digits.graph_of({name: each.numpy() for name, each in module.state_dict().items()})
    np.testing.assert_allclose(outputs(graph, x), expected, rtol=1e-5, atol=1e-5)


# mask-decoder ----------------------------------------------------------------------------------------------


def test_the_mask_decoder_has_the_shapes_of_maskdino() -> None:
    graph = mask_decoder.graph()
    assert graph.input.shape == (800, 800, 3)
    assert [graph[f"level{number}_map"].shape[:2] for number in (1, 2, 3)] == [(100, 100), (50, 50), (25, 25)]
    # 100 * 100 + 50 * 50 + 25 * 25
    assert graph["encoder6_mlp_norm"].shape == (13125, 256)
    assert graph["encoder6_mlp_norm"].axes == ("batch", "token", "feature")
    assert graph["decoder3_cross_samples"].shape == (8, 300, 3 * 4, 32)
    assert graph["decoder3_cross_samples"].axes == ("batch", "head", "query", "point", "feature")
    assert graph[graph.output].shape == (300 * 80,)
    # No weight is of the size of the attention scores, nor of the samples.
    assert max(array.size for layer in graph for array in layer.weights.values()) == 13125 * 256


def test_a_target_is_a_class_of_a_query() -> None:
    labels = mask_decoder.labels()
    assert labels[mask_decoder.target(0, 79)] == "query 0, class 79"
    assert labels[mask_decoder.target(299, 3)] == "query 299, class 3"
    with pytest.raises(InvalidInputError, match="query 300, class 0: expected a query from 0 to 299"):
        mask_decoder.target(300, 0)


@functools.cache
def quarter() -> tuple[Graph, dict[str, np.ndarray]]:
    """The network at a quarter of its sides, and the torch twin's activations on noise."""
    from ported_models.twins.forward import torch_activations

    graph = mask_decoder.graph(mask_decoder.QUARTER)
    x = np.random.default_rng(0).standard_normal((1, *graph.input.shape)).astype(np.float32)
    return graph, torch_activations(PortedModel.from_graph(graph).torch(), graph, x)


def bilinear(values: np.ndarray, x: float, y: float) -> np.ndarray:
    """``values``, (height, width, feature), at a place in pixels, the first one's centre at 0; zeros around."""
    height, width, features = values.shape
    total = np.zeros(features)
    for column in (int(np.floor(x)), int(np.floor(x)) + 1):
        for row in (int(np.floor(y)), int(np.floor(y)) + 1):
            if 0 <= column < width and 0 <= row < height:
                total += (1 - abs(x - column)) * (1 - abs(y - row)) * values[row, column]
    return total


@pytest.mark.torch
@pytest.mark.parametrize(
    ("part", "rows"), [("encoder1_attention", (0, 24, 300, 842)), ("decoder2_cross", (0, 7, 299))]
)
def test_deformable_attention_is_the_papers_equation(part: str, rows: tuple[int, ...]) -> None:
    # Zhu et al. 2021, eq. 3: sum over levels and points of A * V_l(phi_l(p) + offset), phi_l the place in pixels of
    # level l. Everything but the three dense layers in front of it is done again by hand here.
    graph, found = quarter()
    sides = [(25, 25), (13, 13), (7, 7)]
    centres = np.concatenate(
        [[((c + 0.5) / w, (r + 0.5) / h) for r in range(h) for c in range(w)] for h, w in sides]
    )
    starts = np.cumsum([0] + [h * w for h, w in sides])
    if part.startswith("decoder"):
        centres = centres[list(graph["queries"].attributes["indices"])]
    values = found[f"{part}_value"][0].reshape(-1, 8, 32)
    offsets = found[f"{part}_places_offsets"][0].reshape(-1, 3, 8, 4, 2)
    scores = found[f"{part}_scores"][0].reshape(-1, 8, 3, 4)
    mixed = found[f"{part}_mixed_merged"][0].reshape(-1, 8, 32)
    for row in rows:
        for head in range(8):
            weights = np.exp(scores[row, head]) / np.exp(scores[row, head]).sum()
            expected = np.zeros(32)
            for level, (height, width) in enumerate(sides):
                maps = values[starts[level] : starts[level + 1], head].reshape(height, width, 32)
                for point in range(4):
                    dx, dy = offsets[row, level, head, point]
                    px, py = centres[row, 0] * width - 0.5 + dx, centres[row, 1] * height - 0.5 + dy
                    expected += weights[level, point] * bilinear(maps, px, py)
            np.testing.assert_allclose(mixed[row, head], expected, rtol=0, atol=1e-4)


# minilm-l6 -------------------------------------------------------------------------------------------------


@MINILM
def test_similarities_are_those_that_are_published() -> None:
    # sentence-transformers' README, of all-MiniLM-L6-v2; the card inside the package states none. Four decimals.
    model = minilm.zoo_model()
    weather, stadium = (run_onnx(model.onnx, text.array)[0] for text in (minilm.WEATHER, minilm.STADIUM))
    np.testing.assert_allclose(weather, [1.0, 0.6660, 0.1046], rtol=0, atol=6e-5)
    np.testing.assert_allclose(stadium, [0.1046, 0.1411, 1.0], rtol=0, atol=6e-5)


@MINILM
def test_the_embeddings_compared_with_are_the_networks_own() -> None:
    stored = np.load(minilm.EMBEDDINGS, allow_pickle=False)
    made = np.stack([minilm.embedding_of(minilm.load_state(), other.ids) for other in minilm.OTHERS])
    assert stored.shape == (3, 384)
    assert np.abs(made - stored).max() < 1e-6
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1.0, rtol=0, atol=1e-6)


@MINILM
@pytest.mark.torch
def test_the_sentence_transformer_is_torchs_encoder_with_the_same_weights() -> None:
    import torch
    from torch import nn

    state = {
        name: torch.from_numpy(array)
        for name, array in minilm.load_state().items()
        if array.dtype == np.float32
    }
    ids = list(minilm.SUNNY.ids)
    x = state["embeddings.word_embeddings.weight"][ids]
    x = (
        x
        + state["embeddings.position_embeddings.weight"][: len(ids)]
        + state["embeddings.token_type_embeddings.weight"][0]
    )
    x = nn.functional.layer_norm(
        x, (384,), state["embeddings.LayerNorm.weight"], state["embeddings.LayerNorm.bias"], 1e-12
    )[None]
    for number in range(6):
        source = f"encoder.layer.{number}"
        layer = nn.TransformerEncoderLayer(
            384, 12, 1536, activation="gelu", layer_norm_eps=1e-12, batch_first=True
        ).eval()
        own = {}
        for ending in ("weight", "bias"):
            parts = [state[f"{source}.attention.self.{part}.{ending}"] for part in ("query", "key", "value")]
            own[f"self_attn.in_proj_{ending}"] = torch.cat(parts)
            own[f"self_attn.out_proj.{ending}"] = state[f"{source}.attention.output.dense.{ending}"]
            own[f"linear1.{ending}"] = state[f"{source}.intermediate.dense.{ending}"]
            own[f"linear2.{ending}"] = state[f"{source}.output.dense.{ending}"]
            own[f"norm1.{ending}"] = state[f"{source}.attention.output.LayerNorm.{ending}"]
            own[f"norm2.{ending}"] = state[f"{source}.output.LayerNorm.{ending}"]
        layer.load_state_dict(own)
        with torch.no_grad():
            x = layer(x)
    expected = nn.functional.normalize(x[0].mean(dim=0), dim=0).numpy()
    np.testing.assert_allclose(minilm.embedding_of(minilm.load_state(), ids), expected, rtol=0, atol=1e-6)


@MINILM
@TOKENIZER
def test_text_becomes_the_tokens_of_the_packages_tokenizer() -> None:
    assert all(minilm.tokenize(text.text) == text for text in minilm.OTHERS)
    assert minilm.tokens_of(minilm.STADIUM.ids) == (
        "[CLS]",
        "he",
        "drove",
        "to",
        "the",
        "stadium",
        ".",
        "[SEP]",
    )
    with pytest.raises(InvalidInputError, match="a text of 602 tokens; minilm-l6 takes 512 at most"):
        minilm.tokenize("sun " * 600)


@MINILM
@TOKENIZER
def test_a_text_of_the_users_is_compared_with_other_texts() -> None:
    model = minilm.similarity_model(minilm.SUNNY.text, [minilm.STADIUM.text, minilm.WEATHER.text])
    assert model.labels == (minilm.STADIUM.text, minilm.WEATHER.text)
    found = run_onnx(model.onnx, model.examples["text"]())[0]
    np.testing.assert_allclose(found, [0.1411, 0.6660], rtol=0, atol=6e-5)
    features = minilm.feature_model(minilm.SUNNY.text)
    embedding = run_onnx(features.onnx, features.examples["text"]())[0]
    np.testing.assert_allclose(embedding, np.load(minilm.EMBEDDINGS)[1], rtol=0, atol=1e-6)


@pytest.mark.nightly
@MINILM
def test_padding_changes_nothing_and_gets_no_relevance() -> None:
    """A text of 8 tokens in a network for 11: its similarities, and its attribution, are those without padding."""
    state, others = minilm.load_state(), np.load(minilm.EMBEDDINGS, allow_pickle=False)
    plain = PortedModel.from_graph(minilm.graph_of(state, 8, others))
    padded = PortedModel.from_graph(minilm.graph_of(state, 8, others, 11), token_texts=minilm.texts_of)
    x = minilm.STADIUM.padded(11)
    assert minilm.texts_of(x)[0][6:] == (".", "[SEP]", "[PAD]", "[PAD]", "[PAD]")
    alone = run_onnx(plain.onnx, minilm.STADIUM.array)
    np.testing.assert_allclose(run_onnx(padded.onnx, x), alone, rtol=0, atol=1e-5)
    # An epsilon of 1e-6 takes its part at the mask, a layer more: 1e-6 of a score of 1.
    for method, bound in (("attnlrp:norm=held,epsilon=0", 1e-9), ("attnlrp:norm=held", 1e-5)):
        alone, found = (
            harness.explain(
                model, text, method, "oracle", target=1, dtype="float64", layers=False
            ).attribution[0]
            for model, text in ((plain, minilm.STADIUM.array), (padded, x))
        )
        assert not found[8:].any()
        np.testing.assert_allclose(found[:8], alone, rtol=0, atol=bound * np.abs(alone).max())


@MINILM
def test_a_length_below_that_of_the_text_is_no_length() -> None:
    with pytest.raises(InvalidInputError, match="a length of 7 for a text of 8 tokens; expected 8 to 512"):
        minilm.STADIUM.padded(7)
    assert minilm.STADIUM.padded(None).shape == (1, 8)


# vit-s-focus -----------------------------------------------------------------------------------------------


@FOCUS
def test_the_focus_network_computes_what_the_file_of_the_package_computes() -> None:
    import onnxruntime

    from ported_models import zoo

    model, path = zoo.load("vit-s-focus"), cached_path(vit_focus.WEIGHTS)
    assert model.removed == "sigmoid"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = model.examples["cat"]()
    (expected,) = session.run(None, {session.get_inputs()[0].name: np.moveaxis(x, -1, 1)})
    logits = run_onnx(model.onnx, x)[0].astype(np.float64)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), expected.ravel(), rtol=0, atol=1e-5)
    assert model.labels is not None
    assert model.labels[vit_focus.target(2, 223)] == "row 2, column 223"


def test_a_target_is_a_pixel_of_the_map() -> None:
    with pytest.raises(InvalidInputError, match="row 224, column 0: expected both from 0 to 223"):
        vit_focus.target(224, 0)
