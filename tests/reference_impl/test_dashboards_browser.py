"""The dashboards in a real browser: the way in, five pages, hostile names, keys, small screens."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from reference_impl import totp
from reference_impl.dashboards import pages
from tests.report.chromium import chromium, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

PAGES = [page.id for page in pages.PAGES]
HOSTILE = (
    "</td></table><script>window.ran=1</script><img src=x onerror=window.ran=1>"
    "<svg onload=window.ran=1><a href=javascript:window.ran=1>x</a>{{7*7}}"
)
WAIT_S = 40
SHOWN = "return document.getElementById('content')?.dataset.shown"


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from .conftest import init_database, start_server

    running = start_server(init_database(tmp_path_factory.mktemp("browser") / "book.db"))
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def root(book: Any) -> Any:
    from .conftest import ADMIN_PASSWORD, log_in

    client = log_in(book.port, "admin", ADMIN_PASSWORD)
    hostile = client.funded(5_000_000_00, name=HOSTILE)
    other = client.funded(1_000_00, name=HOSTILE[::-1])
    client.post(f"/v1/accounts/{hostile['id']}/fork", {"mode": "policy"})
    for amount in range(1, 30):
        client.book("withdrawal", amount, from_account_id=other["id"])
    return client


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.fixture
def signed_in(browser: Any, book: Any, root: Any) -> Iterator[Any]:
    from .conftest import ADMIN_PASSWORD

    browser.get(f"{book.url}/dashboards/operational")
    if "/login" in browser.current_url:
        enter(browser, book, "admin", ADMIN_PASSWORD)
    shown(browser)
    browser.get_log("browser")
    yield browser
    screen(browser, 1280)


def enter(browser: Any, book: Any, username: str, password: str) -> None:
    browser.get(f"{book.url}/dashboards/login")
    browser.find_element(By.ID, "username").send_keys(username)
    browser.find_element(By.ID, "password").send_keys(password, Keys.ENTER)


def visit(browser: Any, book: Any, page: str) -> None:
    browser.get(f"{book.url}/dashboards/{page}")
    shown(browser)


def shown(browser: Any) -> str:
    return str(WebDriverWait(browser, WAIT_S).until(lambda _: browser.execute_script(SHOWN)))


def refreshed(browser: Any) -> None:
    before = browser.execute_script(SHOWN)
    WebDriverWait(browser, WAIT_S).until(lambda _: browser.execute_script(SHOWN) != before)


def screen(browser: Any, width: int, scheme: str = "light") -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def message(browser: Any) -> str:
    said = browser.find_element(By.ID, "message")
    WebDriverWait(browser, WAIT_S).until(lambda _: said.text)
    return str(said.text)


def figure(browser: Any, panel: str) -> str:
    return str(browser.find_element(By.CSS_SELECTOR, f"[data-panel={panel}] .value").text)


def legend(browser: Any, panel: str) -> list[list[str]]:
    rows = browser.find_elements(By.CSS_SELECTOR, f"[data-panel={panel}] tbody tr")
    return [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]


def test_a_page_leads_a_stranger_to_the_login(browser: Any, book: Any) -> None:
    browser.delete_all_cookies()
    browser.get(f"{book.url}/dashboards/business")
    assert browser.current_url == f"{book.url}/dashboards/login"
    assert browser.switch_to.active_element.get_attribute("id") == "username"


def test_a_wrong_password_and_a_role_without_dashboards_are_told(
    browser: Any, book: Any, root: Any
) -> None:
    from .conftest import PASSWORD

    root.post("/v1/users", {"username": "clerk", "password": PASSWORD, "roles": ["customer"]})
    enter(browser, book, "clerk", "not the password at all")
    assert "Wrong name or password" in message(browser)
    enter(browser, book, "clerk", PASSWORD)
    assert "operator" in message(browser)
    assert browser.get_cookies() == []


def test_a_second_factor_is_asked_for(browser: Any, book: Any, root: Any) -> None:
    from .conftest import PASSWORD, log_in

    made = {"username": "careful", "password": PASSWORD, "roles": ["operator"]}
    root.post("/v1/users", made)
    careful = log_in(book.port, "careful", PASSWORD)
    secret = careful.post("/v1/auth/mfa/enroll", {"method": "totp"}).body["secret"]
    step = totp.step_of(int(time.time() * 1000))
    proof = {"method": "totp", "code": totp.code(secret, step - 1)}
    assert careful.post("/v1/auth/mfa/enroll", proof).status == 200
    browser.delete_all_cookies()
    enter(browser, book, "careful", PASSWORD)
    code = browser.find_element(By.ID, "code")
    WebDriverWait(browser, WAIT_S).until(lambda _: code.is_displayed())
    code.send_keys("000000", Keys.ENTER)
    assert message(browser)
    code.clear()
    code.send_keys(totp.code(secret, totp.step_of(int(time.time() * 1000))), Keys.ENTER)
    WebDriverWait(browser, WAIT_S).until(lambda _: "/operational" in browser.current_url)


def test_the_session_is_out_of_reach_of_scripts(signed_in: Any) -> None:
    assert signed_in.execute_script("return document.cookie") == ""
    assert signed_in.execute_script("return localStorage.length + sessionStorage.length") == 0
    (cookie,) = signed_in.get_cookies()
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Strict")
    assert cookie["path"] == "/dashboards"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_all_its_parts_without_an_error(signed_in: Any, book: Any, page: str) -> None:
    visit(signed_in, book, page)
    refreshed(signed_in)
    assert signed_in.get_log("browser") == []
    texts = "return [...document.querySelectorAll('.state, .value')].map(e => e.textContent)"
    assert not [text for text in signed_in.execute_script(texts) if text.endswith("…")]
    foreign = signed_in.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
        ".filter(name => !name.startsWith(location.origin + '/dashboards/'))"
    )
    assert foreign == []
    assert signed_in.find_element(By.ID, "notice").is_displayed() is False


def test_the_values_are_those_of_the_metrics(signed_in: Any, book: Any, root: Any) -> None:
    metrics = root.get("/metrics").raw.decode().splitlines()
    posted = sum(
        float(line.rpartition(" ")[2])
        for line in metrics
        if line.startswith("ledger_transactions_total") and 'outcome="posted"' in line
    )
    (cents,) = [
        float(line.rpartition(" ")[2])
        for line in metrics
        if line.startswith('ledger_customer_minor_units{currency="USD"}')
    ]
    visit(signed_in, book, "business")
    assert figure(signed_in, "posted") == f"{posted:,.0f}"
    assert ["USD", f"{cents / 100:,.2f} USD"] in legend(signed_in, "held")
    assert figure(signed_in, "forks") == "1"
    assert figure(signed_in, "accounts_active") == "4"


def test_what_happens_is_shown_without_loading_the_page_again(
    signed_in: Any, book: Any, root: Any
) -> None:
    visit(signed_in, book, "business")
    before = int(figure(signed_in, "posted").replace(",", ""))
    root.funded(1_00)
    refreshed(signed_in)
    assert int(figure(signed_in, "posted").replace(",", "")) == before + 1


def test_hostile_names_are_text(signed_in: Any, book: Any) -> None:
    visit(signed_in, book, "business")
    cells = signed_in.find_elements(By.CSS_SELECTOR, "[data-table=newest_accounts] td")
    assert HOSTILE in [cell.text for cell in cells]
    assert signed_in.execute_script("return window.ran") is None
    count = "return document.querySelectorAll('img, iframe, a[href^=javascript]').length"
    assert signed_in.execute_script(count) == 0
    assert signed_in.execute_script("return document.scripts.length") == 1


def test_a_chart_has_axes_units_and_says_in_words_what_it_shows(
    signed_in: Any, book: Any, root: Any
) -> None:
    visit(signed_in, book, "operational")
    for _ in range(3):
        root.get("/v1/accounts")
        refreshed(signed_in)
    chart = signed_in.find_element(By.CSS_SELECTOR, "[data-panel=requests] svg[role=img]")
    texts = [one.text for one in chart.find_elements(By.TAG_NAME, "text")]
    assert "per second" in texts
    assert "0/s" in texts
    assert any(":" in text for text in texts)
    said = chart.find_element(By.TAG_NAME, "desc").get_attribute("textContent")
    assert "2xx: now " in said
    assert [row[0] for row in legend(signed_in, "requests")] == ["2xx", "3xx", "4xx", "5xx"]
    path = chart.find_element(By.CSS_SELECTOR, "path.s0").get_attribute("d")
    assert path.count("L") >= 1


def test_a_chart_is_read_with_the_keys(signed_in: Any, book: Any, root: Any) -> None:
    visit(signed_in, book, "operational")
    refreshed(signed_in)
    panel = signed_in.find_element(By.CSS_SELECTOR, "[data-panel=requests]")
    chart = panel.find_element(By.CSS_SELECTOR, ".chart")
    chart.send_keys(Keys.ARROW_LEFT)
    readout = panel.find_element(By.CSS_SELECTOR, ".readout")
    assert "5xx 0/s" in readout.text
    last = readout.text
    chart.send_keys(Keys.HOME)
    assert readout.text != last
    refreshed(signed_in)
    assert signed_in.switch_to.active_element == chart
    chart.send_keys(Keys.ESCAPE)
    assert readout.text == ""


def test_every_page_and_tool_is_reached_with_the_tab_key(signed_in: Any, book: Any) -> None:
    visit(signed_in, book, "operational")
    signed_in.execute_script("document.activeElement.blur()")
    reached = []
    for _ in range(10):
        signed_in.switch_to.active_element.send_keys(Keys.TAB)
        active = signed_in.switch_to.active_element
        reached.append(active.text or active.get_attribute("id"))
        outline = active.value_of_css_property("outline-style")
        assert outline != "none", reached
    for name in ("Operational", "Alerting", "Sign out", "Pause"):
        assert name in reached


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "light"), (400, "dark")])
def test_a_page_fits_the_screen_and_is_readable(
    signed_in: Any, book: Any, page: str, width: int, scheme: str
) -> None:
    screen(signed_in, width, scheme)
    visit(signed_in, book, page)
    assert signed_in.execute_script("return document.documentElement.scrollWidth") <= width
    low = signed_in.execute_script(CONTRASTS)
    assert low == []


CONTRASTS = """
const light = (text) => {
  const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map((one) => {
    const part = one / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (one) => {
  const found = getComputedStyle(one).backgroundColor;
  const clear = /rgba\\(.*, 0\\)|transparent/.test(found);
  return clear && one.parentElement ? ground(one.parentElement) : found;
};
const found = new Set();
const texts = 'h1, h2, p, dt, dd span, td, th, a, button, .chart text';
for (const one of document.querySelectorAll(texts)) {
  const style = getComputedStyle(one);
  const colour = one instanceof SVGElement ? style.fill : style.color;
  const [a, b] = [light(colour), light(ground(one))].sort((x, y) => y - x);
  if (one.textContent.trim() && (a + 0.05) / (b + 0.05) < 4.5) {
    found.add(`${one.tagName} ${colour} on ${ground(one)}`);
  }
}
return [...found];
"""
"""Texts with less contrast than 4.5 to 1 (WCAG 2.2, 1.4.3)."""


def test_a_page_is_painted_before_its_figures_arrive(signed_in: Any, book: Any) -> None:
    """The head, the headings and the explanations stand there while the figures are fetched."""
    slow = {"offline": False, "latency": 400, "downloadThroughput": -1, "uploadThroughput": -1}
    signed_in.execute_cdp_cmd("Network.enable", {})
    signed_in.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
    try:
        visit(signed_in, book, "technical")
        painted, answered = signed_in.execute_script(
            "const data = performance.getEntriesByType('resource')"
            ".find(one => one.name.includes('/data'));"
            "const [paint] = performance.getEntriesByName('first-contentful-paint');"
            "return [paint.startTime, data.responseEnd]"
        )
    finally:
        signed_in.execute_cdp_cmd("Network.disable", {})
    assert painted < answered


def test_the_figures_stand_still_while_paused(signed_in: Any, book: Any) -> None:
    visit(signed_in, book, "technical")
    button = signed_in.find_element(By.ID, "pause")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    before = shown(signed_in)
    time.sleep(6)
    assert shown(signed_in) == before
    button.click()
    refreshed(signed_in)


def test_another_range_is_shown_at_once(signed_in: Any, book: Any) -> None:
    visit(signed_in, book, "technical")
    Select(signed_in.find_element(By.ID, "range")).select_by_value("3600")
    refreshed(signed_in)
    asked = signed_in.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name).at(-1)"
    )
    assert asked.endswith("range_s=3600")


def test_signing_out_leads_to_the_login_and_the_page_is_gone(signed_in: Any, book: Any) -> None:
    signed_in.find_element(By.ID, "leave").click()
    WebDriverWait(signed_in, WAIT_S).until(lambda _: "/login" in signed_in.current_url)
    signed_in.get(f"{book.url}/dashboards/technical")
    assert "/login" in signed_in.current_url


def test_a_server_that_is_gone_is_told_and_found_again(
    browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from .conftest import ADMIN_PASSWORD, init_database, start_server

    database = init_database(tmp_path_factory.mktemp("gone") / "book.db")
    running = start_server(database)
    try:
        browser.delete_all_cookies()
        enter(browser, running, "admin", ADMIN_PASSWORD)
        shown(browser)
        running.stop()
        notice = browser.find_element(By.ID, "notice")
        WebDriverWait(browser, WAIT_S).until(lambda _: "No new figures since" in notice.text)
        running = start_server(database, "--port", str(running.port))
        WebDriverWait(browser, WAIT_S).until(lambda _: not notice.is_displayed())
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.stop()
