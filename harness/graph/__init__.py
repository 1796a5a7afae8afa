"""The neutral description of a network: layers and their kinds, axes by name, regions, the walk back.

Everything here is NumPy and plain data, channels-last and batch-first.
"""

from harness.graph.attention import Attention, Role, attention_of, role_in_attention
from harness.graph.axes import Axes, default_axes, in_words, require_same_axes
from harness.graph.graph import Graph, Layer
from harness.graph.inputs import Input, joined, parted
from harness.graph.kinds import (
    ACTIVATION_KINDS,
    AVERAGE_POOLING_KINDS,
    CONVOLUTION_KINDS,
    ELEMENTWISE_KINDS,
    KERNEL_KINDS,
    KINDS,
    MAX_POOLING_KINDS,
    RECURRENT_KINDS,
    SUM_KINDS,
    WEIGHTED_KINDS,
    Kind,
    kinds_where,
)
from harness.graph.region import (
    Box,
    Window,
    box_of_most,
    has_boxes,
    has_channels,
    in_box,
    per_place,
    read_by_no_other,
    windows,
    with_box,
    with_channels,
)
from harness.graph.walk import Walk, shares_by_source, walk_back

__all__ = [
    "ACTIVATION_KINDS",
    "AVERAGE_POOLING_KINDS",
    "CONVOLUTION_KINDS",
    "ELEMENTWISE_KINDS",
    "KERNEL_KINDS",
    "KINDS",
    "MAX_POOLING_KINDS",
    "RECURRENT_KINDS",
    "SUM_KINDS",
    "WEIGHTED_KINDS",
    "Attention",
    "Axes",
    "Box",
    "Graph",
    "Input",
    "Kind",
    "Layer",
    "Role",
    "Walk",
    "Window",
    "attention_of",
    "box_of_most",
    "default_axes",
    "has_boxes",
    "has_channels",
    "in_box",
    "in_words",
    "joined",
    "kinds_where",
    "parted",
    "per_place",
    "read_by_no_other",
    "require_same_axes",
    "role_in_attention",
    "shares_by_source",
    "walk_back",
    "windows",
    "with_box",
    "with_channels",
]
