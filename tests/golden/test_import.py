"""`golden import`: files in the layout of test-data-innvestigate, written here, with attributions derived by hand."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from harness.golden import find_goldens, load_golden
from harness.golden.single_layer import read_descriptions, read_references
from tests.harness.conftest import call as call

pytestmark = pytest.mark.torch

#: As the JSON beside the files has them; that a ReLU follows, the output of the group says.
LAYERS = {
    "Dense": {"kind": "dense"},
    "Conv2D_relu": {"kind": "conv2d", "kernel": [3, 2], "padding": "valid"},
    "Conv2D_same": {"kind": "Conv2D", "kernel": [2, 2], "strides": [2, 2], "padding": "same"},
    "AveragePooling2D": {"kind": "AveragePooling2D", "pool": [2, 2]},
    "MaxPooling2D": {"kind": "max_pool2d", "pool": 2, "strides": 1},
}


def windows(x: np.ndarray, size: tuple[int, int], stride: int, behind: int = 0):
    """Place of the first value, place in the output, and content (*size, channel) of each window of (1, h, w, c)."""
    padded = np.pad(x[0], ((0, behind), (0, behind), (0, 0)))
    rows, columns = ((n + behind - k) // stride + 1 for n, k in zip(x.shape[1:3], size, strict=True))
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride, j * stride
            yield (top, left), (i, j), padded[top : top + size[0], left : left + size[1]]


def single_layers() -> dict[str, tuple[np.ndarray, list[np.ndarray], np.ndarray, np.ndarray]]:
    """By group: input, weights, output, and the gradient of the largest output, all from their definitions."""
    rng = np.random.default_rng(5)
    x = rng.random((1, 5, 5, 2)).astype(np.float32)
    found = {}

    def add(group: str, weights: list[np.ndarray], output: np.ndarray, gradient) -> None:
        # ``gradient(place)``: that of the output at this place, the first largest one.
        place = np.unravel_index(output.argmax(), output.shape)
        found[group] = (x, weights, output[None].astype(np.float32), gradient(place)[None].astype(np.float32))

    kernel, bias = rng.normal(size=(2, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)

    def of_dense(place):
        gradient = np.zeros(x.shape[1:])
        gradient[place[0], place[1]] = kernel[:, place[2]]
        return gradient

    add("Dense", [kernel, bias], x[0] @ kernel + bias, of_dense)
    for group, size, stride, behind in (("Conv2D_relu", (3, 2), 1, 0), ("Conv2D_same", (2, 2), 2, 1)):
        weights = [rng.normal(size=(*size, 2, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)]
        parts = list(windows(x, size, stride, behind))
        shape = tuple(each + 1 for each in parts[-1][1])
        output = np.zeros((*shape, 3))
        for _, place, part in parts:
            output[place] = np.tensordot(part, weights[0], 3) + weights[1]
        output = np.maximum(output, 0) if group == "Conv2D_relu" else output

        def of_conv(place, parts=parts, weights=weights, size=size, behind=behind):
            gradient = np.zeros((5 + behind, 5 + behind, 2))
            top, left = next(first for first, at, _ in parts if at == tuple(place[:2]))
            gradient[top : top + size[0], left : left + size[1]] = weights[0][..., place[2]]
            return gradient[:5, :5]

        add(group, weights, output, of_conv)
    for group, join, stride in (("AveragePooling2D", np.mean, 2), ("MaxPooling2D", np.max, 1)):
        parts = list(windows(x, (2, 2), stride))
        output = np.zeros((*(each + 1 for each in parts[-1][1]), 2))
        for _, place, part in parts:
            output[place] = join(part, axis=(0, 1))

        def of_pool(place, parts=parts, group=group):
            (top, left), _, part = next(each for each in parts if each[1] == tuple(place[:2]))
            values = part[..., place[2]]
            gradient = np.zeros((5, 5, 2))
            share = np.full((2, 2), 0.25) if group == "AveragePooling2D" else values == values.max()
            gradient[top : top + 2, left : left + 2, place[2]] = share
            return gradient

        add(group, [], output, of_pool)
    return found


def write(folder: Path, analyzer: str, factor: float = 1.0) -> Path:
    """A file of one analyzer: the gradient, or LRP's z-rule, which on one layer without bias is input times it."""
    path = folder / f"{analyzer}.hdf5"
    with h5py.File(path, "w") as file:
        file.attrs["analyzer_name"] = analyzer
        for group, (x, weights, output, gradient) in single_layers().items():
            if "input" not in file:
                file["input"] = x
            part = file.create_group(group)
            part.attrs["layer_name"] = group
            kept = part.create_group("weights")
            for place, array in enumerate(weights):
                kept[f"weight_{place}"] = array
            part["output"] = output.reshape(1, -1)
            part["attribution"] = factor * (gradient if analyzer == "Gradient" else gradient * x)
    (folder / "LAYERS.json").write_text(json.dumps(LAYERS))
    return path


def verified(call, root: str) -> tuple[int, dict[str, str]]:
    status, out, err = call("golden", "verify", "--root", root, "--out", "out", "--json")
    assert not err
    return status, {row["case"]: row["status"] for row in json.loads(out)["rows"]}


def test_what_a_library_computed_is_imported_and_verified_like_any_other_golden(call, tmp_path) -> None:
    files = [str(write(tmp_path, name)) for name in ("Gradient", "InputTimesGradient")]
    words = ("--layers", "LAYERS.json", "--root", "right", "--reference", "torch")
    status, out, err = call("golden", "import", *files, *words)
    assert (status, out.splitlines()[-1]) == (0, "10 recorded"), out + err
    status, rows = verified(call, "right")
    assert (status, len(rows)) == (0, 10)
    assert set(rows.values()) <= {"unchanged", "within the floor"}
    assert "Conv2D_relu/input_t_gradient.float32" in rows
    status, out, _ = call("golden", "show", "Conv2D_relu/gradient.float32", "--root", "right", "--json")
    facts = json.loads(out)
    assert (facts["backend"], facts["source"]["group"]) == ("Gradient", "Conv2D_relu")
    # The description names no activation; the output, which is nowhere negative, says that there is one.
    assert facts["source"]["activation"] == "relu"
    # A second import changes nothing.
    assert call("golden", "import", *files, *words)[1].splitlines()[-1] == "10 unchanged"
    # The file is needed to build the networks again.
    Path(files[0]).rename(tmp_path / "elsewhere.hdf5")
    status, rows = verified(call, "right")
    assert (status, rows["Dense/gradient.float32"], rows["Dense/input_t_gradient.float32"]) == (
        1,
        "error",
        rows["Dense/input_t_gradient.float32"],
    )


def test_the_oracle_measures_the_floor_of_a_float32_file_in_float64(call, tmp_path) -> None:
    files = [str(write(tmp_path, "Gradient")), str(write(tmp_path, "InputTimesGradient"))]
    words = ("--layers", "LAYERS.json", "--root", "right", "--reference", "oracle")
    status, out, err = call("golden", "import", *files, *words)
    assert (status, out.splitlines()[-1]) == (0, "10 recorded"), out + err
    floors = {
        path.parent.name: load_golden(path).floor
        for path in find_goldens(tmp_path / "right", None, ["gradient"])
    }
    assert {floor.dtype for floor in floors.values()} == {"float32"}
    # A weight is moved by its neighbour's distance, 2 ** -24 to 2 ** -23 of itself, and the gradient of a dense layer
    # is weights: so is the floor. That of a pool is shares of one, which nothing moves.
    assert 2**-24 <= floors["Dense"].attribution <= 2**-23
    assert floors["MaxPooling2D"].attribution == 0
    status, rows = verified(call, "right")
    assert (status, len(rows)) == (0, 10)


@pytest.mark.parametrize("reference", ["torch", "oracle"])
def test_a_reference_that_is_off_by_a_thousandth_does_not_hold(call, tmp_path, reference) -> None:
    file = str(write(tmp_path, "Gradient", 1.001))
    call("golden", "import", file, "--layers", "LAYERS.json", "--root", "wrong", "--reference", reference)
    status, rows = verified(call, "wrong")
    assert (status, set(rows.values())) == (1, {"undecided"})  # in float32 no golden decides alone


@pytest.mark.parametrize(
    ("group", "changed", "words"),
    [
        ("Dense", {"kind": "dens"}, "unknown kind of layer 'Dense' 'dens'; did you mean 'dense'?"),
        ("Conv2D_same", {"kind": "conv2d", "size": 3}, "unknown key of layer 'Conv2D_same' 'size'"),
        ("Conv2D_same", {"kind": "conv2d", "kernel": [3, 3]}, "has size (2, 2), the description says (3, 3)"),
        ("Conv2D_same", {"kind": "conv2d", "padding": "full"}, "padding is 'full', expected valid or same"),
        (
            "Conv2D_same",
            {"kind": "conv2d", "strides": 2},
            "check kind, pool, strides, padding and activation",
        ),
        ("Dense", {"kind": "dense", "kernel": 3}, "kind 'dense', which has no \"kernel\"; leave that out"),
        ("MaxPooling2D", {"kind": "max_pool2d"}, 'the description has no "pool"'),
        ("MaxPooling2D", {"kind": "conv2d"}, "has 0 arrays of weights, expected some"),
    ],
)
def test_a_description_that_does_not_fit_is_one_line(call, tmp_path, group, changed, words) -> None:
    file = str(write(tmp_path, "Gradient"))
    (tmp_path / "LAYERS.json").write_text(json.dumps({group: changed}))
    status, out, err = call("golden", "import", file, "--layers", "LAYERS.json", "--reference", "torch")
    assert words in out + err
    assert status == (2 if err else 1)
    assert len(err.splitlines()) <= 1 and "Traceback" not in out + err


def test_a_file_of_another_layout_or_with_links_elsewhere_is_one_line(call, tmp_path) -> None:
    path = write(tmp_path, "Gradient")
    secret = tmp_path / "secret.hdf5"
    with h5py.File(secret, "w") as file:
        file["input"] = np.ones((1, 5, 5, 2), np.float32)
    with h5py.File(path, "a") as file:
        del file["input"]
        file["input"] = h5py.ExternalLink("secret.hdf5", "/input")
    (tmp_path / "text.hdf5").write_text("no")
    for name, words in (
        (path.name, "input is a link, expected a dataset"),
        ("text.hdf5", "is no readable HDF5 file"),
        ("missing.hdf5", "missing.hdf5 does not exist; name an HDF5 file"),
        (".", ". is no file; name an HDF5 file"),
    ):
        status, _, err = call("golden", "import", name, "--layers", "LAYERS.json", "--reference", "torch")
        assert (status, words in err, len(err.splitlines())) == (2, True, 1), err


def test_descriptions_of_nothing_are_one_line(call, tmp_path) -> None:
    file = str(write(tmp_path, "Gradient"))
    (tmp_path / "LAYERS.json").write_text("{}")
    status, _, err = call("golden", "import", file, "--layers", "LAYERS.json", "--reference", "torch")
    assert (status, err) == (2, 'error: LAYERS.json describes no layer; expected {group: {"kind": ...}}\n')


def test_an_analyzer_that_the_catalogue_has_not_can_be_named(call, tmp_path) -> None:
    path = write(tmp_path, "Gradient")
    with h5py.File(path, "a") as file:
        file.attrs["analyzer_name"] = "Saliency"
    words = (str(path), "--layers", "LAYERS.json", "--reference", "torch")
    status, out, _ = call("golden", "import", *words)
    assert (status, "unknown analyzer 'Saliency'" in out, "--method NAME" in out) == (1, True, True)
    status, out, _ = call("golden", "import", *words, "--method", "gradient")
    assert (status, out.splitlines()[-1]) == (0, "5 recorded")


def test_the_reader_takes_what_is_described_and_nothing_else(tmp_path) -> None:
    path = write(tmp_path, "Gradient")
    described = read_descriptions(tmp_path / "LAYERS.json")
    assert set(read_references(path, {"Dense": described["Dense"], "Missing": {"kind": "dense"}})) == {
        "Dense"
    }
