"""The report of a single diagnosis: the same page as that of a run, with one case."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.diagnosis import Diagnosis
from harness.diagnosis.document import diagnosis_document
from harness.errors import HarnessError
from harness.files import write_json
from harness.methods import slug
from harness.naming import file_name, shell
from harness.plain import plain
from harness.report import Document, document_of
from harness.runner.outcome import Outcome
from harness.runner.run import Row, environment, row_of, write_files


def document_of_diagnosis(
    diagnosis: Diagnosis, input_name: str, folder: Path, again: list[str], asked: Mapping[str, Any]
) -> Document:
    """Leave the files of the case under ``folder`` and return its document.

    The case is in the dtype in which the difference was looked for. ``again``: the words of the command that repeats
    it; ``asked``: what was asked for, as plain data.
    """
    case = diagnosis.case
    head: Row = {
        "model": case.model.name,
        "input": input_name,
        "method": case.method.name,
        "dtype": case.dtype,
        "reference": case.reference.name,
        "candidate": case.candidate.name,
        "device": case.device,
        "model_notes": list(case.model.notes),
        "again": shell(("xai-harness", *again)),
    }
    outcome = Outcome(
        case.method, case.dtype, diagnosis.comparison, case.reference_run, case.candidate_run, "", {}
    )
    row = head | row_of(outcome)
    stem = folder / file_name(case.model.name) / f"{file_name(slug(case.method.name))}.{case.dtype}"
    row["files"] = write_files(outcome, stem, folder, row, case.asked)
    reproducer = _reproducer(diagnosis)
    inside = reproducer is not None and reproducer.resolve().is_relative_to(folder.resolve())
    place = reproducer.resolve().relative_to(folder.resolve()) if reproducer is not None and inside else None
    document = plain(diagnosis_document(diagnosis, input_name, place))
    written = Path(f"{stem}.diagnosis.json")
    write_json(written, document)
    row["files"] += [written.relative_to(folder).as_posix()]
    if place is not None:
        row["files"] += sorted(f"{place.as_posix()}/{path.name}" for path in (folder / place).iterdir())
    row |= {
        "cause": document["cause"] or "",
        "stage": document["stage"] or "",
        "diagnosed_layer": document["layer"] or "",
        "diagnosis": [each["sentence"] for each in document["findings"]],
    }
    facts = environment([case.reference, case.candidate])
    notes = tuple(diagnosis.notes)
    return document_of([row], facts, notes=notes, selection=plain(asked), title="Diagnosis")


def _reproducer(diagnosis: Diagnosis) -> Path | None:
    """Its folder; None where nothing can be shown on its own."""
    try:
        return diagnosis.reproducer
    except HarnessError:
        return None
