"""Each rule of the port against Zennit's own of the same name, and the reference's rules against an older tree.

    python benchmarks/rules.py [--threads 1 2] [--rounds 7] [--layer NAME ...] [--rule NAME ...] [--write FILE.md]
    python benchmarks/rules.py --reference FOLDER [--rounds 7]

The first measures one layer at a time: a module of `vgg16-mri` under a hook, on the activations of the network's own
example, forward and back, float32, the port's hook and Zennit's in turn. "signed" is the same layer on its input minus
the mean, for the rules that do less where no input is below zero. Both must compute the same function; an average
pooling stands for Zennit's `Norm`. Then whole runs of the network with one rule at every kernel, the port's composite
against the candidate `zennit`'s. A ratio is Zennit's time over the port's in the same round, the figure its median.

The second measures the steps of the TensorFlow reference in this tree and in FOLDER, the root of another one, a
process each, in turn.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.api import load_model
from harness.files import write_text
from harness.methods import (
    AlphaBeta,
    Bounded,
    Deconvolution,
    Epsilon,
    Flat,
    Gamma,
    GuidedReLU,
    Pass,
    Rule,
    Sign,
    SignedEpsilon,
    StdEpsilon,
    Unprotected,
    WSquare,
    Z,
    ZPlusFast,
    method,
)
from harness.runner import chosen_input

MODEL = "vgg16-mri"
#: One layer for each shape of a convolution, and the dense ones.
KERNELS = (
    "block1_conv1",
    "block1_conv2",
    "block2_conv2",
    "block3_conv2",
    "block4_conv2",
    "block5_conv2",
    "dense",
    "dense_1",
)
ACTIVATIONS = ("block1_conv2_relu", "block3_conv2_relu", "block5_conv2_relu", "dense_relu")
POOLS = ("block1_pool", "block3_pool", "block5_pool")
#: Whole runs: one backward pass each, that both sides have.
METHODS = (
    "gradient",
    "guided_backprop",
    "deconvnet",
    "lrp.epsilon",
    "lrp.z_plus",
    "lrp.alpha_1_beta_0",
    "lrp.alpha_2_beta_1",
    "lrp.gamma",
    "lrp.flat",
    "lrp.w_square",
    "epsilon_plus_flat",
    "epsilon_alpha2_beta1_flat",
    "epsilon_gamma_box:low=-3,high=3",
)
_STABLE = SignedEpsilon(1e-6)


@dataclass(frozen=True)
class Pair:
    """A rule of the port, and Zennit's class with its arguments."""

    name: str
    rule: Rule
    zennit: str
    arguments: dict[str, Any]
    layers: tuple[str, ...] = KERNELS
    signed: bool = False


PAIRS = (
    Pair("Epsilon", Epsilon(1e-6), "Epsilon", {"epsilon": 1e-6}),
    Pair("Epsilon, no bias", Epsilon(1e-6, False), "Epsilon", {"epsilon": 1e-6, "zero_params": "bias"}),
    Pair("Epsilon 0", Z(stabilizer=Unprotected()), "Epsilon", {"epsilon": 0}),
    Pair("AlphaBeta 2 1", AlphaBeta(2, 1, True, _STABLE, True), "AlphaBeta", {"alpha": 2, "beta": 1}),
    Pair(
        "AlphaBeta 2 1, signed",
        AlphaBeta(2, 1, True, _STABLE, True),
        "AlphaBeta",
        {"alpha": 2, "beta": 1},
        signed=True,
    ),
    Pair("AlphaBeta 1 0", AlphaBeta(1, 0, True, _STABLE, True), "AlphaBeta", {"alpha": 1, "beta": 0}),
    Pair(
        "AlphaBeta 1 0, signed",
        AlphaBeta(1, 0, True, _STABLE, True),
        "AlphaBeta",
        {"alpha": 1, "beta": 0},
        signed=True,
    ),
    Pair("ZPlus", AlphaBeta(1, 0, True, _STABLE, True), "ZPlus", {}),
    Pair("ZPlus, signed", AlphaBeta(1, 0, True, _STABLE, True), "ZPlus", {}, signed=True),
    Pair("Gamma", Gamma(0.25, True, _STABLE), "Gamma", {"gamma": 0.25}),
    Pair("Gamma, signed", Gamma(0.25, True, _STABLE), "Gamma", {"gamma": 0.25}, signed=True),
    Pair("Flat", Flat(_STABLE), "Flat", {}),
    Pair("WSquare", WSquare(_STABLE, True), "WSquare", {}),
    Pair("ZBox", Bounded(-3, 3, _STABLE), "ZBox", {"low": -3.0, "high": 3.0, "zero_params": "bias"}),
    Pair("Norm", Z(stabilizer=_STABLE), "Norm", {}, POOLS),
    Pair("Pass", Pass(), "Pass", {}, ACTIVATIONS),
    Pair("ReLUGuidedBackprop", GuidedReLU(), "ReLUGuidedBackprop", {}, ACTIVATIONS),
    Pair("ReLUDeconvNet", Deconvolution(), "ReLUDeconvNet", {}, ACTIVATIONS),
)

#: The rules of the reference, each at every layer of KERNELS or ACTIVATIONS.
REFERENCE_RULES: dict[str, tuple[Rule, tuple[str, ...]]] = {
    "z": (Z(), KERNELS),
    "z, no bias": (Z(bias=False), KERNELS),
    "epsilon": (Epsilon(1e-7), KERNELS),
    "std epsilon": (StdEpsilon(0.25), KERNELS),
    "sign": (Sign(), KERNELS),
    "alpha 2 beta 1": (AlphaBeta(2, 1), KERNELS),
    "alpha 1 beta 0": (AlphaBeta(1, 0), KERNELS),
    "z plus fast": (ZPlusFast(), KERNELS),
    "gamma": (Gamma(0.25), KERNELS),
    "gamma, not signed": (Gamma(0.25, signed=False), KERNELS),
    "flat": (Flat(), KERNELS),
    "w square": (WSquare(), KERNELS),
    "bounded": (Bounded(-3, 3), KERNELS),
    "guided": (GuidedReLU(), ACTIVATIONS),
    "deconvolution": (Deconvolution(), ACTIVATIONS),
}

Row = tuple[str, str, int, float, float, float]


# --- the port and Zennit --------------------------------------------------------------------------------


def layer_rows(arguments: argparse.Namespace, threads: int) -> Iterator[Row]:
    """(rule, layer, threads, the port's ms, Zennit's ms, median ratio), the milliseconds medians too."""
    import torch

    torch.set_num_threads(threads)
    model = load_model(MODEL)
    inputs = _inputs(model)
    for pair in PAIRS:
        for name in pair.layers:
            if arguments.layer and name not in arguments.layer:
                continue
            if arguments.rule and pair.name not in arguments.rule:
                continue
            sides = [_step(model, name, pair, inputs[name], own) for own in (True, False)]
            _require_equal(f"{pair.name} at {name}", *(side() for side in sides))
            yield (pair.name, name, threads, *_in_turn(sides, arguments.rounds, threads))


def _inputs(model: Any) -> dict[str, Any]:
    """What each layer reads on the example of the model, by the layer's name."""
    import torch

    x, _ = chosen_input(model, None)
    twin = model.torch("float32")
    inputs: dict[str, Any] = {}
    handles = [
        twin.get_submodule(name).register_forward_pre_hook(
            lambda module, args, name=name: inputs.__setitem__(name, args[0].clone())
        )
        for name in (*KERNELS, *ACTIVATIONS, *POOLS)
    ]
    with torch.no_grad():
        twin(torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))))
    for handle in handles:
        handle.remove()
    return inputs


def _step(model: Any, name: str, pair: Pair, x: Any, own: bool) -> Callable[[], Any]:
    """Forward and back through the layer's module under the port's hook, or under Zennit's."""
    import torch

    from ported_impls.composite import hook_for
    from ported_impls.torchvision_shim import zennit

    if name in POOLS:
        module: Any = torch.nn.AvgPool2d(2)
        layer = _average_pool(model.graph[name])
    else:
        module, layer = copy.deepcopy(model.torch("float32").get_submodule(name)), model.graph[name]
    template: Any = (
        hook_for(pair.rule, layer) if own else getattr(zennit.rules, pair.zennit)(**pair.arguments)
    )
    hook = template.copy()  # Zennit hands copies to the modules; a hook that nobody holds is gone
    hook.register(module)
    seen = (x - x.mean() if pair.signed else x).detach().requires_grad_()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        relevance = torch.randn(module.forward(seen).shape, generator=generator)

    def step(hook: Any = hook) -> Any:
        output = module(seen)
        return torch.autograd.grad(output, seen, relevance)[0]

    return step


def _average_pool(layer: Any) -> Any:
    from ported_models.build import Builder

    builder = Builder("pool", layer.input_shapes[0])
    builder.add("average_pool2d", "pool", attributes={"pool_size": (2, 2)})
    return builder.graph()["pool"]


def run_rows(arguments: argparse.Namespace, threads: int) -> Iterator[Row]:
    """The same figures for whole runs of the network; the attribution alone is asked for."""
    import torch

    from harness.backends import backend_named
    from harness.methods import Method

    torch.set_num_threads(threads)
    model = load_model(MODEL)
    x, _ = chosen_input(model, None)
    prepared = [backend_named(name).prepare(model, "float32") for name in ("torch", "zennit")]
    target = np.zeros(len(x), np.int64)

    def run(side: Any, asked: Method) -> np.ndarray:
        return np.asarray(side.run(x, asked, target, False).attribution)

    for name in arguments.method or METHODS:
        sides: list[Callable[[], Any]] = [partial(run, side, method(name)) for side in prepared]
        yield (name, "whole run", threads, *_in_turn(sides, arguments.rounds, threads))


def _in_turn(sides: list[Callable[[], Any]], rounds: int, threads: int) -> tuple[float, float, float]:
    """Median milliseconds of both, and the median of the second's time over the first's in the same round.

    With one thread they are the process's own time, which what else the machine does leaves alone; with more, the
    clock's.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    times: list[list[float]] = [[], []]
    for side in sides:
        side()
    for place in range(rounds):
        for which in (0, 1) if place % 2 == 0 else (1, 0):
            started = clock()
            sides[which]()
            times[which].append(1e3 * (clock() - started))
    ratios = [second / first for first, second in zip(*times, strict=True)]
    return statistics.median(times[0]), statistics.median(times[1]), statistics.median(ratios)


def _require_equal(what: str, first: Any, second: Any) -> None:
    """Only what computes the same function is compared: to 1e-3 of the norm."""
    distance = float((first - second).norm() / second.norm())
    if not distance < 1e-3:
        raise SystemExit(f"{what}: the port's relevance is {distance:.2g} from Zennit's, expected below 1e-3")


# --- the reference --------------------------------------------------------------------------------------


def reference_times() -> dict[str, float]:
    """Milliseconds of the process's own time of each rule's step, by "rule @ layer"; the least of three."""
    from harness.backends import backend_named, capability
    from harness.methods import Assignment, Composite, Gradient, Method

    model = load_model(MODEL)
    x, _ = chosen_input(model, None)
    prepared = backend_named("tensorflow").prepare(model, "float32")
    steps = capability(prepared, "steps")
    every = Method("gradient", Composite((Assignment(Gradient()),)))
    activations = prepared.run(x, every, np.zeros(len(x), np.int64), True).activations
    rng = np.random.default_rng(0)
    measured = {}
    for rule_name, (rule, layers) in REFERENCE_RULES.items():
        asked = Method("step", Composite((Assignment(rule, names=layers), Assignment(Gradient()))))
        for name in layers:
            layer = model.graph[name]
            given = tuple(np.asarray(activations[source]) for source in layer.inputs)
            relevance = rng.standard_normal((len(x), *layer.shape)).astype(np.float32)
            times = []
            for _ in range(4):
                started = time.process_time()
                steps.step(layer, given, relevance, asked)
                times.append(1e3 * (time.process_time() - started))
            measured[f"{rule_name} @ {name}"] = min(times[1:])
    return measured


def reference_rows(older: Path, rounds: int) -> list[Row]:
    """This tree's milliseconds and the older tree's, one process each, in turn; both medians, and of the ratio."""
    roots = (Path(__file__).resolve().parents[1], older.resolve())
    times: list[list[dict[str, float]]] = [[], []]
    for place in range(rounds):
        for which in (0, 1) if place % 2 == 0 else (1, 0):
            command = [sys.executable, __file__, "--reference-times"]
            surroundings = {**os.environ, "PYTHONPATH": str(roots[which])}
            done = subprocess.run(
                command, check=True, capture_output=True, text=True, env=surroundings, cwd=roots[which]
            )
            times[which].append(json.loads(done.stdout.splitlines()[-1]))
    rows: list[Row] = []
    for key in times[0][0]:
        new, old = ([each[key] for each in side] for side in times)
        ratio = statistics.median(b / a for a, b in zip(new, old, strict=True))
        rule, layer = key.split(" @ ")
        rows.append((rule, layer, 0, statistics.median(new), statistics.median(old), ratio))
    return rows


# --- what is shown --------------------------------------------------------------------------------------


def table(rows: list[Row], first: str, second: str) -> str:
    """One line a rule: the ratio at each place, and the ratio of the sums over all of them."""
    lines = [
        f"| rule | threads | {first}, ms | {second}, ms | ratio of the sums | lowest ratio | at each |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, threads in dict.fromkeys((row[0], row[2]) for row in rows):
        own = [row for row in rows if row[0] == name and row[2] == threads]
        total, other = sum(row[3] for row in own), sum(row[4] for row in own)
        each = ", ".join(f"{row[1]} {row[5]:.2f}" for row in own)
        lowest = min(row[5] for row in own)
        lines.append(
            f"| {name} | {threads or ''} | {total:.1f} | {other:.1f} | {other / total:.2f} | {lowest:.2f} | {each} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--layer", nargs="+")
    parser.add_argument("--rule", nargs="+")
    parser.add_argument("--method", nargs="+", help="of the whole runs")
    parser.add_argument("--no-layers", action="store_true", help="leave the single layers out")
    parser.add_argument("--no-runs", action="store_true", help="leave the whole runs out")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--reference", type=Path, help="root of the older tree")
    parser.add_argument("--reference-times", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reference_times:
        print(json.dumps(reference_times()))
        return
    if arguments.reference:
        print(table(reference_rows(arguments.reference, arguments.rounds), "now", "before"))
        return
    pages = []
    if not arguments.no_layers:
        layers = [row for threads in arguments.threads for row in layer_rows(arguments, threads)]
        pages.append("## One layer\n\n" + table(layers, "port", "Zennit"))
    if not arguments.no_runs:
        runs = [row for threads in arguments.threads for row in run_rows(arguments, threads)]
        pages.append("## The whole network\n\n" + table(runs, "port", "Zennit"))
    page = "\n\n".join(pages) + "\n"
    print(page)
    if arguments.write:
        write_text(arguments.write, page)


if __name__ == "__main__":
    main()
