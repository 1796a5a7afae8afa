"""How long the page of a run takes to be made, how large it is, and how long one of 1,000 cases takes to open.

    python -m benchmarks.report_page RUN

RUN is the folder of a run, say that of `xai-harness run --suite default`. Its page is made again, in another place,
and so is one of its cases over and over up to 1,000, which Chromium opens without a window. Printed are seconds by
the clock and of the processor. The goals, on 2 cores that do nothing else: 30 s, 8 MB, and 2 s.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from harness.report import Document, read_document, write_page

CASES = 1000
MODELS = 10


def thousand(document: Document) -> Document:
    """The cases of a run over and over, under names of their own; each keeps its files."""
    rows = tuple(
        {
            **document.rows[place % len(document.rows)],
            "model": f"model-{place % MODELS}",
            "method": f"method_{place // MODELS}",
        }
        for place in range(CASES)
    )
    return replace(document, rows=rows)


def made(document: Document, run: Path, page: Path) -> str:
    """What making the page took, and its size."""
    begun, processor = time.monotonic(), time.process_time()
    write_page(document, run, page)
    seconds, processor = time.monotonic() - begun, time.process_time() - processor
    size = page.stat().st_size / 1e6
    return f"{len(document.rows)} cases: made in {seconds:.1f} s ({processor:.1f} s of the processor), {size:.2f} MB"


def opened(page: Path) -> str:
    """What Chromium takes to open it from disk, until every cell is there."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    browser, driver_path = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver_path is None:
        return "not opened: Chromium is not installed (apt-get install chromium chromium-driver)"
    options.binary_location = browser
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver_path))
    try:
        driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        begun = time.monotonic()
        driver.get(page.resolve().as_uri())
        cells = driver.execute_script("return document.querySelectorAll('#matrix a.cell').length")
        seconds = time.monotonic() - begun
        figures = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        processor = next(each["value"] for each in figures if each["name"] == "TaskDuration")
        return f"opened in {seconds:.2f} s ({processor:.2f} s of the processor), {cells} cells"
    finally:
        driver.quit()


def main() -> None:
    run = Path(sys.argv[1])
    document = read_document(run)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "report.html")
        print(made(document, run, page))
        print(made(thousand(document), run, page))
        print(opened(page))


if __name__ == "__main__":
    main()
