"""Model files from strangers: a harmless one of each kind, mutations of them, and files that are made to do harm."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

KINDS = ("onnx", "keras", "h5")
HUGE = 1_500_000_000


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(
        np.random.default_rng(len(name)).normal(size=shape).astype(np.float32), name
    )


def network(
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto] | None = None,
    shape: tuple[Any, ...] = (1, 3, 8, 8),
    **options: Any,
) -> onnx.ModelProto:
    """A file of the input "x", (1, 3, 8, 8), and the output "y"."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b", "c", "d"])
    functions = options.pop("functions", [])
    graph = helper.make_graph(nodes, "g", [x], [y], weights or [])
    opsets = [helper.make_opsetid("", options.pop("opset", 17)), helper.make_opsetid("own", 1)]
    return helper.make_model(
        graph, opset_imports=opsets, ir_version=options.pop("ir", 9), functions=functions
    )


def harmless(folder: Path) -> dict[str, bytes]:
    """A small network as a file of each kind, by kind."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(3, 3, activation="relu", name="conv"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Flatten(name="flat"),
            keras.layers.Dense(4, name="dense"),
        ],
        name="net",
    )
    for kind in ("keras", "h5"):
        model.save(folder / f"harmless.{kind}")
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["c"], "conv"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Flatten", ["r"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w", "v"], ["y"], "dense"),
    ]
    proto = network(nodes, [weight("k", 4, 3, 3, 3), weight("b", 4), weight("w", 144, 5), weight("v", 5)])
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5]))
    onnx.save(proto, folder / "harmless.onnx")
    return {kind: (folder / f"harmless.{kind}").read_bytes() for kind in KINDS}


# -- mutations ------------------------------------------------------------------------------------


def mutated(content: bytes, generator: np.random.Generator) -> bytes:
    """``content`` with damage that ``generator`` chooses."""
    data, size = bytearray(content), len(content)
    place, length = int(generator.integers(size)), int(generator.integers(1, 64))
    kind = int(generator.integers(8))
    if kind == 0:
        for each in generator.integers(size, size=int(generator.integers(1, 9))):
            data[each] ^= 1 << int(generator.integers(8))
    elif kind == 1:
        del data[place:]
    elif kind == 2:
        data[place : place + length] = bytes(length)
    elif kind == 3:
        data[place : place + length] = generator.bytes(length)
    elif kind == 4:
        data[place:place] = generator.bytes(length)
    elif kind == 5:
        del data[place : place + length]
    elif kind == 6:
        extremes = (b"\xff" * 8, b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80" * 2, b"\xff" * 9 + b"\x01")
        extreme = extremes[int(generator.integers(len(extremes)))]
        data[place : place + len(extreme)] = extreme
    else:
        other = int(generator.integers(size))
        data[place : place + length] = data[other : other + length]
    return bytes(data)


# -- files that are made to do harm ---------------------------------------------------------------

#: Writes a hostile file of a name into a folder; ``secret``: a file outside of it that must not be read.
Maker = Callable[[Path, Path], None]


def hostile(pristine: dict[str, bytes]) -> Iterator[tuple[str, Maker]]:
    """Every hostile file: its name, and what writes it."""
    for name, proto in _onnx_files():
        yield f"{name}.onnx", lambda path, secret, proto=proto: path.write_bytes(proto.SerializeToString())
    for name, location, facts in _external():

        def outside(
            path: Path, secret: Path, location: str = location, facts: dict[str, str] = facts
        ) -> None:
            (path.parent / "link").unlink(missing_ok=True)
            (path.parent / "link").symlink_to(secret)
            _write_external(path, location.format(secret=secret, name=secret.name), facts)

        yield f"{name}.onnx", outside
    for name, content in _raw_files():
        yield f"{name}.onnx", lambda path, secret, content=content: path.write_bytes(content)
    for name, change in _configurations():
        for kind in ("keras", "h5"):
            yield (
                f"{name}.{kind}",
                lambda path, secret, change=change, kind=kind: _with_config(path, pristine[kind], change),
            )
    for name, change in _hdf5_files():
        for kind in ("keras", "h5"):
            yield (
                f"{name}.{kind}",
                lambda path, secret, change=change, kind=kind: _with_weights(
                    path, pristine[kind], change, secret
                ),
            )
    for name, write in _archives():
        yield f"{name}.keras", lambda path, secret, write=write: write(path, pristine["keras"])


def _constant(name: str, *values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def _onnx_files() -> Iterator[tuple[str, onnx.ModelProto]]:
    node = helper.make_node
    add = node("Add", ["x", "h"], ["y"])
    one = numpy_helper.from_array(np.ones(1, np.float32), "one")
    yield "constant", network([node("ConstantOfShape", ["s"], ["h"]), add], [_constant("s", HUGE)])
    yield (
        "constant-4d",
        network([node("ConstantOfShape", ["s"], ["h"]), add], [_constant("s", 1, 3, 30000, 30000)]),
    )
    yield (
        "constant-negative",
        network([node("ConstantOfShape", ["s"], ["h"]), add], [_constant("s", -5, -HUGE)]),
    )
    yield (
        "constant-overflow",
        network([node("ConstantOfShape", ["s"], ["h"]), add], [_constant("s", 2**62, 2**62)]),
    )
    yield "expand", network([node("Expand", ["one", "s"], ["h"]), add], [one, _constant("s", HUGE)])
    yield "tile", network([node("Tile", ["one", "s"], ["h"]), add], [one, _constant("s", HUGE)])
    numbers = [
        numpy_helper.from_array(np.float32(value), name) for name, value in (("a", 0), ("b", HUGE), ("c", 1))
    ]
    yield "range", network([node("Range", ["a", "b", "c"], ["h"]), add], numbers)
    doubling = [node("Concat", [f"d{i}", f"d{i}"], [f"d{i + 1}"], axis=0) for i in range(40)]
    yield (
        "doubling",
        network([node("Identity", ["one"], ["d0"]), *doubling, node("Add", ["x", "d40"], ["y"])], [one]),
    )
    many = [node("Expand", ["one", "s"], [f"h{i}"]) for i in range(400)]
    adds = [
        node("Add", [f"y{i}" if i else "x", f"h{i}"], [f"y{i + 1}" if i < 399 else "y"]) for i in range(400)
    ]
    yield "many-constants", network([*many, *adds], [one, _constant("s", 4000, 4000)])
    square = [
        node("Expand", ["one", "s"], ["m"]),
        node("MatMul", ["m", "m"], ["p"]),
        node("MatMul", ["p", "p"], ["h"]),
    ]
    yield "products", network([*square, add], [one, _constant("s", 4000, 4000)])
    yield (
        "one-hot",
        network(
            [node("OneHot", ["i", "n", "v"], ["h"]), add],
            [
                _constant("i", 1, 2),
                _constant("n", HUGE),
                numpy_helper.from_array(np.array([0, 1], np.float32), "v"),
            ],
        ),
    )
    yield "pad-constant", network([node("Pad", ["one", "s"], ["h"]), add], [one, _constant("s", 0, HUGE)])
    yield (
        "gather",
        network(
            [node("Gather", ["one", "i"], ["h"]), add],
            [one, numpy_helper.from_array(np.full(9, HUGE, np.int64), "i")],
        ),
    )
    body = helper.make_graph(
        [node("Identity", ["k"], ["k2"]), node("Add", ["v", "v"], ["v2"])],
        "body",
        [
            helper.make_tensor_value_info("n", TensorProto.INT64, []),
            helper.make_tensor_value_info("k", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("k2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", TensorProto.FLOAT, [1]),
        ],
    )
    trip = [
        numpy_helper.from_array(np.int64(10**12), "t"),
        numpy_helper.from_array(np.bool_(True), "go"),
        one,
    ]
    yield "loop", network([node("Loop", ["t", "go", "one"], ["h"], body=body), add], trip)
    yield "loop-on-input", network([node("Loop", ["t", "go", "x"], ["y"], body=body)], trip)
    inner: onnx.GraphProto | None = None
    for depth in range(40):
        nodes = [node("Identity", ["x"], [f"o{depth}"])]
        if inner is not None:
            nodes = (
                [node("If", ["go"], [f"o{depth}"], then_branch=inner, else_branch=inner)]
                if depth < 12
                else nodes
            )
        inner = helper.make_graph(
            nodes, f"g{depth}", [], [helper.make_tensor_value_info(f"o{depth}", TensorProto.FLOAT, None)]
        )
    yield "nested-graphs", network([node("If", ["go"], ["y"], then_branch=inner, else_branch=inner)], trip)
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]

    def function(name: str, calls: list[str]) -> onnx.FunctionProto:
        names = ["a", *(f"t{i}" for i in range(len(calls) - 1)), "z"]
        inside = [
            helper.make_node(call, [names[i]], [names[i + 1]], domain="own" if call.startswith("f") else "")
            for i, call in enumerate(calls)
        ]
        return helper.make_function("own", name, ["a"], ["z"], inside, opset)

    tower = [function("f0", ["Relu"]), *(function(f"f{i}", [f"f{i - 1}"] * 2) for i in range(1, 21))]
    yield "functions", network([node("f20", ["x"], ["y"], domain="own")], functions=tower)
    circle = [function("f0", ["f1"]), function("f1", ["f0"])]
    yield "functions-in-a-circle", network([node("f0", ["x"], ["y"], domain="own")], functions=circle)
    yield (
        "function-of-itself",
        network([node("f0", ["x"], ["y"], domain="own")], functions=[function("f0", ["f0"])]),
    )
    for name, attributes, inputs in (
        ("resize", {"mode": "nearest"}, [_constant("", 0)]),
        ("resize-linear", {"mode": "linear"}, [_constant("", 0)]),
    ):
        del inputs
        sizes = [_constant("sizes", 1, 3, 40000, 40000)]
        yield name, network([node("Resize", ["x", "", "", "sizes"], ["y"], **attributes)], sizes)
    yield "pad", network([node("Pad", ["x", "p"], ["y"])], [_constant("p", 0, 0, 30000, 0, 0, 0, 0, 30000)])
    yield (
        "pad-overflow",
        network([node("Pad", ["x", "p"], ["y"])], [_constant("p", 0, 0, 2**62, 0, 0, 0, 2**62, 0)]),
    )
    kernel = weight("k", 4, 3, 3, 3)
    for name, attributes in (
        ("conv-pads", {"pads": [HUGE] * 4}),
        ("conv-pads-large", {"pads": [9000] * 4}),
        ("conv-dilations", {"dilations": [HUGE, HUGE]}),
        ("conv-strides", {"strides": [0, 0]}),
        ("conv-strides-negative", {"strides": [-1, -1]}),
        ("conv-groups", {"group": 0}),
        ("conv-groups-many", {"group": HUGE}),
        ("conv-attributes", {"kernel_shape": [7, 7, 7]}),
    ):
        yield name, network([node("Conv", ["x", "k"], ["y"], **attributes)], [kernel])
    pool = {"kernel_shape": [2, 2]}
    yield "pool-window", network([node("MaxPool", ["x"], ["y"], kernel_shape=[HUGE, HUGE], pads=[HUGE] * 4)])
    yield "pool-strides", network([node("AveragePool", ["x"], ["y"], **pool, strides=[0, 1])])
    for name, shape in (
        ("input-large", (1, 3, 60000, 60000)),
        ("input-large-batch", (HUGE, 3, 8, 8)),
        ("input-batch", (200_000, 3, 32, 32)),
        ("input-empty", (1, 0, 8, 8)),
        ("input-negative", (1, 3, -8, 8)),
        ("input-scalar", ()),
    ):
        yield name, network([node("Relu", ["x"], ["y"])], shape=shape)
    names = [f"n{i}" for i in range(100_000)]
    chain = [node("Relu", [a], [b]) for a, b in zip(["x", *names], [*names, "y"], strict=True)]
    yield "chain", network(chain)
    yield "chain-of-dozens-of-thousands", network([*chain[:20_000], node("Relu", ["n19999"], ["y"])])
    large = [node("Tanh", [a], [b]) for a, b in zip(["x", *names[:60]], [*names[:60], "y"], strict=True)]
    yield "wide-chain", network(large, shape=(1, 64, 1000, 1000))
    expensive = network(
        [node("Conv", ["x", "k"], ["h"], pads=[15, 15, 15, 15]), node("Relu", ["h"], ["y"])],
        [weight("k", 64, 64, 31, 31)],
        (1, 64, 1000, 1000),
    )
    yield "products-of-a-convolution", expensive
    yield "chain-of-1900", network([*chain[:1900], node("Relu", ["n1899"], ["y"])])
    yield "cycle", network([node("Relu", ["y"], ["h"]), node("Relu", ["h"], ["y"])])
    yield "missing-input", network([node("Relu", ["nothing"], ["y"])])
    yield "two-of-one-name", network([node("Relu", ["x"], ["y"]), node("Relu", ["x"], ["y"])])
    yield "no-output", network([node("Relu", ["x"], [])])
    yield "opset", network([node("Relu", ["x"], ["y"])], opset=9999)
    yield "opset-zero", network([node("Relu", ["x"], ["y"])], opset=0)
    yield "ir", network([node("Relu", ["x"], ["y"])], ir=10**9)
    yield "foreign-domain", network([node("Relu", ["x"], ["y"], domain="own")])
    yield "no-graph", onnx.ModelProto()
    for name, dims, data_type in (
        ("weight-without-values", [HUGE], TensorProto.FLOAT),
        ("weight-negative", [-1, 3], TensorProto.FLOAT),
        ("weight-overflow", [2**62, 4], TensorProto.FLOAT),
        ("weight-of-no-type", [3], 99),
        ("weight-of-text", [3], TensorProto.STRING),
        ("weight-of-complex", [3], TensorProto.COMPLEX64),
    ):
        tensor = onnx.TensorProto(name="h", data_type=data_type, dims=dims)
        yield name, network([add], [tensor])
    nan = numpy_helper.from_array(np.full((4, 3, 3, 3), np.nan, np.float32), "k")
    yield "weight-nan", network([node("Conv", ["x", "k"], ["y"])], [nan])
    sparse = network([add])
    sparse.graph.sparse_initializer.append(
        helper.make_sparse_tensor(weight("h", 1), _constant("", HUGE - 1), [HUGE])
    )
    yield "sparse", sparse
    for name, text in (
        ("name-escape", "\x1b[2Ja\nb"),
        ("name-long", "n" * 10**6),
        ("name-format", "{0.__class__}%s%n"),
        ("name-path", "../../etc/passwd"),
    ):
        yield name, network([node("Sin", ["x"], ["y"], name=text)])
    for name, attributes, given in (
        ("reshape", {}, _constant("s", 0, 0, 0, 0)),
        ("reshape-huge", {}, _constant("s", HUGE, -1)),
    ):
        yield name, network([node("Reshape", ["x", "s"], ["y"], **attributes)], [given])
    yield "transpose", network([node("Transpose", ["x"], ["y"], perm=[0, 9, 2, 3])])
    yield (
        "slice",
        network(
            [node("Slice", ["x", "a", "b", "c", "d"], ["y"])],
            [_constant("a", 0), _constant("b", HUGE), _constant("c", 2), _constant("d", 0)],
        ),
    )
    yield "depth-to-space", network([node("DepthToSpace", ["x"], ["y"], blocksize=0)])


def _external() -> Iterator[tuple[str, str, dict[str, str]]]:
    yield "external-above", "../{name}", {}
    yield "external-absolute", "{secret}", {}
    yield "external-link", "link", {}
    yield "external-inside-above", "sub/../../{name}", {}
    yield "external-device", "/dev/zero", {"length": str(HUGE)}
    yield "external-process", "/proc/self/environ", {}
    yield "external-backslash", "..\\{name}", {}
    yield "external-long", "a" * 5000, {}
    yield "external-zero-byte", "a\0b", {}
    yield "external-offset", "here.bin", {"offset": str(-(10**18)), "length": "12"}
    yield "external-length", "here.bin", {"length": str(10**15)}


def _write_external(path: Path, location: str, facts: dict[str, str]) -> None:
    (path.parent / "here.bin").write_bytes(bytes(12))
    proto = network([helper.make_node("Add", ["x", "h"], ["y"])])
    tensor = proto.graph.initializer.add(name="h", data_type=TensorProto.FLOAT, dims=[3, 1, 1])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **facts}.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(proto.SerializeToString())


def _raw_files() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "noise", np.random.default_rng(0).bytes(5000)
    yield "varint", b"\xff" * 4000
    yield "nested-protobuf", b"\x3a\x80\x80\x04" * 5000
    yield "zip-as-onnx", b"PK\x03\x04" + bytes(1000)


def _configurations() -> Iterator[tuple[str, Callable[[dict[str, Any]], Any]]]:
    def layer(index: int, **values: Any) -> Callable[[dict[str, Any]], Any]:
        def change(config: dict[str, Any]) -> Any:
            config["config"]["layers"][index]["config"].update(values)
            return config

        return change

    def layers(count: int) -> Callable[[dict[str, Any]], Any]:
        def change(config: dict[str, Any]) -> Any:
            found = config["config"]["layers"]
            for number in range(count):
                copied = json.loads(json.dumps(found[2]))
                copied["config"]["name"] = f"again{number}"
                found.insert(3, copied)
            return config

        return change

    def entry(index: int, **values: Any) -> Callable[[dict[str, Any]], Any]:
        def change(config: dict[str, Any]) -> Any:
            config["config"]["layers"][index].update(values)
            return config

        return change

    yield "config-units", layer(4, units=10**9)
    yield "config-filters", layer(1, filters=10**9)
    yield "config-kernel", layer(1, kernel_size=[10**6, 10**6], padding="same")
    yield (
        "config-input",
        layer(0, batch_shape=[None, 60000, 60000, 2], batch_input_shape=[None, 60000, 60000, 2]),
    )
    yield "config-many-layers", layers(3000)
    yield "config-class", entry(4, class_name="system", module="os", registered_name=None)
    yield (
        "config-lambda",
        entry(
            4,
            class_name="Lambda",
            config={"name": "d", "function": {"class_name": "__lambda__", "config": {}}},
        ),
    )
    yield (
        "config-no-layers",
        lambda config: {"class_name": "Sequential", "config": {"name": "n", "layers": []}},
    )
    yield "config-list", lambda config: [1, 2, 3]
    yield "config-numbers", layer(1, strides="many", padding=7)


def _with_config(path: Path, content: bytes, change: Callable[[dict[str, Any]], Any]) -> None:
    """The harmless file with another configuration."""
    if path.suffix == ".h5":
        path.write_bytes(content)
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = json.dumps(change(json.loads(file.attrs["model_config"])))[:60_000]
        return
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "config.json":
                data = json.dumps(change(json.loads(data))).encode()
            target.writestr(name, data)


def _hdf5_files() -> Iterator[tuple[str, Callable[[h5py.File, Path], None]]]:
    def first(file: h5py.File) -> tuple[h5py.Group, str]:
        """The group and name of a kernel."""
        found: list[str] = []
        file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
        wanted = next(name for name in found if file[name].ndim == 4)
        group, _, name = wanted.rpartition("/")
        return file[group], name

    def replaced(make: Callable[[h5py.Group, str, Path], None]) -> Callable[[h5py.File, Path], None]:
        def change(file: h5py.File, secret: Path) -> None:
            group, name = first(file)
            del group[name]
            make(group, name, secret)

        return change

    yield (
        "hdf5-external-link",
        replaced(
            lambda group, name, secret: group.__setitem__(name, h5py.ExternalLink(str(secret), "/kernel"))
        ),
    )
    yield (
        "hdf5-external-storage",
        replaced(
            lambda group, name, secret: (
                group.create_dataset(name, (3, 3, 2, 3), "f4", external=[(str(secret), 0, 3 * 3 * 2 * 3 * 4)])
                and None
            )
        ),
    )

    def virtual(group: h5py.Group, name: str, secret: Path) -> None:
        layout = h5py.VirtualLayout((3, 3, 2, 3), "f4")
        layout[:] = h5py.VirtualSource(str(secret), "kernel", (3, 3, 2, 3))
        group.create_virtual_dataset(name, layout)

    yield "hdf5-virtual", replaced(virtual)
    yield (
        "hdf5-soft-link",
        replaced(lambda group, name, secret: group.__setitem__(name, h5py.SoftLink("/loop"))),
    )
    yield (
        "hdf5-fill",
        replaced(
            lambda group, name, secret: (
                group.create_dataset(name, (10**6, 10**6), "f4", chunks=(1, 1000)) and None
            )
        ),
    )
    yield (
        "hdf5-bomb",
        replaced(
            lambda group, name, secret: (
                group.create_dataset(
                    name, data=np.zeros((2**26,), np.float32), chunks=(2**22,), compression="gzip"
                )
                and None
            )
        ),
    )

    def circle(file: h5py.File, secret: Path) -> None:
        group, _ = first(file)
        group["circle"] = file["/"]

    yield "hdf5-circle", circle


def _with_weights(
    path: Path, content: bytes, change: Callable[[h5py.File, Path], None], secret: Path
) -> None:
    """The harmless file with other weights."""
    if path.suffix == ".h5":
        path.write_bytes(content)
        with h5py.File(path, "r+") as file:
            change(file, secret)
        return
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith(".h5"):
                copied = path.parent / "copied.h5"
                copied.write_bytes(data)
                with h5py.File(copied, "r+") as file:
                    change(file, secret)
                data = copied.read_bytes()
                copied.unlink()
            target.writestr(name, data)


def _archives() -> Iterator[tuple[str, Callable[[Path, bytes], None]]]:
    def rewritten(
        path: Path, content: bytes, more: dict[str, bytes], without: str = "", deflate: bool = False
    ) -> None:
        how = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
        with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(path, "w", how) as target:
            for name in source.namelist():
                if name != without:
                    target.writestr(name, source.read(name))
            for name, data in more.items():
                target.writestr(name, data)

    zeros = bytes(2**29)
    yield "zip-bomb", lambda path, content: rewritten(path, content, {"assets/zeros": zeros}, deflate=True)
    yield (
        "zip-bomb-config",
        lambda path, content: rewritten(path, content, {"config.json": b" " * 2**29}, "config.json", True),
    )
    yield (
        "zip-bomb-weights",
        lambda path, content: rewritten(path, content, {"model.weights.h5": zeros}, "model.weights.h5", True),
    )
    yield "zip-above", lambda path, content: rewritten(path, content, {"../../escaped": b"x"})
    yield "zip-absolute", lambda path, content: rewritten(path, content, {"/tmp/escaped": b"x"})
    yield "zip-twice", lambda path, content: rewritten(path, content, {"config.json": b"{}"})
    yield "zip-no-config", lambda path, content: rewritten(path, content, {}, "config.json")
    yield "zip-no-weights", lambda path, content: rewritten(path, content, {}, "model.weights.h5")
    yield (
        "zip-deep-config",
        lambda path, content: rewritten(path, content, {"config.json": b"[" * 10**6}, "config.json"),
    )
    yield (
        "zip-many",
        lambda path, content: rewritten(
            path, content, {f"assets/{number}": b"" for number in range(250_000)}
        ),
    )
    yield "zip-empty", lambda path, content: path.write_bytes(b"PK\x05\x06" + bytes(18))


def other_files(folder: Path) -> Path:
    """A file outside of the models' folder: an HDF5 file with a kernel, of whose reading there is a trace."""
    secret = folder / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["kernel"] = np.ones((3, 3, 2, 3), np.float32)
    os.utime(secret, (10**9, 2 * 10**9))
    return secret
