"""What the analysis finds, as data: a row for each layer, each entry of the ledger, each extreme of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: By axis name, "batch" first.
Place = dict[str, int]

#: Denominators below this many times the layer's root mean square are looked at.
THRESHOLDS = (1e-6, 1e-3)
#: Of |S(z)|, beside the smallest.
QUANTILES = (0.001, 0.01, 0.5)
#: What may keep relevance that a step does not pass down: columns of the ledger, in words.
ABSORBERS = {
    "bias": "the bias",
    "stabilizer": "the stabilizer",
    "at_zero": "what stands for a zero denominator",
    "split": "the split among branches",
    "rule": "the rule itself",
}
#: All columns of the ledger but what was received and passed: the absorbers, and what nothing accounts for.
SHARES = (*ABSORBERS, "unexplained", "joined")


@dataclass(frozen=True)
class Counts:
    """How many values of a tensor are what."""

    negative: int
    zero: int
    positive: int
    nan: int
    inf: int


@dataclass(frozen=True)
class Denominators:
    """What a layer's relevance is divided by, over the whole batch and all divisions of the rule.

    ``smallest``: the smallest ``|S(z)|``. ``quantiles``: of ``|S(z)|``, at :data:`QUANTILES`. ``rms``: root mean
    square of ``z`` before the stabilizer. ``zeros``: how many ``z`` are exactly zero. ``passing``: which share
    of ``sum |R|`` is divided by an ``|S(z)|`` below :data:`THRESHOLDS` times ``rms``.
    """

    smallest: float
    quantiles: tuple[float, ...]
    rms: float
    zeros: int
    passing: tuple[float, ...]


@dataclass(frozen=True)
class LayerStability:
    """One layer's step.

    ``condition``: noise of the step's output over noise of its input (`harness.stability.condition`); NaN where no
    relevance arrives or the step is not finite. ``magnitude`` and ``largest``: ``sum |R|`` and the largest ``|R|``
    that reached the output. ``growth``: ``sum |R|`` over the inputs divided by ``magnitude``; above 1 relevance of
    both signs was made. ``counts``: of the relevance that reached the output. ``denominators``: None where the
    rule has none.
    """

    layer: str
    kind: str
    rule: str
    condition: float
    growth: float
    magnitude: float
    largest: float
    counts: Counts
    denominators: Denominators | None


@dataclass(frozen=True)
class LedgerEntry:
    """Where the relevance of one sample went at one layer.

    ``received``: sum of the relevance of the layer's output. ``passed``: sum over its inputs, as the backend's own
    step hands it down. ``bias``, ``stabilizer``, ``at_zero``, ``split`` and ``rule``: what absorbed the difference,
    in float64 on the same data; negative where relevance was added (`harness.stability.ledger`).
    ``unexplained``: what is left of the difference; rounding, or a step that is not the rule's. ``joined``: what the
    relevance of the output is off from the sum of the shares that its readers handed to it. The entry of the input
    passes all that it received.
    """

    layer: str
    sample: int
    received: float
    passed: float
    bias: float = 0.0
    stabilizer: float = 0.0
    at_zero: float = 0.0
    split: float = 0.0
    rule: float = 0.0
    unexplained: float = 0.0
    joined: float = 0.0

    @property
    def difference(self) -> float:
        """``received - passed``."""
        return self.received - self.passed


OriginKind = Literal["0/0", "R/0", "overflow", "forward", "head", "unknown"]


@dataclass(frozen=True)
class Origin:
    """Where NaN or infinity came from.

    ``layer``: whose step made it (kind "forward": whose activation). ``place``: the first such value of that
    layer's output; ``count``: how many there are. ``relevance`` and ``denominator``: the two sides of the division
    there; None where it was none. ``denominator`` is that of float64: not quite zero where only the run's dtype
    takes it for zero.
    """

    layer: str
    kind: OriginKind
    place: Place | None
    count: int
    relevance: float | None = None
    denominator: float | None = None


@dataclass(frozen=True)
class Extreme:
    """A place of the input with the value of input, gradient and relevance there."""

    of: Literal["relevance", "gradient"]
    end: Literal["min", "max"]
    place: Place
    input: float
    gradient: float
    relevance: float


@dataclass(frozen=True)
class InputStability:
    """The relevance of the input, before what the method does to it last. Extremes are over finite values."""

    counts: Counts
    gradient_counts: Counts
    extremes: tuple[Extreme, ...]


FormName = Literal["signed", "rms", "plain"]


@dataclass(frozen=True)
class FormAtLayer:
    """One stabilizer form on the denominators of one layer.

    ``smallest``: the smallest ``|D|``; ``zeros``: how many ``D`` are exactly zero; ``turned``: how many have
    the other sign than ``z``; ``through_turned``: which share of ``sum |R|`` of this run is divided by those.
    Counted where the rule divides, over all of its divisions.
    """

    form: FormName
    layer: str
    smallest: float
    zeros: int
    turned: int
    through_turned: float
    denominators: int


@dataclass(frozen=True)
class FormResult:
    """A whole run with one form at every layer that divides, on the same activations.

    ``smallest``, ``zeros``, ``turned``: over all layers; ``through_turned``: of the layer where it is largest.
    ``low``, ``high``, ``total``: of the relevance of the input, over its finite values. ``distance``: relative L2
    from the other forms and from the method as it is ("method"), over the norm of the other; NaN where one of the
    two is not finite.
    """

    form: FormName
    smallest: float
    zeros: int
    turned: int
    through_turned: float
    low: float
    high: float
    total: float
    nan: int
    inf: int
    distance: dict[str, float]


@dataclass(frozen=True)
class Forms:
    """The three stabilizer forms with one epsilon, side by side."""

    epsilon: float
    results: tuple[FormResult, ...]
    layers: tuple[FormAtLayer, ...]
