"""Other people's libraries as candidates: what their sides share, and what is declared of them."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

import ported_impls.libraries as declared
from harness.backends import backend_named
from harness.backends.worker import Peer
from harness.errors import InvalidInputError, PeerError
from harness.methods import gaussian_noise, method
from ported_impls.libraries.adapter import (
    Call,
    LibraryBackend,
    in_layout_of,
    noise_handed_in,
    one_by_one,
    square_images,
    with_layers,
)
from ported_models.build import Builder
from ported_models.model import PortedModel
from tests.peers.library import needs

LIBRARIES = [each for each in vars(declared).values() if isinstance(each, Peer)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model() -> PortedModel:
    """Two inputs, one dense layer with the rows (1, 2) and (3, 4) of its kernel, no bias."""
    b = Builder("two", (2,))
    b.add("dense", "logits", weights={"kernel": np.array([[1.0, 2.0], [3.0, 4.0]])})
    return PortedModel.from_graph(b.graph())


# What is declared


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda each: each.name)
def test_every_package_of_a_library_is_pinned_to_one_version_the_library_among_them(library):
    pins = library.constraints.read_text(encoding="utf-8").split()
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", pin) for pin in pins)
    assert library.requirement in pins


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda each: each.name)
def test_every_library_is_declared_as_peer_and_as_backend_under_its_name(library):
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    module, _, name = points["xai_harness.peers"][library.name].partition(":")
    assert getattr(importlib.import_module(module), name) is library
    assert library.name in points["xai_harness.backends"]


@pytest.mark.parametrize(
    "side",
    ["captum", "lrp_pf_auc", "lxt", "signxai2_names", "signxai2_composites", "tf_keras_vis", "xplique"],
)
def test_every_method_that_a_library_is_asked_for_is_one_of_ours(side):
    calls = importlib.import_module(f"ported_impls.libraries.{side}_side").CALLS
    assert calls
    for name in calls:
        assert method(name).name == name


def test_all_152_names_of_signxai_are_asked_of_signxai2():
    from ported_impls.libraries.signxai2_names_side import CALLS

    assert len(CALLS) == 152
    assert "gradient:dialect=signxai" in CALLS and "gradient" not in CALLS


def test_the_versions_of_a_library_are_its_pins_and_take_no_process(monkeypatch):
    def started(*arguments, **options):
        raise AssertionError("a process was started")

    monkeypatch.delenv("XAI_HARNESS_PEER_XPLIQUE", raising=False)
    monkeypatch.setattr(declared, "python_of", lambda name: Path(sys.executable))
    monkeypatch.setattr(declared, "WorkerBackend", started)
    version = declared.xplique().version()
    assert (version["xplique"], version["einops"]) == ("2.0.2", "0.8.2")
    # What pip knows: a CUDA build from the package index calls itself by more.
    assert version["torch"] == metadata.version("torch")


def test_a_library_that_is_not_installed_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.delenv("XAI_HARNESS_PEER_LXT", raising=False)
    monkeypatch.setenv("XAI_HARNESS_CACHE", str(tmp_path))
    with pytest.raises(
        PeerError, match="lxt is not installed; install it with: xai-harness peers install lxt"
    ):
        declared.lxt().version()


# What the sides share


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((1, 3, 4, 5), None),
        ((3, 4, 5), None),
        ((1, 4, 5, 3), (0, 3, 1, 2)),
        ((4, 5, 3), (2, 0, 1)),
    ],
)
def test_a_map_is_brought_into_the_layout_of_the_input(given, expected):
    x = torch.zeros(2, 3, 4, 5)
    array = np.arange(60.0).reshape(given)
    wanted = array if expected is None else array.transpose(expected)
    np.testing.assert_array_equal(in_layout_of(x, array), wanted.reshape(1, 3, 4, 5))


def test_one_map_for_all_channels_is_repeated():
    x = torch.zeros(2, 3, 4, 5)
    array = np.arange(20.0).reshape(4, 5)
    np.testing.assert_array_equal(in_layout_of(x, array), np.stack([array] * 3)[None])


def test_any_other_shape_is_an_error_that_names_both():
    with pytest.raises(InvalidInputError, match=r"shape \(5, 4\) for an input of \(1, 3, 4, 5\)"):
        in_layout_of(torch.zeros(2, 3, 4, 5), np.zeros((5, 4)))


@pytest.mark.parametrize("place", [None, 1])
def test_torchs_normal_samples_are_those_of_the_method_times_the_deviation_asked_for(place):
    plain = method("smoothgrad")
    smooth = replace(plain, procedure=replace(plain.procedure, samples=2, scale=4.0))
    x = torch.zeros(2, 3, 4, dtype=torch.float64)  # (batch, channel, step)
    first, second = (noise.transpose(0, 2, 1) / 4 for noise in gaussian_noise(smooth.procedure, (2, 4, 3)))
    rows = slice(None) if place is None else slice(place, place + 1)
    with noise_handed_in(smooth, x, place):
        np.testing.assert_array_equal(torch.normal(0, 0.5, size=x[rows].shape), 0.5 * first[rows])
        np.testing.assert_array_equal(torch.randn_like(x[rows]), second[rows])
        with pytest.raises(ValueError, match="draws more than the 2 samples of smoothgrad"):
            torch.randn_like(x[rows])


def test_a_library_is_asked_for_each_sample_alone_and_the_relevance_of_layers_is_what_autograd_shows(model):
    asked = []

    def call(twin, x, target, method):
        asked.append((tuple(x.shape), target))
        x.requires_grad_()
        return 10 * torch.autograd.grad(twin(x)[:, target].sum(), x)[0]

    backend = LibraryBackend("tens", (), "torch", {"gradient": Call("", one_by_one(call, layers=True))})
    run = backend.prepare(model, "float64").run(
        np.array([[1.0, 1.0], [2.0, 2.0]]), method("gradient"), np.array([0, 1]), layers=True
    )
    assert asked == [((1, 2), 0), ((1, 2), 1)]
    np.testing.assert_array_equal(run.attribution, [[10, 30], [20, 40]])
    np.testing.assert_array_equal(run.relevances["input"], [[1, 3], [2, 4]])
    np.testing.assert_array_equal(run.relevances["logits"], [[1, 0], [0, 1]])


def test_layers_are_not_shown_where_the_method_is_many_runs(model):
    def call(twin, x, target, method):
        return x

    backend = LibraryBackend("itself", (), "torch", {"smoothgrad": Call("", with_layers(call))})
    run = backend.prepare(model, "float64").run(
        np.ones((1, 2)), method("smoothgrad"), np.array([0]), layers=True
    )
    assert run.relevances == {}


def test_a_method_without_counterpart_and_a_network_that_is_not_taken_are_refused_in_words(model):
    backend = LibraryBackend("images", (), "torch", {"gradient": Call("", lambda *a: a[1], square_images)})
    assert backend.supports(method("lrp.z"), model.graph) == "images has no counterpart of lrp.z"
    assert backend.supports(method("gradient"), model.graph) == "it takes square images, the input is (2,)"


def test_a_dtype_that_a_library_does_not_compute_in_is_refused(model):
    backend = LibraryBackend("single", (), "torch", {}, dtypes=("float32",))
    with pytest.raises(InvalidInputError, match="single computes in float32, not in 'float64'"):
        backend.prepare(model, "float64")


@pytest.mark.peer
def test_captums_saliency_is_the_gradient(model):
    needs("captum")
    run = (
        backend_named("captum")
        .prepare(model, "float64")
        .run(np.array([[1.0, -1.0]]), method("gradient"), np.array([1]), layers=False)
    )
    np.testing.assert_array_equal(run.attribution, [[2.0, 4.0]])


@pytest.mark.peer
def test_the_layers_of_lrp_pf_auc_carry_gradient_times_activation():
    b = Builder("square", (2, 2, 1))
    b.add("conv2d", "conv", weights={"kernel": np.ones((2, 2, 1, 1))})
    b.add("flatten", "flat")
    b.add("dense", "logits", weights={"kernel": np.array([[2.0]])})
    x = np.arange(1.0, 5.0).reshape(1, 2, 2, 1)  # conv: 10, logits: 20
    needs("lrp-pf-auc")
    prepared = declared.lrp_pf_auc().prepare(PortedModel.from_graph(b.graph()), "float64")
    run = prepared.run(x, method("lrp.epsilon:epsilon=0.1"), np.array([0]), layers=True)
    at_conv = 20 * 20 / (20 + 0.1)
    np.testing.assert_allclose(
        run.relevances["conv"], [[[[at_conv]]]], rtol=1e-6
    )  # a second stabilizer of 1e-6
    np.testing.assert_allclose(run.attribution, x * at_conv / (10 + 0.1), rtol=1e-6)
