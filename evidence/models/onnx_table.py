"""What loads of the ONNX files that torch's exporters write and that ship inside packages.

    python -m evidence.models.onnx_table [--only NAME]... [--again] [--load] [--only-page]

As `evidence.models.torch_table`, whose networks are exported by both exporters at their defaults; the one through
`torch.export` needs onnxscript. *autograd* of an exported file is that of the module that it was exported from. A
shipped file has none: its own derivative is that of onnx2torch's module, or, where onnx2torch does not convert it, is
measured by differences of what ONNX's reference evaluator computes; all in double precision. Writes
``reports/models-onnx.md``.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evidence.models import rows as tables
from evidence.models.onnx_autograd import NotConvertedError, derivative, only_weights
from evidence.models.onnx_files import EXPORTERS, PIXELS, SHIPPED, exported, fetched, with_given
from evidence.models.onnx_slopes import (
    DIFFERENCE_BOUND,
    SIGNS,
    STEP,
    directions,
    evaluator,
    in_double,
    slopes_along,
    step_for,
)
from evidence.models.rows import ROOT, Row, apart, closed, verdicts_on
from evidence.models.torch_networks import NETWORKS
from evidence.models.torch_table import autograd
from ported_models.limits import VARIABLE as TRUST

SHIPPED_BY_KEY = {f"shipped/{each.key}": each for each in SHIPPED}
#: The networks inside the onnx package.
LIGHT = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)
#: What a refusal advises where rounding moves the output too far.
IN_DOUBLE = "load it in double precision"
#: Files of a few kilobytes that ask for more than such a file may: read as files that are trusted.
TRUSTED = ("light/vgg19",)


def measured(name: str, load_only: bool) -> Row:
    """The row of a file, measured in this process.

    An export that rounding moves too far in single precision is measured again, exported in double.
    """
    row = _measured(name, load_only, False)
    exported_here = name.partition("/")[0] in EXPORTERS
    return _measured(name, load_only, True) if exported_here and IN_DOUBLE in row.refusal else row


def _measured(name: str, load_only: bool, double: bool) -> Row:
    import harness

    if name in TRUSTED:
        os.environ[TRUST] = "1"
    start = time.monotonic()
    row = Row(name, TABLE.pixels[name], double=double)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            file = _file(name, Path(folder), double)
        except Exception as error:  # torch's exporters have more than one kind
            words = " ".join(str(error).split())[:160]
            return closed(replace(row, refusal=f"the exporter writes no file ({words})"), start)
        try:
            model = harness.load_model(file.path, **file.options)
        except harness.HarnessError as error:
            return closed(replace(row, refusal=str(error).replace(str(file.path), file.path.name)), start)
        except Exception as error:  # a raw one is a fault, which the table shows
            return closed(replace(row, refusal=f"RAW {type(error).__name__}: {error}"), start)
        x, dtype = _input(model, file.example), "float64" if double else "float32"
        row = replace(row, layers=len(model.layers), twins=_twins(model, file, x, dtype))
        if load_only:
            return closed(row, start)
        row = replace(row, verdicts=verdicts_on(model, x, dtype))
        if file.module is not None:
            return closed(replace(row, autograd=_autograd(model, file)), start)
        try:
            return closed(replace(row, autograd=_by_onnx2torch(model, file, x)), start)
        except NotConvertedError as error:
            own, remark = _differences(model, file, x)
            remark = remark or f"its slopes are measured, because onnx2torch does not convert it ({error})"
        return closed(replace(row, autograd=own, remark=remark, bound=DIFFERENCE_BOUND), start)


@dataclass(frozen=True)
class _File:
    """A file, how it is loaded, and what it was exported from, if anything."""

    path: Path
    options: dict[str, Any]
    module: Any = None
    example: Any = None


def _file(name: str, folder: Path, double: bool = False) -> _File:
    group, _, rest = name.partition("/")
    if group == "shipped":
        shipped = SHIPPED_BY_KEY[name]
        return _File(with_given(shipped, fetched(shipped), folder), shipped.loading)
    if group == "light":
        import onnx.backend.test

        (place,) = onnx.backend.test.__path__
        return _File(Path(place) / "data" / "light" / f"light_{rest}.onnx", {})
    path, module, example = exported(rest, group, folder, double)
    return _File(path, {}, module, example)


def _input(model: Any, example: Any) -> Any:
    import numpy as np

    if example is not None:
        return np.ascontiguousarray(np.moveaxis(example.numpy(), 1, -1))
    return np.random.default_rng(0).standard_normal((1, *model.input_shape)).astype(np.float32)


@dataclass(frozen=True)
class _Source:
    """A file up to where its ending begins. ``given`` and ``output``: names of its tensors, and their axes' orders.

    ``places``: "mean" where the model takes a map together so.
    """

    proto: Any
    given: str
    order: tuple[int, ...]
    output: str
    back: tuple[int, ...]
    places: Any

    def evaluator(self) -> Callable[[Any], Any]:
        """``x``, canonical, to what the file gives for it, by ONNX's reference evaluator in double precision."""
        file = evaluator(in_double(self.proto, self.output))

        def run(x: Any) -> Any:
            (output,) = file.run(None, {self.given: x.transpose(self.order)})
            return self._taken(output.transpose(self.back))

        return run

    def derivative(self, x: Any, target: int) -> Any:
        """That of the ``target``-th number for ``x``, both canonical, by onnx2torch. Raises NotConvertedError."""
        import numpy as np

        def number(output: Any) -> Any:
            return self._taken(output.permute(self.back)).reshape(-1)[target]

        given = derivative(self.proto, self.output, np.ascontiguousarray(x.transpose(self.order)), number)
        return given.transpose(np.argsort(self.order))

    def _taken(self, output: Any) -> Any:
        return output.mean(tuple(range(1, output.ndim - 1))) if self.places == "mean" else output


def _source(file: _File) -> _Source:
    import onnx

    from ported_models.maps import parts
    from ported_models.onnx import read_onnx
    from ported_models.onnx.layout import inverse

    chosen, places = parts(file.options.get("output"))
    proto = onnx.load(file.path)
    example = file.options.get("example")
    read = read_onnx(proto, "file", file.path.name, chosen, None if example is None else example.shape)
    proto = read.unfolded or proto
    weights = {tensor.name for tensor in proto.graph.initializer}
    (given,) = (value.name for value in proto.graph.input if value.name not in weights)
    output = [name for name, tensor in read.tensors.items() if tensor.layer == read.graph.output][-1]
    return _Source(
        proto, given, read.tensors[given].order, output, inverse(read.tensors[output].order), places
    )


def _twins(model: Any, file: _File, x: Any, dtype: str) -> float:
    """How far the twins' outputs are from those of the module that was exported, or of the file; the larger."""
    import numpy as np
    import torch

    inner = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))
    with torch.no_grad():
        outputs = [model.torch(dtype)(inner).numpy(), np.asarray(model.keras(dtype)(x, training=False))]
        if file.module is not None:
            own = file.module(file.example.clone()).numpy()
        else:
            own = _source(file).evaluator()(x.astype(np.float64))
    return max(apart(output, own) for output in outputs)


def _autograd(model: Any, file: _File) -> float:
    """As that of a torch network, which computes with the numbers of the file."""
    import onnx

    from evidence.models.file_numbers import FileNumbers

    proto = onnx.load(file.path)
    (output,) = proto.graph.output
    return autograd(model, file.module, file.example, FileNumbers(only_weights(proto, output.name)))


def _by_onnx2torch(model: Any, file: _File, x: Any) -> float:
    """How far ``gradient`` on either side, in double precision, is from onnx2torch's; the larger.

    Raises NotConvertedError.
    """
    import numpy as np

    source, x = _source(file), x.astype(np.float64)
    target = int(source.evaluator()(x).argmax())
    own = source.derivative(x, target)
    return max(apart(gradient, own) for gradient in _gradients(model, x, target))


def _differences(model: Any, file: _File, x: Any) -> tuple[float | None, str]:
    """How far ``gradient`` on either side, in double precision, is from the file's own derivative; the larger.

    Along each direction ``v`` of `directions`: ``|g v - (f(x + h v) - f(x - h v)) / 2h|`` over ``|g| |v|``. None where
    the slope cannot be measured, and why: it is another with half the step, and rounding allows no narrower one.
    """
    import numpy as np

    run, x = _source(file).evaluator(), x.astype(np.float64)
    target = int(run(x).argmax())
    gradients = _gradients(model, x, target)

    def own(x: Any) -> float:
        return float(run(x).reshape(-1)[target])

    chosen = directions(gradients[0])
    scales = [float(np.linalg.norm(each) * np.linalg.norm(chosen[0])) or 1.0 for each in gradients]
    step = step_for(own, x, min(scales))
    slopes = slopes_along(own, x, chosen, step)
    worst = max(
        abs(float((gradient * direction).sum()) - slope) / scale
        for gradient, scale in zip(gradients, scales, strict=True)
        for direction, slope in zip(chosen, slopes, strict=True)
    )
    if worst > DIFFERENCE_BOUND and step > STEP:
        (half,) = slopes_along(own, x, chosen[:1], step / 2)
        unsteady = abs(half - slopes[0]) / min(scales)
        if unsteady > DIFFERENCE_BOUND:
            return None, (
                f"its own slope cannot be measured: its gradient is {np.linalg.norm(gradients[0]):.1e} long, so that "
                f"rounding allows no step below {step:.1e}, and with half of that the slope is {unsteady:.1e} another"
            )
    return worst, ""


def _gradients(model: Any, x: Any, target: int) -> list[Any]:
    """By both sides, in double precision."""
    import harness

    return [
        harness.explain(model, x, "gradient", backend, target, "float64", layers=False).attribution
        for backend in ("tensorflow", "torch")
    ]


GROUPS = {
    **{
        f"{exporter}/{name}": f"torch's exporter ({'torch.export' if exporter == 'dynamo' else 'TorchScript'})"
        for exporter in EXPORTERS
        for name in NETWORKS
    },
    **dict.fromkeys(SHIPPED_BY_KEY, "shipped inside packages"),
    **{f"light/{name}": "inside the onnx package" for name in LIGHT},
}
TABLE = tables.Table(
    module="evidence.models.onnx_table",
    groups=GROUPS,
    pixels={
        name: PIXELS.get(rest, NETWORKS[rest].pixels) if (rest := name.partition("/")[2]) in NETWORKS else 0
        for name in GROUPS
    },
    measured=measured,
    kept=ROOT / "reports" / "models-onnx.json",
    page=ROOT / "reports" / "models-onnx.md",
    intro=(
        "# ONNX files",
        "",
        "Written by `python -m evidence.models.onnx_table`. The networks of [the table of torch",
        "networks](models-torch.md) as torch's two exporters write them at their defaults, and files that ship inside",
        "packages. Single precision, batches of one. *twins*: relative difference of the twins' output from that of",
        "the module that was exported, or of ONNX's reference evaluator on the file, the larger. *autograd*: the same",
        "of `gradient` from the module's own autograd, in double precision, where the module computes with the kernels",
        "that the file holds: an exporter folds batch norms into them in single precision; for a file without a",
        "module, from the autograd of onnx2torch 1.5.15, another reader, or, where that does not convert the file, of",
        f"its slopes along the gradient and along {SIGNS} directions of its size with random signs, by differences of",
        f"the reference evaluator in double precision (within {DIFFERENCE_BOUND:g}). A division by a constant is read",
        "as a product with its reciprocal in the file's own precision. In double precision that alone makes the",
        "gradient of two files of rapidocr, which divide by six in each hard swish, 1e-6 another: with the same",
        "reciprocals in the file it is 6e-15. The files of",
        "silero_vad have more inputs than the audio: their first state, zeros, and the sampling rate, 16000, are made",
        "constants. The networks inside the onnx package are files of a few kilobytes that compute all of their",
        f"weights; one of them, {', '.join(TRUSTED)}, has more than such a file may, and is read as its refusal says,",
        f"with {TRUST}=1.",
        "",
    ),
)


if __name__ == "__main__":
    sys.exit(tables.run(TABLE, __doc__))
