"""One deviation at all layers of a kind at once, for a candidate that shows no layers: whole runs back, by the oracle.

The layers of a deviation are all that can have it, those of them under one rule, those of one kind, and those of both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.diagnosis.case import Case
from harness.diagnosis.excerpt import multiplications
from harness.diagnosis.findings import Stage
from harness.diagnosis.head import seed
from harness.diagnosis.search import Hypothesis
from harness.diagnosis.walk import Causes, activations_of
from harness.graph import Graph, Layer, parted, walk_back
from harness.methods import Backward
from harness.steps import Arrays, Deviation, ForwardStep, Step

#: Multiplications of a forward pass up to which hundreds of whole runs are made in a minute.
SMALL = 40_000_000
#: What describes or rounds, and not what a rule does.
_LEFT_OUT = ("precision", "nan")


@dataclass(frozen=True, eq=False)
class Everywhere:
    """One deviation, as each of ``layers`` has it."""

    cause: str
    words: str
    layers: tuple[str, ...]
    deviations: Mapping[str, Hypothesis]
    stage: Stage = "rule"

    def relevance(self, runs: WholeRuns) -> np.ndarray:
        """The relevance of the input in a run with it."""
        return runs.back(self.deviations)


def small_enough(case: Case) -> bool:
    """Whether as many runs as it takes can be made."""
    cost = sum(multiplications(layer, len(case.x)) for layer in case.graph)
    return isinstance(case.method.procedure, Backward) and cost <= SMALL


@dataclass(eq=False)
class WholeRuns:
    """Runs backwards on the input of ``case``, with the steps above the first that is altered computed once.

    ``factors``: what the start of the backward pass is multiplied by, one a sample; None for the method's own start.
    """

    case: Case
    factors: np.ndarray | None = None

    @cached_property
    def activations(self) -> dict[str, np.ndarray]:
        return activations_of(self.case, Causes(()), np.asarray(self.case.x))

    def step(self, layer: Layer, relevance: np.ndarray) -> Step:
        return self.case.step(layer, tuple(self.activations[name] for name in layer.inputs), relevance)

    @cached_property
    def specified(self) -> dict[str, tuple[Step, Arrays]]:
        """By layer, its step in the run as specified."""
        steps: dict[str, tuple[Step, Arrays]] = {}

        def step(layer: Layer, relevance: np.ndarray) -> Arrays:
            own = self.step(layer, relevance)
            steps[layer.name] = own, self.case.oracle.carry_out(own)
            return steps[layer.name][1]

        self._walked(step)
        return steps

    def back(self, deviations: Mapping[str, Hypothesis]) -> np.ndarray:
        """The relevance of the input where the layers of ``deviations`` have them."""
        known: dict[str, tuple[Step, Arrays]] | None = self.specified

        def step(layer: Layer, relevance: np.ndarray) -> Arrays:
            nonlocal known
            hypothesis = deviations.get(layer.name)
            if hypothesis is None and known is not None:
                return known[layer.name][1]
            known = None  # from here on, relevance is another
            own = self.step(layer, relevance)
            return self.case.oracle.carry_out(own if hypothesis is None else hypothesis.alter(own))

        return self._walked(step)

    def _walked(self, step: Callable[[Layer, np.ndarray], Arrays]) -> np.ndarray:
        case = self.case
        logits = np.asarray(self.activations[case.graph.output], np.float64)
        start = seed(logits, case.target, case.method.head)
        if self.factors is not None:
            start = start * self.factors[:, None]
        rectified = case.method.composite.rectified_sources(case.graph)
        with np.errstate(all="ignore"):
            *_, (_, received) = walk_back(case.graph, start, step, rectified)
        return received


def deviations_everywhere(runs: WholeRuns) -> Iterator[list[Everywhere]]:
    """Every deviation that has a name: at all layers that can have it, then at those of one rule, kind, and both."""
    graph = runs.case.graph
    listed: dict[str, dict[str, Deviation]] = {}
    for name, (step, result) in runs.specified.items():
        for deviation in runs.case.oracle.deviations(step, result):
            constant = "constant" in deviation.parameters
            if not deviation.generic and (constant or deviation.cause not in _LEFT_OUT):
                listed.setdefault(_worded(deviation.words, graph), {}).setdefault(name, deviation)
    done: dict[str, set[frozenset[str]]] = {words: set() for words in listed}
    for of in _groupings(runs):
        yield [
            _everywhere(graph, words, by_layer, chosen)
            for words, by_layer in listed.items()
            for chosen in _groups(by_layer, of)
            if _is_new(done[words], chosen)
        ]


def _is_new(done: set[frozenset[str]], chosen: frozenset[str]) -> bool:
    new = chosen not in done
    done.add(chosen)
    return new


def inputs_otherwise(case: Case) -> Iterator[tuple[str, Causes]]:
    """What may be done to the input before the network gets it, in words, at all layers that read it."""
    x = np.asarray(case.x, np.float64)
    given = parted(case.graph.inputs, x)
    by_layer = {each.layer: (f"the input {each.name!r}", given[each.name]) for each in case.graph.inputs}
    for source in case.graph.sources:
        called, values = by_layer.get(source.name, ("the network's input", x))
        readers = [layer for layer in case.graph.consumers(source.name) if set(layer.inputs) == {source.name}]
        listed: dict[str, dict[str, Hypothesis]] = {}
        for layer in readers:
            step = ForwardStep(layer, (values,) * len(layer.inputs), case.graph)
            for deviation in case.oracle.input_deviations(step):
                listed.setdefault(deviation.words, {})[layer.name] = Hypothesis((deviation,), 0.0)
        for words, forward in listed.items():
            if len(forward) == len(readers):
                yield words.replace("its input", called), Causes((), forward)


def _everywhere(
    graph: Graph, words: str, by_layer: Mapping[str, Deviation], chosen: frozenset[str]
) -> Everywhere:
    layers = [layer.name for layer in graph if layer.name in chosen]
    deviations = {name: Hypothesis((by_layer[name],), 0.0) for name in layers}
    causes = [by_layer[name].cause for name in layers]
    inner = [cause for cause in causes if cause != "input-layer-rule"]
    return Everywhere((inner or causes)[0], f"{_where(graph, layers)}: {words}", tuple(layers), deviations)


def _groupings(runs: WholeRuns) -> tuple[Callable[[str], object], ...]:
    """What layers have in common that are altered together, by name."""
    rules = {name: step.rule for name, (step, _) in runs.specified.items()}
    graph = runs.case.graph
    return (
        lambda name: None,
        lambda name: rules[name],
        lambda name: graph[name].kind,
        lambda name: (rules[name], graph[name].kind),
    )


def _groups(names: Iterable[str], of: Callable[[str], object]) -> list[frozenset[str]]:
    groups: dict[object, set[str]] = {}
    for name in names:
        groups.setdefault(of(name), set()).add(name)
    return [frozenset(group) for group in groups.values()]


def _worded(words: str, graph: Graph) -> str:
    """``words`` without what is particular to a layer: its neighbours' names, its counts, the rule it should have."""
    # A layer that is called "input" or "add" is a word of the sentence as well.
    names = [layer.name for layer in graph if re.search(r"[\d_]", layer.name)]
    for name in sorted(names, key=len, reverse=True):
        words = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "the layer", words)
    words = re.sub(r"\b\d+ inputs\b", "inputs", words)
    words = re.sub(r"b / \d+\)", "b / n)", words)
    return re.sub(r",? (instead of|besides) .*$", "", words)


def _where(graph: Graph, layers: list[str]) -> str:
    """The layers as a reader looks for them."""
    kinds = list(dict.fromkeys(graph[name].kind for name in layers))
    if len(layers) == 1:
        return f"at {layers[0]}"
    return f"at {len(layers)} layers ({', '.join(kinds)})"
