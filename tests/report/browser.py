"""Chromium, without a window, for the tests that look at a page as a reader does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


def require_browser() -> tuple[str, str]:
    """Chromium and its driver; skips the test, with the reason, where they are not installed."""
    pytest.importorskip("selenium", reason="selenium is not installed: pip install 'xai-harness[dev]'")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("Chromium is not installed: apt-get install chromium chromium-driver")
    return browser, driver


@contextmanager
def opened(
    page: Path, width: int = 1280, height: int = 900, dark: bool = False, hash_: str = ""
) -> Iterator[Any]:
    """A browser that has ``page`` open, from disk, at that size."""
    browser, driver_path = require_browser()
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    ):
        options.add_argument(word)
    options.add_argument(f"--window-size={width},{height}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.binary_location = browser
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver_path))
    try:
        resize(driver, width, height)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        # What a busy machine gives to others is not the page's: processor time counts, not that of the wall.
        driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        driver.get(page.resolve().as_uri() + hash_)
        yield driver
    finally:
        driver.quit()


def resize(driver: Any, width: int, height: int) -> None:
    """Give the page that much room, as on a phone where it is narrow."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def processor_seconds(driver: Any) -> float:
    """What the page has taken so far to be parsed, laid out and run."""
    metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))


def complaints(driver: Any) -> list[str]:
    """What the console says."""
    return [str(each["message"]) for each in driver.get_log("browser")]


def requests(driver: Any) -> list[str]:
    """The addresses that were asked for, of the network and of the disk; what the page holds itself is none."""
    messages = [json.loads(each["message"])["message"] for each in driver.get_log("performance")]
    asked = [
        str(each["params"]["request"]["url"])
        for each in messages
        if each["method"] == "Network.requestWillBeSent"
    ]
    return [address for address in asked if not address.startswith(("data:", "blob:"))]
