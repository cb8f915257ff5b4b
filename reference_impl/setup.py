"""Creating a book: the file, its keys and its first admin."""

from pathlib import Path

from . import audit, database, passwords, sealed, users
from .clock import SystemClock
from .config import StartRefusedError
from .growth import policies
from .problems import Problem


def create(path: Path, username: str, password: str) -> None:
    """Create a database with one admin; raises StartRefusedError and leaves nothing behind."""
    try:
        passwords.check_policy(password, username)
    except Problem as problem:
        raise StartRefusedError(f"--admin-password: {problem.detail}") from problem
    connection = database.create(path)
    try:
        sealed.create_key(path)
    except StartRefusedError:
        connection.close()
        database.remove(path)
        raise
    now_ms = SystemClock().now_ms()
    connection.execute("BEGIN IMMEDIATE")
    user_id = users.insert(
        connection,
        username=username,
        roles=["admin"],
        password_hash=passwords.Passwords(wait_s=60).hash(password),
        now_ms=now_ms,
    )
    policies.seed(connection, now_ms)
    act = audit.Act(actor="init", action="init", request_id="-", payload_digest="")
    audit.append(connection, act, target=user_id, outcome="done", now_ms=now_ms)
    connection.execute("COMMIT")
    connection.close()
