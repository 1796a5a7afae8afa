"""Write ``reports/dlbacktrace.md``: ``python -m evidence.dlbacktrace``.

Needs the peers dl-backtrace and dl-backtrace-torch (``xai-harness peers install NAME``). The table of speed is made of
``reports/dlbacktrace-speed.csv``, which ``python -m benchmarks.backtrace --out`` writes, that of whole networks of
``reports/dlbacktrace-networks.csv``, which ``python -m evidence.dlbacktrace.networks`` writes.
"""

from __future__ import annotations

import csv
from pathlib import Path

from evidence.dlbacktrace.measure import blocks, distances, flows
from evidence.dlbacktrace.networks import stored
from evidence.dlbacktrace.page import page
from harness.files import write_text

REPORTS = Path("reports")


def main() -> None:
    """Measure and write."""
    speed_file = REPORTS / "dlbacktrace-speed.csv"
    speed = list(csv.DictReader(speed_file.open(encoding="utf-8"))) if speed_file.exists() else []
    text = page(list(distances()), list(blocks()), list(flows()), stored(), speed)
    write_text(REPORTS / "dlbacktrace.md", text)
    print(f"written: {REPORTS / 'dlbacktrace.md'}")


if __name__ == "__main__":
    main()
