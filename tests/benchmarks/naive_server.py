"""The peer: the naive Flask + SQLite account system that one writes first.

One process of the same WSGI server, many threads, one connection a thread, one durable commit a
request with SQLite's own busy handler. It writes the same rows for a transfer: an entry and two
lines, two cached balances, an idempotency key, an audit record, an outbox event.

    python tests/benchmarks/naive_server.py DATABASE PORT
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys
import threading
from typing import Any

import flask
from granian import Granian
from granian.constants import Interfaces

SCHEMA = """
CREATE TABLE accounts (id TEXT PRIMARY KEY, owner TEXT, balance INTEGER, version INTEGER) STRICT;
CREATE TABLE entries (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT, kind TEXT, at TEXT) STRICT;
CREATE TABLE lines (entry INTEGER, account TEXT, amount INTEGER, balance INTEGER) STRICT;
CREATE INDEX lines_by_account ON lines (account, entry);
CREATE TABLE keys (key TEXT PRIMARY KEY, digest TEXT, status INTEGER, body TEXT) STRICT;
CREATE TABLE audit (seq INTEGER PRIMARY KEY AUTOINCREMENT, record TEXT, hash TEXT) STRICT;
CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT) STRICT;
CREATE TABLE tokens (token TEXT PRIMARY KEY, user TEXT) STRICT;
"""
_local = threading.local()


def connection() -> sqlite3.Connection:
    """Return this thread's connection."""
    if not hasattr(_local, "connection"):
        _local.connection = sqlite3.connect(
            os.environ["NAIVE_DATABASE"], timeout=30, isolation_level=None
        )
        _local.connection.execute("PRAGMA journal_mode = WAL")
        _local.connection.execute("PRAGMA synchronous = FULL")
    found: sqlite3.Connection = _local.connection
    return found


def create_app() -> flask.Flask:
    """Build the application."""
    app = flask.Flask("naive")
    app.add_url_rule("/v1/accounts/<account>", view_func=read, methods=["GET"])
    app.add_url_rule("/v1/transactions", view_func=transfer, methods=["POST"])
    return app


def user(db: sqlite3.Connection) -> str:
    """Authenticate by a lookup of the bearer token."""
    token = flask.request.headers.get("Authorization", "").removeprefix("Bearer ")
    row = db.execute("SELECT user FROM tokens WHERE token = ?", (token,)).fetchone()
    if row is None:
        flask.abort(401)
    return str(row[0])


def read(account: str) -> Any:
    """Answer an account."""
    db = connection()
    owner = user(db)
    row = db.execute(
        "SELECT id, balance, version FROM accounts WHERE id = ? AND owner = ?", (account, owner)
    ).fetchone()
    return {"id": row[0], "balance": row[1], "version": row[2]} if row else ({}, 404)


def transfer() -> Any:
    """Book a transfer in a transaction of its own."""
    db = connection()
    owner = user(db)
    body = flask.request.get_json()
    digest = hashlib.sha256(flask.request.get_data()).hexdigest()
    key = flask.request.headers["Idempotency-Key"]
    db.execute("BEGIN IMMEDIATE")
    try:
        answer = book(db, owner, body)
        text = json.dumps(answer)
        db.execute("INSERT INTO keys VALUES (?, ?, 201, ?)", (key, digest, text))
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    return answer, 201


def book(db: sqlite3.Connection, owner: str, body: dict[str, Any]) -> dict[str, Any]:
    """Write the rows of one transfer."""
    amount = int(body["amount"]["amount"])
    source, target = body["from_account_id"], body["to_account_id"]
    balances = {}
    for account in (source, target):
        balances[account] = db.execute(
            "SELECT balance FROM accounts WHERE id = ? AND owner = ?", (account, owner)
        ).fetchone()[0]
    if balances[source] < amount:
        flask.abort(422)
    cursor = db.execute(
        "INSERT INTO entries (id, kind, at) VALUES (hex(randomblob(16)), ?, datetime())",
        ("transfer",),
    )
    seq = cursor.lastrowid
    for account, change in ((source, -amount), (target, amount)):
        after = balances[account] + change
        db.execute("INSERT INTO lines VALUES (?, ?, ?, ?)", (seq, account, change, after))
        db.execute(
            "UPDATE accounts SET balance = ?, version = version + 1 WHERE id = ?", (after, account)
        )
    record = json.dumps({"seq": seq, "actor": owner, "action": "transfer"})
    last = db.execute("SELECT hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    chained = hashlib.sha256(((last[0] if last else "") + record).encode()).hexdigest()
    db.execute("INSERT INTO audit (record, hash) VALUES (?, ?)", (record, chained))
    db.execute("INSERT INTO outbox (event) VALUES (?)", (record,))
    return {"seq": seq, "amount": amount}


def main() -> None:
    """Create the database with its accounts and serve."""
    path, port = sys.argv[1:3]
    os.environ["NAIVE_DATABASE"] = path
    with sqlite3.connect(path) as db:
        db.executescript(SCHEMA)
        db.execute("INSERT INTO tokens VALUES ('token', 'owner')")
        rows = [(f"acc_{number}", "owner", 10**12, 1) for number in range(1000)]
        db.executemany("INSERT INTO accounts VALUES (?, ?, ?, ?)", rows)
    Granian(
        "naive_server:create_app",
        factory=True,
        address="127.0.0.1",
        port=int(port),
        interface=Interfaces.WSGI,
        workers=1,
        blocking_threads=32,
        workers_kill_timeout=2,
        log_enabled=False,
    ).serve()


if __name__ == "__main__":
    main()
