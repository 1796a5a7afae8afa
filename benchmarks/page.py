"""Writes `reports/benchmarks.md` from what the other scripts have measured.

    python -m benchmarks.page reports/benchmarks [--out reports/benchmarks.md] [--measured-here] [--note TEXT]

The folder holds ``signxai.json`` (`against_signxai`), ``whole.json`` and ``single.json`` (`whole_catalogue`),
``processes.json`` (`two_processes`), ``growth.json`` and ``scale.json``, all of one machine. What is missing is said.
``--measured-here`` records that this is the machine, in ``machine.json``, with the ``--note``: what else ran on it, or
which figures are of another day. Without it nothing but the page is written.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.names import read_names
from harness.files import installed_versions, write_json, write_text

Figures = dict[str, Any]


def page(folder: Path) -> str:
    """The page in Markdown."""
    machine = _read(folder, "machine")
    parts = ["# Benchmarks", _machine(machine)]
    if machine and machine["note"]:
        parts.append(machine["note"])
    parts += [_against_signxai(_read(folder, "signxai"), _read(folder, "whole"))]
    sections: tuple[tuple[str, Callable[[Figures], str]], ...] = (
        ("single", _single),
        ("processes", _processes),
        ("growth", _growth),
        ("scale", _scale),
    )
    for name, section in sections:
        figures = _read(folder, name)
        parts.append(section(figures) if figures else f"## {name}\n\nNot measured: no `{name}.json`.")
    return "\n\n".join(parts) + "\n"


def _read(folder: Path, name: str) -> Figures | None:
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def this_machine(note: str) -> Figures:
    """What the page says of the machine that measured."""
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processors": len(cpus),
        "processor": cpus[0].partition(":")[2].strip() if cpus else platform.machine(),
        "python": platform.python_version(),
        "versions": installed_versions("tensorflow", "torch", "zennit", "numpy"),
        "note": note,
    }


def _machine(machine: Figures | None) -> str:
    if machine is None:
        measured_on = "The machine was not recorded: no `machine.json`."
    else:
        versions = ", ".join(f"{name} {value}" for name, value in machine["versions"].items())
        measured_on = (
            f"One machine, one run: {machine['processors']} processors, {machine['processor']}; "
            f"Python {machine['python']}, {versions}."
        )
    return (
        f"Written by `make benchmarks`. {measured_on} Imports and the loading of models are left out of every "
        "figure. Ratios decide; seconds are this machine's."
    )


def _against_signxai(peer: Figures | None, whole: Figures | None) -> str:
    lines = [
        "## The whole list of signxai's names on `vgg16-mri`, float32",
        "",
        f"The {len(read_names())} names of `benchmarks/names_vgg16_mri.txt`, the same on every side. signxai 1.1.9.2 "
        "builds one analyzer anew for each name and gives the attribution; so does the reference alone. Both "
        "frameworks: `xai-harness run`, every layer compared, files included.",
        "",
    ]
    if peer is None:
        return "\n".join([*lines, "Not measured: no `signxai.json`."])
    names = list(peer["signxai"])
    totals = {side: sum(peer[side].values()) for side in ("signxai", "reference")}
    lines += ["| | seconds | share of signxai's |", "| --- | ---: | ---: |"]
    lines.append(
        f"| signxai 1.1.9.2, its TensorFlow side ({len(names)} names) | {totals['signxai']:.1f} | 1 |"
    )
    lines.append(_share("the reference alone", totals["reference"], totals["signxai"]))
    by_name = {}
    if whole is not None:
        by_name = whole["seconds_by_name"]
        if set(by_name) != set(names):
            raise SystemExit("whole.json and signxai.json are of other lists of names; measure both again")
        lines.append(_share("both frameworks, every layer compared", whole["seconds"], totals["signxai"]))
        lines += [
            "",
            f"Peak memory of the last: {whole['peak_mib'] / 1024:.2f} GiB. Passed: {whole['passed']}.",
        ]
    lines += ["", "| name | signxai | reference alone | both, compared |", "| --- | ---: | ---: | ---: |"]
    for name in names:
        both = f"{by_name[name]:.2f}" if name in by_name else ""
        lines.append(f"| `{name}` | {peer['signxai'][name]:.2f} | {peer['reference'][name]:.2f} | {both} |")
    return "\n".join(lines)


def _share(what: str, seconds: float, of: float) -> str:
    return f"| {what} | {seconds:.1f} | {seconds / of:.2f} ({of / seconds:.1f} times faster) |"


def _single(figures: Figures) -> str:
    def figure(key: str) -> str:
        return f"{figures[key]:.2f}" if key in figures else "none of this kind"

    return (
        "## A single case on `vgg16-mri`\n\n"
        "Verdict and files included, over the two sides' own time; median over the names.\n\n"
        "| | times the two sides |\n| --- | ---: |\n"
        f"| all | {figure('median')} |\n| a derived bound decides | {figure('median_by_bound')} |\n"
        f"| rounding is measured on single steps | {figure('median_by_steps')} |\n"
        f"| the floor is measured | {figure('median_by_floor')} |"
    )


def _processes(figures: Figures) -> str:
    lines = [
        "## Two local processes against one",
        "",
        f"Each held to one thread, {' and '.join(figures['models'])}, {figures['cases']} cases, start-up left out: "
        f"{figures['ratio']:.2f} times (median).",
        "",
        "| one, s | two, s | ratio |",
        "| ---: | ---: | ---: |",
    ]
    lines += [
        f"| {each['one']:.1f} | {each['two']:.1f} | {each['ratio']:.2f} |" for each in figures["rounds"]
    ]
    return "\n".join(lines)


def _growth(figures: Figures) -> str:
    lines = ["## How time grows", ""]
    lines += ["| with | exponent | of the three largest | seconds |", "| --- | ---: | ---: | --- |"]
    for what, each in figures.items():
        points = ", ".join(f"{count}: {seconds:.2f}" for count, seconds in each["seconds"].items())
        largest = each["exponent_of_the_largest"]
        lines.append(f"| {what} | {each['exponent']:.2f} | {largest:.2f} | {points} |")
    return "\n".join([*lines, "", *(f"![time against {what}](growth-{what}.png)" for what in figures)])


def _scale(figures: Figures) -> str:
    lines = [
        f"## What a case costs ({figures['dtype']}), and what `xai-harness estimate` said",
        "",
        "| model | method | processors, s | time, s | of the estimate | peak, GB | of the estimate "
        "| disk, kB | of the estimate |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in figures["rows"]:
        cells = [f"{row['processor_seconds']:.2f}"]
        for key, unit in (("seconds", 1.0), ("peak_bytes", 1e9), ("bytes_on_disk", 1e3)):
            cells += [f"{row[key] / unit:.2f}", f"{row[key] / row[f'{key}_estimated']:.2f}"]
        lines.append(f"| {row['model']} | {row['method']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", type=Path)
    options.add_argument("--out", type=Path, default=Path("reports/benchmarks.md"))
    options.add_argument("--measured-here", action="store_true")
    options.add_argument("--note", default="")
    chosen = options.parse_args()
    if chosen.measured_here:
        write_json(chosen.folder / "machine.json", this_machine(chosen.note))
    write_text(chosen.out, page(chosen.folder))


if __name__ == "__main__":
    main()
