"""What a diagnosis says: one finding for each fault, and the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Stage = Literal["forward", "head", "rule", "postprocess", "run"]


@dataclass(frozen=True)
class Finding:
    """One fault.

    ``stage``: where in the run it sits; "run" for what is about the run itself. ``layer``: the canonical name of the
    layer that introduces it; None for the whole run (nondeterminism, a black box that shows no layers). ``cause``: one
    of `causes.CAUSES`. ``words``: what is done differently. ``error``: how far the candidate's step is from the
    reference's (relative L2).
    ``residual``: how far it is from the reference's step with the deviation; None where nothing was found.
    ``floor``: what rounding explains of either. ``runner_up``: the next best deviation, in words, with its
    residual. ``first_seen``: True where the candidate gives no steps of its own, so that the layer is where the
    difference is first seen and not, as otherwise, where it is introduced. ``also``: other layers with
    the same fault. ``facts``: what is known besides, above all where the cause is unknown. ``left``: how far the
    candidate's attribution is from that of the whole case with all causes found, where rounding does not explain it:
    the finding is then not the whole answer. ``or_causes``: other names that explain it
    equally well; ``words`` say how.
    """

    stage: Stage
    layer: str | None
    cause: str
    words: str
    error: float
    floor: float
    residual: float | None = None
    runner_up: tuple[str, float] | None = None
    first_seen: bool = False
    also: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    left: float | None = None
    or_causes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The finding as one sentence a developer can act on."""
        where = f"{self.layer}: " if self.layer else ""
        seen = " (where the difference is first seen)" if self.first_seen and self.layer else ""
        what = "step" if self.layer or not self.first_seen else "attribution"
        how = "" if self.residual is None else f"; with it the {what} agrees to {self.residual:.1e}"
        others = f"; the same at {len(self.also)} more: {', '.join(self.also[:6])}" if self.also else ""
        more = ", ..." if len(self.also) > 6 else ""
        name = " or ".join((self.cause, *self.or_causes))
        return f"{where}{self.words}{seen}{how} ({name}){others}{more}{self.incomplete}"

    @property
    def incomplete(self) -> str:
        """That this is not the whole answer, as the end of a sentence; empty where it is, and for `unknown`."""
        if self.left is None or self.cause == "unknown":
            return ""
        if self.left == float("inf"):
            return "; incomplete: with all that was found, NaN or infinity is where the reference has numbers"
        share = f"{self.left:.0%}" if self.left >= 0.01 else f"{self.left:.1e}"
        return f"; incomplete: with all that was found applied, the attribution is still {share} off"


@dataclass(frozen=True)
class Differing:
    """What a finding says whatever the cause: see `Finding`."""

    stage: Stage
    layer: str | None
    error: float
    floor: float
    first_seen: bool = False

    def finding(self, cause: str, words: str, residual: float | None = None, **more: Any) -> Finding:
        """A finding of it; ``more``: its further fields."""
        known = (self.stage, self.layer, cause, words, self.error, self.floor, residual)
        return Finding(*known, first_seen=self.first_seen, **more)
