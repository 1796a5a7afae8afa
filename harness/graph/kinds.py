"""The table of layer kinds: what each is, as traits. Facts alone: how a kind is computed, each implementation knows.

Code asks for traits (``layer.traits.kernel``, ``layer.traits.places == "window"``), and lists of kinds are drawn from
the table (`kinds_where`), so that a new kind is one more entry here and one function in each implementation.

What a layer of a kind holds (spatial tuples are in the order of the spatial axes, paddings are pairs
``(before, after)`` per spatial axis, always explicit numbers):

============================ =============================================== ==============================
kind                         attributes                                      weights (axes)
============================ =============================================== ==============================
input                        none                                            none
dense                        none (acts on the last axis)                    kernel (in, out), bias (out)?
conv1d, conv2d, conv3d       strides, dilations, groups, padding             kernel (*space, in/groups, out), bias?
conv_transpose1d/2d/3d       strides, dilations, groups, padding (cropped    kernel (*space, in, out/groups), bias?
                             from the full output), output_padding
separable_conv1d/2d          strides, dilations, padding                     depthwise_kernel (*space, in,
                                                                             multiplier), pointwise_kernel
                                                                             (in*multiplier, out), bias?
batch_norm                   epsilon (statistics per last axis)              gamma?, beta?, mean, variance
scale                        none (per last axis: kernel * x + bias)         kernel (channel), bias (channel)?
layer_norm                   epsilon, axes_count (normalises that many       gamma?, beta?
                             last axes)
rms_norm                     the same, by the root of the mean square, no    gamma?
                             mean taken off
group_norm                   epsilon, groups (of consecutive channels, each  gamma?, beta? (channel)
                             normalised over its channels and all places)
lrn                          window (odd: of channels), alpha, beta, bias:   none
                             x / (bias + alpha / window * sum of squares) ** beta
affine                       none (kernel * x + bias, number by number)      kernel?, bias? (the input's shape)
leaky_relu, elu              alpha                                           none
prelu                        none                                            alpha (channel)
hard_sigmoid                 alpha, beta: clip(alpha * x + beta, 0, 1)       none
clip                         low, high                                       none
sqrt                         none (nan below 0, an infinite slope at 0)      none
gelu                         approximate ("none" or "tanh")                  none
softmax                      axis (negative, canonical layout)               none
max_pool*, average_pool*     pool_size, strides, padding;                    none
                             average: count_include_pad
global_*_pool                keepdims                                        none
flatten                      order ("channels_last" or "channels_first")     none
reshape                      target (without batch), order                   none
permute                      dims (of the non-batch axes, 1-based as Keras)  none
zero_pad, crop               padding                                         none
pad                          padding (of all axes but the batch), value      none
take                         axis (negative), indices along it               none
resample                     axis (negative)                                 matrix (out, in) along it
upsample                     size, interpolation ("nearest" or "bilinear")   none
add, multiply                none                                            none
matmul                       transposed (whether the second input is         none
                             (..., out, in): its last two axes are swapped
                             first); two inputs, (..., row, in) and
                             (..., in, out), all axes before those alike
grid_sample                  padding ("zeros" or "border"); two inputs, maps  none
                             (head, height, width, channel) and locations
                             (head, query, point, 2): (x, y) from -1 to 1,
                             these being the outer edges of the border's
                             pixels; bilinear; gives (head, query, point,
                             channel)
concat                       axis (negative, canonical layout)               none
lstm, gru                    reverse (from the last step to the first),      kernel (in, gate*unit), recurrent_kernel
                             sequences (the state after each step, at its    (unit, gate*unit), bias (gate*unit)?
                             place; else the one after the last step taken)
                             lstm: gates i, f, g, o. gru: gates z, r, n;     gru: recurrent_bias (gate*unit)?
                             reset_after (r is multiplied to U_n h, which    where reset_after
                             has a bias of its own; else to h)
simple_rnn                   reverse, sequences; activation ("tanh" or       kernel (in, unit), recurrent_kernel
                             "relu")                                         (unit, unit), bias (unit)?
embedding                    none: each number is rounded to the number of   kernel (row, feature)
                             a row, the nearest that there is; adds an axis
dropout                      rate                                            none
part                         start, target (without batch): the values from  none
                             start on of a vector, in this shape: one of
                             several inputs (`harness.graph.inputs`)
============================ =============================================== ==============================

A ``?`` marks weights that may be absent. ``order="channels_first"`` means: move the channel axis
to the front (of the non-batch axes), then reshape (and for a ``reshape`` to two or more axes, move
the first non-batch axis of the result to the end).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

#: What a layer is for. ``"sum"``, ``"product"`` and ``"concat"`` join several inputs; a ``"scale"`` is a kernel of one
#: number a channel; ``"shape"`` moves values without changing one; ``"identity"`` does nothing when a network is run;
#: ``"recurrent"`` carries a state from step to step; a ``"lookup"`` reads numbers of rows, which have no slope. A
#: ``"contraction"`` is a matrix product of two tensors that the network computes; ``"sampling"`` reads maps at places
#: that the network computes.
Family = Literal[
    "input",
    "kernel",
    "scale",
    "activation",
    "average",
    "maximum",
    "shape",
    "normalisation",
    "edge",
    "resampling",
    "sum",
    "product",
    "concat",
    "identity",
    "recurrent",
    "lookup",
    "contraction",
    "sampling",
]
#: ``"jointly"``: affine in all inputs together. ``"each"``: affine in each input while the others are held. ``"no"``.
Linear = Literal["jointly", "each", "no"]
#: Which places of the input one place of the output reads. ``"same"``: its own. ``"window"``: those around its own, by
#: strides and padding. ``"stretched"``: few, the output being the longer. ``"pooled"``: all, and the output has no
#: places of its own. ``"moved"``: another one. ``"all"``: all of them.
Places = Literal["same", "window", "stretched", "pooled", "moved", "all"]
#: Which channels of the input one channel of the output reads.
Channels = Literal["each", "mixed", "moved"]


@dataclass(frozen=True, eq=False)
class Kind:
    """The traits of a kind of layer. A place is an index of all axes between batch and channel, the last.

    ``weights``: those a layer must have; ``optional_weights``: those it may have. ``attributes``: those that must be
    given; ``defaults``: those with a default that does not depend on the input. (The module says what they mean.)
    ``space``: the numbers of spatial axes that it takes, any if empty.

    ``inputs``: the least and the most tensors that it reads (None: any number). ``outputs``: how many it makes.
    ``factors``: the inputs, by place, that enter as factors computed by the network: ``linear`` speaks of the other
    inputs, with these held. (Attention: three inputs, linear in the values, query and key being factors.)

    ``along``: the attribute that names the axes along which values are joined or normalised; where these are more
    than the last axis, ``places`` is not what is said of it. ``sums``: it adds up values of its inputs with positive
    factors of its own, and nothing else. ``rising``: an activation that never falls. ``placed``: its weights have a
    number for each place, not for each channel alone. ``cuts``: it leaves out values that it is given.
    """

    name: str
    family: Family
    linear: Linear
    places: Places
    channels: Channels
    weights: tuple[str, ...] = ()
    optional_weights: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    space: tuple[int, ...] = ()
    inputs: tuple[int, int | None] = (1, 1)
    outputs: int = 1
    factors: tuple[int, ...] = ()
    along: str | None = None
    sums: bool = False
    rising: bool = False
    placed: bool = False
    cuts: bool = False

    @property
    def kernel(self) -> bool:
        """Whether it has a kernel that mixes channels: the layers that an LRP rule is chosen for."""
        return self.family == "kernel"

    @property
    def weighted(self) -> bool:
        """Whether a rule may replace its weights by others: a kernel, or one number a channel."""
        return self.family in ("kernel", "scale")

    @property
    def convolution(self) -> bool:
        """Whether it has a kernel that is moved over the places, forwards or transposed."""
        return self.kernel and self.places != "same"

    @property
    def one_kernel(self) -> bool:
        """Whether it is a kernel in one array, with the output's channels last (where it has no groups)."""
        return self.kernel and "kernel" in self.weights

    @property
    def plain_convolution(self) -> bool:
        """Whether it is a convolution in one kernel, not transposed."""
        return self.one_kernel and self.places == "window"

    @property
    def transposed(self) -> bool:
        """Whether it is a convolution the other way round."""
        return self.convolution and self.places == "stretched"

    @property
    def activation(self) -> bool:
        return self.family == "activation"

    @property
    def elementwise(self) -> bool:
        """Whether it is an activation of each value alone (a softmax is none)."""
        return self.activation and self.channels == "each"

    @property
    def pooling(self) -> bool:
        return self.family in ("average", "maximum")

    @property
    def joins(self) -> bool:
        """Whether it reads several tensors."""
        return self.inputs[1] != 1 and self.inputs[0] > 0

    @property
    def commutative(self) -> bool:
        """Whether the order of its inputs makes no difference."""
        return self.joins and self.per_value

    @property
    def per_value(self) -> bool:
        """Whether an entry of the output reads the same entry of each input, and no other."""
        return self.places == "same" and self.channels == "each"

    @property
    def keeps_values(self) -> bool:
        """Whether its output has the values of its input, each once, at most in other places."""
        return self.family in ("shape", "identity") and not self.cuts


def _convolution(name: str, axes: int, places: Places, *weights: str) -> Kind:
    return Kind(name, "kernel", "jointly", places, "mixed", weights or ("kernel",), ("bias",), space=(axes,))


def _activation(name: str, rising: bool = False, **defaults: Any) -> Kind:
    return Kind(name, "activation", "no", "same", "each", defaults=defaults, rising=rising)


def _pool(name: str, axes: int, family: Literal["average", "maximum"], **defaults: Any) -> Kind:
    average = family == "average"
    return Kind(
        name,
        family,
        "jointly" if average else "no",
        "window",
        "each",
        attributes=("pool_size",),
        defaults=defaults,
        space=(axes,),
        sums=average,
    )


def _global_pool(name: str, family: Literal["average", "maximum"]) -> Kind:
    average = family == "average"
    linear: Linear = "jointly" if average else "no"
    return Kind(
        name, family, linear, "pooled", "each", defaults={"keepdims": False}, space=(1, 2, 3), sums=average
    )


def _norm(
    name: str,
    linear: Linear,
    places: Places,
    channels: Channels,
    weights: tuple[str, ...] = (),
    **defaults: Any,
) -> Kind:
    scale = ("gamma", "beta")
    return Kind(name, "normalisation", linear, places, channels, weights, scale, defaults=defaults)


def _shape(name: str, *attributes: str, **defaults: Any) -> Kind:
    return Kind(name, "shape", "jointly", "moved", "moved", attributes=attributes, defaults=defaults)


def _edge(name: str) -> Kind:
    return Kind(name, "edge", "jointly", "moved", "each", attributes=("padding",), space=(1, 2, 3))


def _join(name: str, family: Family, linear: Linear, channels: Channels, **traits: Any) -> Kind:
    return Kind(name, family, linear, "same", channels, inputs=(2, None), **traits)


def _recurrent(name: str, *weights: str, **defaults: Any) -> Kind:
    return Kind(
        name,
        "recurrent",
        "no",
        "all",
        "mixed",
        ("kernel", "recurrent_kernel"),
        ("bias", *weights),
        defaults={"reverse": False, "sequences": True, **defaults},
        space=(1,),
    )


_TABLE = (
    Kind("dense", "kernel", "jointly", "same", "mixed", ("kernel",), ("bias",)),
    *(_convolution(f"conv{axes}d", axes, "window") for axes in (1, 2, 3)),
    *(_convolution(f"conv_transpose{axes}d", axes, "stretched") for axes in (1, 2, 3)),
    *(
        _convolution(f"separable_conv{axes}d", axes, "window", "depthwise_kernel", "pointwise_kernel")
        for axes in (1, 2)
    ),
    _activation("relu", rising=True),
    _activation("relu6", rising=True),
    _activation("leaky_relu", rising=True, alpha=0.3),
    _activation("elu", rising=True, alpha=1.0),
    _activation("selu", rising=True),
    _activation("sigmoid", rising=True),
    _activation("tanh", rising=True),
    _activation("swish"),
    _activation("gelu", approximate="none"),
    _activation("mish"),
    _activation("hard_swish"),
    _activation("hard_sigmoid", rising=True, alpha=1 / 6, beta=0.5),
    _activation("clip", rising=True, low=-1.0, high=1.0),
    _activation("sqrt", rising=True),
    Kind("prelu", "activation", "no", "same", "each", ("alpha",)),
    Kind("softmax", "activation", "no", "same", "mixed", defaults={"axis": -1}, along="axis"),
    *(_pool(f"average_pool{axes}d", axes, "average", count_include_pad=False) for axes in (1, 2, 3)),
    _global_pool("global_average_pool", "average"),
    *(_pool(f"max_pool{axes}d", axes, "maximum") for axes in (1, 2, 3)),
    _global_pool("global_max_pool", "maximum"),
    _shape("flatten", order="channels_last"),
    _shape("reshape", "target", order="channels_last"),
    _shape("permute", "dims"),
    Kind("input", "input", "jointly", "same", "each", inputs=(0, 0)),
    _norm("batch_norm", "jointly", "same", "each", ("mean", "variance"), epsilon=1e-3),
    Kind("scale", "scale", "jointly", "same", "each", ("kernel",), ("bias",)),
    replace(_norm("layer_norm", "no", "same", "mixed", epsilon=1e-3, axes_count=1), along="axes_count"),
    replace(_norm("group_norm", "no", "all", "mixed", epsilon=1e-3), attributes=("groups",)),
    Kind(
        "lrn",
        "normalisation",
        "no",
        "same",
        "mixed",
        attributes=("window",),
        defaults={"alpha": 1e-4, "beta": 0.75, "bias": 1.0},
        space=(2,),
    ),
    replace(
        _norm("rms_norm", "no", "same", "mixed", epsilon=1e-6, axes_count=1),
        optional_weights=("gamma",),
        along="axes_count",
    ),
    Kind("affine", "normalisation", "jointly", "same", "each", (), ("kernel", "bias"), placed=True),
    _edge("zero_pad"),
    _edge("crop"),
    Kind(
        "upsample",
        "resampling",
        "jointly",
        "stretched",
        "each",
        attributes=("size",),
        defaults={"interpolation": "nearest"},
        space=(1, 2),
    ),
    Kind(
        "pad",
        "resampling",
        "jointly",
        "moved",
        "moved",
        attributes=("padding",),
        defaults={"value": 0.0},
    ),
    Kind("take", "resampling", "jointly", "moved", "moved", attributes=("axis", "indices")),
    Kind("resample", "resampling", "jointly", "all", "mixed", ("matrix",), attributes=("axis",)),
    _join("add", "sum", "jointly", "each", sums=True),
    _join("multiply", "product", "each", "each"),
    _join("concat", "concat", "jointly", "moved", defaults={"axis": -1}, along="axis"),
    Kind("dropout", "identity", "jointly", "same", "each", defaults={"rate": 0.5}),
    _recurrent("lstm"),
    _recurrent("gru", "recurrent_bias", reset_after=True),
    _recurrent("simple_rnn", activation="tanh"),
    Kind("embedding", "lookup", "no", "moved", "mixed", ("kernel",)),
    Kind("matmul", "contraction", "each", "all", "mixed", inputs=(2, 2), defaults={"transposed": False}),
    Kind(
        "grid_sample",
        "sampling",
        "jointly",
        "all",
        "each",
        inputs=(2, 2),
        factors=(1,),
        defaults={"padding": "zeros"},
        space=(3,),
    ),
    replace(_shape("part", "start", "target"), cuts=True),
)
#: Every kind by its name.
KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in _TABLE})


def kinds_where(trait: Callable[[Kind], bool]) -> tuple[str, ...]:
    """The names of the kinds that have a trait, in the order of the table."""
    return tuple(kind.name for kind in KINDS.values() if trait(kind))


# What composites assign rules to; a composite names kinds, as it is stored by name.
#: Layers with a weight kernel: the ones an LRP rule is chosen for.
KERNEL_KINDS = kinds_where(lambda kind: kind.kernel)
CONVOLUTION_KINDS = kinds_where(lambda kind: kind.convolution)
#: What iNNvestigate and signxai take for a layer with a kernel (`contains_kernel`): a per-channel scale has one too.
WEIGHTED_KINDS = kinds_where(lambda kind: kind.weighted)
RECURRENT_KINDS = kinds_where(lambda kind: kind.family == "recurrent")
ACTIVATION_KINDS = kinds_where(lambda kind: kind.activation)
ELEMENTWISE_KINDS = kinds_where(lambda kind: kind.elementwise)
AVERAGE_POOLING_KINDS = kinds_where(lambda kind: kind.family == "average")
MAX_POOLING_KINDS = kinds_where(lambda kind: kind.family == "maximum")
#: Linear layers without weights, whose output is the ``z`` of the Z rule.
SUM_KINDS = (
    *kinds_where(lambda kind: kind.sums and kind.joins),
    *kinds_where(lambda kind: kind.sums and not kind.joins),
)
