"""The zoo's transformers: reference and port compute the same, and relevance is conserved where the rules say so."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import harness
from ported_models.zoo import mask_decoder, minilm
from ported_models.zoo.fetch import is_cached

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch, pytest.mark.thinned(0.4)]

TARGETS = {"vit-digits": 2, "minilm-l6": 1, "mask-decoder-quarter": mask_decoder.target(150, 3)}
EXAMPLES = {"vit-digits": "two", "minilm-l6": "weather", "mask-decoder-quarter": "cat"}
SOFTMAX_FIXED = "cp_lrp:epsilon=0,bias=false,residual=sign_split"


@functools.cache
def model_and_input(name: str) -> tuple[Any, np.ndarray]:
    if name == "minilm-l6" and not is_cached(minilm.WEIGHTS):
        pytest.skip("minilm-l6 is not fetched")
    model = harness.load_model(name)
    return model, model.examples[EXAMPLES[name]]()


def trace(name: str, method: str, backend: str | None = None, dtype: str = "float64") -> Any:
    model, x = model_and_input(name)
    return harness.explain(model, x, method, backend=backend, target=TARGETS[name], dtype=dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("vit-digits", "attnlrp"),
        ("vit-digits", "cp_lrp"),
        ("vit-digits", "attnlrp:residual=sign_split,norm=held"),
        ("vit-digits", "cp_lrp:residual=identity,norm=differentiated"),
        ("vit-digits", SOFTMAX_FIXED),
        pytest.param("minilm-l6", "attnlrp", marks=pytest.mark.nightly),
        pytest.param("minilm-l6", "cp_lrp", marks=pytest.mark.nightly),
        pytest.param("minilm-l6", "attnlrp:norm=held", marks=pytest.mark.nightly),
        pytest.param("mask-decoder-quarter", "attnlrp", marks=pytest.mark.nightly),
        pytest.param("mask-decoder-quarter", "cp_lrp", marks=pytest.mark.nightly),
    ],
)
def test_reference_and_port_agree_at_every_layer(name: str, method: str, dtype: str) -> None:
    comparison = harness.compare(trace(name, method, None, dtype), trace(name, method, "torch", dtype))
    assert comparison.passed, comparison.table[["layer", "kind", "rel_l2", "floors", "verdict"]].to_string()
    assert set(comparison.table.verdict) <= {"identical", "equivalent"}


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_what_a_vision_transformer_hands_on_adds_up_to_the_logit(backend: str) -> None:
    run = trace("vit-digits", SOFTMAX_FIXED, backend)
    logit = run.logits[0, TARGETS["vit-digits"]]
    for layer in ("norm", "block2_add2", "block1_add2", "embeddings"):
        assert abs(run.layers[layer].relevance.sum() - logit) <= 1e-9 * abs(logit), layer
    # The class token is a constant: what reaches it stays there.
    patches = run.layers["patch_tokens"].relevance.sum()
    class_token = run.layers["embeddings"].relevance[0, 0].sum()
    assert abs(patches + class_token - logit) <= 1e-9 * abs(logit)


@pytest.mark.parametrize(
    "backend", [pytest.param("tensorflow", marks=pytest.mark.nightly), pytest.param("torch")]
)
def test_relevance_of_one_query_reaches_the_pixels_whole(backend: str) -> None:
    # Through three decoder layers from the axis of queries to that of tokens, six encoder layers and the backbone.
    run = trace("mask-decoder-quarter", SOFTMAX_FIXED, backend)
    logit = run.logits[0, TARGETS["mask-decoder-quarter"]]
    for layer in ("decoder3_mlp_norm", "encoder6_mlp_norm", "encoder1_mlp_norm", "tokens", "conv3", "conv1"):
        assert abs(run.layers[layer].relevance.sum() - logit) <= 1e-9 * abs(logit), layer
    assert abs(run.attribution.sum() - logit) <= 1e-9 * abs(logit)
    assert run.layers["decoder3_mlp_norm"].relevance[0, 150].sum() == pytest.approx(logit, rel=1e-9)
