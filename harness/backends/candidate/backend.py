"""``FILE.py:NAME`` as a backend whose code runs elsewhere: whatever it does costs the case that asked for it."""

from __future__ import annotations

import os
import sys
import time
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.candidate import wire
from harness.backends.candidate.pair import model_to_wire
from harness.backends.protocol import Arrays, Model, Prepared, StepProgram
from harness.backends.worker import Worker, own_surroundings, surroundings_of_another
from harness.errors import CandidateError, HarnessError, PeerError
from harness.graph import Graph, Layer
from harness.methods import Method, to_json
from harness.naming import printable
from harness.state import STATE

#: Seconds that a case of a user's backend may take where nothing else is said.
TIMEOUT_S = 600.0
#: Seconds that the file may take to be run at least: it imports frameworks, which a case need not pay for.
_LOAD_S = 180.0
_SIDE = Path(__file__).with_name("side.py")
_Arrays = dict[str, np.ndarray]


class WorkerBackend:
    """The backend ``NAME`` of ``FILE.py`` in a process that is started once and again after it has ended.

    ``spec``: ``FILE.py:NAME``, relative to this process's folder. ``timeout_s``: seconds that preparing a model may
    take, and each run; with ``per_case`` what is asked after a run (single steps, activations) shares that run's.
    Whatever the code does beyond raising (it exits, crashes, hangs) ends its process, and the next request starts
    another. What it prints goes to standard error. ``python``: another interpreter than this one, which finds the
    harness in its own environment.

    Raises HarnessError where the file cannot be loaded, and CandidateError, in every call, for what the code does.
    """

    #: The file, and those of the modules of the user's that it imports.
    files: tuple[Path, ...] = ()
    #: What it changes of its process is watched there.
    runs_elsewhere = True

    def __init__(
        self, spec: str, timeout_s: float = TIMEOUT_S, per_case: bool = False, python: Path | None = None
    ) -> None:
        self.spec, self.timeout_s, self._per_case = spec, timeout_s, per_case
        self._folder = os.getcwd()
        self._left = timeout_s
        self._worker = Worker(
            printable(spec),
            Path(sys.executable) if python is None else python,
            _SIDE,
            limit_s=timeout_s,
            start_limit_s=max(timeout_s, _LOAD_S),
            environment=own_surroundings() if python is None else surroundings_of_another(),
            option="--timeout",
        )
        try:
            self._load()
        except CandidateError as error:
            self.close()
            raise HarnessError(
                f"backend {spec!r} cannot be loaded: {error.what.removeprefix('raised ')}"
            ) from None
        except BaseException:
            self.close()
            raise

    def version(self) -> dict[str, str]:
        version: dict[str, str] = self._ask("version", {})[0]["version"]
        return version

    def supports(self, method: Method, graph: Graph) -> str:
        payload = {"method": to_json(method), "graph": wire.structure_to_wire(graph)}
        return str(self._ask("supports", payload)[0]["reason"])

    def prepare(self, model: Model, dtype: str, device: str = "cpu") -> Prepared:
        """Raises CandidateError, and HarnessError for a model that does not arrive as it was."""
        prepared = _Prepared(self, model, dtype, device)
        prepared.capabilities = frozenset(self._prepared(prepared)["capabilities"])
        return prepared

    def reloaded(self) -> WorkerBackend:
        """The backend of the file as it is now, in the same process, which stays warm; this one is done with.

        Raises HarnessError where the file cannot be loaded; the process then waits for the next try.
        """
        fresh = copy(self)
        try:
            fresh._load()
        except CandidateError as error:
            raise HarnessError(
                f"backend {self.spec!r} cannot be loaded: {error.what.removeprefix('raised ')}"
            ) from None
        return fresh

    def close(self) -> None:
        """End the process, if there is one; the next call starts it again."""
        self._worker.close()

    def ask(self, of: _Prepared, op: str, payload: dict[str, Any], arrays: _Arrays) -> tuple[Any, _Arrays]:
        """``op`` on what was prepared; in a new process that is prepared first."""
        if op in ("logits", "run"):
            self._left = self.timeout_s
        limit = self._left if self._per_case else self.timeout_s
        began = time.monotonic()
        payload = {"prepared": of.key, **payload}
        answer = self._ask(op, payload, arrays, limit)
        if "lost" in answer[0]:
            self._prepared(of)
            answer = self._ask(op, payload, arrays, limit)
        self._left = max(self._left - (time.monotonic() - began), 1e-3)
        return answer

    def _prepared(self, of: _Prepared) -> dict[str, Any]:
        payload = {"prepared": of.key, "model": of.model_key, "dtype": of.dtype, "device": of.device}
        answer, _ = self._ask("prepare", payload)
        if "lost" in answer:
            facts, weights = model_to_wire(of.model)
            self._ask("model", {"model": of.model_key, "digest": of.model.digest, **facts}, weights)
            answer, _ = self._ask("prepare", payload)
        return answer

    def _load(self) -> None:
        payload = {"backend": self.spec, "folder": self._folder}
        answer, _ = self._request("load", payload, {}, max(self.timeout_s, _LOAD_S))
        self.name: str = str(answer["name"])
        #: By name, the sha256 of the file, and of each module of the user's that it imported when it was loaded.
        self.modules: dict[str, str] = dict(answer["modules"])
        self.files = tuple(Path(file) for file in answer["files"])

    def _ask(
        self, op: str, payload: dict[str, Any], arrays: _Arrays | None = None, limit_s: float | None = None
    ) -> tuple[dict[str, Any], _Arrays]:
        limit = self.timeout_s if limit_s is None else limit_s
        answer = self._request(op, payload, arrays or {}, limit)
        if answer[0].get("lost") == "backend":
            self._load()
            answer = self._request(op, payload, arrays or {}, limit)
        return answer

    def _request(
        self, op: str, payload: dict[str, Any], arrays: _Arrays, limit_s: float
    ) -> tuple[dict[str, Any], _Arrays]:
        try:
            answer, received = self._worker.request(op, payload, arrays, limit_s)
        except PeerError as error:
            what = str(error).removeprefix(f"{self._worker.name}: ")
            raise CandidateError(self.spec, f"failed: {what}") from None
        if printed := self._worker.printed():
            print(printable(printed, lines=True), file=sys.stderr)
        if op == "load" and "refused" in answer:
            raise HarnessError(printable(str(answer["refused"])))
        if "raised" in answer:
            raise CandidateError(self.spec, f"raised {printable(str(answer['raised']))}")
        return answer, received


@dataclass(eq=False)
class _Prepared:
    """Satisfies `Prepared`; ``capabilities``: those of what was prepared there."""

    backend: WorkerBackend
    model: Model
    dtype: str
    device: str
    capabilities: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.model_key = f"{self.model.digest} {self.model.name}"
        self.key = f"{self.dtype} {self.device} {self.model_key}"

    # Every call raises CandidateError.

    def run(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        payload = {"method": to_json(method), "layers": layers}
        run = wire.run_from_wire(*self.backend.ask(self, "run", payload, {"x": x, "target": target}))
        if STATE in run.facts:  # whatever else it left behind ends here
            self.backend.close()
            return replace(run, on_input=False)
        return run

    def logits(self, x: np.ndarray) -> np.ndarray:
        return self.backend.ask(self, "logits", {}, {"x": x})[1]["logits"]

    def activations(self, x: np.ndarray) -> _Arrays:
        return self.backend.ask(self, "activations", {}, {"x": x})[1]

    def step(
        self, layer: Layer, inputs: tuple[np.ndarray, ...], relevance: np.ndarray, method: Method
    ) -> tuple[np.ndarray | None, ...]:
        facts, arrays = _step(layer, inputs, {"relevance": relevance})
        answer, shares = self.backend.ask(self, "step", {**facts, "method": to_json(method)}, arrays)
        return tuple(shares.get(str(place)) for place in range(answer["count"]))

    def step_program(
        self,
        layer: Layer,
        inputs: tuple[np.ndarray, ...],
        relevance: np.ndarray,
        method: Method,
        kept: np.ndarray | None = None,
    ) -> StepProgram:
        return self._program(layer, inputs, method, {"relevance": relevance}, kept)

    def forward_program(
        self, layer: Layer, inputs: tuple[np.ndarray, ...], method: Method, kept: np.ndarray | None = None
    ) -> StepProgram:
        return self._program(layer, inputs, method, {}, kept)

    def _program(
        self,
        layer: Layer,
        inputs: tuple[np.ndarray, ...],
        method: Method,
        more: _Arrays,
        kept: np.ndarray | None,
    ) -> StepProgram:
        facts, arrays = _step(layer, inputs, more if kept is None else {**more, "kept": kept})
        answer = self.backend.ask(self, "program", {**facts, "method": to_json(method)}, arrays)
        return wire.program_from_wire(*answer)


def _step(layer: Layer, inputs: tuple[np.ndarray, ...], more: _Arrays) -> tuple[dict[str, Any], _Arrays]:
    facts, arrays = wire.layer_to_wire(layer, "layer")
    arrays |= {f"input/{place}": x for place, x in enumerate(inputs)}
    return {"layer": facts, "inputs": len(inputs)}, {**arrays, **more}
