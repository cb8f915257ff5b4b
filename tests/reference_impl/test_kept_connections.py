"""A refusal that comes before the body was read leaves the connection usable."""

import http.client
from typing import Any

import pytest

REQUESTS = 200


@pytest.mark.parametrize("size", [50_000, 300_000])
def test_a_refused_body_does_not_cost_the_next_request(server: Any, size: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    headers = {"Content-Type": "application/json"}
    statuses = set()
    for _ in range(REQUESTS):
        # Without a token: refused before anybody looks at the body.
        connection.request("POST", "/v1/transactions", b"{" + b" " * size, headers)
        response = connection.getresponse()
        response.read()
        statuses.add((response.status, response.getheader("Connection")))
    connection.close()

    assert statuses == {(401, None)}
