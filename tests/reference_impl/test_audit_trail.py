"""The audit trail: one chained record for each act, in the transaction of the change."""

import hashlib
import json
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reference_impl import audit, config, database, setup
from reference_impl.app import create_app

PASSWORD = "an admin's long password"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[tuple[Any, Path]]:
    path = tmp_path / "book.db"
    setup.create(path, "admin", PASSWORD)
    app = create_app(config.Settings(database=path))
    yield app.test_client(), path
    shared = app.extensions["alluse"]
    shared.writer.close()
    shared.readers.get().close()


def post(client: Any, path: str, body: Any, token: str = "") -> Any:
    headers = {"Idempotency-Key": str(uuid.uuid4()), "X-Request-Id": "request-7"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return client.post(path, json=body, headers=headers)


def records(path: Path) -> list[sqlite3.Row]:
    connection = database.connect(path, read_only=True)
    found = connection.execute("SELECT * FROM audit ORDER BY seq").fetchall()
    connection.close()
    return found


def test_each_act_leaves_one_record_and_the_chain_holds(desk: tuple[Any, Path]) -> None:
    client, path = desk
    login = {"username": "admin", "password": PASSWORD}
    token = post(client, "/v1/auth/login", login).json["access_token"]
    post(client, "/v1/auth/login", {**login, "password": "a wrong long password"})
    user = {"username": "secret-name", "password": PASSWORD, "roles": ["customer"]}
    assert post(client, "/v1/users", user, token).status_code == 201
    assert post(client, "/v1/users", user, token).status_code == 409
    customer = post(client, "/v1/auth/login", {**login, "username": "secret-name"}).json
    assert post(client, "/v1/users", user, customer["access_token"]).status_code == 403
    found = records(path)
    assert [(row["action"], row["outcome"]) for row in found] == [
        ("init", "done"),
        ("login", "done"),
        ("login", "bad_credentials"),
        ("createUser", "done"),
        ("createUser", "username_taken"),
        ("login", "done"),
        ("POST /v1/users", "forbidden"),
    ]
    previous = bytes(32)
    for row in found:
        record = audit.document(row)
        assert record.pop("leaf_hash") == row["leaf_hash"].hex()
        assert record["prev_hash"] == previous.hex()
        text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert row["leaf_hash"] == hashlib.sha256(b"\x00" + text.encode()).digest()
        previous = row["leaf_hash"]
    assert {row["request_id"] for row in found[1:]} == {"request-7"}
    text = json.dumps([[str(value) for value in row] for row in found])
    assert "secret-name" not in text
    assert PASSWORD not in text


def test_a_replay_is_not_recorded_again(desk: tuple[Any, Path]) -> None:
    client, path = desk
    login = {"username": "admin", "password": PASSWORD}
    token = post(client, "/v1/auth/login", login).json["access_token"]
    headers = {"Idempotency-Key": str(uuid.uuid4()), "Authorization": f"Bearer {token}"}
    body = {"type": "generation", "currency": "USD", "name": "n"}
    answers = [client.post("/v1/accounts", json=body, headers=headers) for _ in range(3)]
    assert len({answer.data for answer in answers}) == 1
    assert [row["action"] for row in records(path)].count("createAccount") == 1


def test_private_fields_are_encrypted_at_rest(desk: tuple[Any, Path]) -> None:
    client, path = desk
    login = {"username": "admin", "password": PASSWORD}
    token = post(client, "/v1/auth/login", login).json["access_token"]
    body = {"type": "generation", "currency": "USD", "name": "n"}
    reference = "DE89 3704 0044 0532"
    created = post(client, "/v1/accounts", {**body, "external_account_ref": reference}, token)
    assert created.json["external_account_ref"] == reference
    connection = database.connect(path, read_only=True)
    stored = connection.execute("SELECT external_ref FROM accounts").fetchone()[0]
    connection.close()
    assert isinstance(stored, bytes)
    assert reference.encode() not in stored
    assert (int.from_bytes(stored[:2], "big"), len(stored)) == (1, 2 + 12 + len(reference) + 16)
