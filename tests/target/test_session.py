"""Sessions: tokens, keys, and answers compared with the contract."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from certification.target.outcomes import ConnectionLost, Lost
from certification.target.secret import Secret
from certification.target.session import Session, json_bytes, query_text
from certification.target.tokens import Credentials, LoginRefused
from tests.target import servers
from tests.target.deployment import Deployment, problem
from tests.target.servers import answer, serving

if TYPE_CHECKING:
    from certification.model import Exchange
    from certification.target.session import Access
    from tests.target.conftest import MakeAccess

ROOT = Credentials(role="admin", username="root", password=Secret.generated("root-password"))
CREATE = {"username": "ada", "password": "a-long-password", "roles": ["customer"]}


def session_of(access: Access) -> Session:
    return Session(access, role="admin", credentials=ROOT)


def anonymous(access: Access) -> Session:
    return Session(access, role="anonymous", credentials=None)


def test_call_logs_in_once_and_sends_token_and_key(
    access_to: MakeAccess, recorded: list[Exchange]
) -> None:
    deployment = Deployment()
    with serving(deployment) as server:
        session = session_of(access_to(server.url))
        reply = session.call("createUser", body=CREATE)
        again = session.call("createUser", body=CREATE, key=reply.sent_key)
        other = session.call("createUser", body=CREATE)
        assert session.user_id == "usr-root"
    assert (reply.status, reply.etag, reply.body["id"]) == (201, '"1"', "usr-ada")
    assert reply.headers.get("location") == "/v1/users/usr-ada"
    assert deployment.keys == [reply.sent_key, again.sent_key, other.sent_key]
    assert again.sent_key == reply.sent_key != other.sent_key
    assert deployment.count("POST /v1/auth/login") == 1
    assert [(e.operation, e.identity) for e in recorded[:2]] == [
        ("login", "admin"),
        ("createUser", "admin"),
    ]
    assert reply.exchange_number == recorded[1].number == 2


def test_nothing_secret_is_recorded(access_to: MakeAccess, recorded: list[Exchange]) -> None:
    deployment = Deployment()
    with serving(deployment) as server:
        session = session_of(access_to(server.url))
        session.call("createUser", body=CREATE)
        session.send_raw("GET", f"/v1/users/x?note={session.token}&also=root-password")
    text = repr(recorded)
    assert "createUser" in text
    for secret in ("root-password", "a-long-password", "access-1-xyz", "refresh-1-xyz"):
        assert secret not in text


def test_token_is_renewed_before_its_end_and_after_a_refusal(access_to: MakeAccess) -> None:
    deployment = Deployment()
    with serving(deployment) as server:
        session = session_of(access_to(server.url))
        first = session.token
        deployment.valid.clear()
        assert session.call("getUser", path={"id": "usr-ada"}).status == 200
        assert session.token != first
        assert deployment.count("POST /v1/auth/refresh") == 1
        deployment.valid.clear()
        deployment.refresh.clear()
        assert session.call("getUser", path={"id": "usr-ada"}).status == 200
        assert deployment.count("POST /v1/auth/login") == 2


def test_threads_share_one_login(access_to: MakeAccess) -> None:
    deployment = Deployment()
    with serving(deployment) as server, ThreadPoolExecutor(20) as pool:
        session = session_of(access_to(server.url, deadline_s=10.0))
        statuses = pool.map(
            lambda _: session.call("getUser", path={"id": "usr-a"}).status, range(40)
        )
        assert set(statuses) == {200}
    assert deployment.count("POST /v1/auth/login") == 1


def test_busy_login_is_waited_for(access_to: MakeAccess, waits: list[float]) -> None:
    with serving(Deployment(busy_logins=2)) as server:
        session_of(access_to(server.url)).log_in()
    assert waits == [3.0, 3.0]


def test_login_that_is_refused(access_to: MakeAccess) -> None:
    with serving(Deployment(users={})) as server:
        session = session_of(access_to(server.url))
        with pytest.raises(LoginRefused, match=r"admin.*401 bad_credentials") as caught:
            session.call("getUser", path={"id": "usr-ada"})
    assert caught.value.wrong_credentials


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(
            answer(b"<html>", media_type="text/html"), "Content-Type of status 200", id="HTML"
        ),
        pytest.param(answer(b"{", media_type="application/json"), "not JSON", id="cut"),
        pytest.param(answer(b"[" * 200_000 + b"]" * 200_000), "nested deeper", id="deep"),
        pytest.param(answer(b"{}"), "", id="empty object"),
        pytest.param(answer(b"", media_type=""), "Content-Type of status 200", id="nothing"),
        pytest.param(answer(b'{"a": NaN}'), "NaN", id="NaN"),
        pytest.param(answer(b"{}", status="418 Teapot"), "status 418 is not declared", id="418"),
        pytest.param(problem(404, "made_up"), "not in the problem catalogue", id="unknown code"),
        pytest.param(problem(404, "busy"), "belongs to status 503", id="code of another status"),
        pytest.param(
            problem(503, "busy", "Retry-After: soon"), "Retry-After is neither", id="Retry-After"
        ),
        pytest.param(
            answer(b"{}", headers=("Content-Encoding: gzip",)), "Content-Encoding: gzip", id="gzip"
        ),
        pytest.param(answer(b'"' + b"x" * 50_000 + b'"'), "over the cap", id="over the cap"),
    ],
)
def test_answers_that_break_the_contract_are_violations(
    data: bytes, says: str, access_to: MakeAccess, recorded: list[Exchange]
) -> None:
    with serving(servers.says(data)) as server:
        cap = 1_000_000 if b"[[" in data else 40_000
        reply = anonymous(access_to(server.url, body_max_bytes=cap)).call(
            "getUser", path={"id": "usr-ada"}
        )
    assert any(says in violation.message for violation in reply.violations), reply.violations
    assert reply.exchange_number == recorded[0].number


def test_markup_is_data(access_to: MakeAccess) -> None:
    with serving(Deployment()) as server:
        reply = session_of(access_to(server.url)).call(
            "getUser", path={"id": "<script>alert(1)</script>/../x"}
        )
        assert reply.status == 200
        path = server.requests[-1].split(b" ")[1]
    assert path == b"/v1/users/%3Cscript%3Ealert%281%29%3C%2Fscript%3E%2F..%2Fx"


def test_lost_connection_is_raised_with_its_exchange(
    access_to: MakeAccess, recorded: list[Exchange]
) -> None:
    with serving(servers.says_and_closes(b"")) as server:
        session = anonymous(access_to(server.url))
        with pytest.raises(ConnectionLost) as caught:
            session.call("getLiveness")
    assert (caught.value.number, caught.value.reason) == (1, Lost.CONNECTION_LOST)
    assert recorded[0].error is not None


def test_raw_sends_what_it_is_given(access_to: MakeAccess) -> None:
    with serving(servers.says(answer(b'{"a": 1}'), answer(b"{"))) as server:
        session = anonymous(access_to(server.url))
        reply = session.send_raw(
            "POST",
            "/v1/%2e%2e/x?y=%00",
            headers={"Content-Type": "text/plain", "X-Odd": "1"},
            content=b"\xff{not json",
        )
        assert (reply.status, reply.body, reply.violations) == (200, {"a": 1}, ())
        assert session.send_raw("DELETE", "/").body is None
        sent = server.requests[0]
    assert sent.startswith(b"POST /v1/%2e%2e/x?y=%00 HTTP/1.1\r\n")
    assert sent.endswith(b"\r\n\r\n\xff{not json")
    assert b"Content-Type: text/plain\r\n" in sent


def test_own_authorization_header_wins(access_to: MakeAccess) -> None:
    deployment = Deployment()
    with serving(deployment) as server:
        reply = session_of(access_to(server.url)).call(
            "getUser", path={"id": "usr-a"}, headers={"authorization": "Bearer forged"}
        )
    assert (reply.status, reply.problem_code) == (401, "token_expired")
    assert deployment.count("POST /v1/auth/login") == 0


def test_query_and_body_encoding() -> None:
    assert query_text({}) == ""
    assert (
        query_text({"a": "x y&z", "b": None, "c": ["1", "2"], "d": True, "e": 5})
        == "?a=x%20y%26z&c=1&c=2&d=true&e=5"
    )
    assert json_bytes({"n": "é€"}) == '{"n":"é€"}'.encode()
    assert json.loads(json_bytes({"n": "\ud800"})) == {"n": "\ud800"}
    assert json_bytes(None) == b"null"
