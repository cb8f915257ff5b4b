"""The audit trail: one hash-chained record for each change, in the transaction of the change.

A record's leaf is SHA-256(0x00 || canonical JSON of the record with the hash of the one before),
and the leaves form the Merkle tree of RFC 9162. Of the tree only the complete subtrees of 2**8
leaves and more are stored, each when its last leaf comes; a record costs the write path two
hashes on average, and a root or a proof needs at most the last 255 leaves beside stored hashes.
People are named by their ids and payloads by keyed digests, so erasure leaves the chain whole.
"""

import functools
import hashlib
import hmac
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from . import clock, merkle

GENESIS = bytes(32)
CHUNK_LEVEL = 8
CHUNK = 1 << CHUNK_LEVEL
_PLAIN_NAME = re.compile(r"[A-Za-z0-9 _./:-]{1,200}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who tried what; the payload is kept as a keyed digest only."""

    actor: str
    action: str
    request_id: str
    payload_digest: str


def operator(action: str) -> Act:
    """Return the act of somebody at the command line of the deployment."""
    return Act(actor="operator", action=action, request_id="-", payload_digest="")


def leaf(record: dict[str, object]) -> bytes:
    """Return SHA-256(0x00 || canonical JSON of the record), the leaf form of RFC 9162."""
    return merkle.leaf_hash(msgspec.json.encode(record, order="sorted"))


def append(
    connection: sqlite3.Connection, act: Act, *, target: str, outcome: str, now_ms: int
) -> None:
    """Add a record that names the hash of the one before it."""
    last = connection.execute(
        "SELECT seq, leaf_hash FROM audit ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    seq, previous = (last["seq"] + 1, last["leaf_hash"]) if last else (1, GENESIS)
    record: dict[str, object] = {
        "seq": seq,
        "ts": clock.text(now_ms),
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
        (seq, now_ms, *list(record.values())[2:-1], previous, leaf(record)),
    )
    if seq % CHUNK == 0:
        store_nodes(connection, seq)


def store_nodes(connection: sqlite3.Connection, size: int) -> None:
    """Store every subtree that the leaf number `size`, a multiple of CHUNK, completes."""
    level, index = CHUNK_LEVEL, size // CHUNK - 1
    top = _fold(connection, size - CHUNK, size)
    while True:
        connection.execute("INSERT INTO audit_nodes VALUES (?, ?, ?)", (level, index, top))
        if index % 2 == 0:
            return
        left = subtrees(connection)(level, index - 1)
        level, index, top = level + 1, index // 2, merkle.node_hash(left, top)


def subtrees(connection: sqlite3.Connection) -> merkle.Subtree:
    """Return how to read the tree's complete subtrees."""

    @functools.cache
    def find(level: int, index: int) -> bytes:
        if level < CHUNK_LEVEL:
            return _fold(connection, index << level, (index + 1) << level)
        row = connection.execute(
            "SELECT hash FROM audit_nodes WHERE level = ? AND position = ?", (level, index)
        ).fetchone()
        if row is None:
            raise LookupError(f"the subtree {level}/{index} is not stored")
        return bytes(row["hash"])

    return find


def _fold(connection: sqlite3.Connection, start: int, end: int) -> bytes:
    rows = connection.execute(
        "SELECT leaf_hash FROM audit WHERE seq > ? AND seq <= ? ORDER BY seq", (start, end)
    )
    return merkle.fold(row["leaf_hash"] for row in rows)


def size(connection: sqlite3.Connection) -> int:
    """Return the number of records."""
    row = connection.execute("SELECT coalesce(max(seq), 0) AS size FROM audit").fetchone()
    return int(row["size"])


def document(row: sqlite3.Row) -> dict[str, Any]:
    """Return a record as it is shown; without `leaf_hash` it is what the leaf hashes."""
    return {
        "seq": row["seq"],
        "ts": clock.text(row["ts"]),
        "actor": row["actor"],
        "action": row["action"],
        "object": row["object"],
        "outcome": row["outcome"],
        "request_id": row["request_id"],
        "payload_digest": row["payload_digest"],
        "prev_hash": row["prev_hash"].hex(),
        "leaf_hash": row["leaf_hash"].hex(),
    }


def documents(connection: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    """Yield every record in order."""
    for row in connection.execute("SELECT * FROM audit ORDER BY seq"):
        yield document(row)


def named(salt: bytes, text: str) -> str:
    """Return a path as a record may keep it: what could be somebody's words becomes a digest."""
    if _PLAIN_NAME.fullmatch(text):
        return text
    digest = hmac.new(salt, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
    return f"hmac-sha256:{digest}"
