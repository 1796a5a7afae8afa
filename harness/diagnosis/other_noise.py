"""SmoothGrad and its like with noise that is drawn anew: two right sides then differ by what the noise makes of it."""

from __future__ import annotations

from dataclasses import replace

from harness.diagnosis.case import Case
from harness.diagnosis.findings import Finding
from harness.diagnosis.measure import apart
from harness.engine import engine
from harness.methods import Smoothed

#: A candidate with other noise is as far away as the reference with other noise, but for a factor of up to this.
ALIKE = 2.0
#: Where noise makes more of it than this, any other map would be as far away.
TELLING = 0.3


def with_other_noise(case: Case, finding: Finding) -> Finding:
    """``finding``, which has no name, with the words that other noise would explain its distance, where it would.

    Where it does, ``parameters`` have ``other_noise``: how far the reference is from itself with the next seed
    (relative L2).
    """
    procedure = case.method.procedure
    if not isinstance(procedure, Smoothed):
        return finding
    other = replace(case.method, procedure=replace(procedure, seed=procedure.seed + 1))
    again = engine().run(case.asked.with_method(other), case.reference, keep=False)
    expected = apart((case.reference_run.attribution_array,), (again.attribution_array,))
    if expected > TELLING or not expected / ALIKE <= finding.error <= ALIKE * expected:
        return finding
    words = (
        f"its distance of {finding.error:.1e} is what other noise of the same size would give: the reference with "
        f"another seed is {expected:.1e} from itself"
    )
    return replace(finding, words=words, parameters={**finding.parameters, "other_noise": expected})
