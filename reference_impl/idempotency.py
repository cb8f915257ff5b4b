"""Idempotency keys: one execution for each (principal, method, path, key), and its replay."""

import hashlib
import json
import re
import sqlite3
from dataclasses import dataclass
from typing import Any

import msgspec

from .config import IDEMPOTENCY_RETENTION_S
from .problems import Problem

_KEY = re.compile(r'^(?:"([A-Za-z0-9_-]{16,128})"|([A-Za-z0-9_-]{16,128}))$')
STORED_REFUSALS = frozenset({409, 412, 422})
PURGE_ROWS = 200
"""So many of the oldest are looked at together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer that can be stored and given again."""

    status: int
    body: bytes
    headers: dict[str, str]
    target: str = "-"
    """The id of the object that the request was about, for the audit trail."""
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a key is unique within, and the request it stands for."""

    principal: str
    method: str
    path: str
    key: str
    fingerprint: bytes


def parse_key(header: str | None) -> str:
    """Return the key, given bare or as an RFC 8941 string.

    Raises Problem `idempotency_key_missing` or `idempotency_key_invalid`.
    """
    if header is None:
        raise Problem("idempotency_key_missing", "Send an Idempotency-Key of your own making.")
    match = _KEY.match(header)
    if match is None:
        raise Problem(
            "idempotency_key_invalid", "A key is 16 to 128 characters of A-Z a-z 0-9 _ and -."
        )
    return match[1] or match[2]


def canonical(document: Any) -> bytes:
    """Return the document as canonical JSON: sorted members, no white space, UTF-8."""
    return msgspec.json.encode(document, order="sorted")


def fingerprint(document: Any) -> bytes:
    """Return the digest that tells two payloads apart; key order and white space do not count."""
    return hashlib.sha256(canonical(document)).digest()


def recall(connection: sqlite3.Connection, scope: Scope, now_ms: int) -> Reply | None:
    """Return the stored answer, or None if the key is new.

    Raises Problem `idempotency_payload_mismatch` if the key stands for another payload.
    """
    row = connection.execute(
        "SELECT fingerprint, status, headers, body, created_at FROM idempotency"
        " WHERE key = ? AND principal = ? AND path = ? AND method = ?",
        (scope.key, scope.principal, scope.path, scope.method),
    ).fetchone()
    if row is None:
        return None
    if row["created_at"] + IDEMPOTENCY_RETENTION_S * 1000 <= now_ms:
        forget(connection, scope)
        return None
    if row["fingerprint"] != scope.fingerprint:
        raise Problem("idempotency_payload_mismatch", "The key was used with another body.")
    return Reply(
        status=row["status"], body=row["body"], headers=json.loads(row["headers"]), replayed=True
    )


def forget(connection: sqlite3.Connection, scope: Scope) -> None:
    """Drop a key whose retention is over."""
    connection.execute(
        "DELETE FROM idempotency WHERE key = ? AND principal = ? AND path = ? AND method = ?",
        (scope.key, scope.principal, scope.path, scope.method),
    )


def is_stored(problem: Problem) -> bool:
    """Tell whether a refusal is final for its key, so that a retry can never flip it."""
    if problem.code == "idempotency_payload_mismatch":
        return False
    return problem.kind.status in STORED_REFUSALS and not problem.kind.retryable


def remember(connection: sqlite3.Connection, scope: Scope, reply: Reply, now_ms: int) -> None:
    """Store the answer in the transaction of the change."""
    connection.execute(
        "INSERT INTO idempotency (principal, method, path, key, fingerprint, status, headers,"
        " body, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            scope.principal,
            scope.method,
            scope.path,
            scope.key,
            scope.fingerprint,
            reply.status,
            json.dumps(reply.headers),
            reply.body,
            now_ms,
        ),
    )


def purge(connection: sqlite3.Connection, now_ms: int) -> int:
    """Delete some of the oldest keys past their retention; return how many."""
    return connection.execute(
        "DELETE FROM idempotency WHERE created_at < ? AND n IN"
        " (SELECT n FROM idempotency ORDER BY n LIMIT ?)",
        (now_ms - IDEMPOTENCY_RETENTION_S * 1000, PURGE_ROWS),
    ).rowcount
