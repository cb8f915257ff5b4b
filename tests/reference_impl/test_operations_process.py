"""What takes a server of its own: maintenance, stopping, the unit, the test module."""

import configparser
import http.client
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import ADMIN_PASSWORD, Client, Server, log_in

Run = Callable[..., Server]
OPS = Path(__file__).parents[2] / "reference_impl" / "ops"
UNIT = OPS / "alluse-reference.service"


def connected(server: Server, admin: Client) -> Client:
    """Another connection, which another worker may answer, in the same session."""
    return Client(server.port, token=admin.token, user_id=admin.user_id)


def test_maintenance_counts_for_every_worker_and_outlives_a_restart(
    make_database: Callable[[Path], Path], run_server: Run, tmp_path: Path
) -> None:
    database = make_database(tmp_path / "book.db")
    server = run_server(database, "--workers", "2")
    admin = log_in(server.port, "admin", ADMIN_PASSWORD)
    account = admin.funded(10)
    answered: list[tuple[float, int]] = []
    ended = threading.Event()

    def write() -> None:
        client = connected(server, admin)
        while not ended.is_set():
            began = time.monotonic()
            status = client.book("deposit", 1, to_account_id=account["id"]).status
            answered.append((began, status))

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    on = admin.send("PUT", "/v1/maintenance", {"read_only": True, "reason": "a test"})
    closed, balance = time.monotonic(), admin.balances(account)["ledger"]
    assert (on.status, on.body["read_only"], on.body["reason"]) == (200, True, "a test")
    time.sleep(0.3)
    ended.set()
    for thread in threads:
        thread.join(20)
    assert {status for began, status in answered if began > closed} == {503}
    assert admin.balances(account)["ledger"] == balance

    for _ in range(6):  # each connection may lead to the other worker
        other = connected(server, admin)
        refused = other.post("/v1/accounts", {"type": "revenue", "currency": "USD", "name": "No"})
        assert (refused.status, refused.code) == (503, "read_only")
        assert int(refused.headers["retry-after"]) >= 1
        assert other.get(f"/v1/accounts/{account['id']}").status == 200
    assert log_in(server.port, "admin", ADMIN_PASSWORD).user_id == admin.user_id

    assert server.stop() == 0
    (tmp_path / "book.db.gate").unlink()
    again = run_server(database, "--workers", "2")
    admin = log_in(again.port, "admin", ADMIN_PASSWORD)
    key = "after-maintenance-0001"
    assert admin.book("deposit", 1, to_account_id=account["id"], key=key).code == "read_only"
    off = admin.send("PUT", "/v1/maintenance", {"read_only": False})
    assert off.body == {"read_only": False, "since": None, "reason": None}
    assert admin.book("deposit", 1, to_account_id=account["id"], key=key).status == 201


def test_stopping_says_so_first_answers_what_was_begun_and_loses_nothing(
    make_database: Callable[[Path], Path], run_server: Run, tmp_path: Path
) -> None:
    database = make_database(tmp_path / "book.db")
    config = tmp_path / "reference.toml"
    config.write_text("drain_s = 1.0\nworkers = 2\n")
    with (tmp_path / "stderr").open("wb") as stderr:
        server = run_server(database, "--config", str(config), stderr=stderr.fileno())
    admin = log_in(server.port, "admin", ADMIN_PASSWORD)
    account = admin.funded(1)
    booked: list[int] = []
    unanswered: list[str] = []

    def write() -> None:
        client = connected(server, admin)
        while True:
            try:
                answer = client.book("deposit", 1, to_account_id=account["id"])
            except (OSError, http.client.HTTPException) as error:
                unanswered.append(type(error).__name__)
                return
            booked.append(answer.status)

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    begun = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    before = len(booked)
    ready = Client(server.port).get("/health/ready")
    assert (ready.status, ready.body["status"]) == (503, "fail")
    time.sleep(0.3)
    assert len(booked) > before, "requests are still answered while readiness says no"
    assert server.process.wait(30) == 0
    assert time.monotonic() - begun < 30
    for thread in threads:
        thread.join(20)
    assert set(booked) == {201}
    assert "/health/ready" not in (tmp_path / "stderr").read_text(), "to stop is no error"

    again = run_server(database)
    admin = log_in(again.port, "admin", ADMIN_PASSWORD)
    # What was answered is there, and nothing was booked that nobody was answered for.
    assert admin.balances(account)["ledger"] == 1 + len(booked)
    assert admin.get("/health/ready").status == 200


def started(unit: Path, key: str) -> list[str]:
    """The command of a unit, with the installation's places replaced by the test's."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(unit.read_text())
    return shlex.split(parser["Service"][key])


def test_the_service_unit_brings_the_server_back_after_a_kill(
    make_database: Callable[[Path], Path], tmp_path: Path
) -> None:
    """Plays the supervisor: runs the unit's commands, and restarts as it says."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(UNIT.read_text())
    service = parser["Service"]
    assert (service["Restart"], service["KillSignal"]) == ("always", "SIGTERM")
    assert float(service["TimeoutStopSec"]) <= 30
    database = make_database(tmp_path / "book.db")
    config = tmp_path / "reference.toml"
    shipped = (UNIT.parent / "reference.toml").read_text()
    changed = shipped.replace("/var/lib/alluse/book.db", str(database))
    changed = changed.replace("/var/lib/alluse", str(tmp_path)).replace("8080", "0")
    config.write_text(changed.replace("drain_s = 5", "drain_s = 0"))
    places = {"/opt/alluse/venv/bin/python": sys.executable}
    places["/etc/alluse/reference.toml"] = str(config)

    def command(key: str) -> list[str]:
        return [places.get(word, word) for word in started(UNIT, key)]

    subprocess.run(command("ExecStartPre"), check=True, capture_output=True, timeout=30)

    def start() -> tuple[Any, int]:
        process: Any = subprocess.Popen(
            command("ExecStart"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        return process, int(json.loads(process.stdout.readline())["url"].rpartition(":")[2])

    process, port = start()
    admin = log_in(port, "admin", ADMIN_PASSWORD)
    account = admin.funded(77)
    process.kill()  # the whole group goes with its supervisor
    process.wait(10)
    process.stdout.close()
    time.sleep(float(service["RestartSec"]))
    process, port = start()
    try:
        admin = log_in(port, "admin", ADMIN_PASSWORD)
        assert admin.balances(account)["ledger"] == 77
        assert admin.book("deposit", 1, to_account_id=account["id"]).status == 201
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
        process.stdout.close()
    assert code == 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for unit in (*OPS.glob("*.service"), *OPS.glob("*.timer")):
        text = unit.read_text().replace("/opt/alluse/venv/bin/python", sys.executable)
        (tmp_path / unit.name).write_text(text)
    kinds = ("full", "incremental", "configuration")
    timers = [tmp_path / f"alluse-backup@{kind}.timer" for kind in kinds]
    assert sorted(timers) == sorted(tmp_path.glob("*.timer"))
    services = [tmp_path / f"alluse-backup@{kind}.service" for kind in kinds]
    for unit in (tmp_path / UNIT.name, *services, *timers):
        done = subprocess.run(
            [shutil.which("systemd-analyze") or "", "verify", str(unit)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert "alluse" not in done.stderr, done.stderr


def test_the_shipped_backup_makes_verifies_and_clears(
    make_database: Callable[[Path], Path], tmp_path: Path
) -> None:
    database, folder = make_database(tmp_path / "book.db"), tmp_path / "backups"
    config = tmp_path / "reference.toml"
    config.write_text("workers = 3\n")

    def backup(kind: str, **days: str) -> list[str]:
        done = subprocess.run(
            ["/bin/bash", str(OPS / "backup.sh"), kind, database, folder, config],
            env={**os.environ, "PYTHON": sys.executable, **days},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "ok\n")
        return sorted(json.loads(one.read_text())["type"] for one in folder.glob("*/manifest.json"))

    assert backup("full") == ["full"]
    assert backup("incremental") == ["full", "incremental"]
    assert backup("configuration") == ["configuration", "full", "incremental"]
    [text] = [one.read_text() for one in folder.glob("*/*.toml")]
    assert "workers = 3" in text
    assert backup("full") == ["configuration", "full", "full", "incremental"]
    over = {"KEEP_FULL": "0", "KEEP_INCREMENTAL": "0"}
    assert backup("incremental", **over) == [
        "configuration",
        "full",
        "full",
        "incremental",
        "incremental",
    ]
    assert backup("full", **over) == ["configuration", "full"]


def test_the_clock_turns_for_every_worker_and_the_book_goes_back_to_a_snapshot(
    make_database: Callable[[Path], Path], run_server: Run, tmp_path: Path
) -> None:
    database = make_database(tmp_path / "book.db")
    config = tmp_path / "reference.toml"
    config.write_text("testability = true\nworkers = 2\n")
    server = run_server(database, "--config", str(config))
    admin = log_in(server.port, "admin", ADMIN_PASSWORD)
    shown = admin.get("/.well-known/alluse").body
    assert shown["clock"]["controllable"] is True
    assert "testability" in {module["id"] for module in shown["modules"]}

    def control(body: dict[str, Any], who: Client | None = None) -> Any:
        return (who or admin).post("/v1/_test/control", body, key="")

    account = admin.funded(5)
    snapshot = control({"action": "snapshot"})
    assert snapshot.status == 200
    checkpoint = admin.get("/v1/audit/checkpoint").body
    admin.book("deposit", 5, to_account_id=account["id"])
    hold = admin.book("withdrawal", 3, from_account_id=account["id"], hold=True).body
    assert control({"action": "advance_clock", "advance_s": 600}).status == 200
    stamps = set()
    for _ in range(8):
        made = connected(server, admin).book("deposit", 1, to_account_id=account["id"])
        stamps.add(
            made.body["recorded_at"]
            > time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + 500))
        )
    assert stamps == {True}
    assert hold["status"] == "pending"
    done = control({"action": "reset", "snapshot_id": snapshot.body["snapshot_id"]})
    assert done.status == 200, done.body
    for _ in range(4):
        assert connected(server, admin).balances(account)["ledger"] == 5
    after = admin.get("/v1/audit/checkpoint").body
    assert {name: after[name] for name in ("size", "root", "epoch")} == {
        name: checkpoint[name] for name in ("size", "root", "epoch")
    }
    assert control({"action": "reset", "snapshot_id": "snp_none"}).status == 404
    assert control({"action": "reset"}).status == 400
    assert control({"action": "snapshot", "advance_s": 1}).status == 400
    user = {"username": "plain", "password": "a long enough one", "roles": ["manager"]}
    assert admin.post("/v1/users", user).status == 201
    manager = log_in(server.port, "plain", "a long enough one")
    assert control({"action": "snapshot"}, manager).status == 403


def test_without_the_test_module_its_path_is_not_there(server: Server, admin: Client) -> None:
    assert admin.get("/.well-known/alluse").body["clock"]["controllable"] is False
    assert admin.post("/v1/_test/control", {"action": "snapshot"}, key="").status == 404


def test_a_full_disk_is_507_and_leaves_nothing(
    make_database: Callable[[Path], Path], tmp_path: Path
) -> None:
    """A file size limit stands in for the full disk: writing an image then fails half way."""
    database = make_database(tmp_path / "book.db")
    folder = tmp_path / "book.db.backups"
    limit = database.stat().st_size // 2
    command = [sys.executable, "-m", "reference_impl", "backup", "create", "--database"]
    done = subprocess.run(
        [*command, str(database)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: limited(limit),
    )
    assert done.returncode == 2, done.stderr
    assert "disk is full" in done.stderr
    assert not [one for one in folder.iterdir() if one.is_dir()]
    again = subprocess.run(
        [*command, str(database)], capture_output=True, text=True, timeout=60, check=False
    )
    assert again.returncode == 0, again.stderr
    assert (folder / again.stdout.strip()).is_dir()


def limited(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    os.umask(0o077)


def test_no_space_is_told_before_anything_is_written(
    make_database: Callable[[Path], Path], run_server: Run, tmp_path: Path
) -> None:
    database = make_database(tmp_path / "book.db")
    server = run_server(database, "--disk-free-min", str(2**60))
    admin = log_in(server.port, "admin", ADMIN_PASSWORD)
    answer = admin.send(
        "POST",
        "/v1/backups",
        {"type": "full"},
        headers={"Idempotency-Key": "no-space-0123456789"},
        check=False,
    )
    assert (answer.status, answer.code) == (507, "insufficient_storage")
    assert admin.get("/v1/backups").body["data"] == []
