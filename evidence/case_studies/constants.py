"""Study 1, on the released package: which of its constants does the harness read out of the numbers alone?

    python -m evidence.case_studies.constants

The rows of signxai2 0.13.0 on the scoreboard have what `diagnose` named, `executed` has what the source does; the two
meet here for the first time. Writes `reports/constants.json`.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evidence.case_studies.wording import number, table
from harness.backends.worker import surroundings_of_another
from harness.files import write_json
from harness.peers import python_of

ROOT = Path(__file__).parents[2]
SCOREBOARD = ROOT / "reports" / "scoreboard.json"
FIGURES = ROOT / "reports" / "constants.json"
LIBRARY, MODEL = "signxai2-0.13", "digits-cnn"
#: How far a factor that was read may be from the source's, relatively.
CLOSE = 1e-6
Json = dict[str, Any]


@dataclass(frozen=True)
class Constant:
    """``source``: what the package multiplies the map of ``name`` by, at ``lines``; ``read``: what the harness says."""

    name: str
    source: float
    lines: tuple[str, ...]
    read: float | None

    @property
    def was_read(self) -> bool:
        return self.read is not None and math.isclose(self.read, self.source, rel_tol=CLOSE)


def constants(executed: Mapping[str, Any], rows: Mapping[str, Json]) -> Iterator[Constant]:
    """Every name whose map the package multiplies by a number other than 1, and what the harness says of its scale.

    ``executed``: of `executed.main`; names at which the package raised are left out.
    """
    for name, lines in executed.items():
        if isinstance(lines, str):
            continue
        factors = [
            (line, value if operator == "*" else 1 / value)
            for line, operator, value in lines
            if operator in "*/"
        ]
        product = math.prod(value for _, value in factors)
        if not factors or product == 1:
            continue
        facts = rows.get(name, {}).get(MODEL, {"causes": []})
        scales = [each for each in facts["causes"] if each["cause"] == "scale"]
        read = scales[0].get("parameters", {}).get("factor") if scales else None
        yield Constant(name, product, tuple(dict.fromkeys(line for line, _ in factors)), read)


def beside(executed: Mapping[str, Any], rows: Mapping[str, Json]) -> list[str]:
    """Names for which the harness says that the map is scaled, and the source has no constant."""
    known = {each.name for each in constants(executed, rows)}
    return [
        name
        for name, row in rows.items()
        if name not in known
        and not isinstance(executed.get(name), str)
        and any(each["cause"] == "scale" for each in row.get(MODEL, {"causes": []})["causes"])
    ]


def constants_table(figures: Json) -> str:
    """Markdown: the constants, those that were read and those that were not."""
    lines = [
        (
            f"`{each.name}`",
            number(each.source, 9),
            ", ".join(f"`{line}`" for line in each.lines),
            "nothing" if each.read is None else number(each.read, 9),
            "found" if each.was_read else "missed",
        )
        for each in constants(figures["executed"], figures["rows"])
    ]
    return table(("name", "in the source", "where", "the harness says", ""), lines)


def main() -> int:
    """Trace the package, join what it did with what the harness said, and count."""
    scoreboard = json.loads(SCOREBOARD.read_text(encoding="utf-8"))
    rows = {
        name: {MODEL: {"causes": row[MODEL]["causes"], "state": row[MODEL]["state"]}}
        for name, row in scoreboard[LIBRARY]["rows"].items()
        if MODEL in row
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "executed.json"
        command = [str(python_of(LIBRARY)), "-m", "evidence.case_studies.executed", MODEL, str(file)]
        environment = {"PATH": "/usr/bin:/bin", "PYTHONNOUSERSITE": "1", **surroundings_of_another()}
        subprocess.run(command, check=True, env=environment, cwd=ROOT)
        executed = json.loads(file.read_text(encoding="utf-8"))
    write_json(
        FIGURES, {"requirement": scoreboard[LIBRARY]["requirement"], "executed": executed, "rows": rows}
    )
    every = list(constants(executed, rows))
    count = sum(each.was_read for each in every)
    print(f"{count} of {len(every)} constants read out of the numbers; beside: {beside(executed, rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
