"""Sixty ways for a candidate to misbehave: each costs its own case, none is silent, and the next case is right.

A candidate is the oracle, or the torch port where a twin is needed, but for what it does under some methods; the
methods in between must come out as they do without. A fixed sample is run on every push.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.torch]

CANDIDATE = """
import ctypes, gc, io, json, os, pathlib, random, signal, subprocess, sys, threading, time, types, warnings
import numpy as np
from harness.backends import backend_named
from harness.backends import Arrays

class Own(BaseException): pass
class Mute(Exception):
    def __str__(self): raise RuntimeError("no words")
class Lazy(Arrays):
    attribution = property(lambda self: sys.exit(0), lambda self, value: None)

class Prepared:
    def __init__(self, model, dtype):
        self.model, self.dtype, self.inner = model, dtype, backend_named(INNER).prepare(model, dtype)

    def run(self, x, method, target, layers):
        found = self.inner.run(x.copy(), method, target.copy(), layers)
        fault = FAULTS.get(method.name)
        if fault is None:
            return found
        given = fault(self, x, target, types.SimpleNamespace(**vars(found)))
        return Arrays(**vars(given)) if isinstance(given, types.SimpleNamespace) else given

class Candidate:
    name = "mine"
    def version(self): return {}
    def supports(self, method, graph): return ""
    def prepare(self, model, dtype, device="cpu"): return Prepared(model, dtype)
"""

#: By what it does: the code, and what the message of its case says. A number: the seconds that it is given.
ENDS = {
    "exits": ("sys.exit(0)", "raised SystemExit: 0"),
    "exits at once": ("os._exit(0)", "its process ended with exit code 0"),
    "exits with a status": ("os._exit(7)", "its process ended with exit code 7"),
    "raises an error of its own": ("raise Own('word')", "raised Own: word"),
    "raises one that has no words": ("raise Mute()", "raised Mute"),
    "raises KeyboardInterrupt": ("raise KeyboardInterrupt", "raised KeyboardInterrupt"),
    "raises GeneratorExit": ("raise GeneratorExit", "raised GeneratorExit"),
    "raises StopIteration": ("raise StopIteration", "raised StopIteration"),
    "raises MemoryError": ("raise MemoryError", "raised MemoryError"),
    "recurses without end": ("(lambda f: f(f))(lambda f: f(f))", "raised RecursionError"),
    "raises a terminal's escapes": (
        r"raise ValueError('\x1b[2J\x07 gone')",
        r"raised ValueError: \x1b[2J\x07 gone",
    ),
    "asserts": ("assert False, 'no'", "raised AssertionError: no"),
    "reads past its memory": ("ctypes.string_at(0)", "its process was killed by SIGSEGV"),
    "aborts": ("os.abort()", "its process was killed by SIGABRT"),
    "kills itself": ("os.kill(os.getpid(), 9)", "its process was killed by SIGKILL"),
    "terminates itself": ("os.kill(os.getpid(), 15)", "its process was killed by SIGTERM"),
    "closes every descriptor": ("os.closerange(3, 256); time.sleep(60)", "its process closed its channel"),
    "takes more memory than there is": ("bytearray(2**62)", "raised MemoryError"),
}
HANGS = {
    "loops": "while True: pass",
    "sleeps": "time.sleep(600)",
    "ignores SIGTERM": "signal.signal(15, signal.SIG_IGN); time.sleep(600)",
    "blocks every signal": "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); time.sleep(600)",
    "stops itself": "os.kill(os.getpid(), signal.SIGSTOP)",
    "reads a pipe that nobody writes": "r, w = os.pipe(); os.read(r, 1)",
    "waits for a child": "subprocess.run(['sleep', '600'])",
    "waits for a child in a session of its own": "subprocess.Popen(['sleep', '601'], start_new_session=True).wait()",
    "waits for a lock": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "holds the interpreter": "ctypes.PyDLL(None).sleep(600)",
    "prints without end": "while True: print('x' * 1000)",
}
RETURNS = {
    "nothing": ("return None", "run returned NoneType"),
    "a list": ("return [trace]", "run returned list"),
    "an array": ("return trace.attribution", "run returned ndarray"),
    "an attribution that exits when read": ("return Lazy(trace.logits, trace.attribution)", "raised SystemExit: 0"),
    "complex numbers": ("trace.attribution = trace.attribution + 0j", "attribution has dtype complex128"),
    "whole numbers": ("trace.attribution = trace.attribution.astype(int)", "attribution has dtype int64"),
    "objects": ("trace.attribution = trace.attribution.astype(object)", "attribution has dtype object"),
    "text": ("trace.attribution = trace.attribution.astype(str)", "attribution has dtype <U32"),
    "no attribution": ("trace.attribution = None", "the attribution is a NoneType"),
    "another shape": ("trace.attribution = trace.attribution[..., 0]", "has shape (2, 8, 8)"),
    "fewer samples": ("trace.attribution = trace.attribution[:1]", "has shape (1, 8, 8, 1)"),
    "logits of one sample": ("trace.logits = trace.logits[:1]", "logits has shape (1, 10)"),
    "a layer that is none": ("trace.relevances['conv9'] = trace.logits", "is no layer of digits-cnn; did you mean"),
    "layers that are no mapping": ("trace.relevances = list(trace.relevances)", "raised AttributeError"),
    "layers of objects": (
        "trace.relevances['input'] = np.array([None, None])", "has dtype object"
    ),
    "facts that are no JSON": ("trace.facts = {'x': object()}", "TypeError: Object of type object"),
    "NaN": ("trace.attribution[:] = np.nan", ""),
    "facts that are no mapping": ("trace.facts = 3", "raised"),
}  # fmt: skip
CHANGES = {
    "its input": ("x[:] = 7", "its input"),
    "its target": ("target[:] = 1", "its input"),
    "a weight of the twin": (
        "next(self.model.torch(self.dtype).parameters()).data.mul_(2)", "the torch twin in float64 ("
    ),
    "a buffer of the twin": (
        "m = self.model.torch(self.dtype); next(iter(m.parameters())).data = next(iter(m.parameters())).data.float()",
        "the torch twin in float64 (",
    ),
    "the mode of the twin": ("self.model.torch(self.dtype).train()", "(training mode of "),
    "a hook on the twin": (
        "self.model.torch(self.dtype).register_forward_hook(lambda m, i, o: o * 2)", "(hooks of the network)"
    ),
    "a hook on every module": (
        "import torch; torch.nn.modules.module.register_module_forward_hook(lambda m, i, o: None)",
        "torch's global module hooks",
    ),
    "the forward pass of a layer": (
        "next(iter(self.model.torch(self.dtype).children())).__class__ = __import__('torch').nn.Sigmoid", "(class of "
    ),
    "the weights of the graph": (
        "for layer in self.model.graph:\n    for a in layer.weights.values(): a *= 2", "the weights of the model ("
    ),
    "torch's default dtype": ("import torch; torch.set_default_dtype(torch.float16)", "torch's default dtype"),
    "torch's grad mode": ("import torch; torch.set_grad_enabled(False)", "torch's grad mode"),
    "torch's threads": (
        "import torch; torch.set_num_threads(torch.get_num_threads() + 1)", "torch's number of threads"
    ),
    "torch's determinism": (
        "import torch; torch.use_deterministic_algorithms(True)", "torch's deterministic algorithms"
    ),
    "NumPy's errors": ("np.seterr(all='raise')", "(numpy.seterr) ("),
    "the folder": ("os.chdir('/')", "the working directory"),
    "standard output": ("sys.stdout = io.StringIO()", "sys.stdout or sys.stderr"),
    "a handler": ("signal.signal(signal.SIGUSR1, signal.SIG_IGN)", "handlers of signals (SIGUSR1)"),
}  # fmt: skip
#: What importing a library does too: put back, said, and no fault.
PUT_BACK = {
    "environment variables": "os.environ['OF_MINE'] = '1'",
    "sys.path": "sys.path.insert(0, '/nowhere')",
    "the filters of warnings": "warnings.simplefilter('error')",
}
WITHHOLDS = {
    "withholds a layer": "for of in (trace.activations, trace.relevances): of.pop('conv2')",
    "withholds all layers": "trace.activations, trace.relevances = {}, {}",
}

NIGHTLY = pytest.param(True, id="all", marks=pytest.mark.nightly)
SAMPLE = pytest.param(False, id="sample")


def chosen(table: dict, whole: bool, sample: int) -> dict:
    """The ways of ``table``, or as many of them, always the same."""
    return table if whole else dict(list(table.items())[:: max(1, len(table) // sample)][:sample])


def rows_of(call, folder: Path, faults: dict[str, str], *more: str, inner: str = "oracle") -> dict[str, dict]:
    """The row of the case of each fault; between any two there is a case without one, and it is right."""
    bad = {f"lrp.epsilon:epsilon={1 + place / 100:g}": code for place, code in enumerate(faults.values())}
    good = [f"lrp.epsilon:epsilon={3 + place / 100:g}" for place in range(len(faults) + 1)]
    source = CANDIDATE.replace("INNER", repr(inner)) + "\nFAULTS = {}\n"
    for place, (method, code) in enumerate(bad.items()):
        body = "".join(f"    {line}\n" for line in (*code.split("\n"), "return trace"))
        source += f"def fault_{place}(self, x, target, trace):\n{body}FAULTS[{method!r}] = fault_{place}\n"
    (folder / "mine.py").write_text(source)
    order = [good[0], *(method for pair in zip(bad, good[1:], strict=True) for method in pair)]
    words = [word for method in order for word in ("--method", method)]
    sides = ("--reference", "oracle", "--candidate", "mine.py:Candidate", "--model", "digits-cnn")
    status, out, err = call("run", *sides, *words, "--dtype", "float64", "--out", "out", "--json", *more)
    rows = {row["method"]: row for row in json.loads(out)["rows"]}
    assert list(rows) == order, "the table is complete"
    for method in good:
        row = rows[method]
        assert row["passed"] and not row["message"] and not row["notes"], (method, row)
    assert "Traceback" not in err and "\x1b" not in err + out
    assert status == (0 if all(row["passed"] for row in rows.values()) else 1)
    return {name: rows[method] for name, method in zip(faults, bad, strict=True)}


def test_there_are_sixty_ways() -> None:
    assert sum(len(table) for table in (ENDS, HANGS, RETURNS, CHANGES, PUT_BACK, WITHHOLDS)) >= 60


@pytest.mark.parametrize("whole", [SAMPLE, NIGHTLY])
@pytest.mark.parametrize("table", [ENDS, RETURNS], ids=["ends", "returns"])
def test_what_ends_a_case_or_returns_no_trace_costs_that_case(call, tmp_path, table, whole) -> None:
    ways = chosen(table, whole, 3)
    rows = rows_of(call, tmp_path, {name: code for name, (code, _) in ways.items()})
    for name, (_, words) in ways.items():
        row = rows[name]
        assert (row["verdict"], row["passed"]) == ("error", False), name
        assert words in row["message"], name


@pytest.mark.parametrize("whole", [SAMPLE, NIGHTLY])
def test_what_hangs_costs_its_time_limit_and_that_case(call, tmp_path, whole) -> None:
    ways = chosen(HANGS, whole, 2)
    began = time.monotonic()
    rows = rows_of(call, tmp_path, ways, "--timeout", "6")
    for name, row in rows.items():
        assert row["verdict"] == "error", name
        assert (
            "no answer to 'run' within 6 s; if it only needs longer, raise the limit: --timeout 12"
            in (row["message"])
        ), name
    assert time.monotonic() - began < 60 * (len(ways) + 1)
    assert not [each for each in Path("/proc").glob("[0-9]*") if "sleep\x00601" in command(each)]


@pytest.mark.parametrize("whole", [SAMPLE, NIGHTLY])
def test_what_is_left_changed_costs_that_case_and_is_named(call, tmp_path, whole) -> None:
    ways = chosen(CHANGES, whole, 3)
    rows = rows_of(call, tmp_path, {name: code for name, (code, _) in ways.items()}, inner="torch")
    for name, (_, words) in ways.items():
        row = rows[name]
        assert (row["verdict"], row["passed"]) == ("error", False), name
        assert row["message"].startswith("candidate 'mine' leaves changed: "), name
        assert words in row["message"] and row["message"].endswith(" (state)"), (name, row["message"])


def test_what_importing_a_library_changes_too_is_put_back_and_noted(call, tmp_path) -> None:
    for name, row in rows_of(call, tmp_path, PUT_BACK, inner="torch").items():
        assert row["passed"], name
        (note,) = row["notes"]
        assert note.startswith(f"candidate 'mine': the run changed {name}"), note
        assert note.endswith(", which was put back")


def test_layers_that_are_withheld_are_named(call, tmp_path) -> None:
    rows = rows_of(call, tmp_path, WITHHOLDS)
    assert any("; not compared: " in note for note in rows["withholds a layer"]["notes"])
    assert any("the candidate gave no layers" in note for note in rows["withholds all layers"]["notes"])


def command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""
