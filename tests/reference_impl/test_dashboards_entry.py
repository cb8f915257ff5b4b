"""Who gets into the dashboards, how the cookie lives and dies, and that it opens nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reference_impl.dashboards import entry, pages, resources

from ._desk import Desk, opened

FOREIGN = r"<script(?! type=\"module\" src=\"/dashboards/)|\son\w+=|style="
"""Scripts and handlers that are not the own files."""
DATA = "/dashboards/operational/data"
PAGES = [page.id for page in pages.PAGES]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened(tmp_path) as found:
        yield found


def exchanged(who: Desk) -> Any:
    return who.send("POST", "/dashboards/session")


def cookie_of(answer: Any) -> str:
    (line,) = answer.headers.getlist("Set-Cookie")
    return str(line).partition(";")[0]


def with_cookie(desk: Desk, cookie: str, path: str = DATA, method: str = "GET") -> Any:
    client = desk.app.test_client(use_cookies=False)  # its jar would replace the header
    return client.open(path, method=method, headers={"Cookie": cookie})


def test_nothing_is_shown_without_a_session(desk: Desk) -> None:
    nobody = desk.other()
    for page in PAGES:
        shown = nobody.get(f"/dashboards/{page}")
        assert (shown.status_code, shown.headers["Location"]) == (303, "/dashboards/login")
        assert shown.data == b""
        refused = nobody.get(f"/dashboards/{page}/data")
        assert (refused.status_code, refused.json["code"]) == (401, "token_missing")
    assert nobody.send("POST", "/dashboards/session").status_code == 401
    assert nobody.send("DELETE", "/dashboards/session").status_code == 401


@pytest.mark.parametrize("path", [f"/dashboards/{page}" for page in PAGES] + [DATA])
@pytest.mark.parametrize("role", ["customer", "auditor", "service"])
def test_below_operator_there_is_no_way_in(desk: Desk, role: str, path: str) -> None:
    who = desk.new_user(role)
    assert who.get(path).status_code == 403
    assert exchanged(who).status_code == 403
    assert "Set-Cookie" not in exchanged(who).headers


@pytest.mark.parametrize("role", ["operator", "manager", "admin"])
def test_from_operator_on_every_page_is_shown(desk: Desk, role: str) -> None:
    cookie = cookie_of(exchanged(desk.new_user(role)))
    for page in PAGES:
        shown = with_cookie(desk, cookie, f"/dashboards/{page}")
        assert shown.status_code == 200
        assert f'data-page="{page}"' in shown.get_data(as_text=True)
        assert with_cookie(desk, cookie, f"/dashboards/{page}/data").json["page"] == page


def test_a_service_reads_figures_by_its_grant_and_no_accounts(desk: Desk) -> None:
    service = desk.new_user("service")
    desk.post("/v1/grants", {"principal_id": service.user_id, "scope": "metrics:read"})
    shown = service.get("/dashboards/business/data")
    assert shown.json["panels"]["posted"]["series"][0]["values"] == [0]
    why = shown.json["tables"]["newest_accounts"]
    assert why == {"unavailable": "Not available: your role does not read it."}


def test_an_operator_whom_metrics_were_denied_sees_no_dashboard(desk: Desk) -> None:
    operator = desk.new_user("operator")
    cookie = cookie_of(exchanged(operator))
    denial = {"principal_id": operator.user_id, "scope": "metrics:read", "effect": "deny"}
    desk.post("/v1/grants", denial)
    assert with_cookie(desk, cookie).status_code == 403


def test_the_cookie_is_for_these_pages_of_this_browser_alone(desk: Desk) -> None:
    (line,) = exchanged(desk).headers.getlist("Set-Cookie")
    parts = {part.strip() for part in line.split(";")[1:]}
    assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/dashboards"} <= parts
    assert f"Max-Age={entry.IDLE_S}" in parts
    assert not any(part.startswith("Domain") for part in parts)


def test_the_cookie_is_no_access_token_and_an_access_token_no_cookie(desk: Desk) -> None:
    name, _, value = cookie_of(exchanged(desk)).partition("=")
    thief = Desk(desk.app, desk.hands, desk.database, token=value)
    assert thief.get("/v1/accounts").json["code"] == "token_invalid"
    assert with_cookie(desk, f"{name}={value}", "/v1/accounts").json["code"] == "token_missing"
    assert with_cookie(desk, f"{name}={desk.token}").json["code"] == "token_invalid"


@pytest.mark.parametrize("value", ["", "x", "a.b.c", "ö", "e30.e30.", "x" * 5000])
def test_a_made_up_cookie_is_refused(desk: Desk, value: str) -> None:
    answer = with_cookie(desk, f"{entry.COOKIE}={value}")
    assert (answer.status_code, answer.json["code"][:6]) == (401, "token_")


def test_a_changed_cookie_is_refused(desk: Desk) -> None:
    cookie = cookie_of(exchanged(desk))
    head, body, _ = cookie.split(".")
    assert with_cookie(desk, f"{head}.{body}.{'A' * 43}").status_code == 401
    assert with_cookie(desk, cookie).status_code == 200


def test_the_cookie_ends_when_nobody_looks_and_lives_on_while_somebody_does(desk: Desk) -> None:
    cookie = cookie_of(exchanged(desk))
    desk.hands.advance(entry.IDLE_S - 10)
    renewed = with_cookie(desk, cookie)
    assert renewed.status_code == 200
    desk.hands.advance(20)
    assert with_cookie(desk, cookie).json["code"] == "token_expired"
    assert with_cookie(desk, cookie_of(renewed)).status_code == 200


def test_a_fresh_cookie_is_not_renewed_at_every_look(desk: Desk) -> None:
    cookie = cookie_of(exchanged(desk))
    assert "Set-Cookie" not in with_cookie(desk, cookie).headers


def test_the_end_of_the_session_is_not_moved_by_looking(desk: Desk) -> None:
    cookie = cookie_of(exchanged(desk))
    for _ in range(26):
        desk.hands.advance(entry.IDLE_S - 10)
        answer = with_cookie(desk, cookie)
        if answer.status_code != 200:
            break
        cookie = cookie_of(answer)
    assert answer.json["code"] == "token_expired"


def test_signing_out_ends_the_session_itself(desk: Desk) -> None:
    operator = desk.new_user("operator")
    cookie = cookie_of(exchanged(operator))
    left = with_cookie(desk, cookie, "/dashboards/session", "DELETE")
    assert left.status_code == 204
    assert re.search(r"Max-Age=0|Expires=Thu, 01 Jan 1970", left.headers["Set-Cookie"])
    assert with_cookie(desk, cookie).status_code == 401
    assert operator.get("/v1/accounts").status_code == 401


@pytest.mark.parametrize("change", [{"status": "locked"}, {"roles": ["customer"]}])
def test_a_lock_and_a_lost_role_count_at_once(desk: Desk, change: dict[str, Any]) -> None:
    operator = desk.new_user("operator")
    cookie = cookie_of(exchanged(operator))
    path = f"/v1/users/{operator.user_id}"
    tag = desk.get(path).headers["ETag"]
    changed = desk.send("PATCH", path, change, **{"If-Match": tag})
    assert changed.status_code == 200, changed.data
    assert with_cookie(desk, cookie).status_code in {401, 403}


def test_pages_allow_nothing_inline_and_nothing_foreign(desk: Desk) -> None:
    cookie = cookie_of(exchanged(desk))
    for path in ("/dashboards/login", *(f"/dashboards/{page}" for page in PAGES)):
        answer = with_cookie(desk, cookie, path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["Cache-Control"] == "no-store"
        html = answer.get_data(as_text=True)
        assert not re.search(FOREIGN, html)
        assert not re.search(r"(src|href)=\"(?![/#])", html)


def test_static_files_are_a_closed_set(desk: Desk) -> None:
    for name, media_type in resources.STATIC.items():
        answer = desk.other().get(f"/dashboards/static/{name}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, media_type)
        again = desk.other().send(
            "GET", f"/dashboards/static/{name}", **{"If-None-Match": answer.headers["ETag"]}
        )
        assert again.status_code == 304
    for name in ("../entry.py", "%2e%2e%2fentry.py", "entry.py", "page.html", "x.js"):
        assert desk.other().get(f"/dashboards/static/{name}").status_code == 404


@pytest.mark.parametrize("range_s", ["", "0", "901", "abc", "1e3", "900 ", "9" * 40])
def test_an_unknown_range_is_refused(desk: Desk, range_s: str) -> None:
    answer = desk.get(f"{DATA}?range_s={range_s}")
    assert (answer.status_code, answer.json["code"]) == (400, "validation_failed")


def test_an_unknown_page_is_not_found(desk: Desk) -> None:
    assert desk.get("/dashboards/nothing").status_code == 404
    assert desk.get("/dashboards/nothing/data").status_code == 404
    assert desk.get("/dashboards/").status_code == 404


def test_without_metrics_there_are_no_dashboards(tmp_path: Path) -> None:
    with opened(tmp_path, metrics=False) as desk:
        for path in ("/dashboards", "/dashboards/login", DATA, "/dashboards/static/page.js"):
            assert desk.get(path).json["code"] == "not_found"
