"""An ONNX file run by itself, by ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from harness.errors import ModelSourceError
from harness.graph import Graph, parted
from ported_models.endings import with_ending
from ported_models.onnx.layout import inverse
from ported_models.onnx.reader import ReadFile
from ported_models.onnx.reading import needed

#: How many units in the last place of one a final sigmoid or softmax may be off.
_ENDING_ULPS = 32
#: NumPy's names of the element types that are not called the same.
_DTYPES = {"float": "float32", "double": "float64", "bfloat16": "float32"}


@dataclass(frozen=True)
class OnnxSource:
    """A file as `ported_models.proof.Source`; ``read``: what was read from it.

    Of a file that branches it is the branches that were chosen which is run and compared; that the file as it is gives
    the same is checked on every input. Raises ModelSourceError when it is made, where ONNX Runtime cannot run the file.
    """

    proto: onnx.ModelProto
    read: ReadFile
    what: str
    _session: Any = field(init=False, repr=False)
    _whole: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = [self.read.output, *([self._before] if self._before else [])]
        object.__setattr__(self, "_session", _session(_runnable(self._straight, names), self.what))
        whole = None if self.read.unfolded is None else _session(self.proto, self.what)
        object.__setattr__(self, "_whole", whole)

    @property
    def _straight(self) -> onnx.ModelProto:
        """The file, or what is left of it where branches were chosen."""
        return self.proto if self.read.unfolded is None else self.read.unfolded

    @property
    def graph(self) -> Graph:
        return self.read.graph

    @cached_property
    def _before(self) -> str | None:
        """The file's own tensor before a final sigmoid or softmax.

        Where there is one it is compared: ONNX Runtime's sigmoid is exact to 6e-8 of one, so that the logarithm of a
        small probability says nothing. That the ending makes the file's output of it is checked apart from that.
        """
        if self.read.ending not in ("sigmoid", "softmax"):
            return None
        inside = {
            tensor.layer: name for name, tensor in self.read.tensors.items() if name != self.read.output
        }
        name = inside.get(self.read.graph.output)
        computed = {output for node in self._straight.graph.node for output in node.output}
        return name if name in computed else None

    @property
    def removed(self) -> str | None:
        return None if self._before else self.read.ending

    @cached_property
    def _inputs(self) -> list[Any]:
        """The file's inputs, in the order of the graph's."""
        by_name = {each.name: each for each in self._session.get_inputs()}
        return [by_name[each.name] for each in self.graph.inputs] or list(by_name.values())

    @property
    def takes(self) -> tuple[str, ...]:
        own = (each.type.removeprefix("tensor(").removesuffix(")") for each in self._inputs)
        return tuple(_DTYPES.get(each, each) for each in own)

    @property
    def dtype(self) -> str:
        return "float64" if "float64" in self.takes else "float32"

    @property
    def eps(self) -> float:
        half = "float16" in self.takes
        return float(np.finfo(np.float16 if half else self.dtype).eps)

    @property
    def batch(self) -> int:
        sizes = [] if self.read.free else [each.shape[0] for each in self._inputs]
        return next((size for size in sizes if isinstance(size, int) and size > 0), 2)

    @property
    def examples(self) -> tuple[np.ndarray, ...]:
        return ()

    def run(self, x: np.ndarray) -> np.ndarray:
        output, *before = self._run(self._session, x)
        if self._whole is not None:
            (own,) = self._run(self._whole, x, [self.read.output])
            if not np.array_equal(own, output, equal_nan=True):
                raise ModelSourceError(
                    f"{self.what}: it takes other branches than were chosen; {self.remark(None)}"
                )
        output = output.transpose(inverse(self._order(self.read.output, output.ndim)))
        if not before or self._before is None:
            return output
        logits = before[0].transpose(inverse(self._order(self._before, before[0].ndim)))
        self._check_ending(logits, output)
        return logits

    def _check_ending(self, logits: np.ndarray, output: np.ndarray) -> None:
        """Raise ModelSourceError where the file's output is not what its ending makes of the value before it."""
        made = with_ending(logits.astype(np.float64), self.read.ending)
        if (
            made.shape == output.shape
            and np.nanmax(np.abs(made - output), initial=0.0) <= _ENDING_ULPS * self.eps
        ):
            return
        raise ModelSourceError(
            f"{self.what}: its output is not the {self.read.ending} of the value before it; {self.remark(None)}"
        )

    def layers(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What the file has at every tensor that became a layer."""
        names = {
            tensor.layer: name
            for name, tensor in self.read.tensors.items()
            if name not in (*(each.name for each in self._inputs), self.read.output)
            and tensor.beside == (0, 0)
        }
        if not names:
            return {}
        arrays = self._run(_session(_runnable(self._straight, list(names.values())), self.what), x)
        return {
            layer: array.transpose(inverse(self.read.tensors[name].order))
            for (layer, name), array in zip(names.items(), arrays, strict=True)
        }

    def remark(self, layer: str | None) -> str:
        return "this is a fault of reading the file; report it with the file"

    def _order(self, name: str, rank: int) -> tuple[int, ...]:
        tensor = self.read.tensors.get(name)
        return tuple(range(rank)) if tensor is None else tensor.order

    def _run(self, session: Any, x: np.ndarray, outputs: list[str] | None = None) -> list[np.ndarray]:
        parts = parted(self.graph.inputs, x) if self.graph.inputs else {self._inputs[0].name: x}
        given = {
            name: part.transpose(self._order(name, part.ndim)).astype(dtype)
            for (name, part), dtype in zip(parts.items(), self.takes, strict=True)
        }
        try:
            if not self.read.free:
                return session.run(outputs, given)
            samples = ({name: part[place] for name, part in given.items()} for place in range(len(x)))
            runs = [session.run(outputs, each) for each in samples]
            return [np.stack(parts) for parts in zip(*runs, strict=True)]
        except Exception as error:  # ONNX Runtime's exceptions share no class of their own
            raise ModelSourceError(f"{self.what}: {_first_line(error)}") from None


def _runnable(proto: onnx.ModelProto, outputs: list[str]) -> onnx.ModelProto:
    """The part of the file that ``outputs`` depend on: nothing else of it is run."""
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    known = {value.name: value for value in proto.graph.output}
    nodes = {id(node): node for name in outputs for node in needed(proto.graph.node, name)}
    kept = [node for node in proto.graph.node if id(node) in nodes]
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.extend(kept)
    model.graph.output.extend(
        known.get(name) or helper.make_empty_tensor_value_info(name) for name in outputs
    )
    # Before version 4 an initializer had to be an input as well.
    model.ir_version = max(model.ir_version, 4)
    return model


def _session(proto: onnx.ModelProto, what: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # As the file says it, operator by operator: fused kernels round otherwise.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # as above
        raise ModelSourceError(f"{what}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"ONNX Runtime {onnxruntime.__version__} cannot run it ({lines[0][:200]})"
