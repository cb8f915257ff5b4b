"""Throw-away users keep a session for as long as a check needs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from certification.guests import Guest
from certification.target.reply import Reply
from tests.runner.test_context import Scripted, context, reply


@dataclass
class Issuer:
    """A deployment that takes one token, and each refresh token once."""

    valid: str = "a1"
    refreshes: dict[str, str] = field(default_factory=lambda: {"r1": "2", "r2": "3"})
    sent: list[str] = field(default_factory=list)
    role: str = "anonymous"

    def call(self, operation: str, **request: Any) -> Reply:
        self.sent.append(operation)
        if operation == "refreshSession":
            number = self.refreshes.pop(request["body"]["refresh_token"], None)
            if number is None:
                return reply(401, problem_code="token_reused")
            self.valid = f"a{number}"
            return reply(200, body={"access_token": self.valid, "refresh_token": f"r{number}"})
        if request["headers"]["Authorization"] == f"Bearer {self.valid}":
            return reply(200)
        return reply(401, problem_code="token_expired")


def guest(issuer: Issuer, refresh_token: str) -> Guest:
    ctx = context(Scripted([]))
    return Guest(cast("Any", issuer), ctx, token="a1", refresh_token=refresh_token)


def test_an_expired_token_is_renewed_each_time() -> None:
    issuer = Issuer()
    visitor = guest(issuer, "r1")
    visitor.call("getUser", expect=200)
    for _ in range(2):
        issuer.valid = "another one"
        visitor.call("getUser", expect=200)
        visitor.call("getUser", expect=200)
    assert issuer.sent.count("refreshSession") == 2


@pytest.mark.parametrize("refresh_token", ["", "used"])
def test_a_session_that_cannot_be_renewed_stays_expired(refresh_token: str) -> None:
    visitor = guest(Issuer(valid="another one"), refresh_token)
    visitor.call("getUser", problem="token_expired")
