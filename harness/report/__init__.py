"""What a run leaves for people to read: summary, tables, pictures, terminal lines."""

from harness.report.figure import heatmap_figure
from harness.report.summary import summary_markdown, write_summary
from harness.report.tables import ROW_COLUMNS, Row, rows_table, table_csv, table_parquet
from harness.report.terminal import case_line

__all__ = [
    "ROW_COLUMNS",
    "Row",
    "case_line",
    "heatmap_figure",
    "rows_table",
    "summary_markdown",
    "table_csv",
    "table_parquet",
    "write_summary",
]
