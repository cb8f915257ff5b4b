"""The audit trail: one hash-chained record for each change, in the transaction of the change."""

import hashlib
import sqlite3
from dataclasses import dataclass

import msgspec

_GENESIS = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who tried what; the payload is kept as a keyed digest only."""

    actor: str
    action: str
    request_id: str
    payload_digest: str


def leaf(record: dict[str, object]) -> bytes:
    """Return SHA-256(0x00 || canonical JSON of the record), the leaf form of RFC 9162."""
    return hashlib.sha256(b"\x00" + msgspec.json.encode(record, order="sorted")).digest()


def append(
    connection: sqlite3.Connection, act: Act, *, target: str, outcome: str, now_ms: int
) -> None:
    """Add a record that names the hash of the one before it."""
    last = connection.execute(
        "SELECT seq, leaf_hash FROM audit ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    seq, previous = (last["seq"] + 1, last["leaf_hash"]) if last else (1, _GENESIS)
    record: dict[str, object] = {
        "seq": seq,
        "ts": now_ms,
        "actor": act.actor,
        "action": act.action,
        "object": target,
        "outcome": outcome,
        "request_id": act.request_id,
        "payload_digest": act.payload_digest,
        "prev_hash": previous.hex(),
    }
    connection.execute(
        "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*list(record.values())[:-1], previous, leaf(record)),
    )
