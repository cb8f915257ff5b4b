"""Backups and restores from outside: exact states, refusals by name, a restore that is seen."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reference_impl import audit_cli, audit_verify, checkpoints

from ._deployment import Deployment, flip, now
from .conftest import ADMIN_PASSWORD, Client, Server, log_in

Run = Callable[..., Server]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = Deployment(tmp_path_factory.mktemp("backups"))
    yield made
    assert made.server.stop() == 0


@pytest.fixture
def deployment(running: Deployment) -> Iterator[Deployment]:
    """One deployment for all: no test counts on what another has left in the book."""
    yield running
    running.maintenance(False)


def parsed(answer: dict[str, Any]) -> checkpoints.Checkpoint:
    found = checkpoints.parse(answer)
    assert found is not None
    return found


def test_a_restore_brings_the_book_back_and_is_seen_for_ever(
    deployment: Deployment, tmp_path: Path
) -> None:
    admin = deployment.admin
    oldest = deployment.checkpoint()
    account = admin.funded(1_000)
    full = deployment.backup()
    before = deployment.checkpoint()
    admin.book("deposit", 500, to_account_id=account["id"])
    later = admin.account(name="Later")
    abandoned = deployment.checkpoint()
    assert admin.balances(account)["ledger"] == 1_500

    result = deployment.restored(full)
    assert admin.balances(account)["ledger"] == 1_000
    assert admin.get(f"/v1/accounts/{later['id']}").status == 404
    assert result["epoch"] == before["epoch"] + 1
    assert result["last_seq"] == full["last_seq"]

    after = deployment.checkpoint()
    assert after["epoch"] == result["epoch"]
    page = admin.get("/v1/audit?action=restoreBackup&outcome=done&sort=-seq").body["data"]
    record = page[0]
    words = record["object"].split()
    assert words[:3] == [full["id"], "epoch", str(result["epoch"])]
    assert words[3:6] == ["kept", str(full["audit_size"]), full["audit_root"]]
    assert words[6] == "abandoned"
    assert int(words[7]) >= abandoned["size"]
    assert full["audit_size"] + 1 == before["size"]
    assert record["seq"] == full["audit_size"] + 1
    assert admin.book("deposit", 5, to_account_id=account["id"]).status == 201

    # Offline: the log continues what was kept, and does not hide what was abandoned.
    log, key = tmp_path / "log.jsonl", deployment.capabilities()["audit"]["checkpoint_key"]
    audit_cli.export(deployment.database, log)
    kept, lost = (parsed(one) for one in (oldest, abandoned))
    found = audit_verify.verify_log(log, key, [kept, lost])
    assert (found.epoch, found.anchors, found.abandoned) == (result["epoch"], 1, 1)
    # A forger who drops the record of the restore cannot explain the kept checkpoint any more.
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(line for line in lines if b"restoreBackup" not in line))
    with pytest.raises(audit_verify.LogError):
        audit_verify.verify_log(log, key, [kept, lost])


@pytest.mark.parametrize("kind", ["full", "incremental"])
def test_a_moment_after_the_backup_is_exact(deployment: Deployment, kind: str) -> None:
    admin = deployment.admin
    account = admin.funded(1_000)
    full = deployment.backup()
    admin.book("deposit", 1, to_account_id=account["id"])
    hold = admin.book("withdrawal", 300, from_account_id=account["id"], hold=True).body
    kept = admin.account(name="Kept")
    tag = admin.get(f"/v1/accounts/{kept['id']}").headers["etag"]
    assert admin.patch(f"/v1/accounts/{kept['id']}", {"name": "At the time"}, tag=tag).status == 200
    last = admin.get("/v1/transactions?sort=-seq&limit=1").body["data"][0]["seq"]
    as_it_was = {
        path: admin.get(path).raw
        for path in (
            f"/v1/accounts/{account['id']}",
            f"/v1/accounts/{kept['id']}",
            f"/v1/accounts/{account['id']}/entries",
            f"/v1/transactions/{hold['id']}",
            "/v1/transactions?limit=200",
            "/v1/users?limit=200",
            "/v1/audit?limit=200",
        )
    }
    moment = now()
    assert admin.post(f"/v1/transactions/{hold['id']}/settle", {}).status == 200
    admin.book("deposit", 7, to_account_id=account["id"])
    tag = admin.get(f"/v1/accounts/{kept['id']}").headers["etag"]
    admin.patch(f"/v1/accounts/{kept['id']}", {"name": "Too late"}, tag=tag)
    admin.post(
        "/v1/users",
        {"username": f"late-{kind}", "password": "a long enough one", "roles": ["customer"]},
    )
    later = admin.account(name="Later")
    if kind == "incremental":
        deployment.backup("incremental")
        admin.book("deposit", 9, to_account_id=account["id"])

    result = deployment.restored(full, moment)
    page = admin.get("/v1/audit?limit=200").body["data"]
    before = json.loads(as_it_was.pop("/v1/audit?limit=200"))["data"]
    assert page[: len(before)] == before
    for path, raw in as_it_was.items():
        assert admin.get(path).raw == raw, path
    assert admin.get(f"/v1/accounts/{later['id']}").status == 404
    assert deployment.checkpoint()["epoch"] == result["epoch"]
    assert admin.get("/v1/transactions?sort=-seq&limit=1").body["data"][0]["seq"] == last
    # The held money can be settled again, once.
    assert admin.post(f"/v1/transactions/{hold['id']}/settle", {}).status == 200
    assert deployment.verify(deployment.backup("incremental")).body["findings"] == []


def test_how_the_deployment_is_run_is_left_as_it_is(deployment: Deployment) -> None:
    admin = deployment.admin
    full = deployment.backup()
    matcher = {"name": "alertname", "value": "x"}
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600))
    silence = admin.post(
        "/v1/silences", {"matchers": [matcher], "ends_at": ends, "reason": "Restore"}, check=False
    )
    deployment.restored(full)
    if silence.status == 201:  # where alerts are offered
        assert admin.get(f"/v1/silences/{silence.body['id']}").status == 200
    assert full["id"] in {one["id"] for one in admin.get("/v1/backups?limit=200").body["data"]}


def test_a_restore_can_itself_be_taken_back(deployment: Deployment, tmp_path: Path) -> None:
    admin = deployment.admin
    account = admin.funded(100)
    full = deployment.backup()
    admin.book("deposit", 11, to_account_id=account["id"])
    deployment.restored(full)
    catalogue = admin.get("/v1/backups?sort=-seq&limit=2").body["data"]
    assert [one["type"] for one in catalogue] == ["full", "full"]
    between = deployment.checkpoint()
    deployment.restored(catalogue[0])
    assert admin.balances(account)["ledger"] == 111
    log, key = tmp_path / "log.jsonl", deployment.capabilities()["audit"]["checkpoint_key"]
    audit_cli.export(deployment.database, log)
    found = audit_verify.verify_log(log, key, [parsed(between)])
    assert (found.epoch, found.abandoned) == (between["epoch"] + 1, 1)
    assert deployment.checkpoint()["epoch"] == between["epoch"] + 1
    # The moment between the two lay in an epoch that neither backup nor book continue.
    assert deployment.maintenance(True).status == 200
    assert deployment.restore(full, now()).code == "backup_invalid"


def test_a_restore_needs_an_admin_maintenance_and_a_fresh_factor(deployment: Deployment) -> None:
    admin = deployment.admin
    full = deployment.backup()
    deployment.maintenance(False)
    key = "restore-0123456789abcdef"
    refused = deployment.restore(full, key=key)
    assert (refused.status, refused.code) == (409, "not_in_maintenance")
    again = deployment.restore(full, key=key)
    assert (again.status, again.headers.get("idempotency-replayed")) == (409, "true")
    assert deployment.maintenance(True).status == 200

    body = {"username": "second", "password": "a long enough one", "roles": ["admin"]}
    assert admin.post("/v1/users", body).code == "read_only"
    deployment.maintenance(False)
    assert admin.post("/v1/users", body).status == 201
    deployment.maintenance(True)
    second = log_in(deployment.server.port, "second", "a long enough one")
    answer = second.post(f"/v1/backups/{full['id']}/restore", {})
    assert (answer.status, answer.code) == (403, "mfa_required")
    assert deployment.restore({"id": "bak_none"}).status == 404

    done = deployment.restore(full, key="restore-fedcba9876543210")
    assert done.status == 200
    replay = deployment.restore(full, key="restore-fedcba9876543210")
    assert replay.headers["idempotency-replayed"] == "true"
    assert replay.body == done.body
    assert second.get("/v1/backups").status == 401  # all other sessions have ended


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "corrupt": (lambda one: flip(one / "book.db"), "book.db is corrupt"),
    "truncated": (lambda one: cut(one / "book.db"), "book.db is truncated"),
    "half written": (lambda one: (one / "manifest.json").unlink(), "never finished"),
    "missing": (lambda one: (one / "book.db").unlink(), "book.db is missing"),
    "gone": (shutil.rmtree, "is missing: there is no such folder"),
    "changed": (lambda one: swap(one / "manifest.json", b"full", b"Full"), "not signed"),
    "no manifest": (lambda one: (one / "manifest.json").write_bytes(b"\x00["), "damaged"),
}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4096])


def swap(path: Path, old: bytes, new: bytes) -> None:
    path.write_bytes(path.read_bytes().replace(old, new))


def test_what_cannot_be_restored_is_refused_by_name(deployment: Deployment, tmp_path: Path) -> None:
    admin = deployment.admin
    account = admin.funded(100)
    full = deployment.backup()
    place = deployment.folder / full["id"]
    shutil.copytree(place, tmp_path / "whole")
    epoch = deployment.checkpoint()["epoch"]
    assert deployment.verify(full).body == {"id": full["id"], "valid": True, "findings": []}
    assert admin.get(f"/v1/backups/{full['id']}").body["valid"] is True
    admin.book("deposit", 1, to_account_id=account["id"])
    deployment.maintenance(True)
    before = deployment.known()
    for name, (damage, said) in DAMAGES.items():
        damage(place)
        found = deployment.verify(full).body
        assert found["valid"] is False, name
        assert said in found["findings"][0], name
        answer = deployment.restore(full)
        assert (answer.status, answer.code) == (422, "backup_invalid"), name
        assert full["id"] in answer.body["detail"], name
        assert said in answer.body["detail"], name
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", place)
    assert admin.balances(account)["ledger"] == 101
    assert deployment.checkpoint()["epoch"] == epoch
    assert not list(deployment.folder.glob(".partial*"))
    for until in ("2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"):
        assert deployment.restore(full, until).code == "backup_invalid", until
    assert deployment.known() == before, "what is refused leaves no backup behind"


def test_what_a_restore_abandons_can_be_restored_whatever_is_damaged(
    deployment: Deployment,
) -> None:
    admin = deployment.admin
    account = admin.funded(1)
    first = deployment.backup()
    admin.book("deposit", 20, to_account_id=account["id"])
    newest = deployment.backup()
    admin.book("deposit", 300, to_account_id=account["id"])
    flip(deployment.folder / newest["id"] / "book.db")  # and nobody knows
    deployment.restored(first)
    assert admin.balances(account)["ledger"] == 1
    [safe] = admin.get("/v1/backups?sort=-seq&limit=1").body["data"]
    assert safe["id"] not in {first["id"], newest["id"]}
    assert deployment.verify(safe).body["findings"] == []
    deployment.restored(safe)
    assert admin.balances(account)["ledger"] == 321


def test_an_incremental_backup_does_not_continue_a_damaged_chain(deployment: Deployment) -> None:
    whole, broken = (deployment.backup(kind) for kind in ("full", "incremental"))
    assert broken["base_id"] == whole["id"]
    flip(deployment.folder / broken["id"] / "pages.bin")
    after = deployment.backup("incremental")
    assert after["base_id"] == whole["id"]
    flip(deployment.folder / whole["id"] / "book.db")
    last = deployment.backup("incremental")
    assert last["base_id"] not in {one["id"] for one in (whole, broken, after)}
    assert deployment.verify(last).body["findings"] == []


def test_the_backup_of_another_deployment_is_foreign(
    deployment: Deployment, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Deployment(tmp_path / "other")
    theirs = other.backup()
    assert other.server.stop() == 0
    ours = deployment.backup()
    place = deployment.folder / ours["id"]
    shutil.rmtree(place)
    shutil.copytree(other.folder / theirs["id"], place)
    found = deployment.verify(ours).body["findings"]
    assert "not signed by this deployment" in found[0]
    deployment.maintenance(True)
    assert deployment.restore(ours).code == "backup_invalid"


def log_in_again(server: Server, made: Deployment) -> Client:
    """Go on with the session that has the second factor."""
    return Client(server.port, token=made.admin.token, user_id=made.admin.user_id)


def test_writes_go_on_while_a_backup_is_made(deployment: Deployment) -> None:
    import threading

    account = deployment.admin.funded(1)
    writer = log_in_again(deployment.server, deployment)
    ended, statuses = threading.Event(), []

    def write() -> None:
        while not ended.is_set():
            statuses.append(writer.book("deposit", 1, to_account_id=account["id"]).status)

    thread = threading.Thread(target=write)
    thread.start()
    made = [deployment.backup(kind) for kind in ("full", "incremental", "incremental")]
    ended.set()
    thread.join(20)
    assert set(statuses) == {201}
    assert [one["base_id"] for one in made][1:] == [made[0]["id"], made[1]["id"]]
    for one in made:
        assert deployment.verify(one).body["findings"] == []
    balance = deployment.admin.balances(account)["ledger"]
    deployment.restored(made[1])
    assert deployment.admin.balances(account)["ledger"] <= balance
    entries = deployment.admin.get("/v1/transactions?sort=-seq&limit=1").body["data"]
    assert entries[0]["seq"] == made[1]["last_seq"]


def test_a_configuration_holds_no_book_and_no_secret(deployment: Deployment) -> None:
    made = deployment.backup("configuration")
    [text] = [path.read_text() for path in (deployment.folder / made["id"]).glob("*.toml")]
    assert "rate_requests = 100000" in text
    assert ADMIN_PASSWORD not in text
    assert deployment.verify(made).body["valid"] is True
    deployment.maintenance(True)
    assert "holds no book" in deployment.restore(made).body["detail"]
