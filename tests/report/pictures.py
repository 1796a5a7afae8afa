"""Pictures of a real run for the documentation: its page in a browser, light, dark and on a phone, and its terminal.

    python -m tests.report.pictures [FOLDER]

runs four methods of Zennit's own rules against the reference on digits-cnn, and writes `docs/pictures/`.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.report.browser import opened, resize
from tests.report.test_browser import until

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
COMMAND = (
    *("run", "--model", "digits-cnn", "--candidate", "zennit", "--dtype", "float64"),
    *(
        word
        for name in ("gradient", "lrp.z", "lrp.epsilon", "lrp.w_square", "lrp.flat")
        for word in ("--method", name)
    ),
)


def main(folder: Path = FOLDER) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        called = [sys.executable, "-m", "harness.cli", *COMMAND, "--out", f"{place}/run"]
        done = subprocess.run(called, capture_output=True, text=True)
        if done.returncode != 1:
            raise SystemExit(done.stderr)
        page = Path(place, "run", "report.html")
        _terminal(done.stdout.replace(f"{place}/", ""), folder / "terminal.svg")
        _page(page, folder / "report.png", "")
        _page(page, folder / "case.png", "#case=2")
        _page(page, folder / "case-dark.png", "#case=2", dark=True)
        _page(page, folder / "phone.png", "#case=2", width=390)


def _terminal(text: str, path: Path) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=118, file=io.StringIO(), highlight=False)
    console.print(Text(f"$ xai-harness {' '.join(COMMAND)}", style="bold"))
    for line in text.splitlines():
        console.print(Text(line, style="red" if line.startswith("divergent") else ""))
    path.write_text(console.export_svg(title="xai-harness"), encoding="utf-8")


def _page(page: Path, path: Path, place: str, width: int = 1200, dark: bool = False) -> None:
    with opened(page, width, 900, dark, place) as driver:
        if place:
            until(driver, "document.querySelector('#layers table')")
        height = min(1500, driver.execute_script("return document.documentElement.scrollHeight"))
        resize(driver, width, height)
        until(driver, f"innerHeight === {height}")
        _smaller(driver.get_screenshot_as_png(), path)


def _smaller(content: bytes, path: Path) -> None:
    """Of few colours, and so of few bytes."""
    from PIL import Image

    image: Any = Image.open(io.BytesIO(content)).convert("RGB")
    image.quantize(64).save(path, optimize=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
