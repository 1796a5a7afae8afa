"""The page in a browser: it opens, filters, sorts and shows a case, by mouse, by address and by keyboard alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.engine import Store
from harness.plain import json_text
from harness.report import case_view, document_of, write_page, write_report
from harness.runner import Selection, name_causes, run
from harness.token_texts import token_texts
from tests.harness.linear_network import GradientBackend, network
from tests.report.browser import complaints, opened, processor_seconds, requests, require_browser
from tests.report.test_page import FAILED, ROW, text_model

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run with a candidate that turns a sign in one layer: 4 cases, of which 2 methods fail alike."""
    require_browser()
    folder = tmp_path_factory.mktemp("run")
    faulty = GradientBackend("faulty", lambda layer, r: -r if layer == "first" else r)
    reference = GradientBackend("reference")
    selection = Selection(
        (network(),), ("gradient", "input_t_gradient"), ("float64", "float32"), reference, faulty
    )
    rows = run(selection, folder, store=Store(limit=0))
    healthy = run(
        Selection((network(),), ("lrp.z",), ("float64",), "oracle", "oracle"),
        folder / "healthy",
        store=Store(limit=0),
    )
    for row in healthy:
        row["files"] = [f"healthy/{name}" for name in row["files"]]
    name_causes(rows, "auto", selection, (reference, faulty), folder, Store(limit=0))
    return write_report(document_of([*rows, *healthy], {"python": "3"}), folder)


@pytest.fixture(scope="module")
def shared_browser(page: Path) -> Iterator[Any]:
    with opened(page) as driver:
        yield driver


@pytest.fixture
def browser(shared_browser: Any, page: Path) -> Any:
    shared_browser.get("about:blank")
    shared_browser.get(page.resolve().as_uri())
    return shared_browser


def script(driver: Any, words: str) -> Any:
    return driver.execute_script(f"return {words}")


def shown(driver: Any) -> list[str]:
    """The cases of the list that are to be seen."""
    return [row.text for row in driver.find_elements("css selector", "#cases tbody tr") if row.is_displayed()]


def until(driver: Any, words: str, seconds: float = 10.0) -> Any:
    """The value of an expression as soon as it is something."""
    ends = time.monotonic() + seconds
    while not (value := script(driver, words)):
        assert time.monotonic() < ends, f"never true: {words}"
        time.sleep(0.02)
    return value


def keys(driver: Any, *pressed: str) -> None:
    from selenium.webdriver import ActionChains

    for key in pressed:
        ActionChains(driver).send_keys(key).perform()


def test_it_opens_without_a_complaint_or_a_request_and_has_a_cell_for_every_case(page: Path) -> None:
    with opened(page) as driver:
        assert complaints(driver) == []
        assert requests(driver) == [page.resolve().as_uri()]
        cells = driver.find_elements("css selector", "#matrix a.cell")
        assert [cell.get_attribute("data-case") for cell in cells] == ["0", "1", "2", "3", "4"]
        assert {cell.text for cell in cells} == {"≠", "="}
        head = driver.find_element("tag name", "header").text
        assert "1 of 5 cases passed" in head
        assert "candidate faulty against reference reference" in head
        cells[0].click()
        until(driver, "document.querySelector('#case h2')")
        until(driver, "document.querySelector('#maps canvas, #maps svg')")
        assert complaints(driver) == []
        assert requests(driver) == []


def test_filter_and_search_are_in_the_address_and_come_back_from_it(browser: Any, page: Path) -> None:
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("name", "verdict")).select_by_visible_text("did not pass")
    until(browser, "document.getElementById('shown').textContent === '4 of 5 cases'")
    assert len(shown(browser)) == 4
    browser.find_element("name", "q").send_keys("input_t")
    until(browser, "document.getElementById('shown').textContent === '2 of 5 cases'")
    assert len(shown(browser)) == 2
    address = browser.current_url
    assert address.endswith("#q=input_t&verdict=failed")
    assert browser.find_element("id", "shown").text == "2 of 5 cases"
    browser.get("about:blank")
    browser.get(address)
    assert len(shown(browser)) == 2
    assert browser.find_element("name", "q").get_attribute("value") == "input_t"
    browser.find_element("id", "reset").click()
    until(browser, "document.getElementById('shown').textContent === '5 of 5 cases'")


def test_the_matrix_and_the_list_are_sorted(browser: Any) -> None:
    from selenium.webdriver.support.ui import Select

    def methods() -> list[str]:
        return [each.text for each in browser.find_elements("css selector", "#matrix tbody th")]

    assert methods() == ["gradient", "input_t_gradient", "lrp.z"]
    Select(browser.find_element("name", "sort")).select_by_visible_text("by name")
    until(browser, "location.hash === '#sort=name'")
    assert methods() == ["lrp.z", "input_t_gradient", "gradient"][::-1]
    Select(browser.find_element("name", "sort")).select_by_visible_text("worst verdict first")
    until(browser, "location.hash === '#sort=worst'")
    assert methods()[-1] == "lrp.z"
    browser.find_element("xpath", "//div[@id='cases']//button[text()='method']").click()
    browser.find_element("xpath", "//div[@id='cases']//button[text()='method']").click()
    assert shown(browser)[0].split()[2] == "lrp.z"
    head = browser.find_element("xpath", "//div[@id='cases']//th[2]")
    assert head.get_attribute("aria-sort") == "descending"


def test_a_failing_case_shows_its_diagnosis_its_layers_and_the_way_to_repeat_it(browser: Any) -> None:
    browser.find_element("css selector", "#matrix a.cell").click()
    until(browser, "document.querySelector('#diagnosis .finding')")
    part = browser.find_element("id", "case").text
    finding = browser.find_element("css selector", "#diagnosis .finding").text
    assert "second" in finding, finding
    assert "divergent, did not pass" in part
    # first (0.5, 1.25), second (-0.25, 1.125): the largest logit is that of class 1.
    assert "class explained: 1." in part
    assert "Relative L2: the step is off by " in part
    assert "xai-harness run --model linear --method gradient --dtype float64" in part
    assert "first introduced error: second" in script(
        browser, "document.getElementById('layers').textContent"
    )
    rows = browser.find_elements("css selector", "#layers tbody tr")
    assert [row.text.split()[0] for row in rows] == ["second", "first", "x"]
    browser.find_element("xpath", "//div[@id='layers']//button[text()='signs and extremes']").click()
    assert "sign agreement" in browser.find_element("css selector", "#layers thead").text
    assert "1 of 1" not in part


def test_a_case_that_was_not_diagnosed_itself_says_whose_cause_it_shows(browser: Any, page: Path) -> None:
    browser.get(page.resolve().as_uri() + "#case=1")
    browser.refresh()
    until(browser, "document.querySelector('#diagnosis .finding')")
    assert (
        "Not diagnosed by itself. It fails like linear gradient float64"
        in browser.find_element("id", "diagnosis").text
    )


def test_each_map_can_have_its_own_scale(browser: Any) -> None:
    browser.find_element("css selector", "#matrix a.cell").click()
    until(browser, "document.getElementById('own-scale')")

    def ends() -> list[str]:
        return [each.text for each in browser.find_elements("css selector", "#maps figure .soft")]

    assert len(set(ends())) == 1
    browser.find_element("id", "own-scale").click()
    assert len(set(ends())) > 1


def test_the_keyboard_alone_suffices(browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    keys(browser, "/")
    keys(browser, *"gradient")
    assert browser.find_element("id", "shown").text == "4 of 5 cases"
    for _ in range(20):
        keys(browser, Keys.TAB)
        if script(browser, "document.activeElement.classList.contains('cell')"):
            break
    assert script(browser, "document.activeElement.dataset.case") == "0"
    keys(browser, Keys.ARROW_RIGHT)
    assert script(browser, "document.activeElement.dataset.case") == "1"
    keys(browser, Keys.ARROW_DOWN, Keys.ARROW_LEFT)
    assert script(browser, "document.activeElement.dataset.case") == "2"
    keys(browser, Keys.ENTER)
    until(browser, "document.activeElement.tagName === 'H2'")
    assert "input_t_gradient" in script(browser, "document.activeElement.textContent")
    keys(browser, Keys.ESCAPE)
    until(browser, "!document.getElementById('overview').hidden")
    assert script(browser, "document.activeElement.dataset.case") == "2"


def test_on_a_phone_nothing_is_wider_than_the_screen(page: Path) -> None:
    for place in ("", "#case=0"):
        with opened(page, 390, 800, hash_=place) as driver:
            if place:
                until(driver, "document.querySelector('#layers table')")
            assert script(driver, "document.documentElement.scrollWidth") <= 390


def test_dark_and_light_are_told_apart(page: Path) -> None:
    grounds = []
    for dark in (False, True):
        with opened(page, dark=dark) as driver:
            grounds.append(script(driver, "getComputedStyle(document.body).backgroundColor"))
            # The ring around what did not pass is seen on either ground, whatever stands in the cell.
            ring = script(driver, "getComputedStyle(document.querySelector('a.cell.failed')).boxShadow")
            assert script(driver, "getComputedStyle(document.body).color") in ring
    assert grounds == ["rgb(255, 255, 255)", "rgb(18, 22, 27)"]


def test_names_with_markup_are_text_in_the_browser(tmp_path: Path) -> None:
    name = "<img src=x onerror=\"document.title='PWNED'\"><b>bold</b>"
    row = FAILED | {
        "model": name,
        "method": name,
        "cause": name,
        "diagnosis": [name],
        "message": name,
        "again": name,
    }
    path = write_report(document_of([row], {name: name}), tmp_path)
    with opened(path, hash_="#case=0") as driver:
        until(driver, "document.querySelector('#case h2')")
        assert script(driver, "document.querySelectorAll('img, b').length") == 0
        assert "PWNED" not in driver.title.split(",")[0].replace(name, "")
        assert name in driver.find_element("css selector", "#case h2").text
        assert complaints(driver) == []


def test_a_thousand_cases_open_within_two_seconds(tmp_path: Path, page: Path) -> None:
    rows = [
        (ROW if place % 7 else FAILED) | {"model": f"model-{place % 10}", "method": f"method_{place // 10}"}
        for place in range(1000)
    ]
    # Each with the files of a real case.
    names = [
        path.relative_to(page.parent).as_posix() for path in page.parent.glob("linear/gradient.float64.*")
    ]
    document = document_of([row | {"files": [name for name in names if Path(name).suffix]} for row in rows])
    path = write_page(document, page.parent, tmp_path / "report.html")
    with opened(path) as driver:
        assert processor_seconds(driver) < 2
        assert script(driver, "document.querySelectorAll('#matrix a.cell').length") == 1000
        before = processor_seconds(driver)
        driver.find_element("name", "q").send_keys("method_99")
        until(driver, "document.getElementById('shown').textContent === '10 of 1000 cases'")
        assert processor_seconds(driver) - before < 2


def test_tokens_are_coloured_text_with_their_numbers_and_never_markup(tmp_path: Path) -> None:
    """On the one scale of 2, relevances of 1 and -1 are coloured by half; on their own they are in full."""
    require_browser()
    model = text_model(("<b>bold</b>", 'it\'s "so"'), 2)
    x = np.array([[3.0, 4.0]])
    reference, candidate = np.array([[2.0, -1.0]]), np.array([[1.0, -1.0]])
    view = case_view(model.graph, x, reference, candidate, texts=token_texts(model, x))
    (tmp_path / "case.view.json").write_text(json_text(view))
    page = write_page(document_of([FAILED | {"files": ["case.view.json"]}]), tmp_path)
    with opened(page, hash_="#case=0") as driver:
        until(driver, "document.querySelectorAll('#maps .tokens').length === 4")
        chips = "[...document.querySelectorAll('#maps [aria-label=%s] span')].map((chip) => chip.%s)"
        assert script(driver, chips % ("reference", "textContent")) == ["<b>bold</b>", 'it\'s "so"']
        assert script(driver, chips % ("reference", "title")) == ["<b>bold</b>: 2", 'it\'s "so": -1']
        colours = chips % ("candidate", "style.background")
        assert script(driver, colours) == ["rgb(255, 128, 128)", "rgb(128, 128, 255)"]
        driver.find_element("id", "own-scale").click()
        assert script(driver, colours) == ["rgb(255, 0, 0)", "rgb(0, 0, 255)"]
        assert script(driver, "document.querySelectorAll('#maps b').length") == 0
