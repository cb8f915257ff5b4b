"""One identity at the target: logs in when needed, sends operations, decodes every answer."""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any
from urllib.parse import quote, urlencode

from certification.contract import Contract, Operation
from certification.target.client import Client, Request
from certification.target.outcomes import Answer, ConnectionLost, Headers, Lost, NoAnswer
from certification.target.recording import Sink
from certification.target.reply import Reply, checked_reply, too_large_reply, unchecked_reply
from certification.target.tokens import Bearer, Credentials

ANONYMOUS = "anonymous"


class Unset(Enum):
    """Marks arguments that were left out, where None means something."""

    AUTO = "auto"
    """The session chooses: a fresh Idempotency-Key where the operation needs one."""
    NOTHING = "nothing"
    """No body at all; None is the JSON value null."""


AUTO = Unset.AUTO
UNSET = Unset.NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What every session of a process shares."""

    client: Client
    contract: Contract
    sink: Sink
    new_key: Callable[[], str] = lambda: secrets.token_hex(16)


class Session:
    """Sends operations as one identity; thread-safe. Without credentials it is `anonymous`."""

    def __init__(self, access: Access, *, role: str, credentials: Credentials | None) -> None:
        """Send nothing yet; the first call that needs a token logs in."""
        self.role = role
        self._access = access
        around = access.client.surroundings
        self._bearer = (
            None
            if credentials is None
            else Bearer(credentials, self._send_for_token, known=around.known, wait=around.wait)
        )

    @property
    def user_id(self) -> str:
        """The id that the target gave this user; logs in where that is not known yet."""
        return "" if self._bearer is None else self._bearer.user_id

    @property
    def token(self) -> str:
        """A valid access token, for checks that send it their own way; empty for `anonymous`."""
        return "" if self._bearer is None else self._bearer.token()

    def log_in(self) -> None:
        """Log in now; `LoginRefused` where that does not give a session."""
        if self._bearer is not None:
            self._bearer.token()

    def call(  # noqa: PLR0913  the parts of an HTTP request, all by name
        self,
        operation: str,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        body: Any = UNSET,
        headers: Mapping[str, str] | None = None,
        key: str | Unset | None = AUTO,
        if_match: str | None = None,
        back_pressure: bool = True,
        deadline_s: float | None = None,
    ) -> Reply:
        """Send an operation of the contract and compare the answer with it.

        Violations are in the reply, not raised. `key` None sends no Idempotency-Key. A 401
        `token_expired` is answered with a new token and one repeat. Raises `ConnectionLost` where
        there is no answer, also after `deadline_s` where that is not the target's own deadline; an
        answer over the cap is a reply with a violation.
        """
        declared = self._access.contract.operations[operation]
        sent_key = self._access.new_key() if key is AUTO and declared.idempotency_required else key
        extra = dict(headers or {})
        if isinstance(sent_key, str):
            extra.setdefault("Idempotency-Key", sent_key)
        if if_match is not None:
            extra["If-Match"] = if_match
        if body is not UNSET:
            extra.setdefault("Content-Type", "application/json")
        request = Request(
            method=declared.method,
            target=declared.url_path(path or {}) + query_text(query or {}),
            headers=tuple(extra.items()),
            body=None if body is UNSET else json_bytes(body),
            identity=self.role,
            operation=operation,
            back_pressure=back_pressure,
            deadline_s=deadline_s,
        )
        # A public operation goes out as anybody would send it, and costs no login.
        token = None if "public" in declared.roles else self._token_for(extra)
        reply = self._reply(request, declared, token)
        if token and reply.status == 401 and reply.problem_code == "token_expired":
            self._renew(token)
            reply = self._reply(request, declared, self._token_for(extra))
        return reply.with_key(sent_key if isinstance(sent_key, str) else None)

    def send_raw(  # noqa: PLR0913  the parts of an HTTP request, all by name
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | Headers = (),
        content: bytes | None = None,
        authorize: bool = True,
        back_pressure: bool = True,
    ) -> Reply:
        """Send bytes as they are to a percent-encoded path below the base URL; nothing is checked.

        The reply's body is the decoded JSON, or None where it is none. With `authorize`, the
        identity's token is added unless `headers` hold an Authorization.
        """
        pairs = tuple(headers.items()) if isinstance(headers, Mapping) else headers
        request = Request(
            method=method,
            target=path,
            headers=pairs,
            body=content,
            identity=self.role,
            back_pressure=back_pressure,
        )
        token = self._token_for(dict(pairs)) if authorize else None
        answer = self._answer(request, token)
        name = f"{method} {path.partition('?')[0]}"
        if isinstance(answer, NoAnswer):
            return too_large_reply(name, answer)
        return unchecked_reply(name, answer, now=self._access.client.surroundings.now())

    def _token_for(self, headers: Mapping[str, str]) -> str | None:
        """Return the token to add: none where the caller sends credentials of its own."""
        own = any(name.lower() == "authorization" for name in headers)
        return None if own or self._bearer is None else self._bearer.token()

    def _reply(self, request: Request, operation: Operation, token: str | None) -> Reply:
        answer = self._answer(request, token)
        if isinstance(answer, NoAnswer):
            return too_large_reply(operation.id, answer)
        reply = checked_reply(operation, answer, now=self._access.client.surroundings.now())
        self._remember(reply.body)
        return reply

    def _answer(self, request: Request, token: str | None) -> Answer | NoAnswer:
        if token:
            bearer = ("Authorization", f"Bearer {token}")
            request = replace(request, headers=(bearer, *request.headers))
        outcome = self._access.client.send(request, self._access.sink)
        if isinstance(outcome, NoAnswer) and (
            outcome.status is None or outcome.reason is not Lost.TOO_LARGE
        ):
            raise ConnectionLost(
                number=outcome.number, reason=outcome.reason, detail=outcome.detail
            )
        return outcome

    def _send_for_token(self, operation: str, body: Mapping[str, str]) -> Reply:
        declared = self._access.contract.operations[operation]
        request = Request(
            method=declared.method,
            target=declared.url_path({}),
            headers=(("Content-Type", "application/json"),),
            body=json_bytes(body),
            identity=self.role,
            operation=operation,
        )
        return self._reply(request, declared, None)

    def _renew(self, token: str) -> None:
        if self._bearer is not None:
            self._bearer.reject(token)

    def _remember(self, body: object) -> None:
        """Keep tokens that checks obtain themselves out of later records."""
        if isinstance(body, Mapping):
            tokens = (body.get(name) for name in ("access_token", "refresh_token", "challenge"))
            self._access.client.surroundings.known.add(*(t for t in tokens if isinstance(t, str)))


def query_text(query: Mapping[str, Any]) -> str:
    """Return `?a=b&c=d`, or nothing; None is left out, a list repeats its name."""
    pairs = [
        (name, str(value).lower() if isinstance(value, bool) else value)
        for name, value in query.items()
        if value is not None
    ]
    return f"?{urlencode(pairs, doseq=True, quote_via=quote)}" if pairs else ""


def json_bytes(body: Any) -> bytes:
    """Encode a body; half a surrogate pair, which UTF-8 cannot hold, goes out as an escape."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
