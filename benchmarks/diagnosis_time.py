"""Wall time and peak memory of a diagnosis on `vgg16-mri`, for faults planted in the port.

    python benchmarks/diagnosis_time.py [--model vgg16-mri] [--dtype float32] [--fault NAME ...]

Each fault runs in a process of its own. Loading the model and importing the frameworks count in the memory, not
in the time. The bound is 30 seconds and 4 GB on two cores.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from harness import backend_from_composite, diagnose, explain, load_model
from harness.backends import Backend
from harness.methods import AlphaBeta, Assignment, Composite, Epsilon, Method, method
from harness.runner import chosen_input

BOUND_S = 30.0
BOUND_GB = 4.0


def reassigned(*assignments: Assignment, head: str | None = None) -> Backend:
    """The healthy port under a method with ``assignments`` before its own: another rule at some layers."""

    def composite(twin: Any, asked: Method) -> Any:
        from ported_impls.composite import method_composite

        rules = Composite((*assignments, *asked.composite.assignments))
        return method_composite(replace(asked, composite=rules), twin.graph)

    return backend_from_composite("faulty", composite, head=head)


def nobodys(*layers: str) -> Backend:
    """The healthy port with a rule of nobody's at ``layers``: relevance is divided by ``2 sqrt |z|``."""

    def composite(twin: Any, asked: Method) -> Any:
        from ported_impls.composite import method_composite
        from ported_impls.torchvision_shim import zennit

        healthy = method_composite(asked, twin.graph)

        def hook(context: Any, layer: str, module: Any) -> Any:
            if layer not in layers:
                return healthy.module_map(context, layer, module)
            return zennit.core.BasicHook(
                gradient_mapper=lambda relevance, outputs: [relevance / (2 * outputs[0].abs().sqrt() + 1e-3)],
                reducer=lambda inputs, gradients: inputs[0] * gradients[0],
            )

        return zennit.core.Composite(module_map=hook)

    return backend_from_composite("faulty", composite, head=None)


#: Method and faulty port by name: at an early large layer, at every convolution (a cheap rule and a dear one),
#: at the largest dense layer, and one for which there is no name.
FAULTS: dict[str, tuple[str, Callable[[], Backend]]] = {
    "bias left out at block1_conv2": (
        "lrp.epsilon",
        lambda: reassigned(Assignment(Epsilon(1e-7, bias=False), names=("block1_conv2",))),
    ),
    "epsilon 1e-6 at every convolution": (
        "lrp.epsilon",
        lambda: reassigned(Assignment(Epsilon(1e-6), kinds=("conv2d",))),
    ),
    "epsilon 0.25 at the first dense layer": (
        "lrp.epsilon",
        lambda: reassigned(Assignment(Epsilon(0.25), names=("dense",))),
    ),
    "alpha 2, beta 1 at every convolution": (
        "lrp.alpha_1_beta_0",
        lambda: reassigned(Assignment(AlphaBeta(2, 1), kinds=("conv2d",))),
    ),
    "a rule without a name at block3_conv2": (
        "lrp.epsilon",
        lambda: nobodys("block3_conv2"),
    ),
}


def measure(model_name: str, dtype: str, fault: str) -> dict[str, Any]:
    """One diagnosis in this process."""
    name, make = FAULTS[fault]
    model = load_model(model_name)
    x, _ = chosen_input(model, None)
    small = load_model("digits-cnn")
    for backend in ("tensorflow", "torch"):  # imports the frameworks
        explain(small, chosen_input(small, None)[0], name, backend)
    started = time.perf_counter()
    diagnosis = diagnose(model, x, method(name), candidate=make(), dtype=dtype)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"fault": fault, "seconds": seconds, "gigabytes": peak, "explanation": diagnosis.explanation}


def main() -> int:
    """0 where every diagnosis keeps both bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vgg16-mri")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--fault", action="append", choices=list(FAULTS))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    chosen = arguments.fault or list(FAULTS)
    if arguments.here:
        print(json.dumps(measure(arguments.model, arguments.dtype, chosen[0])))
        return 0
    kept = True
    for fault in chosen:
        command = [sys.executable, __file__, "--here", "--model", arguments.model, "--dtype", arguments.dtype]
        output = subprocess.run([*command, "--fault", fault], check=True, stdout=subprocess.PIPE, text=True)
        row = json.loads(output.stdout.splitlines()[-1])
        kept = kept and row["seconds"] <= BOUND_S and row["gigabytes"] <= BOUND_GB
        print(f"{fault}: {row['seconds']:.1f} s, {row['gigabytes']:.2f} GB: {row['explanation']}", flush=True)
    print(f"bounds: {BOUND_S:g} s, {BOUND_GB:g} GB: {'kept' if kept else 'NOT kept'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
