"""The caches tell how often they were of use, and none shows what another worker has changed."""

import http.client
import json
from pathlib import Path
from typing import Any

from reference_impl import caches

from ._desk import opened


def test_a_token_is_verified_once_and_its_session_asked_for_each_time(tmp_path: Path) -> None:
    with opened(tmp_path) as desk:
        customer = desk.new_user("customer")
        before = dict(caches.lookups())
        for _ in range(5):
            assert customer.get("/v1/accounts").status_code == 200
        after = dict(caches.lookups())
        counted = {labels: after[labels] - before[labels] for labels in after}
        assert counted["verified_tokens", "miss"] == 1
        assert counted["verified_tokens", "hit"] == 4
        assert customer.post("/v1/auth/logout").status_code == 204
        assert customer.get("/v1/accounts").status_code == 401


def connected(port: int) -> tuple[http.client.HTTPConnection, str]:
    """Return a kept connection and the worker that it leads to."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/.well-known/alluse")
    return connection, json.loads(connection.getresponse().read())["instance"]


def two_workers(port: int) -> list[http.client.HTTPConnection]:
    """Return a connection to each of two workers."""
    found: dict[str, http.client.HTTPConnection] = {}
    for _ in range(100):
        connection, instance = connected(port)
        if found.setdefault(instance, connection) is not connection:
            connection.close()
        if len(found) == 2:
            return list(found.values())
    raise AssertionError("all connections led to one worker")


def ask(
    connection: http.client.HTTPConnection, token: str, method: str, path: str, body: Any = None
) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    headers |= {"If-Match": "*"}
    data = None if body is None else json.dumps(body)
    connection.request(method, path, data, headers)
    answer = connection.getresponse()
    raw = answer.read()
    return answer.status, json.loads(raw) if raw else None


def test_what_one_worker_wrote_the_other_shows_at_once(
    server: Any, log_in_as: Any, admin_password: str
) -> None:
    admin = log_in_as(server.port, "admin", admin_password)
    path = f"/v1/accounts/{admin.account()['id']}"
    one, two = two_workers(server.port)
    for number in range(40):
        writer, reader = (one, two) if number % 2 else (two, one)
        name = {"name": f"Name {number}"}
        assert ask(reader, admin.token, "GET", path)[0] == 200
        assert ask(writer, admin.token, "PATCH", path, name)[0] == 200
        status, shown = ask(reader, admin.token, "GET", path)
        assert (status, shown["name"]) == (200, f"Name {number}")
    assert ask(one, admin.token, "POST", "/v1/auth/logout", {})[0] == 204
    assert ask(two, admin.token, "GET", path)[0] == 401
    for connection in (one, two):
        connection.close()
