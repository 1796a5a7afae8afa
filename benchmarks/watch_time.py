"""How long `xai-harness watch` takes from a save to its answer.

    python -m benchmarks.watch_time [SAVES]

watches digits-cnn with four candidates in a file, saves each file SAVES times (5 if left out), and prints a line a
candidate: the verdict, the seconds from the save to the line on standard output, least, median and most, and the median
of the processor's seconds (Linux), which count on a machine that does other things as well. The first run, which loads
the frameworks and the model, is not among them. The goal is 3 s on 2 cores that do nothing else.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMPOSITE = """
import harness
from ported_impls.torchvision_shim import zennit

backend = harness.backend_from_composite("mine", lambda model, method: zennit.composites.{name}())
"""
FUNCTION = """
import harness


def attribution(twin, x, target, method):
    x = x.clone().requires_grad_()
    {start}
    return {end}


backend = harness.backend_from_function("mine", attribution, framework="torch", layers={layers})
"""
_LOGIT = "twin(x).gather(1, target[:, None]).sum().backward()"
#: By what a candidate is: the method it is watched on, and its file.
CANDIDATES = {
    "a composite of Zennit's": ("lrp.epsilon", COMPOSITE.format(name="EpsilonPlus")),
    "a right function": ("gradient", FUNCTION.format(start=_LOGIT, end="x.grad", layers="'gradient'")),
    "a function with a factor": ("gradient", FUNCTION.format(start=_LOGIT, end="2 * x.grad", layers="None")),
    "a function of another method": (
        "lrp.epsilon",
        FUNCTION.format(start=_LOGIT, end="x.grad", layers="None"),
    ),
}


def processor_seconds(process: int) -> float:
    """What a process and those that it has started have taken so far; 0 where the system does not say."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{process}/task").glob("*/children")
        below = [int(each) for path in children for each in path.read_text().split()]
    except OSError:
        return 0.0
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(processor_seconds(each) for each in below)


def measured(method: str, text: str, saves: int) -> tuple[str, list[float], list[float]]:
    """The verdict of the last run; the seconds from each save to the answer, and those of the processor."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "mine.py")
        file.write_text(text)
        words = ("watch", "digits-cnn", method, "--candidate", "mine.py:backend", "--json")
        command = [sys.executable, "-m", "harness.cli", *words, "--runs", str(saves + 1)]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            answer = json.loads(process.stdout.readline())
            seconds, processor = [], []
            for place in range(saves):
                time.sleep(0.5)
                begun, before = time.monotonic(), processor_seconds(process.pid)
                other = file.with_suffix(".tmp")
                other.write_text(f"{text}\n# {place}\n")
                other.replace(file)
                answer = json.loads(process.stdout.readline())
                seconds.append(time.monotonic() - begun)
                processor.append(processor_seconds(process.pid) - before)
            return str(answer["verdict"]), seconds, processor
        finally:
            process.kill()
            process.wait()


def main() -> None:
    saves = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for name, (method, text) in CANDIDATES.items():
        verdict, seconds, processor = measured(method, text, saves)
        figures = f"{min(seconds):.2f}, {statistics.median(seconds):.2f}, {max(seconds):.2f} s"
        print(
            f"{name}, {method}: {verdict}; {figures}; processor {statistics.median(processor):.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
