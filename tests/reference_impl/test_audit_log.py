"""The audit trail from outside: list, proofs, export, and verification with nothing but the log."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reference_impl import audit, audit_cli, audit_verify, checkpoints, database, merkle, rotation
from reference_impl.__main__ import main

from ._desk import Desk, opened


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened(tmp_path) as found:
        yield found


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def save(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document), "utf-8")
    return path


def append_records(path: Path, count: int) -> None:
    with rotation.writing(path) as connection:
        for number in range(count):
            act = audit.Act(actor="usr_1", action="act", request_id="r", payload_digest="")
            audit.append(connection, act, target=f"o{number}", outcome="done", now_ms=number)


@pytest.fixture
def exported(desk: Desk, tmp_path: Path) -> tuple[Path, Path]:
    """A log of some acts and the public key."""
    desk.new_user("customer")
    append_records(desk.database, 20)
    log, key = tmp_path / "audit.jsonl", tmp_path / "key.pem"
    assert run("audit", "export", "--database", desk.database, "--out", log).exit_code == 0
    key.write_text(run("audit", "key", "--database", desk.database).output, "utf-8")
    return log, key


def test_login_change_export_and_offline_verification(desk: Desk, tmp_path: Path) -> None:
    customer = desk.new_user("customer")
    account = customer.post(
        "/v1/accounts", {"type": "generation", "currency": "USD", "name": "n"}
    ).json
    records = desk.get("/v1/audit?action=createAccount&outcome=done").json["data"]
    assert [(row["actor"], row["object"]) for row in records] == [(customer.user_id, account["id"])]
    older = desk.get("/v1/audit/checkpoint").json
    customer.send("PATCH", f"/v1/accounts/{account['id']}", {"name": "m"}, **{"If-Match": '"1"'})
    seq = records[0]["seq"]
    answer = desk.get(f"/v1/audit/checkpoint?prove={seq}&since={older['size']}").json
    assert answer["size"] > older["size"]
    key = tmp_path / "key.pem"
    key.write_text(desk.get("/.well-known/alluse").json["audit"]["checkpoint_key"], "utf-8")
    assert key.read_text() == run("audit", "key", "--database", desk.database).output
    files = {
        "--answer": save(tmp_path / "answer.json", answer),
        "--record": save(tmp_path / "record.json", records[0]),
        "--older": save(tmp_path / "older.json", older),
        "--key": key,
    }
    options = [item for pair in files.items() for item in pair]
    proved = run("audit", "check-proof", *options)
    assert proved.exit_code == 0, proved.output
    log = tmp_path / "audit.jsonl"
    assert run("audit", "export", "--database", desk.database, "--out", log).exit_code == 0
    for name in ("book.db", "book.db.key"):
        (tmp_path / name).rename(tmp_path / f"away-{name}")
    kept = ("--checkpoint", files["--older"], "--checkpoint", files["--answer"])
    verified = run("audit", "verify", "--log", log, "--key", key, *kept)
    assert verified.exit_code == 0, verified.output
    assert "continues 2 kept checkpoints" in verified.output
    lines = [json.loads(line) for line in log.read_bytes().splitlines()]
    assert [row["action"] for row in lines[-3:-1]] == ["updateAccount", "exportAudit"]
    save(files["--record"], {**records[0], "actor": "usr_other"})
    forged = run("audit", "check-proof", *options)
    assert forged.exit_code == 1
    assert f"record {seq} is not in the tree" in forged.output


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_change_of_any_byte_is_found(exported: tuple[Path, Path], data: st.DataObject) -> None:
    log, key = exported
    content = bytearray(log.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["change", "drop", "insert"]))
    if kind == "change":
        content[place] ^= data.draw(st.integers(1, 255))
    elif kind == "drop":
        del content[place]
    else:
        content.insert(place, data.draw(st.integers(0, 255)))
    tampered = log.with_name("tampered.jsonl")
    tampered.write_bytes(content)
    with pytest.raises(audit_verify.LogError):
        audit_verify.verify_log(tampered, key.read_text())


def test_the_first_bad_record_is_named(exported: tuple[Path, Path]) -> None:
    log, key = exported
    lines = log.read_bytes().splitlines(keepends=True)
    record = json.loads(lines[6])
    lines[6] = checkpoints.canonical({**record, "outcome": "refused"}) + b"\n"
    log.write_bytes(b"".join(lines))
    answer = run("audit", "verify", "--log", log, "--key", key)
    assert (answer.exit_code, "record 7 (line 7)" in answer.output) == (1, True)
    del lines[6]
    log.write_bytes(b"".join(lines))
    assert "has seq 8, expected 7" in run("audit", "verify", "--log", log, "--key", key).output


def test_a_log_cut_behind_a_checkpoint_is_found(exported: tuple[Path, Path]) -> None:
    log, key = exported
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-1]))
    assert "was cut short" in run("audit", "verify", "--log", log, "--key", key).output
    log.write_bytes(b"".join([*lines[:-3], lines[-1]]))
    assert "its checkpoint says" in run("audit", "verify", "--log", log, "--key", key).output


def forge(desk: Desk, log: Path, records: list[dict[str, Any]]) -> None:
    """Write a log with another history, chained anew and signed with the right key."""
    frontier, previous, lines = merkle.Frontier(), "00" * 32, []
    for seq, record in enumerate(records, 1):
        body = {k: v for k, v in record.items() if k != "leaf_hash"}
        body |= {"seq": seq, "prev_hash": previous}
        leaf = merkle.leaf_hash(checkpoints.canonical(body))
        frontier.add(leaf)
        previous = leaf.hex()
        lines.append(checkpoints.canonical({**body, "leaf_hash": previous}) + b"\n")
    signed = audit_cli.signer_of(desk.database).sign(
        size=frontier.size, root=frontier.root(), ts="2027-01-01T00:00:00.000Z", epoch=1
    )
    lines.append(checkpoints.canonical({"checkpoint": signed.document()}) + b"\n")
    log.write_bytes(b"".join(lines))


def test_a_rewritten_history_fails_against_an_older_checkpoint(
    desk: Desk, exported: tuple[Path, Path], tmp_path: Path
) -> None:
    log, key = exported
    older = save(tmp_path / "older.json", json.loads(log.read_bytes().splitlines()[-1]))
    records = [json.loads(line) for line in log.read_bytes().splitlines()[:-1]]
    records[3]["object"] = "something-else"
    forge(desk, log, [*records, records[-1]])
    verify = ("audit", "verify", "--log", log, "--key", key)
    assert run(*verify).exit_code == 0
    refused = run(*verify, "--checkpoint", older)
    assert (refused.exit_code, "history was rewritten" in refused.output) == (1, True)
    forge(desk, log, records[:-2])
    refused = run(*verify, "--checkpoint", older)
    assert (refused.exit_code, "cut behind that checkpoint" in refused.output) == (1, True)


def test_a_consistency_proof_of_another_history_is_refused(desk: Desk) -> None:
    append_records(desk.database, 5)
    older = checkpoints.parse(desk.get("/v1/audit/checkpoint").json)
    assert older is not None
    append_records(desk.database, 5)
    answer = desk.get(f"/v1/audit/checkpoint?since={older.size}").json
    public = desk.services.signer.public_key
    audit_verify.verify_answer(answer, public, older=older)
    other = desk.services.signer.sign(size=older.size, root=bytes(32), ts=older.ts, epoch=1)
    with pytest.raises(audit_verify.LogError, match="history was rewritten or cut"):
        audit_verify.verify_answer(answer, public, older=other)


def test_another_key_verifies_nothing(exported: tuple[Path, Path], tmp_path: Path) -> None:
    log, key = exported
    key.write_text(checkpoints.Signer(bytes(32)).public_key)
    answer = run("audit", "verify", "--log", log, "--key", key)
    assert (answer.exit_code, "signature does not belong" in answer.output) == (1, True)
    key.write_text("no key")
    assert run("audit", "verify", "--log", log, "--key", key).exit_code == 2


def test_stored_subtrees_give_the_root_and_proofs_of_the_records(desk: Desk) -> None:
    append_records(desk.database, 5 * audit.CHUNK)
    connection = database.connect(desk.database, read_only=True)
    leaves = [bytes.fromhex(row["leaf_hash"]) for row in audit.documents(connection)]
    stored = connection.execute("SELECT level, count(*) FROM audit_nodes GROUP BY level").fetchall()
    assert [tuple(row) for row in stored] == [(8, 5), (9, 2), (10, 1)]
    tree, size = audit.subtrees(connection), len(leaves)
    assert merkle.root(tree, size) == merkle.fold(leaves)
    for index in (0, 255, 256, 1023, 1024, size - 1):
        path = merkle.inclusion(tree, index, size)
        top = merkle.root(tree, size)
        assert merkle.proves_inclusion(leaves[index], index, path, size=size, top=top)
        old = (index + 1, merkle.fold(leaves[: index + 1]))
        proof = merkle.consistency(tree, index + 1, size)
        assert merkle.proves_consistency(old, (size, top), proof)
    connection.close()


def test_records_and_tree_are_only_ever_added_to(desk: Desk) -> None:
    append_records(desk.database, audit.CHUNK)
    connection = database.connect(desk.database)
    for statement in (
        "UPDATE audit SET actor = 'x' WHERE seq = 1",
        "DELETE FROM audit WHERE seq = 1",
        "UPDATE audit_nodes SET hash = zeroblob(32)",
        "DELETE FROM audit_nodes",
    ):
        with pytest.raises(sqlite3.IntegrityError, match=r"never|only grows"):
            connection.execute(statement)
    connection.close()


def test_the_list_filters_and_pages(desk: Desk) -> None:
    append_records(desk.database, 30)
    seen: list[str] = []
    path = "/v1/audit?action=act&limit=7&to=1970-01-01T00:00:00.020Z"
    page = desk.get(path).json
    while True:
        seen += [row["object"] for row in page["data"]]
        if page["next_cursor"] is None:
            break
        page = desk.get(f"/v1/audit?cursor={page['next_cursor']}").json
    assert seen == [f"o{number}" for number in range(20)]
    newest = desk.get("/v1/audit?sort=-seq&object=o29&limit=1").json["data"]
    assert [row["object"] for row in newest] == ["o29"]
    late = desk.get("/v1/audit?from=1970-01-01T00:00:00.029Z&actor=usr_1").json["data"]
    assert [row["object"] for row in late] == ["o29"]
    from_seq = desk.get(f"/v1/audit?from_seq={newest[0]['seq']}&actor=usr_1").json["data"]
    assert from_seq == newest
    for wrong in ("from=yesterday", "to=2026-01-01T00:00:00", "actor=", "who=x", "from_seq=-1"):
        assert desk.get(f"/v1/audit?{wrong}").json["code"] == "invalid_parameter", wrong


def test_a_rare_record_is_found_across_short_pages(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reference_impl.audit_api.SCAN_ROWS_MAX", 10)
    append_records(desk.database, 40)
    page = desk.get("/v1/audit?object=o37").json
    found, pages = page["data"], 1
    while page["next_cursor"]:
        page = desk.get(f"/v1/audit?cursor={page['next_cursor']}").json
        found, pages = found + page["data"], pages + 1
    assert ([row["object"] for row in found], pages > 3) == (["o37"], True)


def test_only_admin_and_auditor_read_the_trail(desk: Desk) -> None:
    auditor = desk.new_user("auditor")
    assert auditor.get("/v1/audit").status_code == 200
    assert auditor.get("/v1/audit/checkpoint?prove=1").status_code == 200
    for role in ("customer", "operator", "manager", "service"):
        somebody = desk.new_user(role)
        for path in ("/v1/audit", "/v1/audit/checkpoint"):
            assert somebody.get(path).json["code"] == "forbidden"
    assert desk.other().get("/v1/audit").json["code"] == "token_missing"


def test_proofs_of_what_is_not_there_are_refused(desk: Desk) -> None:
    size = desk.get("/v1/audit/checkpoint").json["size"]
    for query in (f"prove={size + 1}", "prove=0", f"since={size + 9}"):
        assert desk.get(f"/v1/audit/checkpoint?{query}").json["code"] == "not_found", query
    assert desk.get("/v1/audit/checkpoint?prove=x").json["code"] == "invalid_parameter"
    assert desk.get("/v1/audit/checkpoint?since=0").json["consistency"] == []


def test_every_security_event_leaves_a_record(desk: Desk, tmp_path: Path) -> None:
    user = desk.new_user("customer", username="ada")
    path = f"/v1/users/{user.user_id}"
    for _ in range(6):
        desk.other("192.0.2.9").try_login("ada", "a wrong long password")
    user.get("/v1/audit")
    user.post("/v1/auth/refresh", {"refresh_token": user.session["refresh_token"]})
    user.post("/v1/auth/refresh", {"refresh_token": user.session["refresh_token"]})
    roles = {"roles": ["operator"]}
    assert desk.send("PATCH", path, roles, **{"If-Match": '"1"'}).status_code == 200
    user.log_in("ada", "a long enough password").post("/v1/auth/logout")
    assert run("keys", "rotate", "--database", desk.database).exit_code == 0
    log = tmp_path / "log.jsonl"
    assert run("audit", "export", "--database", desk.database, "--out", log).exit_code == 0
    records = [json.loads(line) for line in log.read_bytes().splitlines()[:-1]]
    found = {(row["action"], row["outcome"]) for row in records}
    assert found >= {
        ("login", "done"),
        ("login", "bad_credentials"),
        ("lockOut", "locked"),
        ("GET /v1/audit", "forbidden"),
        ("refreshSession", "done"),
        ("refreshSession", "token_reused"),
        ("updateUser roles", "done"),
        ("POST /v1/auth/login", "locked"),
        ("logout", "done"),
        ("rotateKeys", "done"),
        ("exportAudit", "done"),
    }


def test_words_in_a_path_become_a_digest(desk: Desk) -> None:
    customer = desk.new_user("customer")
    path = "/v1/growth/policies/" + "ada%40example.org" + "%C3%A9" * 400
    assert customer.send("PUT", path, {}).status_code in {403, 404}
    customer.get("/v1/audit?actor=ada@example.org")
    text = json.dumps(desk.get("/v1/audit").json)
    assert "example.org" not in text


@settings(max_examples=300, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8")), min_size=3, max_size=3),
    seq=st.integers(1, 2**53 - 1),
)
def test_the_writer_and_the_verifier_spell_a_record_alike(texts: list[str], seq: int) -> None:
    record: dict[str, object] = {"seq": seq, "actor": texts[0], "object": texts[1], "ts": texts[2]}
    assert audit.leaf(record) == merkle.leaf_hash(checkpoints.canonical(record))
