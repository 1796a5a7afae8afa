"""Keras models and files are read as what Keras itself computes, and nothing in them is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers as kl

from harness.errors import ModelSourceError, UnsupportedLayerError
from ported_models.endings import with_ending
from ported_models.sources.keras_calls import read_network
from ported_models.sources.keras_source import from_file, from_model
from ported_models.twins.forward import LAYER_BOUND, keras_logits, relative_difference


@pytest.fixture(scope="module", autouse=True)
def double_precision() -> Any:
    """The originals compute in float64, so that they can be compared to rounding."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)


def randomised(model: keras.Model) -> keras.Model:
    """``model`` with normal weights, variances in (0.5, ...)."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if "seed" not in variable.name:
            values = rng.normal(scale=0.5, size=variable.shape)
            variable.assign(np.abs(values) + 0.5 if "variance" in variable.name else values)
    return model


def two_dimensional() -> keras.Model:
    source = x = keras.Input((11, 9, 3), name="in.put")
    x = kl.Rescaling(0.5, offset=1.0)(x)
    x = kl.Normalization(mean=[0.5, 1.0, 2.0], variance=[1.0, 4.0, 16.0])(x)
    x = kl.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="c1")(x)
    x = kl.BatchNormalization(name="bn.1")(x)
    x = kl.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu6")(x)
    x = kl.SeparableConv2D(6, 3, dilation_rate=2, padding="same", depth_multiplier=2, activation="tanh")(x)
    x = kl.LayerNormalization(axis=[1, 2, 3])(x)
    x = kl.Conv2DTranspose(5, 3, strides=2, padding="same", activation="elu")(x)
    x = kl.Conv2DTranspose(5, 2, strides=3, padding="valid")(x)
    x = kl.MaxPooling2D(3, 2, padding="same")(x)
    x = kl.AveragePooling2D((2, 3), padding="same")(x)
    shared = kl.Conv2D(5, 1, use_bias=False, name="shared")
    a, b = shared(x), shared(kl.LeakyReLU(negative_slope=0.125)(x))
    x = kl.Add()([a, b]) * a
    x = kl.Concatenate(axis=1)([x, kl.SpatialDropout2D(0.3)(b)])
    x = kl.ZeroPadding2D(((1, 0), (2, 1)))(x)
    x = kl.Cropping2D(((1, 0), (0, 1)))(x)
    x = kl.UpSampling2D((2, 1))(x)
    inner = keras.Sequential(
        [
            keras.Input(x.shape[1:], dtype="float64"),
            kl.Conv2D(4, 3, activation="selu", name="c1"),
            kl.BatchNormalization(name="bn"),
            kl.ReLU(6),
            kl.Permute((2, 1, 3)),
        ],
        name="inner",
    )
    x = inner(x)
    x = kl.Multiply()([x, kl.GlobalAveragePooling2D(keepdims=True)(x)])
    x = kl.Flatten()(kl.Softmax(axis=1)(x))
    return randomised(keras.Model(source, kl.Dense(3)(kl.UnitNormalization()(x)), name="two"))


def one_dimensional() -> keras.Model:
    return randomised(
        keras.Sequential(
            [
                keras.Input((12, 2)),
                kl.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="swish"),
                kl.DepthwiseConv1D(3, strides=2, padding="same"),
                kl.SeparableConv1D(6, 3),
                kl.Conv1DTranspose(4, 4, strides=2, padding="same"),
                kl.MaxPooling1D(2, 1),
                kl.AveragePooling1D(3, 2, padding="same"),
                kl.ZeroPadding1D((1, 2)),
                kl.Cropping1D(1),
                kl.UpSampling1D(2),
                kl.Dense(5, activation="tanh"),
                kl.Conv1D(4, 2, activation=kl.LeakyReLU(negative_slope=0.25)),
                kl.Reshape((-1, 2, 2)),
                kl.GlobalMaxPooling2D(),
                kl.Dense(3, activation="sigmoid"),
            ],
            name="one",
        )
    )


@pytest.mark.parametrize("build", [two_dimensional, one_dimensional])
@pytest.mark.parametrize("suffix", [None, ".h5", ".keras"])
def test_every_layer_computes_what_keras_computes(build: Any, suffix: str | None, tmp_path: Path) -> None:
    original = build()
    if suffix is None:
        ported = from_model(original)
    else:
        original.save(tmp_path / f"m{suffix}")
        ported = from_file(tmp_path / f"m{suffix}")
    # Keras casts the input of a model to float32, whatever its layers compute in.
    x = np.random.default_rng(1).normal(size=(2, *original.input_shape[1:])).astype(np.float32)
    found = with_ending(keras_logits(ported.keras("float64"), x), ported.removed)
    assert relative_difference(found, np.asarray(original(x))) <= LAYER_BOUND


def test_bilinear_upsampling_computes_what_keras_computes() -> None:
    """Keras interpolates in float32 whatever it is told; whole numbers, weighted by quarters, stay exact."""
    original = keras.Sequential([keras.Input((3, 4, 2)), kl.UpSampling2D((2, 4), interpolation="bilinear")])
    x = np.random.default_rng(0).integers(-9, 9, (2, 3, 4, 2)).astype(np.float32)
    found = keras_logits(from_model(original).keras("float64"), x)
    assert np.array_equal(found, np.asarray(original(x)))


def described(model: keras.Model) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(layer.name, layer.kind, layer.inputs) for layer in from_model(model).layers]


def test_a_fused_activation_and_a_second_use_get_names_of_their_own() -> None:
    source = keras.Input((4,), name="x")
    shared = kl.Dense(4, activation="relu", name="fc")
    inner = keras.Sequential(
        [keras.Input((4,)), kl.Dense(4, name="fc"), kl.Dense(2, name="deep")], name="inner"
    )
    model = keras.Model(source, inner(shared(shared(source))))
    assert described(model) == [
        ("x", "input", ()),
        ("fc", "dense", ("x",)),
        ("fc_relu", "relu", ("fc",)),
        ("fc_use2", "dense", ("fc_relu",)),
        ("fc_use2_relu", "relu", ("fc_use2",)),
        ("inner_fc", "dense", ("fc_use2_relu",)),
        ("deep", "dense", ("inner_fc",)),
    ]


def test_a_fused_activation_leaves_a_layer_of_its_name_alone() -> None:
    model = keras.Sequential([keras.Input((4,)), kl.Dense(3, "relu", name="a"), kl.Dense(2, name="a_relu")])
    assert [layer.name for layer in from_model(model).layers[1:]] == ["a", "a_relu_use2", "a_relu"]


def test_same_becomes_tensorflows_numbers() -> None:
    """Stride 2, kernel 3: 5 -> 3 values need (3 - 1) * 2 + 3 - 5 = 2 zeros, 4 -> 2 need one, at the end."""
    model = keras.Sequential([keras.Input((5, 4, 1)), kl.Conv2D(1, 3, strides=2, padding="same", name="c")])
    assert from_model(model).graph["c"].attributes["padding"] == ((1, 1), (0, 1))


def test_axes_become_negative() -> None:
    source = keras.Input((5, 4, 2))
    joined = kl.Concatenate(axis=2, name="join")([kl.Softmax(axis=1, name="s")(source), source])
    graph = from_model(keras.Model(source, kl.BatchNormalization(axis=3)(joined))).graph
    assert (graph["join"].attributes["axis"], graph["s"].attributes["axis"]) == (-2, -3)


@pytest.mark.parametrize(
    ("layer", "kind", "attributes"),
    [
        (kl.ReLU(6), "relu6", {}),
        (kl.ReLU(negative_slope=0.25), "leaky_relu", {"alpha": 0.25}),
        (kl.Activation("leaky_relu"), "leaky_relu", {"alpha": 0.2}),
        (kl.Activation("gelu"), "gelu", {"approximate": "none"}),
        (kl.ELU(alpha=0.5), "elu", {"alpha": 0.5}),
        (kl.GaussianNoise(0.1), "dropout", {"rate": 0.0}),
    ],
)
def test_parameters_of_activations(layer: Any, kind: str, attributes: dict[str, Any]) -> None:
    graph = from_model(keras.Sequential([keras.Input((3,)), layer])).graph
    assert (graph.layers[1].kind, dict(graph.layers[1].attributes)) == (kind, attributes)


@pytest.mark.parametrize(
    ("end", "removed", "said"),
    [
        (kl.Dense(3, activation="softmax"), "softmax", "softmax"),
        (kl.Softmax(), "softmax", "softmax"),
        (kl.Dense(3, activation="log_softmax"), "log_softmax", "log-softmax"),
        (kl.Dense(1, activation="sigmoid"), "sigmoid", "sigmoid"),
        (kl.Activation("sigmoid"), "sigmoid", "sigmoid"),
    ],
)
def test_the_ending_is_taken_off_and_said(end: Any, removed: str, said: str) -> None:
    ported = from_model(keras.Sequential([keras.Input((4,)), kl.Dense(3), end]))
    assert ported.removed == removed
    assert ported.notes == (f"the final {said} is taken off: what is explained is the value before it",)
    assert {layer.kind for layer in ported.layers} == {"input", "dense"}


def test_of_two_endings_one_is_taken_off() -> None:
    """A softmax of a softmax is another function than one softmax: the first is part of the network."""
    ends = [kl.Dense(3, activation="softmax"), kl.Softmax()]
    ported = from_model(keras.Sequential([keras.Input((4,)), *ends]))
    assert ported.removed == "softmax"
    assert [layer.kind for layer in ported.layers] == ["input", "dense", "softmax"]


def test_a_gate_and_a_tanh_are_no_endings() -> None:
    source = keras.Input((4,))
    gated = kl.Multiply()([kl.Dense(4, activation="sigmoid")(source), source])
    ported = from_model(keras.Model(source, kl.Activation("tanh")(gated)))
    assert (ported.removed, ported.notes) == (None, ())
    assert [layer.kind for layer in ported.layers] == ["input", "dense", "sigmoid", "multiply", "tanh"]


def test_a_log_softmax_inside_is_refused() -> None:
    layers = [kl.Dense(3, activation="log_softmax", name="inner"), kl.Dense(2)]
    with pytest.raises(UnsupportedLayerError, match=r"'inner' \(log_softmax\) stands inside the network"):
        from_model(keras.Sequential([keras.Input((4,)), *layers]))


def test_a_softmax_inside_stays() -> None:
    ported = from_model(keras.Sequential([keras.Input((4,)), kl.Softmax(), kl.Dense(3)]))
    assert ported.removed is None
    assert [layer.kind for layer in ported.layers] == ["input", "softmax", "dense"]


def write_old_file(path: Path, chunked: bool = False) -> None:
    """What Keras 2.0.5 wrote: nodes as lists, bytes as attributes, layers renumbered in the weights' names.

    A 2x2x1 image, conv 1x1 with kernel (2, -1), ReLU, global average, softmax.
    """
    node = {"trainable": True, "data_format": "channels_last"}
    entries = [
        ("InputLayer", "input_1", {"batch_input_shape": [None, 2, 2, 1]}, None),
        ("Conv2D", "conv2d_1", {"kernel_size": [1, 1], "padding": "same", "activation": "linear"}, "input_1"),
        ("Activation", "activation_1", {"activation": "relu"}, "conv2d_1"),
        ("GlobalAveragePooling2D", "pool", {}, "activation_1"),
        ("Activation", "predictions", {"activation": "softmax"}, "pool"),
    ]
    config = {
        "name": "model_1",
        "layers": [
            {
                "class_name": kind,
                "name": name,
                "config": {**node, **own, "name": name},
                "inbound_nodes": [] if reads is None else [[[reads, 0, 0, {}]]],
            }
            for kind, name, own, reads in entries
        ],
        "input_layers": [["input_1", 0, 0]],
        "output_layers": [["predictions", 0, 0]],
    }
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = np.bytes_("2.0.5")
        file.attrs["model_config"] = np.bytes_(json.dumps({"class_name": "Model", "config": config}))
        group = file.create_group("model_weights/conv2d_1")
        name = "weight_names0" if chunked else "weight_names"
        group.attrs[name] = [b"conv2d_1_1/kernel:0"]
        group["conv2d_1_1/kernel:0"] = np.array([[[[2.0, -1.0]]]], np.float32)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_of_keras_2_0_is_read(chunked: bool, tmp_path: Path) -> None:
    """Pixels 1, 2, 3, -6: relu(2x) averages to (2 + 4 + 6) / 4 = 3, relu(-x) to 6 / 4 = 1.5."""
    write_old_file(tmp_path / "old.hdf5", chunked)
    ported = from_file(tmp_path / "old.hdf5")
    x = np.array([1.0, 2.0, 3.0, -6.0]).reshape(1, 2, 2, 1)
    assert keras_logits(ported.keras("float64"), x).tolist() == [[3.0, 1.5]]
    assert (ported.name, ported.removed) == ("old", "softmax")


def test_a_sequential_of_keras_2_0_is_read(tmp_path: Path) -> None:
    layers = [
        {"class_name": "Dense", "config": {"name": "d", "batch_input_shape": [None, 2], "activation": "relu"}}
    ]
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": layers})
        group = file.create_group("model_weights/d")
        group.attrs["weight_names"] = [b"d/kernel:0", b"d/bias:0"]
        group["d/kernel:0"], group["d/bias:0"] = np.eye(2, 3), np.zeros(3)
    assert [layer.name for layer in from_file(tmp_path / "s.h5").layers] == ["d_input", "d", "d_relu"]


def test_a_model_inside_a_file_of_keras_2_is_read() -> None:
    """Keras 2 counts the calls of a model inside from one (keras 2.12, `get_network_config`).

    What reads its call 2 reads two of its dense layers, what reads call 1 one; so does an output.
    """

    def entry(kind: str, name: str, config: dict, *reads: tuple[str, int]) -> dict:
        nodes = [[[layer, call, 0, {}]] for layer, call in reads]
        return {"class_name": kind, "name": name, "config": {**config, "name": name}, "inbound_nodes": nodes}

    source = entry("InputLayer", "x", {"batch_input_shape": [None, 2]})
    dense = entry("Dense", "double", {"activation": "linear", "use_bias": False}, ("x", 0))
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["double", 0, 0]]}
    inner = entry("Functional", "inner", {"layers": [source, dense], **ends}, ("x", 0), ("inner", 1))
    for call, calls in ((2, 2), (1, 1)):
        once = {**inner, "inbound_nodes": inner["inbound_nodes"][:calls]}
        after = entry("Activation", "after", {"activation": "tanh"}, ("inner", call))
        for layers, output in (
            ([source, once, after], ["after", 0, 0]),
            ([source, once], ["inner", call, 0]),
        ):
            config = {"layers": layers, "input_layers": [["x", 0, 0]], "output_layers": [output]}
            network = read_network({"class_name": "Functional", "config": config}, lambda path: {}, "file")
            assert [one.class_name for one in network.calls].count("Dense") == calls


def test_nested_layers_of_one_name_find_their_own_weights(tmp_path: Path) -> None:
    def block(name: str) -> keras.Model:
        return keras.Sequential([keras.Input((3,)), kl.Dense(3, name="fc")], name=name)

    outer = keras.Sequential([keras.Input((3,)), block("left"), block("right")], name="outer")
    original = randomised(keras.Sequential([keras.Input((3,)), outer, kl.Dense(2, name="fc")]))
    original.save(tmp_path / "nested.h5")
    graph = from_file(tmp_path / "nested.h5").graph
    for layer, variable in zip(graph.layers[1:], original.weights[::2], strict=True):
        assert np.array_equal(layer.weights["kernel"], np.asarray(variable)), layer.name


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_layer_is_refused_and_never_run(suffix: str, tmp_path: Path) -> None:
    marker = str(tmp_path / "executed")
    layer = kl.Lambda(lambda x: (open(marker, "w").close(), x)[1], name="sly", output_shape=(3,))
    model = keras.Sequential([keras.Input((3,)), layer])
    model.save(tmp_path / f"m{suffix}")
    Path(marker).unlink(missing_ok=True)
    with pytest.raises(UnsupportedLayerError, match=r"m\.(keras|h5): layer 'sly' \(Lambda\).*never executed"):
        from_file(tmp_path / f"m{suffix}")
    assert not Path(marker).exists()


def test_an_unsupported_layer_is_named_with_its_type_and_file(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((3,)), kl.SpectralNormalization(kl.Dense(2), name="odd")]).save(
        tmp_path / "odd.keras"
    )
    with pytest.raises(
        UnsupportedLayerError, match=r"odd\.keras: layer 'odd' \(SpectralNormalization\) is not supported"
    ):
        from_file(tmp_path / "odd.keras")


def test_a_users_own_class_is_not_taken_for_keras_own() -> None:
    own = type("Dense", (kl.Dense,), {"call": lambda self, x: -kl.Dense.call(self, x)})
    with pytest.raises(UnsupportedLayerError, match=r"Dense, a class of your own\) is not supported"):
        from_model(keras.Sequential([keras.Input((3,)), own(2)]))


@pytest.mark.parametrize(
    ("layer", "found"),
    [
        (kl.MaxPooling2D(data_format="channels_first"), "data_format 'channels_first'"),
        (kl.BatchNormalization(axis=1), "axis 1"),
        (kl.ReLU(3.0, negative_slope=0.5), "max_value"),
        (kl.UpSampling2D(2, interpolation="bicubic"), "interpolation 'bicubic'"),
        (kl.Conv2D(1, 1, activation="softplus"), "activation 'softplus'"),
    ],
)
def test_a_parameter_that_the_graph_cannot_express_is_an_error(layer: Any, found: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=found.replace("(", r"\(")):
        from_model(keras.Sequential([keras.Input((4, 4, 4)), layer]))


def test_two_outputs_are_an_error() -> None:
    source = keras.Input((3,))
    with pytest.raises(ModelSourceError, match=r"2 outputs \(0: .*output='dense"):
        from_model(keras.Model(source, [kl.Dense(1)(source), kl.Dense(1)(source)]))


def test_two_inputs_lie_side_by_side_and_have_a_layer_each() -> None:
    first, second = keras.Input((3,), name="first"), keras.Input((3,), name="second")
    model = from_model(keras.Model([second, first], kl.Add(name="sum")([first, second])))
    assert [(layer.name, layer.kind, layer.inputs) for layer in model.layers] == [
        ("inputs", "input", ()),
        ("second", "part", ("inputs",)),
        ("first", "part", ("inputs",)),
        ("sum", "add", ("first", "second")),
    ]
    assert [(each.name, each.start, each.shape) for each in model.inputs] == [
        ("second", 0, (3,)),
        ("first", 3, (3,)),
    ]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_file_has_its_inputs_by_name(tmp_path, suffix: str) -> None:
    first, second = keras.Input((4, 4, 2), name="first"), keras.Input((3,), name="second")
    flat = kl.Flatten()(kl.Conv2D(2, 3)(first))
    for place, given in enumerate(([second, first], {"first": first, "second": second})):
        path = tmp_path / f"net_{place}{suffix}"
        keras.Model(given, kl.Dense(2)(kl.Concatenate()([flat, second]))).save(path)
        model = from_file(path)
        assert {each.name: each.shape for each in model.inputs} == {"first": (4, 4, 2), "second": (3,)}
        assert model.notes == ()


def test_what_differs_is_named_with_several_inputs_too() -> None:
    first, second = keras.Input((3,), name="first"), keras.Input((3,), name="second")
    doubled = kl.Dense(2, name="doubled")
    model = keras.Model([first, second], kl.Add()([kl.Dense(2, name="plain")(first), doubled(second)]))
    own = doubled.call
    doubled.call = lambda inputs, *args, **keywords: 2 * own(inputs)
    with pytest.raises(ModelSourceError, match=r"first layer that differs is 'doubled' \(dense\)"):
        from_model(model)


def test_a_nested_model_of_two_inputs_is_given_what_it_is_called_with() -> None:
    one, two = keras.Input((3,), name="one"), keras.Input((3,), name="two")
    difference = keras.Model([one, two], kl.Subtract(name="minus")([one, two]), name="inner")
    by_name = keras.Model({"one": one, "two": two}, kl.Subtract()([one, two]), name="named")
    left, right = keras.Input((3,), name="left"), keras.Input((3,), name="right")
    for given in (difference([right, left]), by_name({"two": left, "one": right})):
        # Loading compares with the model's own output: the other way round would not load.
        model = from_model(keras.Model([left, right], kl.Dense(2)(given)))
        assert [each.name for each in model.inputs] == ["left", "right"]


def test_a_layer_that_has_the_name_of_the_vector_keeps_it() -> None:
    inputs, other = keras.Input((3,), name="inputs"), keras.Input((3,), name="other")
    model = from_model(keras.Model([inputs, other], kl.Add()([inputs, other])))
    assert [(layer.name, layer.kind) for layer in model.layers][:2] == [
        ("inputs_use2", "input"),
        ("inputs", "part"),
    ]


def test_an_open_input_shape_is_an_error() -> None:
    with pytest.raises(ModelSourceError, match=r"input shape \(None, None, 3\) is not fixed"):
        from_model(keras.Sequential([keras.Input((None, None, 3)), kl.Conv2D(1, 1)]))


def test_a_model_without_a_graph_is_an_error() -> None:
    class Own(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(ModelSourceError, match=r"keras\.Model\(inputs, outputs\)"):
        from_model(Own())
    with pytest.raises(ModelSourceError, match="no input shape"):
        from_model(keras.Sequential([kl.Dense(2)]))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_truncated_file_is_an_error_with_its_name(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"m{suffix}"
    keras.Sequential([keras.Input((3,)), kl.Dense(50)]).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ModelSourceError, match=f"m{suffix}.*truncated"):
        from_file(path)


def test_a_file_of_weights_only_is_an_error(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((3,)), kl.Dense(2)]).save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(ModelSourceError, match="no whole Keras model"):
        from_file(tmp_path / "m.weights.h5")
