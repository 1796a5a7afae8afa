"""Measures lxt 2.1 against the reference and writes `reports/lxt.md`.

    python -m evidence.lxt [--big] [--network NAME]...

``--big``: vit_b_16 of torchvision as well (86 million weights). What is not measured again stays as `reports/lxt.json`
has it. Exit status 1 where something that is meant to be one function is not.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from evidence.lxt.cases import BIG, Asked, backend_of, cases, model_of
from evidence.lxt.page import page
from harness import compare
from harness.api import explain
from harness.files import write_json, write_text

REPORTS = Path(__file__).parents[2] / "reports"


def measured(asked: Asked, model: Any, x: np.ndarray) -> dict[str, Any]:
    """``asked`` and what came of it: the verdict, and relative L2 of the attribution and of the furthest layer."""
    given = x.astype(asked.dtype) if x.dtype.kind == "f" else x
    reference = explain(model, given, asked.method, dtype=asked.dtype)
    candidate = explain(
        model,
        given,
        asked.lxt if ":" in asked.lxt else asked.method,
        backend_of(asked.lxt),
        reference.target,
        dtype=asked.dtype,
    )
    one, other = (np.asarray(each.attribution, np.float64) for each in (reference, candidate))
    facts = asdict(asked) | {"attribution": float(np.linalg.norm(one - other) / np.linalg.norm(one))}
    if asked.same:
        comparison = compare(reference, candidate)
        facts |= {
            "verdict": comparison.verdict,
            "layers": len(comparison.table) if candidate.layers else 0,
            "furthest": float(comparison.table["rel_l2"].max()),
        }
    return facts


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m evidence.lxt", description=str(__doc__).splitlines()[0])
    parser.add_argument("--big", action="store_true", help=f"{BIG} as well")
    parser.add_argument("--network", action="append", help="these networks alone")
    chosen = parser.parse_args(arguments)
    path = REPORTS / "lxt.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    rows = {_key(row): row for row in known}
    for network in chosen.network or dict.fromkeys(asked.network for asked in cases(chosen.big)):
        model, x = model_of(network)
        for asked in cases(big=True):
            if asked.network == network:
                facts = measured(asked, model, x)
                rows[_key(facts)] = facts
                print(*facts.values(), flush=True)
                write_json(path, list(rows.values()))
    order = [_key(asdict(asked)) for asked in cases(big=True)]
    rows = {key: rows[key] for key in order if key in rows}
    write_json(path, list(rows.values()))
    write_text(REPORTS / "lxt.md", page(list(rows.values())))
    return int(any(row.get("verdict") in ("divergent", "error") for row in rows.values()))


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in ("network", "method", "lxt", "dtype"))


if __name__ == "__main__":
    sys.exit(main())
