"""The benchmarks in the index. Their page is made by `benchmarks.page`, which `evidence` does not import."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from matplotlib.figure import Figure

from evidence.publish.pictures import GOOD, stacked
from harness.errors import HarnessError

ROOT = Path(__file__).parents[2]


def benchmarks_page(folder: Path) -> str:
    """What `python -m benchmarks.page` writes of the figures below ``folder``. Raises HarnessError where it fails."""
    with tempfile.TemporaryDirectory() as made:
        page = Path(made) / "benchmarks.md"
        words = ["-m", "benchmarks.page", str((folder / "benchmarks").resolve()), "--out", str(page)]
        ended = subprocess.run(
            [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        if ended.returncode:
            raise HarnessError((ended.stderr.strip().splitlines() or ["benchmarks.page failed"])[-1])
        return page.read_text(encoding="utf-8")


def _seconds(folder: Path) -> dict[str, float]:
    """By side, the time of signxai's whole list of names."""
    peer = json.loads((folder / "benchmarks" / "signxai.json").read_text(encoding="utf-8"))
    seconds = {
        "signxai 1.1.9.2": sum(peer["signxai"].values()),
        "the reference alone": sum(peer["reference"].values()),
    }
    whole = folder / "benchmarks" / "whole.json"
    if whole.is_file():
        seconds["both frameworks, every layer compared"] = json.loads(whole.read_text(encoding="utf-8"))[
            "seconds"
        ]
    return seconds


def benchmarks_picture(folder: Path) -> Figure:
    seconds = _seconds(folder)
    parts = {"seconds": (GOOD, list(seconds.values()))}
    return stacked("All of signxai's names on vgg16-mri, float32", "seconds", list(seconds), parts)


def benchmarks_sentence(folder: Path) -> str:
    """The ratios in a sentence."""
    peer, *others = _seconds(folder).items()
    ratios = ", ".join(
        f"{side} {seconds:.0f} s ({peer[1] / seconds:.1f} times faster)" for side, seconds in others
    )
    return f"All names of signxai on `vgg16-mri`: {peer[0]} takes {peer[1]:.0f} s, {ratios}."
