"""Three ways to keep a denominator away from zero, tried on every division of a method on the same data.

With ``epsilon`` one number for all layers: "signed" is ``z + epsilon * sign(z)``, ``sign(0) = +1`` (Bach et al.
2015, eq. 58; Zennit); "rms" is ``z + epsilon * sqrt(mean(z**2)) + 1e-9``, the mean over all outputs of the sample
(Montavon et al. 2019, their tutorial); "plain" is ``z + epsilon``. The three are those of the notebook on numerical
instability (`lrp/zennit/core.py`, `stabilize`), which takes the mean over the whole batch of one.

Only the first moves every ``z`` away from zero. The other two move all of them up, so that a ``z`` below zero comes
nearer to zero, meets it, or comes out on the other side.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.backends import Steps, step_on_copies
from harness.comparison.metrics import relative_l2
from harness.divisions import Arrays, Division, Stage, passed_down
from harness.graph import Graph, Layer, Walk
from harness.methods import Method
from harness.stability.figures import FormAtLayer, FormName, FormResult, Forms


def signed(z: np.ndarray, epsilon: float) -> np.ndarray:
    """``z + epsilon * sign(z)``, ``sign(0) = +1``."""
    return z + np.where(z >= 0, z.dtype.type(epsilon), z.dtype.type(-epsilon))


def rms(z: np.ndarray, epsilon: float) -> np.ndarray:
    """``z + epsilon * sqrt(mean(z**2)) + 1e-9``, for each sample."""
    mean_square = (z.astype(np.float64) ** 2).mean(axis=tuple(range(1, z.ndim)), keepdims=True)
    return z + (epsilon * np.sqrt(mean_square) + 1e-9).astype(z.dtype)


def plain(z: np.ndarray, epsilon: float) -> np.ndarray:
    """``z + epsilon``"""
    return z + z.dtype.type(epsilon)


FORMS: dict[FormName, Callable[[np.ndarray, float], np.ndarray]] = {
    "signed": signed,
    "rms": rms,
    "plain": plain,
}


class FormRuns:
    """The runs of a method with each form, one step at a time, so that no more than one layer is held.

    Denominators and quotients are computed in ``dtype``, where an exact zero can occur, everything else in
    float64. ``exact`` gives the steps that do not divide.
    """

    def __init__(
        self, graph: Graph, method: Method, exact: Steps, start: np.ndarray, dtype: str, epsilon: float
    ) -> None:
        self._graph, self._method, self._exact = graph, method, exact
        self._dtype, self._epsilon = dtype, epsilon
        rectified = method.composite.rectified_sources(graph)
        self._walks = {form: Walk(graph, start.astype(np.float64), rectified) for form in FORMS}
        self._layers: list[FormAtLayer] = []

    def step(self, layer: Layer, inputs: Arrays, stages: tuple[Stage, ...]) -> None:
        """The step of ``layer``, with each form; ``inputs`` in float64."""
        for form in FORMS:
            received = self._walks[form].received(layer)
            with np.errstate(all="ignore"):
                if stages:
                    shares = self._divided(form, layer, stages, received)
                else:
                    shares = step_on_copies(self._exact, layer, inputs, received, self._method)
            self._walks[form].pass_down(layer, shares)

    def results(self, of_method: np.ndarray) -> Forms | None:
        """What each run gave at the input; ``of_method`` is the relevance there as the method has it.

        None where no step divided.
        """
        if not self._layers:
            return None
        at_input = {form: walk.received(self._graph.input) for form, walk in self._walks.items()}
        runs = {"method": of_method} | {str(form): relevance for form, relevance in at_input.items()}
        return Forms(
            self._epsilon,
            tuple(self._result(form, relevance, runs) for form, relevance in at_input.items()),
            tuple(self._layers),
        )

    def _divided(
        self, form: FormName, layer: Layer, stages: tuple[Stage, ...], received: np.ndarray
    ) -> Arrays:
        """What each input gets; what the form did to the denominators is noted."""
        noted = _Noted()
        for stage in stages:
            quotients = []
            for division in stage:
                stabilized = FORMS[form](division.denominator.astype(self._dtype), self._epsilon)
                counted = division.counted(received)
                noted.add(division, stabilized, counted)
                quotients.append((counted.astype(self._dtype) / stabilized).astype(np.float64))
            shares = passed_down(stage, tuple(quotients))
            received = shares[0]
        self._layers.append(noted.at(form, layer))
        return shares

    def _result(self, form: FormName, relevance: np.ndarray, runs: dict[str, np.ndarray]) -> FormResult:
        finite = relevance[np.isfinite(relevance)]
        layers = [each for each in self._layers if each.form == form]
        return FormResult(
            form,
            smallest=min(each.smallest for each in layers),
            zeros=sum(each.zeros for each in layers),
            turned=sum(each.turned for each in layers),
            through_turned=max(each.through_turned for each in layers),
            low=float(finite.min()) if finite.size else float("nan"),
            high=float(finite.max()) if finite.size else float("nan"),
            total=float(finite.sum()),
            nan=int(np.isnan(relevance).sum()),
            inf=int(np.isinf(relevance).sum()),
            distance={name: relative_l2(other, relevance) for name, other in runs.items() if name != form},
        )


class _Noted:
    """What one form does to the denominators of one layer, added up over its divisions."""

    def __init__(self) -> None:
        self._smallest = np.inf
        self._zeros = self._turned = self._count = 0
        self._through = self._relevance = 0.0

    def add(self, division: Division, stabilized: np.ndarray, divided: np.ndarray) -> None:
        counts = np.ones(stabilized.shape, bool) if division.counts is None else division.counts
        turned = counts & (division.denominator * stabilized < 0)
        self._smallest = min(self._smallest, float(np.abs(stabilized[counts]).min(initial=np.inf)))
        self._zeros += int((counts & (stabilized == 0)).sum())
        self._turned += int(turned.sum())
        self._count += int(counts.sum())
        self._through += float(np.abs(divided[turned]).sum())
        self._relevance += float(np.abs(divided).sum())

    def at(self, form: FormName, layer: Layer) -> FormAtLayer:
        share = self._through / self._relevance if self._relevance else 0.0
        return FormAtLayer(form, layer.name, self._smallest, self._zeros, self._turned, share, self._count)
