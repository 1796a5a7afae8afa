"""What a run leaves for people to read: the page, the summary, tables, pictures, terminal lines."""

from harness.report.changes import Changes, changes
from harness.report.document import DOCUMENT, Document, document_of, read_document
from harness.report.figure import heatmap_figure
from harness.report.page import PAGE, tables_html, write_page
from harness.report.summary import (
    document_markdown,
    set_aside,
    summary_markdown,
    write_report,
    write_summary,
)
from harness.report.tables import ROW_COLUMNS, Row, rows_table, table_csv, table_parquet
from harness.report.terminal import case_line
from harness.report.view import case_view
from harness.report.worklist import Task, worklist

__all__ = [
    "DOCUMENT",
    "PAGE",
    "ROW_COLUMNS",
    "Changes",
    "Document",
    "Row",
    "Task",
    "case_line",
    "case_view",
    "changes",
    "document_markdown",
    "document_of",
    "heatmap_figure",
    "read_document",
    "rows_table",
    "set_aside",
    "summary_markdown",
    "table_csv",
    "table_parquet",
    "tables_html",
    "worklist",
    "write_page",
    "write_report",
    "write_summary",
]
