"""Records what iNNvestigate 2.1.2 itself says of one small network, for `test_innvestigate.py`.

Runs in an interpreter of its own (Python 3.11, `pip install innvestigate==2.1.2 "tensorflow<2.13"`), which is
why nothing of this project is imported: ``python record.py recorded.npz``. Everything is float64.
"""

from __future__ import annotations

import sys

import numpy as np
import tensorflow as tf

tf.compat.v1.disable_eager_execution()
tf.keras.backend.set_floatx("float64")

from innvestigate.analyzer.relevance_based import relevance_analyzer as lrp  # noqa: E402
from tensorflow.keras import Model, layers  # noqa: E402


def network() -> Model:
    """A layer of nearly every kind that iNNvestigate has a rule for, on (10, 9, 3), with three logits."""
    x = layers.Input((10, 9, 3), name="input")
    h = layers.Conv2D(4, 3, padding="same", strides=(2, 1), name="conv")(x)
    h = layers.BatchNormalization(epsilon=0.01, name="batch_norm")(h)
    h = layers.Activation("relu", name="relu")(h)
    branch = layers.SeparableConv2D(4, 3, padding="same", name="separable")(h)
    h = layers.Add(name="sum")([h, branch])
    h = layers.Activation("tanh", name="tanh")(h)
    h = layers.DepthwiseConv2D(2, depth_multiplier=2, name="depthwise")(h)
    h = layers.Activation("relu", name="depthwise_relu")(h)
    h = layers.MaxPooling2D((2, 2), padding="same", name="max_pool")(h)
    h = layers.Conv2DTranspose(3, 2, strides=2, name="transposed")(h)
    h = layers.AveragePooling2D((3, 3), strides=2, padding="same", name="average_pool")(h)
    h = layers.Flatten(name="flatten")(h)
    h = layers.Dense(5, name="dense")(h)
    h = layers.Activation("relu", name="dense_relu")(h)
    return Model(x, layers.Dense(3, name="logits")(h))


def randomize(model: Model, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Gives every weight standard normal values (variances uniform ones); returns them as "layer/weight"."""
    weights = {}
    for layer in model.layers:
        values = []
        for variable in layer.weights:
            name = variable.name.split("/")[-1].split(":")[0]
            positive = name == "moving_variance"
            values.append(
                rng.uniform(0.5, 2, variable.shape) if positive else rng.standard_normal(variable.shape)
            )
            weights[f"{layer.name}/{name}"] = values[-1]
        layer.set_weights(values)
    return weights


def analyzers(model: Model) -> dict[str, lrp.LRP]:
    """By this project's names of the methods."""
    # iNNvestigate's check raises on a depthwise convolution, which its rules treat like any other.
    options = {"disable_model_checks": True}
    until = {"until_layer_idx": 8}
    found = {
        "lrp.z": lrp.LRPZ(model, **options),
        "lrp.epsilon": lrp.LRPEpsilon(model, **options),
        "lrp.epsilon:epsilon=0.25": lrp.LRPEpsilon(model, epsilon=0.25, **options),
        "lrp.alpha_1_beta_0": lrp.LRPAlpha1Beta0(model, **options),
        "lrp.alpha_1_beta_0_IB": lrp.LRPAlpha1Beta0IgnoreBias(model, **options),
        "lrp.alpha_2_beta_1": lrp.LRPAlpha2Beta1(model, **options),
        "lrp.alpha_2_beta_1_IB": lrp.LRPAlpha2Beta1IgnoreBias(model, **options),
        "lrp.z_plus": lrp.LRPZPlus(model, **options),
        "lrp.w_square": lrp.LRPWSquare(model, **options),
        "lrp.flat": lrp.LRPFlat(model, **options),
        "lrp.z_plus_fast": lrp.LRPZPlusFast(model, **options),
        "lrp.epsilon:bias=false": lrp.LRPEpsilon(model, bias=False, **options),
        "lrp.z:bn_layer_fuse_mode=two_linear": lrp.LRPZ(model, bn_layer_fuse_mode="two_linear", **options),
        "lrp.alpha_2_beta_1:bn_layer_fuse_mode=two_linear": lrp.LRPAlpha2Beta1(
            model, bn_layer_fuse_mode="two_linear", **options
        ),
        "lrp.epsilon:until_layer_idx=8": lrp.LRPEpsilon(model, until_layer_rule="Flat", **until, **options),
        # Without bn_layer_rule the library fails: its own rule of batch norms takes `axis` for a number.
        "lrp:rule=Epsilon,bn_layer_rule=ZPlusFast": lrp.LRP(
            model, rule="Epsilon", bn_layer_rule="ZPlusFast", **options
        ),
        "lrp.sequential_preset_a": lrp.LRPSequentialPresetA(model, **options),
        "lrp.sequential_preset_b": lrp.LRPSequentialPresetB(model, **options),
        "lrp.sequential_preset_a:bn_layer_rule=AlphaBetaX2m100,bn_layer_fuse_mode=two_linear": (
            lrp.LRPSequentialPresetA(model, bn_layer_fuse_mode="two_linear", **options)
        ),
        "lrp.sequential_preset_a_flat": lrp.LRPSequentialPresetAFlat(model, **options),
        "lrp.sequential_preset_b_flat_until_idx:until_layer_idx=8": lrp.LRPSequentialPresetBFlatUntilIdx(
            model, **until, **options
        ),
    }
    for name, rule in {"bounded": (-1, 1), "flat": "Flat", "w_square": "WSquare"}.items():
        found[f"lrp.epsilon:input_layer_rule={name}"] = lrp.LRPEpsilon(
            model, input_layer_rule=rule, **options
        )
        found[f"lrp.alpha_1_beta_0:input_layer_rule={name}"] = lrp.LRPAlpha1Beta0(
            model, input_layer_rule=rule, **options
        )
    return found


def main(path: str) -> None:
    rng = np.random.default_rng(0)
    model = network()
    weights = randomize(model, rng)
    x = rng.standard_normal((2, 10, 9, 3))
    logits = model.predict(x)
    recorded = {f"attribution {name}": analyzer.analyze(x) for name, analyzer in analyzers(model).items()}
    np.savez_compressed(path, x=x, logits=logits, **weights, **recorded)


if __name__ == "__main__":
    main(sys.argv[1])
