"""Methods: a composite, where its relevance starts, how often it is run, and what is done at the input."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from harness.errors import MethodDoesNotApplyError
from harness.graph import Graph
from harness.methods.backtrace_rules import BacktraceStart
from harness.methods.composite import Composite
from harness.methods.later import LATER
from harness.methods.procedures import Backward, DeepLift, GradCam, Procedure, UniformNoise, cam_layer
from harness.methods.rollout import Rollout, row_read, tokens_of_places

#: The initial relevance at the target neuron: its logit, one, or the positive part of its logit; zero at every
#: other neuron. In the plural, the same at every neuron: no target. Or the start of DLBacktrace.
NamedHead = Literal["logit", "one", "relu_logit", "logits", "ones", "relu_logits"]
#: By the head at the target, the one at every neuron.
AT_ALL: dict[NamedHead, NamedHead] = {"logit": "logits", "one": "ones", "relu_logit": "relu_logits"}
Head = NamedHead | BacktraceStart


#: Which output is explained. "target": the one that is asked for. The others take no target: "input_maximum" is the
#: largest logit of the input, in every run of the method, "run_maximum" that of each run anew.
Selection = Literal["target", "input_maximum", "run_maximum"]


@dataclass(frozen=True)
class TimesSign:
    """The attribution times 1 where ``x >= threshold`` and -1 elsewhere; all 1 if the threshold is -1 or below.

    Source: signxai 1.1.9.2 `calculate_sign_mu` (whose second assignment turns -1 into 1 where the threshold
    is not above it); threshold 0 is also its ``x / abs(x)`` with 0/0 taken as 1.
    """

    threshold: float = 0.0


#: The relevances of contrast mode.
_PARTS: tuple[Literal["for", "against"], ...] = ("for", "against")
#: What Keras makes an 8-bit image of (`array_to_img`); with four channels Pillow would resize premultiplied.
_IMAGE_CHANNELS = (1, 3)
#: What is done to the relevance of the input, after all runs are joined, to get the attribution.
Postprocess = Literal["none", "times_input", "abs", "square"] | TimesSign


@dataclass(frozen=True)
class Method:
    """A method with every parameter fixed.

    ``head``: where the relevance starts. ``composite``: the rule of every layer. ``procedure``: from where
    and how often it is run. ``postprocess``: what is done at the input, with the input itself.
    ``activations``: the kinds of activation the method takes in a network; empty for all. ``selection``: which output
    is explained.
    """

    name: str
    composite: Composite
    head: Head = "logit"
    postprocess: Postprocess = "none"
    procedure: Procedure = field(default_factory=Backward)
    activations: tuple[str, ...] = ()
    selection: Selection = field(default="target", metadata=LATER)

    @property
    def selects_itself(self) -> bool:
        """Whether the method takes no target."""
        return self.selection != "target" or self.explains_all

    @property
    def explains_all(self) -> bool:
        """Whether the relevance starts at every output; the target of a trace is then no part of the result."""
        return self.head in AT_ALL.values()

    @property
    def family(self) -> str:
        """Whose backends run it by default: "backtrace" (DLBacktrace), or "usual"."""
        return "backtrace" if isinstance(self.head, BacktraceStart) else "usual"

    @property
    def stepwise(self) -> bool:
        """Whether a layer's step follows from the one relevance of its output that a trace shows.

        In contrast mode it takes two, of which a trace shows the one that is asked for.
        """
        return not isinstance(self.head, BacktraceStart) or self.head.part == "whole"

    @property
    def parts(self) -> tuple[Method, ...]:
        """The methods whose traces show the relevances that a step takes: itself, or the two of contrast mode."""
        if not isinstance(self.head, BacktraceStart) or self.head.part == "whole":
            return (self,)
        return tuple(
            self if self.head.part == part else replace(self, head=replace(self.head, part=part))
            for part in _PARTS
        )

    def check(self, graph: Graph) -> None:
        """Whether the method can be run on a network at all.

        Raises MethodDoesNotApplyError where it is not meant for such a network; InvalidInputError or
        UnknownNameError where a parameter does not fit it.
        """
        self._check_activations(graph)
        if graph.inputs and isinstance(self.procedure, GradCam | Rollout | UniformNoise):
            raise MethodDoesNotApplyError(
                f"{self.name} spreads what it finds over the places of one input; {graph.name} has "
                f"{len(graph.inputs)}: {', '.join(each.name for each in graph.inputs)}"
            )
        if isinstance(self.procedure, GradCam):
            self._check_grad_cam(graph, self.procedure)
        if isinstance(self.procedure, Rollout):
            tokens_of_places(graph)
            row_read(graph, self.procedure.rows)
        if isinstance(self.procedure, DeepLift):
            self._check_deep_lift(graph)
        if isinstance(self.procedure, UniformNoise) and len(graph.input.shape) != 3:
            raise MethodDoesNotApplyError(
                f"{self.name} is for images (height, width, channel); {graph.name} takes {graph.input.shape}"
            )
        self.composite.assign(graph)

    def _check_activations(self, graph: Graph) -> None:
        if not self.activations:
            return
        for layer in graph:
            if layer.traits.activation and layer.kind not in self.activations:
                raise MethodDoesNotApplyError(
                    f"{self.name} is for networks with {' or '.join(self.activations)} only; "
                    f"{graph.name} has {layer.kind} ({layer.name})"
                )

    def _check_deep_lift(self, graph: Graph) -> None:
        inner = next((layer for layer in graph if layer.kind == "softmax"), None)
        if inner is not None:
            raise MethodDoesNotApplyError(
                f"{self.name} is for networks without a softmax inside (Captum's rule for it takes a mean over the "
                f"whole batch); {graph.name} has one at layer {inner.name!r}"
            )

    def _check_grad_cam(self, graph: Graph, procedure: GradCam) -> None:
        shape = graph.input.shape
        spatial = 2 if procedure.resize == "bicubic_8bit" else 1
        if len(shape) != spatial + 1:
            axes = "axis" if spatial == 1 else "axes"
            raise MethodDoesNotApplyError(
                f"{self.name} is for inputs with {spatial} spatial {axes}; {graph.name} takes {shape}"
            )
        layer = cam_layer(graph, procedure.layer)
        if len(layer.shape) != spatial + 1:
            raise MethodDoesNotApplyError(
                f"{self.name}: layer {layer.name!r} has shape {layer.shape}, expected {spatial} spatial axes"
            )
        if spatial == 2 and shape[0] != shape[1]:
            raise MethodDoesNotApplyError(
                f"{self.name} is for square inputs (signxai resizes to width x height in the wrong order); "
                f"{graph.name} takes {shape}"
            )
        if spatial == 2 and shape[2] not in _IMAGE_CHANNELS:
            raise MethodDoesNotApplyError(
                f"{self.name} is for images of 1 or 3 channels (its resize goes through one); "
                f"{graph.name} takes {shape}"
            )
