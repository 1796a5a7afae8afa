"""Writes a reproducer: the smallest case that shows a finding's error, as a folder of three files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.diagnosis.findings import Finding
from harness.diagnosis.reproducer import formulas
from harness.diagnosis.reproducer.choice import Shown, choose
from harness.diagnosis.reproducer.evidence import Evidence
from harness.diagnosis.reproducer.script import Contents, arrays, readme, script
from harness.errors import InvalidInputError
from harness.files import replacing, write_text
from harness.graph import Graph, Layer
from harness.steps import Deviating

SCRIPT, DATA, README = "reproduce.py", "data.npz", "README.md"


def write(
    folder: str | os.PathLike[str],
    finding: Finding,
    evidence: Evidence,
    graph: Graph,
    candidate: Any,
    oracle: Deviating,
    versions: Mapping[str, Mapping[str, str]] | None = None,
) -> Path:
    """Write ``reproduce.py``, ``data.npz`` and ``README.md`` into ``folder`` and return it.

    ``candidate``: prepared, in the dtype of ``evidence``; where it offers "programs" (`harness.backends.Programs`) the
    script carries out its own operations, else what it gave is in the data. ``oracle``: prepared; gives what
    is expected of a smaller case. ``versions``: by side ("candidate", "reference"), what computes.

    The script is written last: a folder without one was interrupted. Raises InvalidInputError where there is
    something else than a reproducer, or where nothing was found that could be shown.
    """
    folder = Path(folder)
    if all(array is None for array in evidence.observed):
        raise InvalidInputError(
            f"{finding.layer or graph.name}: the candidate shows no result here, so there is nothing to reproduce"
        )
    _require_free(folder)
    contents = _contents(finding, evidence, graph, candidate, oracle, versions or {})
    (folder / SCRIPT).unlink(missing_ok=True)
    write_text(folder / README, readme(contents))
    with replacing(folder / DATA) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays(contents))
    write_text(folder / SCRIPT, script(contents))
    return folder


def _require_free(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InvalidInputError(f"{folder} is a file; name a folder for the reproducer")
    entries = {path.name for path in folder.iterdir()}
    own = (folder / README).is_file() and (folder / README).read_bytes().startswith(b"# Reproducer\n")
    if entries and not own:
        raise InvalidInputError(
            f"{folder} is not empty and holds no reproducer ({sorted(entries)[0]}); name another folder"
        )


def _contents(
    finding: Finding,
    evidence: Evidence,
    graph: Graph,
    candidate: Any,
    oracle: Deviating,
    versions: Mapping[str, Mapping[str, str]],
) -> Contents:
    layer = evidence.layer
    at_output = finding.stage == "head" and evidence.target is not None
    at_input = finding.stage == "postprocess" and len(evidence.inputs) == 2
    if at_output or at_input:
        return _at_an_end(finding, evidence, graph, versions)
    if layer is None:
        return _of_arrays(
            finding,
            evidence,
            "the attribution",
            f"What the reference gave, as recorded ({evidence.method.name}).",
            None,
            versions,
        )
    shown = choose(finding, evidence, layer, graph, candidate, oracle)
    return _of_layer(finding, evidence, shown, graph, oracle, versions)


def _of_layer(
    finding: Finding,
    evidence: Evidence,
    shown: Shown,
    graph: Graph,
    oracle: Deviating,
    versions: Mapping[str, Mapping[str, str]],
) -> Contents:
    layer = shown.part.layer
    formula, specified = _specified(finding, evidence, layer, graph, oracle)
    what = "its output" if finding.stage == "forward" else "the relevance of its inputs"
    return Contents(
        finding=finding,
        compared=f"layer {layer.name} ({layer.kind}) of {graph.name} under {evidence.method.name}: {what}",
        part=shown.part.words,
        specified=specified,
        formula=formula,
        inputs=shown.part.inputs,
        relevance=shown.part.relevance,
        target=None,
        weights=layer.weights,
        expected=shown.expected,
        observed=shown.observed,
        program=shown.program,
        why_recorded=shown.why_recorded,
        error=shown.error,
        floor=shown.floor,
        versions=versions,
    )


def _specified(
    finding: Finding, evidence: Evidence, layer: Layer, graph: Graph, oracle: Deviating
) -> tuple[str | None, str]:
    """What is expected of a layer: as code, None where there is none, and in words."""
    if finding.stage == "forward":
        facts = ", ".join(f"{name}={value}" for name, value in layer.attributes.items())
        return formulas.forward_formula(
            layer
        ), f"The forward pass of a {layer.kind} ({facts or 'no attributes'})."
    rule = evidence.method.composite.rule_for(layer, graph)
    return formulas.rule_formula(oracle.formula(layer, rule), layer), formulas.words_of(rule)


def _at_an_end(
    finding: Finding, evidence: Evidence, graph: Graph, versions: Mapping[str, Mapping[str, str]]
) -> Contents:
    """Where the relevance starts, or what is done with it at the input."""
    method = evidence.method
    if finding.stage == "head":
        compared = f"the relevance that {method.name} starts from at the output of {graph.name}"
        where = "at every class" if method.explains_all else "zero but at the target"
        specified = f"head {method.head!r}: {where}."
        formula = formulas.head_formula(method)
    else:
        compared = f"what {method.name} does with the relevance of the input of {graph.name}"
        specified = f"postprocess {method.postprocess!r}."
        formula = formulas.postprocess_formula(method)
    return _of_arrays(finding, evidence, compared, specified, formula, versions)


def _of_arrays(
    finding: Finding,
    evidence: Evidence,
    compared: str,
    specified: str,
    formula: str | None,
    versions: Mapping[str, Mapping[str, str]],
) -> Contents:
    """The arrays of the evidence as they are."""
    return Contents(
        finding=finding,
        compared=compared,
        part="all samples",
        specified=specified,
        formula=formula,
        inputs=evidence.inputs,
        relevance=None,
        target=evidence.target,
        weights={},
        expected=evidence.expected,
        observed=evidence.observed,
        program=None,
        why_recorded="this is no step of one layer",
        error=finding.error,
        floor=finding.floor,
        versions=versions,
    )
