"""Makes the example pictures in the data folder from the packages they come from.

``python -m ported_models.zoo.make_examples MNI152_T1.nii.gz`` with scikit-image installed and nilearn's
template (``nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz``) at that path.
They are stored at the size their network takes, so that reading them needs no resampling.
Sources and licences of all of them: ``data/SOURCES.md``.
"""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from ported_models.zoo.files import DATA
from ported_models.zoo.preprocessing import central_crop

#: scikit-image's pictures that become 224x224 crops.
PHOTOGRAPHS = ("chelsea", "coffee", "camera")
#: (left, top, right, bottom) of the face in scikit-image's astronaut.
FACE = (168, 62, 288, 182)
#: Axial slices of the template, by height in mm above the anterior commissure.
SLICES = (18, 26)


def photographs() -> dict[str, Image.Image]:
    """The classifier's photographs, by file name."""
    from skimage import data

    return {f"{name}.png": central_crop(Image.fromarray(getattr(data, name)())) for name in PHOTOGRAPHS}


def face() -> dict[str, Image.Image]:
    """The astronaut's face, gray, at the network's size."""
    from skimage import data

    gray = Image.fromarray(data.astronaut()).convert("L")
    return {"astronaut-face.png": gray.resize((64, 64), Image.Resampling.BILINEAR, box=FACE)}


def slices(template: Path) -> dict[str, Image.Image]:
    """Axial slices of a NIfTI-1 file of bytes, the front of the head up, on a black 240x240 square."""
    content = gzip.decompress(template.read_bytes())
    shape = struct.unpack_from("<3h", content, 42)
    start = int(struct.unpack_from("<f", content, 108)[0])
    floor = struct.unpack_from("<f", content, 280 + 2 * 16 + 12)[0]  # mm, height of the lowest slice
    volume = np.frombuffer(content, np.uint8, offset=start).reshape(shape, order="F")
    pictures = {}
    for height in SLICES:
        plane = Image.fromarray(np.ascontiguousarray(volume[:, ::-1, int(height - floor)].T))
        side = max(plane.size)
        square = Image.new("L", (side, side))
        square.paste(plane, ((side - plane.width) // 2, (side - plane.height) // 2))
        pictures[f"mni152-axial-{height}mm.png"] = square.resize((240, 240), Image.Resampling.BICUBIC)
    return pictures


def main(template: Path) -> None:
    """Write all of them."""
    for name, picture in {**photographs(), **face(), **slices(template)}.items():
        picture.save(DATA / name, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
