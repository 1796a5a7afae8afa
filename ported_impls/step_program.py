"""One layer's step as a program that needs torch alone: the operations it carried out, written down.

The layer's module is run under its hooks, forward and backward, and recorded (`ported_impls.recorder`). What is
left is a list of calls like ``aten.div.Tensor(relevance, where_1)``, with none of the code that led to them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.backends.protocol import StepProgram
from harness.errors import HarnessError
from ported_impls.cut_down import cut_down
from ported_impls.layout import in_canonical_order, in_twin_order, to_canonical, to_twin
from ported_impls.recorder import Line, Recorder
from ported_impls.torchvision_shim import zennit

#: Indices that bring the last axis into canonical order, of each input and of the output; None: it is.
Orders = tuple[Sequence[np.ndarray | None], np.ndarray | None]

_PREAMBLE = '''\
import torch

aten = torch.ops.aten


def to_torch(array):
    """Channels last, as in the file, to channels on axis 1, as in torch."""
    moved = np.moveaxis(array, -1, 1) if array.ndim >= 3 else array
    return torch.from_numpy(np.array(moved, order="C", copy=True))


def to_numpy(tensor):
    """The inverse of to_torch."""
    array = tensor.detach().numpy()
    return np.moveaxis(array, 1, -1) if array.ndim >= 3 else array
'''


def step_program(
    twin: torch.nn.Module,
    composite: zennit.core.Composite,
    name: str,
    inputs: Sequence[np.ndarray],
    relevance: np.ndarray,
    orders: Orders,
    kept: np.ndarray | None = None,
) -> StepProgram:
    """The relevance of each input of layer ``name`` (`harness.backends.Programs.step_program`)."""
    seen = [x.requires_grad_() for x in _given(inputs, orders)]
    received = to_twin(in_twin_order(relevance, orders[1]))

    def step(module: torch.nn.Module) -> list[Tensor | None]:
        return list(torch.autograd.grad(module(*seen), seen, received, allow_unused=True))

    recorder = _recorded(twin, composite, name, step, [*seen, received], len(seen), kept)
    results = [x.new_zeros(x.shape) if r is None else r for x, r in zip(seen, recorder.results, strict=True)]
    arrays = [in_canonical_order(to_canonical(r), o) for r, o in zip(results, orders[0], strict=True)]
    return _proven(recorder, orders, inputs, relevance, arrays, orders[0])


def forward_program(
    twin: torch.nn.Module,
    composite: zennit.core.Composite,
    name: str,
    inputs: Sequence[np.ndarray],
    orders: Orders,
    kept: np.ndarray | None = None,
) -> StepProgram:
    """The output of layer ``name`` (`harness.backends.Programs.forward_program`)."""
    seen = _given(inputs, orders)

    def forward(module: torch.nn.Module) -> list[Tensor | None]:
        return [module(*seen)]

    with torch.no_grad():
        recorder = _recorded(twin, composite, name, forward, seen, len(seen), kept)
    (output,) = recorder.results
    assert output is not None
    arrays = [in_canonical_order(to_canonical(output), orders[1])]
    return _proven(recorder, orders, inputs, None, arrays, [orders[1]])


def _given(inputs: Sequence[np.ndarray], orders: Orders) -> list[Tensor]:
    return [to_twin(in_twin_order(x, order)) for x, order in zip(inputs, orders[0], strict=True)]


def _recorded(
    twin: torch.nn.Module,
    composite: zennit.core.Composite,
    name: str,
    step: Callable[[torch.nn.Module], list[Tensor | None]],
    operands: Sequence[Tensor],
    count: int,
    kept: np.ndarray | None,
) -> Recorder:
    """The run of ``step`` on the module of layer ``name``; ``operands``: ``count`` inputs, then the relevance."""
    names = ["x"] if count == 1 else [f"x{place}" for place in range(1, count + 1)]
    with composite.context(twin):
        module = twin.get_submodule(name)
        with cut_down(module, kept):
            recorder = Recorder(dict(zip([*names, "relevance"], operands, strict=False)), names, module)
            with recorder:
                recorder.results = step(module)
    return recorder


# --- writing ------------------------------------------------------------------------------------------


def _proven(
    recorder: Recorder,
    orders: Orders,
    inputs: Sequence[np.ndarray],
    relevance: np.ndarray | None,
    results: Sequence[np.ndarray],
    result_orders: Sequence[np.ndarray | None],
) -> StepProgram:
    """The program, after it has been run: raises HarnessError where it does not give what was found."""
    code, constants = _program(recorder, orders, relevance is not None, result_orders)
    space: dict[str, Any] = {"np": np}
    exec(compile(code, "<step program>", "exec"), space)
    # The file holds arrays in C order, and the candidate may compute in place.
    given = [np.array(x, order="C") for x in inputs]
    received = None if relevance is None else np.array(relevance, order="C")
    again = space["candidate"](given, received, constants)
    for first, second in zip(results, again, strict=True):
        if first.dtype != second.dtype or not np.array_equal(first, second, equal_nan=True):
            raise HarnessError(
                "the recorded operations give another result when they are run again "
                "(random numbers, or values that went through other code than torch's)"
            )
    return StepProgram("torch", code, constants, tuple(np.array(array) for array in results))


def _program(
    recorder: Recorder, orders: Orders, backward: bool, result_orders: Sequence[np.ndarray | None]
) -> tuple[str, dict[str, np.ndarray]]:
    used: list[str] = []
    returned = [
        f"torch.zeros_like({name})" if result is None else recorder.name_of(result, used)
        for name, result in zip([*recorder.inputs, "output"], recorder.results, strict=False)
    ]
    lines = _needed(recorder.lines, used)
    named = {*used, *(name for line in lines for name in line.used)}
    constants: dict[str, np.ndarray] = {}
    body: list[str] = []
    for place, (name, order) in enumerate(zip(recorder.inputs, orders[0], strict=True)):
        array = f"inputs[{place}]" + _reordered(f"order_of_{name}", order, True, constants)
        body.append(f"{name} = to_torch({array})")
    if backward:
        array = "relevance" + _reordered("order_of_output", orders[1], True, constants)
        body.append(f"relevance = to_torch({array})")
    for name, tensor in recorder.constants.items():
        if name in named:
            constants[name], after = _stored(tensor)
            if name in recorder.foreign:
                body.append("# Not a weight of the layer: made elsewhere, as it was when this was recorded.")
            line = f'{name} = torch.from_numpy(np.array(constants["{name}"], order="C"))'
            body += (line + after.format(name)).split("\n")
    body += [f"{line.name} = {line.call}" for line in lines]
    names = [*recorder.inputs, "output"] if backward else ["output"]
    results = []
    for name, result, order in zip(names, returned, result_orders, strict=False):
        key = "order_of_output" if name == "output" else f"order_of_{name}"
        results.append(f"to_numpy({result})" + _reordered(key, order, False, constants))
    body.append(f"return [{', '.join(results)}]")
    return f"{_PREAMBLE}\n\n{_head(recorder, backward)}" + "".join(
        f"    {line}\n" for line in body
    ), constants


def _needed(lines: Sequence[Line], returned: Sequence[str]) -> list[Line]:
    """The lines that the result depends on; those that change something in place are all kept."""
    wanted, kept = set(returned), []
    for line in reversed(lines):
        if line.name in wanted or line.kept:
            wanted.update(line.used)
            kept.append(line)
    return kept[::-1]


def _head(recorder: Recorder, backward: bool) -> str:
    what = "relevance of the inputs" if backward else "output of the layer"
    looks = (
        "\n\n    It looked at values on its way (`if x.any()`): these are the operations for these data.\n    "
        if recorder.looks
        else ""
    )
    return (
        "def candidate(inputs, relevance, constants):\n"
        f'    """The candidate\'s own operations, as recorded, up to the {what}.{looks}"""\n'
    )


def _reordered(name: str, order: np.ndarray | None, inverse: bool, constants: dict[str, np.ndarray]) -> str:
    """An index on the last axis, for a side that flattens in another order."""
    if order is None:
        return ""
    constants[name] = order
    return f'[..., np.argsort(constants["{name}"])]' if inverse else f'[..., constants["{name}"]]'


def _stored(tensor: Tensor) -> tuple[np.ndarray, str]:
    """A constant as an array, and what turns the tensor of that array into it.

    NumPy has no bfloat16; and where the memory is laid out otherwise, torch may sum in another order.
    """
    tensor = tensor.detach().cpu()
    narrow = tensor.dtype == torch.bfloat16
    array = np.array((tensor.to(torch.float32) if narrow else tensor).numpy(), order="C")
    after = ".to(torch.bfloat16)" if narrow else ""
    plain = torch.from_numpy(array)
    if plain.stride() != tensor.stride():
        shape, strides = tuple(tensor.shape), tensor.stride()
        after += f"\n{{0}} = torch.empty_strided({shape}, {strides}, dtype={{0}}.dtype).copy_({{0}})"
    return array, after
