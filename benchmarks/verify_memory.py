"""The memory and the time of a verification of goldens, all its processes together.

    python -m benchmarks.verify_memory [--jobs 2] [--out FILE.json] [-- OPTION OF golden verify ...]

Memory is the proportional set size (PSS) that Linux gives for each process: what it has for itself, and its share of
what it shares with others. The processes are looked at one after the other, at most five times a second; a peak that is
shorter than that is not seen.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

#: Seconds between two looks, at least; and how many times what a look takes, which the processes have to wait for.
_LOOK_S, _PAUSE = 0.2, 9


def proportional_bytes(process: int) -> int | None:
    """The PSS of ``process``; None where it is gone."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def family(process: int) -> list[int]:
    """``process`` and all that descend from it and are there."""
    found = [process]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += map(int, task.read_text(encoding="utf-8").split())
            except OSError:
                continue
    return found


def watched(command: list[str]) -> dict[str, Any]:
    """Run ``command``; what it took. ``peak_of_each``: of each process at the moment of the peak of all together."""
    started = time.perf_counter()
    curve: list[tuple[float, int]] = []
    peak: tuple[int, float, list[int]] = (0, 0.0, [])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            looked = time.perf_counter()
            each = [size for one in family(process.pid) if (size := proportional_bytes(one)) is not None]
            at = time.perf_counter() - started
            curve.append((round(at, 1), sum(each)))
            peak = max(peak, (sum(each), at, each))
            time.sleep(max(_LOOK_S, _PAUSE * (time.perf_counter() - looked)))
        assert process.stdout is not None
        said = process.stdout.read()
    return {
        "seconds": time.perf_counter() - started,
        "peak_bytes": peak[0],
        "peak_at_s": peak[1],
        "peak_of_each": peak[2],
        "exit_status": process.returncode,
        "said": said.splitlines()[-2:],
        "curve": curve,
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--jobs", type=int)
    options.add_argument("--out", type=Path)
    options.add_argument("more", nargs="*", help="options of xai-harness golden verify, after --")
    chosen = options.parse_args()
    jobs = [] if chosen.jobs is None else ["--jobs", str(chosen.jobs)]
    with tempfile.TemporaryDirectory() as folder:
        result = watched(
            [
                *(sys.executable, "-m", "harness.cli", "golden", "verify", "--quiet", "--out", folder),
                *jobs,
                *chosen.more,
            ]
        )
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    del result["curve"]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
