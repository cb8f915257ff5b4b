"""The access token of one identity: from a login, renewed in time, shared by threads."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from certification.errors import HarnessError
from certification.target.limits import Clock, Wait
from certification.target.redaction import KnownSecrets
from certification.target.reply import Reply
from certification.target.secret import Secret

RENEW_BEFORE_S = 5.0
"""A token is renewed this long before its end, or at half of a shorter life."""
BUSY_TRIES_MAX = 20
BUSY_WAIT_MAX_S = 5.0

Send = Callable[[str, Mapping[str, str]], Reply]
"""Sends `login` or `refreshSession` with a body, without a token."""


class LoginRefused(HarnessError):  # noqa: N818  says what happened
    """An identity got no session; nothing that needs it can be asked."""

    def __init__(self, message: str, *, wrong_credentials: bool) -> None:
        """Tell a wrong password, which the operator can mend, from everything else."""
        super().__init__(message)
        self.wrong_credentials = wrong_credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """User name and password of an identity."""

    role: str
    username: str
    password: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tokens:
    access: str
    refresh: str
    user_id: str
    renew_at_s: float


class Bearer:
    """Holds the tokens of one login; one thread at a time logs in or renews."""

    def __init__(
        self,
        credentials: Credentials,
        send: Send,
        *,
        known: KnownSecrets,
        wait: Wait,
        clock: Clock = time.monotonic,
    ) -> None:
        """Send nothing yet."""
        self._credentials = credentials
        self._send = send
        self._known = known
        self._wait = wait
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens: _Tokens | None = None

    @property
    def user_id(self) -> str:
        """The id that the target gave this user."""
        return self._valid().user_id

    def token(self) -> str:
        """Return an access token that is not about to end; `LoginRefused` where there is none."""
        return self._valid().access

    def reject(self, token: str) -> None:
        """Take note that the target calls this token expired, unless a newer one is here."""
        with self._lock:
            if self._tokens is not None and self._tokens.access == token:
                self._tokens = self._renewed(self._tokens)

    def _valid(self) -> _Tokens:
        with self._lock:
            if self._tokens is None:
                self._tokens = self._logged_in()
            elif self._clock() >= self._tokens.renew_at_s:
                self._tokens = self._renewed(self._tokens)
            return self._tokens

    def _renewed(self, old: _Tokens) -> _Tokens:
        reply = self._patiently("refreshSession", {"refresh_token": old.refresh})
        return self._tokens_of(reply) or self._logged_in()

    def _logged_in(self) -> _Tokens:
        who = self._credentials
        password = who.password.reveal()
        self._known.add(password)
        reply = self._patiently("login", {"username": who.username, "password": password})
        tokens = self._tokens_of(reply)
        if tokens is None:
            wrong = reply.status == 401 and reply.problem_code == "bad_credentials"
            raise LoginRefused(
                f"login as {who.role} ({who.username}) gave no session: {_said(reply)}",
                wrong_credentials=wrong,
            )
        return tokens

    def _patiently(self, operation: str, body: Mapping[str, str]) -> Reply:
        """Send; a 503 with Retry-After is waited for, as hashing passwords is meant to be slow."""
        reply = self._send(operation, body)
        for _ in range(BUSY_TRIES_MAX - 1):
            if reply.status != 503 or reply.retry_after_s is None:
                break
            self._wait(min(reply.retry_after_s, BUSY_WAIT_MAX_S))
            reply = self._send(operation, body)
        return reply

    def _tokens_of(self, reply: Reply) -> _Tokens | None:
        body: Any = reply.body
        if reply.status != 200 or not isinstance(body, Mapping):
            return None
        access, refresh = body.get("access_token"), body.get("refresh_token")
        life, user = body.get("expires_in"), body.get("user")
        if not (isinstance(access, str) and access and isinstance(refresh, str)):
            return None
        if not (isinstance(life, int) and isinstance(user, Mapping)):
            return None
        self._known.add(access, refresh)
        ahead = min(RENEW_BEFORE_S, life / 2)
        return _Tokens(
            access=access,
            refresh=refresh,
            user_id=str(user.get("id", "")),
            renew_at_s=self._clock() + life - ahead,
        )


def _said(reply: Reply) -> str:
    if isinstance(reply.body, Mapping) and reply.body.get("mfa_required") is True:
        return "it asks for a second factor, which the harness does not have"
    if reply.problem_code:
        return f"{reply.status} {reply.problem_code}"
    if reply.violations:
        return f"{reply.status}, and {reply.violations[0].message}"
    return str(reply.status)
