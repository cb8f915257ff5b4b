"""Sensitive fields: unreadable at rest, masked by role, and re-encrypted while the server runs."""

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reference_impl import config, rotation, sealed
from tests.reference_impl._desk import PASSWORD, Desk, opened

EMAIL = "ada.lovelace.1815@example.org"
LEGAL_NAME = "Augusta Ada King Lovelace"
ACCOUNT_REF = "GB33BUKB20201555555555"
MEMBERS = {"email": EMAIL, "legal_name": LEGAL_NAME}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened(tmp_path) as made:
        yield made


def open_account(owner: Desk) -> dict[str, Any]:
    body = {"type": "generation", "currency": "USD", "name": "n"}
    answer = owner.post("/v1/accounts", {**body, "external_account_ref": ACCOUNT_REF})
    assert answer.status_code == 201
    return dict(answer.json)


def test_the_account_reference_is_shown_by_role(desk: Desk) -> None:
    owner = desk.new_user("customer")
    account = open_account(owner)
    path = f"/v1/accounts/{account['id']}"
    masked = f"***{ACCOUNT_REF[-4:]}"
    for who, shown in (
        (owner, ACCOUNT_REF),
        (desk, ACCOUNT_REF),
        (desk.new_user("operator"), masked),
        (desk.new_user("manager"), masked),
        (desk.new_user("auditor"), None),
    ):
        assert who.get(path).json.get("external_account_ref") == shown
        listed = who.get("/v1/accounts?limit=200").json["data"]
        (row,) = [row for row in listed if row["id"] == account["id"]]
        assert row.get("external_account_ref") == shown
        if shown != ACCOUNT_REF:
            assert ACCOUNT_REF not in who.get("/v1/accounts").text


def test_personal_data_is_shown_by_role(desk: Desk) -> None:
    user = desk.new_user("customer", **MEMBERS)
    path = f"/v1/users/{user.user_id}"
    for who, email in (
        (user, EMAIL),
        (desk, EMAIL),
        (desk.new_user("auditor", "operator"), f"***{EMAIL[-4:]}"),
        (desk.new_user("auditor", "manager"), f"***{EMAIL[-4:]}"),
        (desk.new_user("auditor"), None),
    ):
        assert who.get(path).json.get("email") == email
        if email != EMAIL:
            text = who.get(path).text + who.get("/v1/users?limit=200").text
            assert EMAIL not in text
            assert LEGAL_NAME not in text
    for role in ("customer", "operator", "manager"):
        assert desk.new_user(role).get(path).status_code == 404


def test_a_short_value_is_masked_whole() -> None:
    assert sealed.mask("12345678") == "***"
    assert sealed.mask("123456789") == "***6789"
    assert sealed.mask(None) is None


def files_of(database: Path) -> bytes:
    """Return every byte that the server keeps, but for the keys."""
    key = sealed.key_path(database)
    return b"".join(
        path.read_bytes() for path in database.parent.iterdir() if path.is_file() and path != key
    )


def test_nothing_sensitive_is_in_the_files_or_the_logs(
    tmp_path: Path,
    make_database: Callable[[Path], Path],
    run_server: Callable[..., Any],
    log_in_as: Callable[[int, str, str], Any],
    admin_password: str,
) -> None:
    """Written, refused, replayed and re-read, with the log at its most talkative."""
    (tmp_path / "book").mkdir()
    database = make_database(tmp_path / "book" / "book.db")
    with (tmp_path / "log").open("w+b") as log:
        server = run_server(database, "--log-level", "debug", stderr=log.fileno())
        admin = log_in_as(server.port, "admin", admin_password)
        body = {"username": "ada", "password": PASSWORD, "roles": ["customer"], **MEMBERS}
        key = uuid.uuid4().hex
        first = admin.post("/v1/users", body, key=key)
        again = admin.post("/v1/users", body, key=key)
        assert again.headers["idempotency-replayed"] == "true"
        assert again.raw == first.raw
        assert "x-stored-sealed" not in again.headers
        assert admin.post("/v1/users", body).status == 409
        assert admin.post("/v1/users", {**body, "email": f"{EMAIL} {EMAIL}"}).status == 400
        ada = log_in_as(server.port, "ada", PASSWORD)
        account = {"type": "generation", "currency": "USD", "name": "n"}
        opened = ada.post("/v1/accounts", {**account, "external_account_ref": ACCOUNT_REF})
        secret = ada.post("/v1/auth/mfa/enroll", {"method": "totp"}, key="").body["secret"]
        patch = {"name": "m"}
        assert ada.patch(opened.headers["location"], patch, tag='"1"').status == 200
        wrong = {"username": "ada", "password": f"{PASSWORD} not"}
        assert ada.post("/v1/auth/login", wrong, key="").status == 401
        running = files_of(database)
        assert server.stop() == 0
        stopped = files_of(database)
        log.seek(0)
        logged = log.read()
    tokens = (ada.token, ada.session["refresh_token"])
    for text in (EMAIL, LEGAL_NAME, ACCOUNT_REF, secret, PASSWORD, admin_password, *tokens):
        assert text.encode() not in running, text
        assert text.encode() not in stopped, text
        assert text.encode() not in logged, text
    assert b"ada" in stopped  # what is not sensitive is found by the same search


def test_a_payload_leaves_nothing_to_try_passwords_on(desk: Desk) -> None:
    """Neither the fingerprint of a key nor the audit's digest can be computed from the file."""
    import hashlib
    import hmac

    from reference_impl.idempotency import canonical, fingerprint

    body = {"username": "ada-1815", "password": PASSWORD, "roles": ["customer"]}
    assert desk.post("/v1/users", body).status_code == 201
    reader = desk.services.readers.get()
    stored = reader.execute("SELECT fingerprint FROM idempotency").fetchall()
    assert fingerprint(body) not in {row[0] for row in stored}
    salt = bytes.fromhex(
        reader.execute("SELECT value FROM meta WHERE key='audit_salt'").fetchone()[0]
    )
    guess = hmac.new(salt, canonical(body), hashlib.sha256).hexdigest()
    assert guess not in {row[0] for row in reader.execute("SELECT payload_digest FROM audit")}


def test_the_file_alone_signs_no_token(desk: Desk) -> None:
    from reference_impl import tokens

    reader = desk.services.readers.get()
    secret = reader.execute("SELECT value FROM meta WHERE key = 'token_secret'").fetchone()[0]
    session = reader.execute("SELECT id FROM sessions").fetchone()[0]
    forged = desk.other()
    forged.token = tokens.issue(
        secret, user_id=desk.user_id, session_id=session, now_ms=desk.hands.now
    )
    assert forged.get("/v1/accounts").json["code"] == "token_invalid"


def numbers_in_use(desk: Desk) -> set[int]:
    found = set()
    for place in rotation.PLACES:
        rows = desk.services.readers.get().execute(
            f"SELECT {place.column} FROM {place.table}"  # noqa: S608 - own names
            f" WHERE {place.column} IS NOT NULL AND {place.where}"
        )
        found |= {sealed.key_number(row[0]) for row in rows}
    return found


def test_a_new_key_takes_over_while_the_application_runs(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "BATCH_ROWS", 3)
    users = [desk.new_user("customer", **MEMBERS) for _ in range(4)]
    accounts = [open_account(user) for user in users]
    closed = f"/v1/accounts/{accounts[0]['id']}"
    done = users[0].send("POST", f"{closed}/close", {}, **{"If-Match": '"1"'})
    assert done.status_code == 200
    secret = users[1].enroll()
    key = {"Idempotency-Key": "k" * 32}
    body = {"username": "late-1", "password": PASSWORD, "roles": ["customer"], **MEMBERS}
    first = desk.send("POST", "/v1/users", body, **key)
    assert numbers_in_use(desk) == {1}
    number, values = rotation.rotate(desk.database)
    assert (number, numbers_in_use(desk)) == (2, {2})
    assert values >= 4 * 2 + 4 + 1 + 5
    assert rotation.retire(desk.database) == [1]
    assert desk.get(f"/v1/users/{users[0].user_id}").json["email"] == EMAIL
    assert users[0].get(closed).json["external_account_ref"] == ACCOUNT_REF
    assert desk.send("POST", "/v1/users", body, **key).data == first.data
    name = users[1].session["username"]
    challenge = desk.other().try_login(name, PASSWORD).json["challenge"]
    answer = {"challenge": challenge, "code": desk.code(secret)}
    assert desk.other().post("/v1/auth/mfa/verify", answer).status_code == 200
    later = desk.new_user("customer", **MEMBERS)
    assert later.get(f"/v1/users/{later.user_id}").json["email"] == EMAIL
    assert numbers_in_use(desk) == {2}


def test_old_values_are_readable_before_their_turn(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = desk.new_user("customer", **MEMBERS)
    with monkeypatch.context() as patched:
        patched.setattr(rotation, "reencrypt", lambda _: 0)  # a crash after the first step
        rotation.rotate(desk.database)
    other = desk.new_user("customer", **MEMBERS)
    assert numbers_in_use(desk) == {1, 2}
    for one in (user, other):
        assert one.get(f"/v1/users/{one.user_id}").json["email"] == EMAIL
    with pytest.raises(config.StartRefusedError, match="keys rotate"):
        rotation.retire(desk.database)
    rotation.rotate(desk.database)
    assert rotation.retire(desk.database) == [1, 2]
    assert user.get(f"/v1/users/{user.user_id}").json["email"] == EMAIL


def test_users_go_on_being_written_during_a_rotation(desk: Desk) -> None:
    made: list[Desk] = [desk.new_user("customer", **MEMBERS)]
    over = threading.Event()

    def write() -> None:
        while not over.is_set() and len(made) < 40:
            made.append(desk.new_user("customer", **MEMBERS))

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(3):
        rotation.rotate(desk.database)
        rotation.retire(desk.database)
    over.set()
    writer.join()
    assert numbers_in_use(desk) == {4}
    for user in made:
        assert desk.get(f"/v1/users/{user.user_id}").json["email"] == EMAIL


def keys(command: str, database: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reference_impl", "keys", command, "--database", str(database)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_commands_of_the_keys(
    tmp_path: Path,
    make_database: Callable[[Path], Path],
    run_server: Callable[..., Any],
    log_in_as: Callable[[int, str, str], Any],
    admin_password: str,
) -> None:
    database = make_database(tmp_path / "book.db")
    server = run_server(database)
    try:
        admin = log_in_as(server.port, "admin", admin_password)
        body = {"username": "ada", "password": PASSWORD, "roles": ["customer"], **MEMBERS}
        location = admin.post("/v1/users", body).headers["location"]
        rotated = keys("rotate", database)
        assert rotated.returncode == 0, rotated.stderr
        assert rotated.stderr == "key 2 is in use; 3 values encrypted with it\n"
        retired = keys("retire", database)
        assert retired.stderr == "deleted keys: 1\n"
        for _ in range(6):  # either worker
            client = type(admin)(server.port, token=admin.token)
            assert client.get(location).body["email"] == EMAIL
    finally:
        assert server.stop() == 0
    assert sealed.key_path(database).stat().st_mode & 0o777 == 0o600
    missing = keys("rotate", tmp_path / "none.db")
    assert missing.returncode == 2
    assert missing.stderr.count("\n") == 1
    sealed.key_path(database).write_text("1 abc\n")
    assert keys("rotate", database).returncode == 2


def test_a_key_file_without_its_pepper_is_refused(tmp_path: Path) -> None:
    path = sealed.key_path(tmp_path / "book.db")
    for text in ("", "1 " + "0" * 64, "0 " + "0" * 64, "0 00\n1 00\n", "x y\n", "0\n"):
        path.write_text(text)
        with pytest.raises(config.StartRefusedError):
            sealed.read_keys(tmp_path / "book.db")


def test_a_changed_value_is_not_opened(desk: Desk) -> None:
    value = desk.services.sealer.seal(json.dumps(MEMBERS))
    assert value is not None
    from cryptography.exceptions import InvalidTag

    for place in (2, 14, len(value) - 1):
        changed = bytearray(value)
        changed[place] ^= 1
        with pytest.raises(InvalidTag):
            desk.services.sealer.open(bytes(changed))
