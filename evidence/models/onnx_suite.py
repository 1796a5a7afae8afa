"""The cases of `onnx.backend.test` as networks: right, refused with a reason, wrong, or a raw error.

Taken are the cases whose operators are all in ``operators.txt`` beside this, with one output, whose first input is
float32 with two axes or more and whose output is float32. Their first input becomes the network's input, every
other input an initializer with the values that the case gives it. A case is right if it loads (loading proves itself
against ONNX Runtime) and if both twins give the output that the case expects, to 1e-5 relative.

Run: ``python -m evidence.models.onnx_suite [WORD]`` (WORD: only cases whose name holds it, printed and not stored).
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

import harness

KINDS = ("node", "pytorch-converted", "pytorch-operator")
OPERATORS = frozenset(Path(__file__).with_name("operators.txt").read_text().split())
PAGE = Path("reports/onnx-suite.md")
BOUND = 1e-5
#: Operators that ONNX defines on (batch, channel, ...): a network with one of them takes its channels last here.
CHANNELS_FIRST = frozenset(
    [
        "AveragePool",
        "BatchNormalization",
        "Conv",
        "ConvTranspose",
        "DepthToSpace",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "GroupNormalization",
        "InstanceNormalization",
        "MaxPool",
        "PRelu",
    ]
)

Verdict = Literal["right", "refused", "wrong", "raw"]


@dataclass(frozen=True)
class Case:
    """A model of one input ``x`` and its ``output``, both in ONNX's axis order, float32."""

    name: str
    model: onnx.ModelProto
    x: np.ndarray
    output: np.ndarray

    @property
    def operator(self) -> str:
        """The operator that the case is about: its last but constants and identities."""
        names = [node.op_type for node in self.model.graph.node]
        telling = [name for name in names if name not in ("Constant", "Identity")]
        return (telling or names)[-1]


@dataclass(frozen=True)
class Outcome:
    """What became of a case; ``why``: the error's sentence, or how far a twin is off."""

    case: str
    operator: str
    verdict: Verdict
    why: str = ""


def cases() -> Iterator[Case]:
    """Every case of the suite, in the order in which onnx lists them."""
    from onnx.backend.test.loader import load_model_tests

    for kind in KINDS:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            listed = load_model_tests(kind=kind)
        for test in listed:
            model = test.model
            if model is None:
                model = onnx.load(Path(test.model_dir) / "model.onnx")
            if _is_taken(model):
                yield _as_network(test, model)


def _is_taken(model: onnx.ModelProto) -> bool:
    inputs = _inputs(model.graph)
    if len(model.graph.output) != 1 or not inputs:
        return False
    if not OPERATORS.issuperset(node.op_type for node in model.graph.node):
        return False
    first, output = inputs[0].type.tensor_type, model.graph.output[0].type.tensor_type
    floats = first.elem_type == output.elem_type == TensorProto.FLOAT
    return floats and len(first.shape.dim) >= 2


def _inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def _as_network(test: Any, model: onnx.ModelProto) -> Case:
    """The case with all inputs but the first as initializers."""
    given, expected = _first_data(test, model)
    network = onnx.ModelProto()
    network.CopyFrom(model)
    x, *weights = _inputs(network.graph)
    for value, array in zip(weights, given[1:], strict=True):
        network.graph.initializer.append(numpy_helper.from_array(np.asarray(array), value.name))
        network.graph.input.remove(value)
    del x
    return Case(test.name, network, np.asarray(given[0]), np.asarray(expected[0]))


def _first_data(test: Any, model: onnx.ModelProto) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs and outputs of the case's first data set: in memory, or in files beside the model."""
    if test.data_sets:
        inputs, outputs = test.data_sets[0]
        return list(inputs), list(outputs)
    folder = Path(test.model_dir) / "test_data_set_0"

    def read(what: str, count: int) -> list[np.ndarray]:
        protos = [onnx.load_tensor(str(folder / f"{what}_{place}.pb")) for place in range(count)]
        return [numpy_helper.to_array(proto) for proto in protos]

    return read("input", len(_inputs(model.graph))), read("output", len(model.graph.output))


def outcome(case: Case) -> Outcome:
    """Load the case and hold both twins against the output that it expects."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = harness.load_model(case.model, name="case")
            why = _difference(case, model)
    except harness.HarnessError as error:
        raw = "\n" in str(error).strip()
        return Outcome(case.name, case.operator, "raw" if raw else "refused", str(error))
    except Exception as error:  # what the table is there to show
        return Outcome(case.name, case.operator, "raw", f"{type(error).__name__}: {error}")
    return Outcome(case.name, case.operator, "wrong" if why else "right", why)


def _difference(case: Case, model: Any) -> str:
    """How far a twin is from the expected output; empty for both within the bound."""
    import tensorflow as tf
    import torch

    first = any(node.op_type in CHANNELS_FIRST for node in case.model.graph.node)
    given = [case.x, np.moveaxis(case.x, 1, -1)] if case.x.ndim >= 3 else [case.x]
    # A case whose first axis is no batch axis is one sample.
    given = [*(given[::-1] if first else given), case.x[None]]
    fitting = [x for x in given if x.shape[1:] == tuple(model.input_shape)]
    if not fitting:
        return (
            f"the input has shape {tuple(model.input_shape)}, expected {given[0].shape[1:]} (batch left out)"
        )
    x = fitting[0]
    output = right_output(case)
    expected = [output[None]] if x.ndim > case.x.ndim else [output]
    if expected[0].ndim >= 3:
        expected.append(np.moveaxis(expected[0], 1, -1))
    sides = expected[0].shape[1:]
    if len(sides) > 1 and prod(sides) == max(sides):
        # A map of one place is loaded as what it has there.
        expected.append(expected[0].reshape(len(expected[0]), -1))
    inner = np.moveaxis(x, -1, 1) if x.ndim >= 3 else x
    outputs = {
        "Keras": np.asarray(model.keras()(tf.constant(x), training=False)),
        "torch": model.torch()(torch.from_numpy(np.ascontiguousarray(inner))).detach().numpy(),
    }
    if outputs["torch"].ndim >= 3:
        outputs["torch"] = np.moveaxis(outputs["torch"], 1, -1)
    for framework, output in outputs.items():
        apart = min(_relative(output, right) for right in expected)
        if not apart <= BOUND:
            return f"the {framework} twin is {apart:.2g} relative from the expected output"
    return ""


def right_output(case: Case) -> np.ndarray:
    """The case's output; where it is written with few digits, that of ONNX's reference, which agrees with it."""
    if np.abs(case.output * 1e4 - np.rint(case.output * 1e4)).max(initial=0.0) > 1e-3:
        return case.output
    (name,) = (value.name for value in _inputs(case.model.graph))
    computed = np.asarray(ReferenceEvaluator(case.model).run(None, {name: case.x})[0])
    return computed if np.allclose(computed, case.output, rtol=1e-3, atol=1e-4) else case.output


def _relative(output: np.ndarray, expected: np.ndarray) -> float:
    """``|output - expected| / |expected|``, largest magnitudes; infinite where the shapes differ."""
    if output.shape != expected.shape or not np.array_equal(np.isfinite(output), np.isfinite(expected)):
        return float("inf")
    finite = np.isfinite(expected)
    difference = float(np.abs(output - expected, where=finite, out=np.zeros(output.shape)).max(initial=0.0))
    return difference / float(np.abs(expected[finite]).max(initial=1e-30)) if difference else 0.0


def page(outcomes: Iterable[Outcome]) -> str:
    """The table by operator, and what was refused, with its reason."""
    outcomes = list(outcomes)
    verdicts: tuple[Verdict, ...] = ("right", "refused", "wrong", "raw")
    total = Counter(each.verdict for each in outcomes)
    rows = []
    for operator in sorted({each.operator for each in outcomes}):
        count = Counter(each.verdict for each in outcomes if each.operator == operator)
        rows.append(f"| {operator} | {' | '.join(str(count[verdict]) for verdict in verdicts)} |")
    rest = [
        f"| {each.case} | {each.operator} | {each.verdict} | {' '.join(each.why.split()).replace('|', chr(92) + '|')} |"
        for each in outcomes
        if each.verdict != "right"
    ]
    return "\n".join(
        [
            "# The cases of onnx.backend.test",
            "",
            f"`python -m evidence.models.onnx_suite`, onnx {onnx.__version__}: {len(outcomes)} cases, "
            + ", ".join(f"{total[verdict]} {verdict}" for verdict in verdicts)
            + ".",
            "A case is right if it loads and both twins give its output to 1e-5 relative; refused: one sentence "
            "says why it does not load.",
            "",
            "| operator | right | refused | wrong | raw |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
            "## Not right",
            "",
            "| case | operator | verdict | why |",
            "| --- | --- | --- | --- |",
            *rest,
            "",
        ]
    )


def main(words: list[str]) -> int:
    """Write the page, or print what the cases that hold a word become; 1 where one is wrong or raw."""
    outcomes = []
    for case in cases():
        if not words or any(word in case.name for word in words):
            outcomes.append(outcome(case))
            if words:
                print(outcomes[-1])
    if not words:
        PAGE.write_text(page(outcomes))
        print(f"{PAGE}: {Counter(each.verdict for each in outcomes)}")
    return int(any(each.verdict in ("wrong", "raw") for each in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
