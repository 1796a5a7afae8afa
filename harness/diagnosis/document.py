"""A diagnosis as plain data: what a file, a page and a program read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.diagnosis.result import Diagnosis


def diagnosis_document(diagnosis: Diagnosis, source: str, folder: Path | None) -> dict[str, Any]:
    """``diagnosis`` in full; ``source``: the name of the input, ``folder``: that of the reproducer, None without one.

    ``findings`` carry their ``sentence``; ``introduced`` is a list of rows, see `Diagnosis.introduced`.
    """
    case = diagnosis.case
    return {
        "model": case.model.name,
        "method": case.method.name,
        "dtype": case.dtype,
        "reference": case.reference.name,
        "candidate": case.candidate.name,
        "input": source,
        "target": case.target.tolist(),
        "stage": diagnosis.stage,
        "layer": diagnosis.layer,
        "cause": diagnosis.cause,
        "explanation": diagnosis.explanation,
        "residual": diagnosis.residual,
        "left": diagnosis.left,
        "complete": diagnosis.complete,
        "findings": [asdict(each) | {"sentence": each.sentence} for each in diagnosis.findings],
        "introduced": diagnosis.introduced.to_dict("records"),
        "notes": list(diagnosis.notes),
        "reproducer": None if folder is None else folder.as_posix(),
    }
