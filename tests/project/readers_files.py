"""The files that README and docs call the reader's: small ones, each under the name that a page gives it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]

#: A convolution, a ReLU and a dense layer, (8, 8, 1) to 3; the weights in the order in which they are drawn.
_WEIGHTS = """
rng = np.random.default_rng(0)
kernel, bias, matrix, offset = (rng.normal(size=each) for each in ((3, 3, 1, 2), (2,), (72, 3), (3,)))
"""
_TORCH = f"""
import numpy as np
import torch
{_WEIGHTS}

def build():
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(72, 3)
    )
    # Keras flattens (height, width, channel), torch (channel, height, width).
    rows = matrix.reshape(6, 6, 2, 3).transpose(3, 2, 0, 1).reshape(3, 72)
    values = (kernel.transpose(3, 2, 0, 1), bias, rows, offset)
    for parameter, value in zip(net.parameters(), values, strict=True):
        parameter.data.copy_(torch.tensor(value))
    return net.eval()


Net = build
"""
_CANDIDATE = """
from harness.backends import backend_named

backend = backend_named({name!r})
"""


def _torch(path: Path, line: str) -> None:
    path.write_text(_TORCH, encoding="utf-8")


def _candidate(path: Path, line: str) -> None:
    """A file that holds a candidate of the method's family, and the torch side of a pair."""
    name = "backtrace-torch" if "backtrace" in line else "torch"
    path.write_text(_CANDIDATE.format(name=name) + _TORCH, encoding="utf-8")


def _keras(path: Path, line: str) -> None:
    import keras

    drawn: dict[str, Any] = {"np": np}
    exec(_WEIGHTS, drawn)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(2, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    model.set_weights([drawn[each] for each in ("kernel", "bias", "matrix", "offset")])
    model.save(path)


def _onnx(path: Path, line: str) -> None:
    shutil.copy(ROOT / "ported_models" / "zoo" / "data" / "digits-cnn.onnx", path)


def _array(path: Path, line: str) -> None:
    np.save(path, np.random.default_rng(1).random((2, 8, 8, 1)).astype(np.float32))


def _run(path: Path, line: str) -> None:
    """A run of a two-layer network with a candidate that turns a sign: one of its cases passes, two do not."""
    from harness.engine import Store
    from harness.report import document_of, write_report
    from harness.runner import Selection, run
    from tests.harness.linear_network import GradientBackend, network

    faulty = GradientBackend("faulty", lambda layer, r: -r if layer == "first" else r)
    methods = ("gradient", "input_t_gradient")
    sides = ((methods, GradientBackend("reference"), faulty), (("lrp.z",), "oracle", "oracle"))
    rows = []
    for names, *both in sides:
        rows += run(Selection((network(),), names, ("float64",), *both), path, store=Store(limit=0))
    write_report(document_of(rows, {"python": "3"}), path)


def _goldens(path: Path, line: str) -> None:
    """Three goldens of digits-cnn, recorded by the oracle."""
    import harness
    from harness.backends import backend_named
    from harness.golden import record

    model = harness.load_model("digits-cnn")
    input_name, make = next(iter(model.examples.items()))
    facts = {"kind": "zoo", "name": "digits-cnn"}
    oracle = backend_named("oracle")
    methods = ["gradient", "lrp.alpha_1_beta_0", "lrp.z"]
    for _ in record(path, model, make(), input_name, methods, oracle, "float64", "full", "", facts):
        pass


def _nights(path: Path, line: str) -> None:
    from harness.history import append
    from tests.harness.test_history import row

    append(path, [row("2026-01-01", "lrp.z")])
    append(path, [row("2026-01-02", "lrp.z", 1e-3, "divergent", torch="2.14.0")])


def _hdf5(path: Path, line: str) -> None:
    """A dense layer, as the page's own JSON describes it, explained by one analyzer."""
    import h5py

    from tests.golden.test_import import single_layers

    x, weights, output, gradient = single_layers()["Dense"]
    with h5py.File(path, "w") as file:
        file.attrs["analyzer_name"] = path.stem
        file["input"] = x
        part = file.create_group("Dense")
        part.attrs["layer_name"] = "Dense"
        kept = part.create_group("weights")
        for place, array in enumerate(weights):
            kept[f"weight_{place}"] = array
        part["output"] = output.reshape(1, -1)
        part["attribution"] = gradient if path.stem == "Gradient" else gradient * x


def _layers(path: Path, line: str) -> None:
    """The block of the page itself."""
    text = (ROOT / "docs" / "goldens.md").read_text(encoding="utf-8")
    path.write_text(re.findall(r"^```\n(\{.*?)^```", text, re.DOTALL | re.MULTILINE)[0], encoding="utf-8")


def _examples(path: Path, line: str) -> None:
    path.parent.mkdir(exist_ok=True)
    shutil.copy(ROOT / "examples" / path.name, path)


#: By a name that a command holds, what makes it; called with its place and with the command.
MAKERS: dict[str, Callable[[Path, str], None]] = {
    "model.onnx": _onnx,
    **dict.fromkeys(("mine.keras", "net.keras", "a.keras"), _keras),
    **dict.fromkeys(("port.py", "b.py", "net.py"), _torch),
    **dict.fromkeys(("mine.py", "my_port.py"), _candidate),
    "x.npy": _array,
    "a.npy": _array,
    "b.npy": _array,
    "examples/candidate_with_layers.py": _examples,
    **dict.fromkeys(("reports/runs/quick-tensorflow-zennit", "new", "old", "folder"), _run),
    "golden": _goldens,
    "elsewhere": _goldens,
    "reports/history.parquet": _nights,
    "Gradient.hdf5": _hdf5,
    "LRPZ.hdf5": _hdf5,
    "LAYERS.json": _layers,
}


def install_backend(site: Path) -> None:
    """A package in ``site`` whose metadata are those that docs/add-a-backend.md shows: the backend `mine`."""
    text = (ROOT / "docs" / "add-a-backend.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    group, line = re.match(r'\[project\.entry-points\."(.*)"\]\n(.*)\n', shown).groups()  # type: ignore[union-attr]
    facts = site / "mine-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")
    package = site / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "backend.py").write_text(
        "from harness.backends import backend_named\n\n\n"
        "class MyBackend:\n"
        '    name = "mine"\n\n'
        "    def __init__(self):\n"
        '        self.inner = backend_named("torch")\n\n'
        "    def version(self):\n"
        "        return self.inner.version()\n\n"
        "    def supports(self, method, graph):\n"
        "        return self.inner.supports(method, graph)\n\n"
        '    def prepare(self, model, dtype, device="cpu"):\n'
        "        return self.inner.prepare(model, dtype, device)\n"
    )
