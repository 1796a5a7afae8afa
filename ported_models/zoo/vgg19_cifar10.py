"""VGG19 for 32x32 pictures of 10 classes, with seeded weights; or trained on pictures of one's own.

``python -m ported_models.zoo.vgg19_cifar10 --train DATA.npz --out vgg19.onnx`` trains it briefly. The data set is an
.npz file with ``images``, (n, 32, 32, 3) of 8 bits, and ``labels``, (n,) of 0 to 9: CIFAR-10's own arrays fit. The file
that is written is a model for every command: ``xai-harness run --model vgg19.onnx``.

Architecture: Simonyan and Zisserman 2015, configuration E, with the classifier 512-4096-4096-10 behind five poolings.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import InvalidInputError
from harness.graph import Graph

if TYPE_CHECKING:
    from torch import nn

NAME = "vgg19-cifar10"
INPUT_SHAPE = (32, 32, 3)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SEED = 19
#: Convolutions of each block, and their channels.
BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))
HIDDEN = 4096
#: Means and standard deviations of CIFAR-10's training pictures, by channel, of values in [0, 1].
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def graph() -> Graph:
    """The network with weights drawn from one generator, He et al. 2015 (eq. 10), biases of a tenth of that."""
    from ported_models.build import Builder

    generator, builder = np.random.default_rng(SEED), Builder(NAME, INPUT_SHAPE)

    def weights(*shape: int) -> dict[str, np.ndarray]:
        scale = np.float32(np.sqrt(2 / np.prod(shape[:-1])))
        kernel = generator.standard_normal(shape, np.float32) * scale
        return {"kernel": kernel, "bias": generator.standard_normal(shape[-1], np.float32) * scale / 10}

    channels = INPUT_SHAPE[-1]
    for block, (count, wide) in enumerate(BLOCKS, start=1):
        for number in range(1, count + 1):
            name = f"block{block}_conv{number}"
            builder.add("conv2d", name, None, {"padding": "same"}, weights(3, 3, channels, wide))
            builder.add("relu", f"{name}_relu")
            channels = wide
        builder.add("max_pool2d", f"block{block}_pool", attributes={"pool_size": (2, 2)})
    builder.add("flatten", "flatten")
    for number in (1, 2):
        builder.add("dense", f"fc{number}", weights=weights(channels, HIDDEN))
        builder.add("relu", f"fc{number}_relu")
        builder.add("dropout", f"dropout{number}")
        channels = HIDDEN
    builder.add("dense", "logits", weights=weights(channels, len(CLASSES)))
    return builder.graph()


def train(images: np.ndarray, labels: np.ndarray, epochs: int, held_out: int, out: Path) -> float:
    """Train on all but the last ``held_out`` of ``images``, write the network to ``out``; its accuracy on these."""
    from harness.files import write_bytes
    from ported_models.sources.torch_source import from_module
    from ported_models.zoo.training import Data
    from ported_models.zoo.training import train as trained

    scaled = normalised(images)
    seen, kept = slice(None, len(scaled) - held_out), slice(len(scaled) - held_out, None)
    data = Data(scaled[seen], labels[seen], scaled[kept], labels[kept])
    import torch

    module = trained(dict(_modules()), data, epochs, SEED, rate=1e-3)
    with torch.no_grad():
        answers = module(torch.from_numpy(np.moveaxis(data.held_out_inputs, -1, 1).copy())).argmax(1).numpy()
    model = from_module(module, torch.zeros(1, 3, 32, 32), NAME)
    write_bytes(out, model.onnx.SerializeToString())
    return float((answers == data.held_out_labels).mean()) if held_out else float("nan")


def normalised(images: np.ndarray) -> np.ndarray:
    """(n, 32, 32, 3) of 8 bits as the network takes them, float32."""
    scaled = np.asarray(images, np.float32) / np.float32(255)
    return (scaled - np.asarray(MEAN, np.float32)) / np.asarray(STD, np.float32)


def read_pictures(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """``images`` and ``labels`` of an .npz file. Raises InvalidInputError for a file that holds something else."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
    except (OSError, KeyError, ValueError) as error:
        raise InvalidInputError(
            f"{path}: {error}; expected an .npz file with images (n, 32, 32, 3) and labels (n,)"
        ) from None
    if images.shape[1:] != INPUT_SHAPE or images.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise InvalidInputError(
            f"{path}: images are {images.dtype} {images.shape} and labels {labels.shape}, expected uint8 "
            "(n, 32, 32, 3) and (n,); transpose channels-first pictures with numpy.moveaxis(images, 1, -1)"
        )
    if not np.isin(labels, range(len(CLASSES))).all():
        raise InvalidInputError(f"{path}: labels go from {labels.min()} to {labels.max()}, expected 0 to 9")
    return images, labels.astype(np.int64)


def _modules() -> Iterator[tuple[str, nn.Module]]:
    from torch import nn

    channels = INPUT_SHAPE[-1]
    for block, (count, wide) in enumerate(BLOCKS, start=1):
        for number in range(1, count + 1):
            yield f"block{block}_conv{number}", nn.Conv2d(channels, wide, 3, padding=1)
            yield f"block{block}_conv{number}_relu", nn.ReLU()
            channels = wide
        yield f"block{block}_pool", nn.MaxPool2d(2)
    yield "flatten", nn.Flatten()
    for number in (1, 2):
        yield f"fc{number}", nn.Linear(channels, HIDDEN)
        yield f"fc{number}_relu", nn.ReLU()
        yield f"dropout{number}", nn.Dropout(0.5)
        channels = HIDDEN
    yield "logits", nn.Linear(channels, len(CLASSES))


def main(arguments: Any = None) -> None:
    """Train on the pictures that the user points to."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--train", type=Path, required=True, metavar="DATA.npz", help="images and labels")
    options.add_argument("--out", type=Path, default=Path(f"{NAME}.onnx"), help="the file to write")
    options.add_argument("--epochs", type=int, default=2)
    options.add_argument("--held-out", type=int, default=0, help="so many of the last pictures to measure on")
    chosen = options.parse_args(arguments)
    try:
        images, labels = read_pictures(chosen.train)
        if not 0 <= chosen.held_out < len(images):
            raise InvalidInputError(f"--held-out is {chosen.held_out}; there are {len(images)} pictures")
    except InvalidInputError as error:
        options.error(str(error))
    accuracy = train(images, labels, chosen.epochs, chosen.held_out, chosen.out)
    print(f"{chosen.out}: {accuracy:.4f} of {chosen.held_out} held-out pictures right")


if __name__ == "__main__":
    main()
