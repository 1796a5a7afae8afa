"""Writes `docs/causes.md`, the table of causes, from their names: python -m evidence.causes"""

from __future__ import annotations

from pathlib import Path

from harness.diagnosis import CAUSES
from harness.files import write_text

PAGE = Path(__file__).resolve().parents[1] / "docs" / "causes.md"


def page() -> str:
    """The page as Markdown."""
    rows = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in CAUSES.items())
    return (
        "# The causes\n\n"
        "What [`harness.diagnose`](diagnose.md) calls a difference. The names are stable.\n\n"
        f"| cause | meaning |\n| --- | --- |\n{rows}\n\n"
        "Written by `python -m evidence.causes` from `harness/diagnosis/causes.py`.\n"
    )


if __name__ == "__main__":
    write_text(PAGE, page())
