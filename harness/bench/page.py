"""A bench as a page with a table that sorts, and as Parquet."""

from __future__ import annotations

from pathlib import Path

from harness.bench.result import Bench
from harness.files import write_text


def write_bench(bench: Bench, folder: Path) -> None:
    """Write bench.html and bench.parquet into ``folder``, each atomically."""
    from harness.report import table_parquet, tables_html

    table = bench.table
    sides = f"candidate {bench.candidate} against reference {bench.reference}, {bench.dtype}, {bench.device}"
    measured = f"{sides}, median of {bench.repeat}: {bench.comparison.verdict}"
    tables = {
        "Speed, memory and accuracy, from the output back": table.to_dict("records"),
        "Comparison, from the output back": bench.comparison.table.to_dict("records"),
    }
    page = tables_html(f"Bench of {bench.model}, {bench.method}", [measured, *bench.notes], tables)
    write_text(folder / "bench.html", page)
    table_parquet(table, folder / "bench.parquet")
