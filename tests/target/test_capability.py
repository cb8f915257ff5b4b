"""What answers at the base URL: a deployment, or one sentence that says what it is instead."""

from __future__ import annotations

import gzip
import json
import time
from typing import TYPE_CHECKING

import pytest

from certification.errors import TargetLost
from certification.target.capability import (
    NotConforming,
    read_capability,
    ready,
    wait_until_ready,
)
from tests.target import servers
from tests.target.deployment import CAPABILITY, Deployment
from tests.target.servers import Behaviour, answer, serving

if TYPE_CHECKING:
    import socket

    from tests.target.conftest import MakeAccess

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
MARKUP = json.dumps(
    {
        "contract_version": "<img src=x onerror=alert(1)>\x1b[2J\n",
        "implementation": {"name": "<script>alert(1)</script>" * 1000},
        "modules": [{"id": "</script>\r\n"}],
    }
).encode()


def test_identity_of_a_deployment(access_to: MakeAccess) -> None:
    with serving(Deployment()) as server:
        found = read_capability(access_to(server.url), target_id="staging")
        assert found.identity.base_url == server.url
    assert found.identity.target_id == "staging"
    assert (found.identity.implementation, found.identity.version) == ("tiny", "1")
    assert (found.identity.build, found.identity.instances) == ("b1", ("i1",))
    assert found.identity.modules == ("core",)
    assert found.document == CAPABILITY
    assert any("currencies" in violation.message for violation in found.violations)


def test_a_busy_deployment_is_asked_again(access_to: MakeAccess) -> None:
    busy = servers.says(answer(b"", status="503 Busy", headers=("Retry-After: 0",)))
    there = Deployment()

    def at_the_third(connection: socket.socket, request: bytes) -> None:
        (busy if len(server.requests) < 3 else there)(connection, request)

    with serving(at_the_third) as server:
        found = read_capability(access_to(server.url), target_id="x")
        assert len(server.requests) == 3
    assert found.identity.build == "b1"


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        pytest.param(
            servers.says(answer(b"<html>", media_type="text/html; charset=utf-8")),
            "answers an HTML page, not JSON",
            id="HTML",
        ),
        pytest.param(
            servers.says(
                answer(b"", status="301 Moved", headers=("Location: https://x.example/",))
            ),
            r"redirects \(301\) to 'https://x.example/'",
            id="redirect",
        ),
        pytest.param(servers.says(answer(b"{}", status="404 No")), r"not there \(404\)", id="404"),
        pytest.param(servers.says(answer(b"{}", status="500 No")), "answers 500", id="500"),
        pytest.param(servers.says(answer(b"{}")), "declares no modules", id="200 to everything"),
        pytest.param(servers.says(answer(b"[]")), "not an object", id="list"),
        pytest.param(
            servers.says(answer(b"[" * 200_000 + b"]" * 200_000)), "nested deeper", id="deep"
        ),
        pytest.param(
            servers.says(
                answer(gzip.compress(b" " * 50_000_000), headers=("Content-Encoding: gzip",))
            ),
            "answers without end: the body is over the cap",
            id="bomb",
        ),
        pytest.param(
            servers.floods(HEAD + b"\r\n", b" " * 65536), "answers without end", id="endless"
        ),
        pytest.param(servers.dribbles(HEAD + b"\r\n"), "never ends it", id="dribbles"),
        pytest.param(servers.says_and_closes(b"220 smtp ready\r\n"), "HTTP/1.1", id="SMTP"),
    ],
)
def test_not_a_deployment(behaviour: Behaviour, says: str, access_to: MakeAccess) -> None:
    with serving(behaviour) as server:
        access = access_to(server.url, body_max_bytes=1_000_000)
        started = time.monotonic()
        with pytest.raises(NotConforming, match=says) as caught:
            read_capability(access, target_id="x")
        assert time.monotonic() - started < 5
    assert "\n" not in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "behaviour", [servers.never_answers, servers.says_and_closes(b""), servers.resets]
)
def test_nothing_answers(behaviour: Behaviour, access_to: MakeAccess) -> None:
    with serving(behaviour) as server, pytest.raises(TargetLost, match=r"/\.well-known/alluse"):
        read_capability(access_to(server.url), target_id="x")
    with pytest.raises(TargetLost, match="no connection"):
        read_capability(access_to(server.url), target_id="x")


def test_markup_and_control_characters_become_short_plain_text(access_to: MakeAccess) -> None:
    with serving(servers.says(answer(MARKUP))) as server:
        found = read_capability(access_to(server.url), target_id="x")
    assert len(found.identity.implementation) == 200
    for text in (found.identity.contract_version, *found.identity.modules):
        assert text.isprintable()


def test_readiness_is_waited_for_and_has_an_end(access_to: MakeAccess, waits: list[float]) -> None:
    fail = answer(b"{}", status="503 No", media_type="application/health+json")
    good = answer(b'{"status": "pass"}', media_type="application/health+json")
    with serving(servers.says(fail, fail, good)) as server:
        access = access_to(server.url)
        assert not ready(access)
        wait_until_ready(access, deadline_s=5, wait=waits.append)
        assert len(server.requests) == 3
    started = time.monotonic()
    with pytest.raises(TargetLost, match=r"not ready again within 0\.5 s"):
        wait_until_ready(access, deadline_s=0.5)
    assert time.monotonic() - started < 5
