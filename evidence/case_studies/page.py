"""The page: the template `page.md.jinja`, filled in with what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import jinja2

from evidence.case_studies import constants, factors, factors_tables, flat, flat_tables, heads, sources
from evidence.case_studies.measure import RELEASED, Json
from evidence.case_studies.wording import answer, correlation, facts, number

COMMAND = "python -m evidence.case_studies"
TEMPLATE = Path(__file__).with_name("page.md.jinja")


def page(cases: Mapping[str, Json], environment: Mapping[str, str]) -> str:
    """The Markdown page of the stored figures. ``environment``: versions by name."""
    released = json.loads(constants.FIGURES.read_text(encoding="utf-8"))
    template = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    return template.render(
        command=COMMAND,
        versions=", ".join(f"{name} {version}" for name, version in environment.items()),
        cases=cases,
        factors=SimpleNamespace(**{**vars(factors), **vars(factors_tables)}),
        flat=SimpleNamespace(**{**vars(flat), **vars(flat_tables)}),
        heads=heads,
        sources=sources,
        released=cases[RELEASED],
        constants=constants,
        released_figures=released,
        released_constants=list(constants.constants(released["executed"], released["rows"])),
        released_beside=[f"`{name}`" for name in constants.beside(released["executed"], released["rows"])],
        released_raised=[
            f"`{name}`" for name, lines in released["executed"].items() if isinstance(lines, str)
        ],
        says_sign=any("Sign()" in each for each in _besides(cases, "factors")),
        besides_in_flat=bool(_besides(cases, "flat")),
        answer=answer,
        correlation=correlation,
        facts=facts,
        number=number,
    )


def _besides(cases: Mapping[str, Json], study: str) -> list[str]:
    """What the harness named in a study and was not built in."""
    return [
        each for name, case in cases.items() if name.startswith(study) for each in case.get("besides", ())
    ]
