"""A case: one model, input, method, target and dtype; what a backend is asked to compute."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from harness.backends.protocol import Model
from harness.checks import check_rows, checked_device, checked_dtype, checked_input, checked_target
from harness.errors import InvalidInputError
from harness.files import array_digest, json_digest
from harness.methods import Method, to_json
from harness.pairs import check_applies


@dataclass(frozen=True, eq=False)
class Case:
    """Checked once, by :meth:`checked`; its arrays are read-only.

    ``x``: (batch, *input shape) in ``dtype``, canonical layout. ``target``: (batch,) int64, the class that is
    explained for each sample; None: the largest logit of each, as the first backend that is asked has it
    (`harness.engine.Engine.run`): the others are handed that class. ``layers``: whether
    activations and relevances of the layers are asked for, or the attribution alone. ``device``: what it is computed
    on. ``chunk``: how many targets of the one input were computed together (`harness.queries`); rounding may depend on
    it.
    """

    model: Model
    x: np.ndarray
    method: Method
    target: np.ndarray | None
    dtype: str
    layers: bool = True
    device: str = "cpu"
    chunk: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", _read_only(self.x, self.dtype))
        if self.target is not None:
            object.__setattr__(self, "target", _read_only(self.target, "int64"))

    @classmethod
    def checked(
        cls,
        model: Any,
        x: Any,
        method: Method,
        target: Any,
        dtype: str,
        layers: bool = True,
        device: str = "cpu",
    ) -> Case:
        """The case of what a user gives.

        ``target``: a class index, one per sample, or None. Raises InvalidInputError for an input, target,
        dtype or device that does not fit the model, or a target beside a method that selects its own output;
        MethodDoesNotApplyError for a method that is not meant for the model.
        """
        if target is not None and method.selects_itself:
            what = "every output" if method.explains_all else "the largest logit"
            raise InvalidInputError(
                f"{method.name} explains {what}, found a target of {target!r} beside it; leave out the "
                "target, or neuron_selection"
            )
        array = checked_input(model, x, checked_dtype(dtype))
        check_rows(model, array)
        wanted = checked_target(target, len(array), class_count(model))
        check_applies(method, model)
        return cls(model, array, method, wanted, dtype, layers, checked_device(device))

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of everything that a result depends on but the backend: see `docs/architecture.md`."""
        return json_digest(
            {
                "model": self.model.digest,
                "input": array_digest(self.x),
                "method": to_json(self.method),
                "target": None if self.target is None else self.target.tolist(),
                "dtype": self.dtype,
                "layers": self.layers,
                "device": self.device,
                **({} if self.chunk == 1 else {"chunk": self.chunk}),
            }
        )

    def with_target(self, target: np.ndarray | None) -> Case:
        return replace(self, target=target)

    def with_method(self, method: Method) -> Case:
        return replace(self, method=method)

    def with_input(self, x: np.ndarray) -> Case:
        return replace(self, x=x)

    def in_dtype(self, dtype: str) -> Case:
        """The same numbers in another dtype."""
        return self if dtype == self.dtype else replace(self, x=self.x.astype(dtype), dtype=dtype)


def class_count(model: Model) -> int:
    """The number of logits. Raises InvalidInputError where the output is no row of logits."""
    output = model.graph[model.graph.output]
    if len(output.shape) != 1:
        raise InvalidInputError(
            f"{model.name}: the output {output.name!r} has shape (batch, {', '.join(map(str, output.shape))}), "
            "expected (batch, classes); end the network in a flatten or a global pooling"
        )
    return int(output.shape[0])


def _read_only(array: np.ndarray, dtype: str) -> np.ndarray:
    """``array`` in ``dtype`` as memory that nobody can write to: a copy, where the caller could."""
    kept = np.array(array, dtype=dtype, order="C", copy=array.flags.writeable or array.dtype != dtype)
    kept.setflags(write=False)
    return kept
