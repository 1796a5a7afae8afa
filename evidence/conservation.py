"""Whether relevance is conserved through a transformer, at every cut: python -m evidence.conservation MODEL...

A cut between two layers, in forward order, separates the layers behind it from those before. What crosses it is the sum
of all that layers behind it pass to layers before it. Under rules that conserve relevance that is what the pass began
with. Three things keep some, each an account of its own: a softmax by its Taylor expansion, what its constant part has
(`attnlrp`); a padding, as that of a class token, what is no input's; a layer with a bias, what belongs to outputs to
which no input contributes (all inputs zero), which the bias alone has made. What is kept above a cut is missing below.

A sum says no more than its largest terms leave of it: where single relevances are 1e15 times what the pass began with,
as they come to be in deep networks without a stabilizer, no digit of the sum is left in float64. The table therefore
also has the largest sum of absolute relevances of a layer, by the start, and how far each layer alone is from passing
on what it received, by the absolute relevances that it received or passed on.

The TensorFlow reference, float64. Exit status 1 where a cut is further off than the bound.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.api import explain, load_model
from harness.backends import Model, Steps, backend_named, required, step_on_copies
from harness.divisions import Dividing
from harness.graph import Graph, Layer, walk_back
from harness.methods import Method, method
from harness.runner import chosen_input

#: How far the sum at a cut may be off, in float64, by the sum that the pass began with.
BOUND = 1e-9
#: The methods under which every layer conserves relevance but for ``ACCOUNTS``.
METHODS = tuple(
    f"{name}:epsilon=0,bias=false,norm={norm},residual={residual}"
    for name in ("cp_lrp", "attnlrp")
    for norm in ("identity", "held")
    for residual in ("epsilon", "sign_split")
)
#: What keeps some of it: two kinds of layers, and outputs to which no input contributes.
ACCOUNTS = ("softmax", "pad", "no input")


@dataclass(frozen=True)
class Balance:
    """Sums of one sample. ``start``: what the pass begins with; ``end``: what the input receives.

    ``kept``: by ``ACCOUNTS``, what is not passed on. ``cuts``: how many there are. ``error``: how
    far what crosses a cut is from the start less what was kept above it, at the cut where it is furthest, by the start;
    ``worst``: the layer behind that cut. ``size``: the largest sum of absolute relevances at a layer, by the start.
    ``step_error``: how far a layer is from passing on what it received and did not keep, at the layer where it is
    furthest, by the absolute relevances that it received or passed on, whichever are more.
    """

    start: float
    end: float
    kept: Mapping[str, float]
    cuts: int
    error: float
    worst: str
    size: float
    step_error: float


def balances(model: Model, asked: Method, x: np.ndarray, target: np.ndarray) -> tuple[Balance, ...]:
    """The balance of each sample of ``x`` (batch, *input shape), for the outputs ``target`` (batch,)."""
    graph = model.graph
    backend = backend_named("tensorflow")
    prepared = backend.prepare(model, "float64")
    steps: Steps = required(prepared, "steps", backend)
    oracle = backend_named("oracle")
    parts: Dividing = required(oracle.prepare(model, "float64"), "denominators", oracle)
    run = prepared.run(x, asked, target, True)
    activations = run.activations
    start = np.zeros_like(activations[graph.output])
    samples = np.arange(len(x))
    start[samples, target] = activations[graph.output][samples, target]

    def step(layer: Layer, received: np.ndarray) -> tuple[np.ndarray, ...]:
        inputs = tuple(activations[name] for name in layer.inputs)
        return step_on_copies(steps, layer, inputs, received, asked)

    def of_no_input(layer: Layer, received: np.ndarray) -> np.ndarray:
        (stage,) = parts.divisions(layer, tuple(activations[name] for name in layer.inputs), asked)
        return sum(
            (_sums(np.where(each.denominator == 0, received, 0.0)) for each in stage), np.zeros(len(x))
        )

    return tuple(_balance(graph, *sums) for sums in _sums_of_samples(graph, start, step, of_no_input))


#: By layer or edge, the sum of one sample.
Sums = dict[Any, float]


def _sums_of_samples(
    graph: Graph,
    start: np.ndarray,
    step: Callable[[Layer, np.ndarray], tuple[np.ndarray, ...]],
    of_no_input: Callable[[Layer, np.ndarray], np.ndarray],
) -> Iterator[tuple[Sums, Sums, Sums, Sums]]:
    """For each sample what each layer received; what it passed to each that it reads, as (reader, source); what a
    layer with a bias received at outputs to which no input contributes; and by layer the sum of the absolute values
    received or passed on, whichever are more.
    """
    received: dict[str, np.ndarray] = {}
    passed: dict[tuple[str, str], np.ndarray] = {}
    unclaimed: dict[str, np.ndarray] = {}
    sizes: dict[str, np.ndarray] = {}

    def watched(layer: Layer, relevance: np.ndarray) -> tuple[np.ndarray, ...]:
        shares = step(layer, relevance)
        for source, share in zip(layer.inputs, shares, strict=True):
            edge = (layer.name, source)
            passed[edge] = passed.get(edge, 0.0) + _sums(share)
        sizes[layer.name] = np.maximum(
            _sums(np.abs(relevance)), np.sum([_sums(np.abs(share)) for share in shares], axis=0)
        )
        if layer.traits.weighted and "bias" in layer.weights:
            unclaimed[layer.name] = of_no_input(layer, relevance)
        return shares

    for layer, relevance in walk_back(graph, start, watched):
        received[layer.name] = _sums(relevance)

    def of(place: int, sums: Mapping[Any, np.ndarray]) -> Sums:
        return {key: float(each[place]) for key, each in sums.items()}

    for place in range(len(start)):
        yield of(place, received), of(place, passed), of(place, unclaimed), of(place, sizes)


def _sums(values: np.ndarray) -> np.ndarray:
    """(batch,)"""
    return values.reshape(len(values), -1).sum(axis=1)


def _balance(graph: Graph, received: Sums, passed: Sums, unclaimed: Sums, sizes: Sums) -> Balance:
    order = {layer.name: place for place, layer in enumerate(graph)}
    start, kept = received[graph.output], dict.fromkeys(ACCOUNTS, 0.0)
    errors: dict[str, float] = {}
    step_error = 0.0
    for layer in reversed(graph.layers[1:]):
        own = sum(sums for (reader, _), sums in passed.items() if reader == layer.name)
        lost = received[layer.name] - own - unclaimed.get(layer.name, 0.0)
        kept["no input"] += unclaimed.get(layer.name, 0.0)
        if layer.kind in kept:
            kept[layer.kind] += lost
        elif lost:
            step_error = max(step_error, abs(lost) / sizes[layer.name])
        crossing = sum(
            sums
            for (reader, source), sums in passed.items()
            if order[source] < order[layer.name] <= order[reader]
        )
        errors[layer.name] = abs(crossing + sum(kept.values()) - start) / abs(start)
    worst = max(errors, key=lambda name: errors[name])
    size = max(sizes.values()) / abs(start)
    return Balance(
        start, received[graph.input.name], kept, len(errors), errors[worst], worst, size, step_error
    )


def table(rows: Sequence[tuple[str, str, Balance]]) -> str:
    """A line for each model, method and sample, in Markdown."""
    kept_by = (f"kept by {account}" for account in ACCOUNTS)
    head = [
        "model",
        "method",
        "start",
        "input",
        *kept_by,
        "cuts",
        "largest error",
        "of a layer",
        "largest size",
    ]
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for model, name, balance in rows:
        kept = (f"{balance.kept[kind]:.6g}" for kind in ACCOUNTS)
        figures = (f"{balance.start:.6g}", f"{balance.end:.6g}", *kept, str(balance.cuts))
        errors = (
            f"{balance.error:.1e} ({balance.worst})",
            f"{balance.step_error:.1e}",
            f"{balance.size:.1e}",
        )
        lines.append(" | ".join((model, f"`{name}`", *figures, *errors)))
    return "\n".join(f"| {line} |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evidence.conservation", description=str(__doc__).split(":")[0]
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="names of the zoo, or files")
    chosen = parser.parse_args(arguments)
    rows = []
    for name in chosen.models:
        model = load_model(name)
        x = np.asarray(chosen_input(model, None)[0], np.float64)
        target = np.argmax(explain(model, x, "gradient", dtype="float64", layers=False).logits, axis=-1)
        for asked in METHODS:
            rows += [(name, asked, each) for each in balances(model, method(asked), x, target)]
    print(table(rows))
    return int(any(not balance.error <= BOUND for _, _, balance in rows))


if __name__ == "__main__":
    sys.exit(main())
