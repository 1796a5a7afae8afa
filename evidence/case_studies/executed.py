"""Runs in signxai2's interpreter: the lines of the package that multiply a map by a number, as they are executed.

    python -m evidence.case_studies.executed MODEL FILE

For every name of the package that the catalogue has, the wrapper is called on the first example of MODEL under a
tracer. A line counts where it multiplies or divides an array of the size of the input by a number, or adds one to it.
FILE gets, by method, a list of ``[file:line, operator, number]`` in the order of execution, or the words of what the
wrapper raised.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

_OPERATORS: Mapping[type[ast.operator], str] = {ast.Mult: "*", ast.Div: "/", ast.Add: "+", ast.Sub: "-"}
#: A line, what is done there, and the number.
Executed = tuple[str, str, float]


class Watched:
    """A tracer of the files of ``package`` for maps of ``size`` numbers."""

    def __init__(self, package: Path, size: int) -> None:
        self.package, self.size = package, size
        self.executed: list[Executed] = []
        self._statements: dict[str, dict[int, ast.stmt]] = {}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(str(self.package)):
            return None
        if event == "line":
            self._look(frame)
        return self

    def _look(self, frame: FrameType) -> None:
        file = frame.f_code.co_filename
        if file not in self._statements:
            self._statements[file] = dict(statements(ast.parse(Path(file).read_text(encoding="utf-8"))))
        statement = self._statements[file].get(frame.f_lineno)
        if statement is None:
            return
        known = {**frame.f_globals, **frame.f_locals}
        for operator, number in numbers(statement, known, self.size):
            self.executed.append(
                (f"{Path(file).relative_to(self.package)}:{frame.f_lineno}", operator, number)
            )


def statements(tree: ast.AST) -> Iterator[tuple[int, ast.stmt]]:
    """By line, the assignments and returns."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.Return) and node.value is not None:
            yield node.lineno, node


def numbers(statement: ast.stmt, known: Mapping[str, Any], size: int) -> Iterator[tuple[str, float]]:
    """What ``statement`` does to an array of ``size`` numbers with a number: operator and number.

    ``known``: by name, the values that the statement sees. Operands are names and literals; nothing else is evaluated.
    """
    if isinstance(statement, ast.AugAssign):
        terms: list[tuple[ast.operator, ast.expr, ast.expr]] = [
            (statement.op, statement.target, statement.value)
        ]
    else:
        value: Any = getattr(statement, "value", None)
        terms = [(node.op, node.left, node.right) for node in ast.walk(value) if isinstance(node, ast.BinOp)]
    for operator, left, right in terms:
        if type(operator) not in _OPERATORS:
            continue
        for array, other in ((left, right), (right, left)):
            number = _number(other, known)
            if number is not None and _size(array, known) == size:
                yield _OPERATORS[type(operator)], number
                break


def _number(node: ast.expr, known: Mapping[str, Any]) -> float | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _number(node.operand, known)
        return None if number is None else -number
    value = (
        node.value
        if isinstance(node, ast.Constant)
        else known.get(node.id)
        if isinstance(node, ast.Name)
        else None
    )
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _size(node: ast.expr, known: Mapping[str, Any]) -> int | None:
    """The size of what a name stands for, or the product of which it is a factor; None where it is no array."""
    if isinstance(node, ast.BinOp):
        return next(
            (size for size in (_size(node.left, known), _size(node.right, known)) if size is not None), None
        )
    value = known.get(node.id) if isinstance(node, ast.Name) else None
    return int(np.prod(value.shape)) if isinstance(value, np.ndarray | torch.Tensor) else None


def main() -> int:
    """Trace every wrapper."""
    from harness.api import load_model
    from harness.backends.user_file import from_file
    from harness.files import write_json
    from harness.methods import method as method_named
    from harness.peers import peers

    model_name, file = sys.argv[1:]
    model = load_model(model_name)
    x = np.asarray(next(iter(model.examples.values()))(), np.float64)
    twin = model.torch("float64")
    seen = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
    target = twin(seen).argmax(dim=1)
    calls = from_file(f"{peers()['signxai2-0.13'].adapter}:CALLS", "table of calls", dict)
    import importlib.metadata

    package = Path(str(importlib.metadata.distribution("signxai2").locate_file("signxai")))
    lines: dict[str, Any] = {}
    for name, call in calls.items():
        watched = Watched(package, x.size)
        sys.settrace(watched)
        try:
            call.function(twin, seen.clone(), target, method_named(name))
        except Exception as error:
            lines[name] = f"{type(error).__name__}: {error}"
            continue
        finally:
            sys.settrace(None)
        lines[name] = watched.executed
    write_json(Path(file), lines)
    print(json.dumps({"names": len(lines), "with numbers": sum(bool(each) for each in lines.values())}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
