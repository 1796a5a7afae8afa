"""What became of the goldens: what did not hold in a few lines, as JUnit XML, and against another run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from harness.files import replacing
from harness.golden.regression import STATUSES
from harness.naming import printable

Row = Mapping[str, Any]


def counted(rows: Sequence[Row]) -> str:
    """How many goldens had each status: "17 within the floor, 1 regressed"."""
    counts = Counter(row["status"] for row in rows)
    return (
        ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status]) or "nothing verified"
    )


def not_held(rows: Sequence[Row]) -> list[str]:
    """The goldens that do not hold, by status, in lines: what regressed with layer, figures and cause."""
    lines = []
    for status in STATUSES:
        failed = [row for row in rows if row["status"] == status and not row["passed"]]
        if failed:
            lines.append(f"{status}:")
        for row in failed:
            lines.append(f"  {row['case']}: {_figures(row)}")
            lines += [f"    {each}" for each in row.get("diagnosis", ())]
    return lines


def _figures(row: Row) -> str:
    if row["status"] != "regressed":
        return str(row["message"])
    place = row["first_divergent_forward"] or row["first_divergent"] or row["worst_layer"]
    what = "activation" if row["first_divergent_forward"] else "step"
    return (
        f"{what} of {place}; at {row['worst_layer']} relative L2 {row['worst_rel_l2']:.1e}, "
        f"{row['worst_ratio']:.3g} noise floors"
    )


def junit(rows: Sequence[Row], path: Path) -> None:
    """Write ``rows`` as JUnit XML, a test case each; a candidate that raised is an error, all else a failure."""
    failed = [row for row in rows if not row["passed"]]
    errors = [row for row in failed if row["status"] == "error"]
    suite = ElementTree.Element(
        "testsuite",
        name="golden",
        tests=str(len(rows)),
        failures=str(len(failed) - len(errors)),
        errors=str(len(errors)),
    )
    for row in rows:
        folder, _, name = row["case"].partition("/")
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"golden.{printable(folder)}", name=printable(name or folder)
        )
        if not row["passed"]:
            kind = "error" if row["status"] == "error" else "failure"
            what = ElementTree.SubElement(case, kind, type=row["status"], message=printable(row["message"]))
            what.text = printable("\n".join([row["layers"], *row.get("diagnosis", ())]), lines=True)
    with replacing(path) as temporary:
        ElementTree.ElementTree(suite).write(temporary, encoding="utf-8", xml_declaration=True)


def run_differences(one: Path, other: Path) -> list[dict[str, Any]]:
    """What two run folders say differently of one case: verdicts, and cases that only one has."""
    import pandas

    tables = [pandas.read_parquet(folder / "summary.parquet") for folder in (one, other)]
    key = ["model", "method", "dtype"]
    left, right = ({tuple(row[key]): row for _, row in table.iterrows()} for table in tables)
    rows: list[dict[str, Any]] = []
    for case in {**left, **right}:
        verdicts = [side[case]["verdict"] if case in side else "not there" for side in (left, right)]
        if verdicts[0] != verdicts[1]:
            rows.append(
                {**dict(zip(key, case, strict=True)), "what": "verdict", "A": verdicts[0], "B": verdicts[1]}
            )
        elif case in left and case in right and left[case]["worst_rel_l2"] != right[case]["worst_rel_l2"]:
            figures = [side[case]["worst_rel_l2"] for side in (left, right)]
            if figures[0] == figures[0] or figures[1] == figures[1]:
                rows.append(
                    {
                        **dict(zip(key, case, strict=True)),
                        "what": "worst relative L2",
                        "A": f"{figures[0]:.3e}",
                        "B": f"{figures[1]:.3e}",
                    }
                )
    return rows
