"""A deployment of a few operations, small enough to be bent by each test."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.target.servers import answer

if TYPE_CHECKING:
    import socket

PROBLEM = "application/problem+json"
USER_TIMES = {"version": 1, "created_at": "2026-01-01T00:00:00.000Z"}
CAPABILITY = {
    "contract_version": "0.1.0",
    "openapi_sha256": "0" * 64,
    "implementation": {"name": "tiny", "version": "1"},
    "build": "b1",
    "instance": "i1",
    "modules": [{"id": "core", "version": "0.1.0", "level": "full"}],
}


@dataclass
class Deployment:
    users: dict[str, str] = field(default_factory=lambda: {"root": "root-password"})
    life_s: int = 900
    serial: int = 0
    valid: set[str] = field(default_factory=set)
    refresh: dict[str, str] = field(default_factory=dict)
    log: list[tuple[str, str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    refuse_roles: frozenset[str] = frozenset()
    busy_logins: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, connection: socket.socket, request: bytes) -> None:
        head, _, body = request.partition(b"\r\n\r\n")
        line, *rows = head.decode().split("\r\n")
        method, path, _ = line.split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (row.partition(":") for row in rows)}
        document = json.loads(body) if body else None
        with self.lock:
            self.log.append((method, path, document))
            data = self._handle(f"{method} {path.partition('?')[0]}", headers, document)
        connection.sendall(data)

    def count(self, operation: str) -> int:
        return sum(f"{method} {path}" == operation for method, path, _ in self.log)

    def _handle(  # noqa: PLR0911  one return an operation
        self, operation: str, headers: dict[str, str], body: Any
    ) -> bytes:
        match operation:
            case "GET /.well-known/alluse":
                return answer(json.dumps(CAPABILITY).encode())
            case "POST /v1/auth/login":
                return self._login(body)
            case "POST /v1/auth/refresh":
                name = self.refresh.pop(body["refresh_token"], None)
                return self._session(name) if name else problem(401, "token_invalid")
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.valid:
            return problem(401, "token_expired" if token else "unauthenticated")
        if operation == "POST /v1/users":
            return self._create(headers, body)
        if operation.startswith(("GET /v1/users/", "PATCH /v1/users/")):
            return user(operation.rpartition("/")[2], "customer")
        return problem(404, "not_found")

    def _login(self, body: Any) -> bytes:
        if self.busy_logins:
            self.busy_logins -= 1
            return problem(503, "busy", "Retry-After: 3")
        name = body["username"]
        good = self.users.get(name) == body["password"]
        return self._session(name) if good else problem(401, "bad_credentials")

    def _session(self, name: str) -> bytes:
        self.serial += 1
        access, refresh = f"access-{self.serial}-xyz", f"refresh-{self.serial}-xyz"
        self.valid.add(access)
        self.refresh[refresh] = name
        document = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": self.life_s,
            "refresh_token": refresh,
            "refresh_expires_in": 9000,
            "user": {"id": f"usr-{name}", "roles": ["customer"]},
        }
        return answer(json.dumps(document).encode())

    def _create(self, headers: dict[str, str], body: Any) -> bytes:
        self.keys.append(headers["idempotency-key"])
        if body["roles"][0] in self.refuse_roles:
            return problem(403, "role_escalation")
        self.users[body["username"]] = body["password"]
        return user(f"usr-{body['username']}", body["roles"][0], status="201 Created")


def user(user_id: str, role: str, *, status: str = "200 OK") -> bytes:
    document = {
        "id": user_id,
        "username": user_id.removeprefix("usr-"),
        "roles": [role],
        "status": "active",
        **USER_TIMES,
    }
    headers = ('ETag: "1"', f"Location: /v1/users/{user_id}")
    return answer(json.dumps(document).encode(), status=status, headers=headers)


def problem(status: int, code: str, *headers: str) -> bytes:
    document = {
        "type": f"urn:alluse:problem:{code}",
        "title": code,
        "status": status,
        "code": code,
        "retryable": False,
        "trace_id": "t1",
    }
    body = json.dumps(document).encode()
    return answer(body, status=f"{status} No", media_type=PROBLEM, headers=headers)
