"""One case on one line of a terminal."""

from __future__ import annotations

from rich.text import Text

from harness.naming import printable
from harness.report.tables import Row

_STYLES = {
    "identical": "green",
    "equivalent": "green",
    "close": "yellow",
    "divergent": "bold red",
    "error": "bold red",
}


def case_line(row: Row) -> Text:
    """Verdict, case, the worst layer in noise floors, and where it went wrong if it did.

    ``row`` has the keys of :data:`harness.report.tables.ROW_COLUMNS`; what has no value is left out.
    """
    verdict = str(row["verdict"])
    line = Text(f"{verdict:<10}", style=_STYLES[verdict])
    line.append(printable(f"  {row['model']}  {row['method']}  {row['dtype']}"), style="default not bold")
    if row.get("input"):
        line.append(printable(f"  {row['input']}"), style="default not bold dim")
    if row.get("worst_layer") and _is_number(row.get("worst_rel_l2")):
        ratio = f", {row['worst_ratio']:.2g} floors" if _is_number(row.get("worst_ratio")) else ""
        line.append(
            printable(f"  worst {row['worst_layer']} {row['worst_rel_l2']:.1e}{ratio}"),
            style="default not bold",
        )
    if row.get("first_divergent"):
        line.append(printable(f"  first divergent {row['first_divergent']}"), style="red not bold")
    if row.get("message"):
        line.append(printable(f"  {' '.join(str(row['message']).split())}"), style="red not bold")
    if _is_number(row.get("seconds_total")):
        line.append(f"  {row['seconds_total']:.1f} s", style="default not bold dim")
    return line


def _is_number(value: float | None) -> bool:
    return value is not None and value == value
