"""A bench as an HTML page of its own, and as Parquet."""

from __future__ import annotations

from pathlib import Path

from harness.bench.result import Bench
from harness.files import write_text

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ bench.model }}: {{ bench.method }}</title>
<style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; }
table { border-collapse: collapse; } td, th { padding: 2px 8px; text-align: right; white-space: nowrap; }
td:first-child, th:first-child { text-align: left; } tr:nth-child(even) { background: #f4f4f4; }
tr.total { font-weight: bold; border-top: 2px solid; }
</style></head><body>
<h1>{{ bench.model }}, {{ bench.method }}</h1>
<p>{{ bench.candidate }} against {{ bench.reference }}, {{ bench.dtype }}, {{ bench.device }}, median of
{{ bench.repeat }}: <strong>{{ bench.comparison.verdict }}</strong></p>
{% for note in bench.notes %}<p>{{ note }}</p>{% endfor %}
<table><thead><tr>{% for column in columns %}<th>{{ column }}</th>{% endfor %}</tr></thead><tbody>
{% for row in rows %}<tr{% if loop.last %} class="total"{% endif %}>
{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></body></html>
"""


def write_bench(bench: Bench, folder: Path) -> None:
    """Write bench.html and bench.parquet into ``folder``, each atomically."""
    from jinja2 import Environment

    from harness.report import table_parquet

    table = bench.table
    columns = [str(column) for column in table.columns]
    rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    page = Environment(autoescape=True).from_string(_PAGE).render(bench=bench, columns=columns, rows=rows)
    write_text(folder / "bench.html", page)
    folder.mkdir(parents=True, exist_ok=True)
    table_parquet(table, folder / "bench.parquet")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return str(value)
