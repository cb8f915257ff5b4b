"""The HTML report in a real browser: nothing foreign runs, search and filter work, keys too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.report.chromium import chromium, missing, open_page
from tests.report.made_run import Shape, Texts, reported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

HOSTILE = (
    "</script><script>window.ran=1</script></style></title></textarea></pre>"
    '"><img src=x onerror=window.ran=1><svg onload=window.ran=1>'
    "<iframe src=javascript:parent.ran=1></iframe><a href=javascript:window.ran=1>x</a>"
    "<meta http-equiv=refresh content=0;url=https://evil.test>{{7*7}}{% raw %}"
    "\u202e\x1b[31m\x00\ud800\u2028<!--"
)
VISIBLE = "return [...document.querySelectorAll('.check')].filter(c => c.offsetParent).length"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reported(tmp_path_factory.mktemp("clean"))[1] / "report.html"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = Shape(texts=Texts.hostile(HOSTILE), selection=HOSTILE)
    return reported(tmp_path_factory.mktemp("hostile"), shape)[1] / "report.html"


def wait_for_status(browser: Any, text: str) -> None:
    status = browser.find_element(By.ID, "shown")
    WebDriverWait(browser, 10).until(lambda _: status.text == text, message=status.text)


def test_a_run_whose_every_string_is_markup_runs_nothing(browser: Any, hostile: Path) -> None:
    open_page(browser, hostile)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return window.ran") is None
    assert browser.get_log("browser") == []
    assert browser.current_url == hostile.resolve().as_uri()
    counts = browser.execute_script(
        "return ['script', 'img', 'iframe', 'style'].map(t => document.querySelectorAll(t).length)"
    )
    assert counts == [1, 0, 0, 1]
    links = browser.execute_script("return [...document.links].map(a => a.getAttribute('href'))")
    assert all(link.startswith("#") for link in links)
    assert "<script>window.ran=1</script>" in browser.find_element(By.TAG_NAME, "main").text


def test_search_works_on_a_hostile_run_too(browser: Any, hostile: Path) -> None:
    open_page(browser, hostile)
    browser.find_element(By.NAME, "text").send_keys("</script> critical")
    WebDriverWait(browser, 10).until(lambda _: 0 < browser.execute_script(VISIBLE) < 48)
    assert browser.execute_script("return window.ran") is None


def test_nothing_is_loaded_from_anywhere(browser: Any, clean: Path) -> None:
    open_page(browser, clean)
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert browser.get_log("browser") == []


def test_the_policy_stops_a_script_that_is_put_in(browser: Any, clean: Path) -> None:
    open_page(browser, clean)
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        "document.body.append(s); document.body.setAttribute('onclick', 'window.ran = 2');"
        "document.body.click();"
    )
    assert browser.execute_script("return window.ran") is None


def test_filters_and_search_narrow_the_list_and_say_so(browser: Any, clean: Path) -> None:
    open_page(browser, clean)
    assert browser.execute_script(VISIBLE) == 48
    Select(browser.find_element(By.NAME, "outcome")).select_by_value("FAIL")
    wait_for_status(browser, "2 of 48 checks shown")
    assert browser.execute_script(VISIBLE) == 2
    Select(browser.find_element(By.NAME, "severity")).select_by_visible_text("critical")
    wait_for_status(browser, "1 of 48 checks shown")
    browser.find_element(By.CSS_SELECTOR, "#filter button").click()
    wait_for_status(browser, "48 checks")
    browser.find_element(By.NAME, "text").send_keys("txn_8841 -4000")
    wait_for_status(browser, "6 of 48 checks shown")


def test_the_keyboard_is_enough(browser: Any, clean: Path) -> None:
    open_page(browser, clean)
    browser.find_element(By.TAG_NAME, "body").send_keys("/")
    focused = browser.switch_to.active_element
    assert focused.get_attribute("name") == "text"
    focused.send_keys("page cursor")
    wait_for_status(browser, "6 of 48 checks shown")
    focused.send_keys(Keys.ESCAPE)
    wait_for_status(browser, "48 checks")
    summary = browser.find_elements(By.CSS_SELECTOR, ".check > summary")[-1]
    summary.send_keys(Keys.ENTER)
    last = browser.find_elements(By.CSS_SELECTOR, ".check")[-1]
    assert last.get_attribute("open") is not None


def test_a_fix_leads_to_its_check(browser: Any, clean: Path) -> None:
    open_page(browser, clean)
    Select(browser.find_element(By.NAME, "outcome")).select_by_value("PASS")
    wait_for_status(browser, "38 of 48 checks shown")
    link = browser.find_element(By.CSS_SELECTOR, "#fixes a")
    target = link.get_attribute("href").rpartition("#")[2]
    browser.execute_script("arguments[0].click()", link)
    wait_for_status(browser, "48 checks")
    assert browser.find_element(By.ID, target).get_attribute("open") is not None


def test_without_script_it_is_a_plain_list(browser: Any, clean: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_page(browser, clean)
        form = browser.find_element(By.ID, "filter")
        assert not form.is_displayed()
        checks = browser.find_elements(By.CSS_SELECTOR, ".check > summary")
        assert len(checks) == 48
        assert checks[0].is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("width", [360, 800])
def test_a_narrow_screen_needs_no_sideways_scrolling(
    browser: Any, clean: Path, hostile: Path, width: int
) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        for path in (clean, hostile):
            open_page(browser, path)
            browser.execute_script(
                "document.querySelectorAll('details').forEach(d => d.open = true)"
            )
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(browser: Any, clean: Path, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        open_page(browser, clean)
        assert browser.execute_script(CONTRAST) == []
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


CONTRAST = """
document.querySelectorAll('details').forEach(d => d.open = true);
const rgb = (text) => text.match(/[0-9.]+/g).map(Number);
const light = (c) => {
  const linear = (v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const [r, g, b] = c.map(v => linear(v / 255));
  return .2126 * r + .7152 * g + .0722 * b;
};
const ground = (e) => {
  for (; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3);
  }
  return [255, 255, 255];
};
const poor = new Set();
for (const e of document.body.querySelectorAll('*:not(svg *):not(script)')) {
  if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
  const [a, b] = [light(rgb(getComputedStyle(e).color).slice(0, 3)), light(ground(e))];
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  if (ratio < 4.5) poor.add(`${e.tagName} ${e.className} ${ratio.toFixed(2)}`);
}
return [...poor];
"""
