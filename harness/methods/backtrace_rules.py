"""The rules of DLBacktrace as plain, comparable values, beside those of LRP (`harness.methods.rules`).

Relevance is shared by the size of contributions. For one output ``j`` of a layer with a kernel, and the contributions
``c_i = w_ij * x_i`` of its inputs: ``P`` is the sum of the positive ones, ``N`` that of the sizes of the negative
ones, ``b+`` and ``b-`` are the sizes of the positive and of the negative part of the bias.

The readings are those of the package dl-backtrace 0.1.24, of what stands in its modules `original_version`; the
contrast mode and the LSTM are those of 0.0.25, the last version that has them. Paper: Sankarapu et al. 2024,
arXiv:2411.12643.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from harness.errors import InvalidInputError

#: How a side counts that is empty or saturated, and how its range is taken; see :class:`Backtrace`.
Reading = Literal["linear", "convolution"]


@dataclass(frozen=True)
class Saturation:
    """When an activation behind a layer no longer answers to one side of its contributions.

    ``form``: "none"; "mono", an activation that rises, flat below ``low`` and above ``high``; "non_mono", one that
    does not, whose ``function`` is asked besides: a side without which it takes the same value is saturated.
    ``low`` and ``high``: None for no bound. ``function``: "swish" is ``x / (1 + exp(-0.75 x))`` (`np_swish`).
    ``zero``: whether a bound of 0 is a bound ("bound", as the package has it in its linear layer) or none ("none", as
    in its convolution).

    Raises InvalidInputError where ``form`` is "mono" and no bound is given, or "non_mono" and there is no function.
    """

    form: Literal["none", "mono", "non_mono"] = "none"
    low: float | None = None
    high: float | None = None
    function: Literal["swish"] | None = None
    zero: Literal["bound", "none"] = "bound"

    def __post_init__(self) -> None:
        if self.form == "non_mono" and self.function is None:
            raise InvalidInputError("a saturation that is non_mono needs its function; write function=swish")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise InvalidInputError(
                f"the low bound of a saturation must be below the high one, found low={self.low:g}, high={self.high:g}"
            )

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """``low`` and ``high`` as they count."""
        kept = [None if self.zero == "none" and not each else each for each in (self.low, self.high)]
        return kept[0], kept[1]


#: The ranges that the package has, by the name of the activation (`activation_master`).
SATURATIONS: dict[str, Saturation] = {
    "none": Saturation(),
    "linear": Saturation("mono"),
    "relu": Saturation("mono", low=0.0),
    "tanh": Saturation("mono", low=-2.0, high=2.0),
    "sigmoid": Saturation("mono", low=-4.0, high=4.0),
    "softmax": Saturation("mono", low=-1.0, high=2.0),
    "swish": Saturation("non_mono", low=-6.0, function="swish"),
}


@dataclass(frozen=True)
class Backtrace:
    """Default mode at a layer with a kernel: ``R_i = sum over j of |c_i| * R_j / D_j``, by two readings.

    "linear" (`calculate_wt_fc`): ``D = P + N + b+ + b-``, where an empty or saturated side counts as 1 in ``D`` and
    hands its relevance on all the same. With ``t = P + b+ - N - b-``, ``P`` is saturated where ``t < low``, ``N``
    where ``t > high``; non_mono, and neither side empty or saturated so far: ``N`` where ``f(t) = f(P + b+)``, else
    ``P`` where ``f(t) = f(-N - b-)``.

    "convolution" (`calculate_wt_conv`): ``D = P + N + b+ + b-``, 1e-12 where that is 0; a saturated side gets
    nothing. With ``t = P + N``, the positive side counts where ``t > low`` and the negative one where ``t < high``
    (mono); non_mono, besides, where ``|f(t) - f(-N - b-)| > 1e-5`` and ``|f(t) - f(P + b+)| > 1e-5``.

    A separable convolution is two: the mixing one, which has the bias, then that of each channel on its own.
    """

    reading: Reading = "linear"
    saturation: Saturation = field(default_factory=Saturation)


@dataclass(frozen=True)
class Contrast:
    """Contrast mode at a layer with a kernel: two relevances, ``p`` for and ``n`` against, of each output.

    With ``t = P + b - N``: where ``t > 0`` and ``p > n``, or ``t < 0`` and ``p < n``, the positive contributions get
    ``p`` for the target and the negative ones ``n`` against it, each by its part of its side. Where the order is the
    other one, the positive contributions get ``n`` against it and the negative ones ``p`` for it. Where ``t`` is 0
    nothing is handed on.

    "linear": of equal ``p`` and ``n`` the order counts as the other one; where all contributions have one sign they get
    both, each by its part. "convolution": where ``p = n`` nothing is handed on, and one side alone is no exception.
    At pooling and sums the inputs are the contributions, and there is no bias.

    Source: dl-backtrace 0.0.25 `contrast.py`, `calculate_base_wt` and `calculate_base_wt_array`.
    """

    reading: Reading = "linear"


@dataclass(frozen=True)
class MagnitudeShare:
    """``R_i = |x_i| * R / sum of |x|`` over a window; nothing where all are 0. At average pooling, and at sums.

    Padded places are 0. (`calculate_wt_gavgpool`, `calculate_wt_avgpool`; the package pads the latter with minus
    infinity, which makes windows at the edge NaN.)
    """


@dataclass(frozen=True)
class LargestShare:
    """The largest value of each window gets its relevance; equal ones get equal parts (`calculate_wt_maxpool`).

    ``padding``: what padded places are, "zero" as in 0.1.24 (a window of negative values then hands relevance to
    them, where it is lost) or "lowest" as in 0.0.25.
    """

    padding: Literal["zero", "lowest"] = "zero"


@dataclass(frozen=True)
class EqualShare:
    """Every input gets ``R`` divided by their number; what was repeated is summed.

    `calculate_wt_add_equal`, `calculate_wt_mul`.
    """


@dataclass(frozen=True)
class BacktraceLstm:
    """Default mode through the gates of an LSTM, from the last step to the first.

    A sum hands relevance on by the size of its terms (:class:`MagnitudeShare`), a product ``y = a * b`` by ``|y - a|``
    to ``a`` and ``|y - b|`` to ``b``, each over both (nothing where both are 0), ``W x + b`` and ``U h`` as
    :class:`Backtrace` in the reading "convolution", the latter without a bias. Source: 0.0.25 `LSTM_backtrace`.
    """


@dataclass(frozen=True)
class AttentionShare:
    """A product ``z = a b`` of attention: half of the relevance goes to each of the two, by contribution.

    ``q = R / S(2 z)``, where ``S`` keeps the sign and raises the size to 1e-9 at least (0 counts as positive):
    ``R_a = a * (q b^T)``, ``R_b = b * (a^T q)``. An input that is shared ``anew`` keeps only the sum of that over its
    last two axes, which are those of one head, and each value gets the part ``|x| / (sum of |x| + 1e-12)`` of it.

    Query and key are shared anew at their product ("both"), the values at theirs ("first" or "second" by place, the
    weights being the other). Softmax, mask, scale and dropout between the two hand relevance on. Together these are
    `calculate_wt_self_attention`: a quarter of a head's relevance to its queries, a quarter to its keys, half to its
    values, so that a mask makes no difference to any of them. (It has the softmax divided by its sum and 1e-9, which
    falls out of each quotient.) In contrast mode each of the two relevances is shared so on its own: no version of the
    package has a contrast mode for attention.

    "none": nothing is shared anew, as in its `pytorch_version`.
    """

    anew: Literal["none", "first", "second", "both"] = "both"


BacktraceRule = (
    Backtrace | Contrast | MagnitudeShare | LargestShare | EqualShare | BacktraceLstm | AttentionShare
)


@dataclass(frozen=True)
class BacktraceStart:
    """The relevance of the output, ``multiplier`` times what is said here.

    ``task``: "classification", ``scaler`` at the target, its output where that is None; "bbox-regression", ``scaler``
    divided among all outputs, and as before where it is None; "binary-segmentation", the outputs above
    ``threshold``: ``scaler`` divided among them, themselves where it is None.

    ``part``: "whole" in default mode; "for" and "against" are the two of contrast mode. Against the target are the
    other outputs (those that are not above the threshold) as they are, and ``1 - y`` where the only output ``y`` is
    below 1; scaled to the sum ``scaler``, where there is one and their sum is above 0.

    0.1.24 has scaler 1 and multiplier 100, whatever it is given; 0.0.25 reads both.
    """

    task: Literal["classification", "bbox-regression", "binary-segmentation"] = "classification"
    scaler: float | None = 1.0
    multiplier: float = 100.0
    threshold: float = 0.5
    part: Literal["whole", "for", "against"] = "whole"

    def relevance(self, outputs: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The start of each sample from its ``outputs`` (batch, outputs); ``target``: (batch,).

        This is what a start is held against where the harness judges one; each backend has a reading of its own.
        """
        return np.stack([self.multiplier * self._of_one(*each) for each in zip(outputs, target, strict=True)])

    def _of_one(self, outputs: np.ndarray, target: int) -> np.ndarray:
        chosen = np.arange(len(outputs)) == target
        if self.task == "binary-segmentation":
            chosen = outputs > self.threshold
        if self.part == "against":
            rest = np.where(chosen, 0.0, outputs)
            if len(outputs) == 1 and outputs[0] < 1 and chosen[0]:
                rest = 1.0 - outputs
            scaled = self.scaler is not None and rest.sum() > 0
            return rest * (self.scaler / rest.sum()) if scaled else rest
        if self.scaler is None:
            return np.where(chosen, outputs, 0.0)
        if self.task == "bbox-regression":
            chosen = np.ones(len(outputs), bool)
        count = 1 if self.task == "classification" else max(int(chosen.sum()), 1)
        return np.where(chosen, self.scaler / count, 0.0)

    @property
    def words(self) -> str:
        """What the backward pass starts from."""
        if self.part == "against":
            return f"{self.multiplier:g} times what the other outputs are"
        at = {
            "classification": "",
            "bbox-regression": " among all outputs",
            "binary-segmentation": f" at outputs above {self.threshold:g}",
        }[self.task]
        value = "the logit" if self.scaler is None else f"{self.scaler:g}"
        return f"{self.multiplier:g} times {value}{at}"
