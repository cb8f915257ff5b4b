"""Starting, stopping, and what happens when a part of the server dies.

REFERENCE_STARTS=50 in the environment makes the night's run of it.
"""

import functools
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ._starting import command_of, start
from ._waiting import eventually

STARTS = int(os.environ.get("REFERENCE_STARTS", "10"))


def processes_of(parent: int) -> list[int]:
    """Return the descendants of a process that are alive."""
    rows = subprocess.run(
        ["/bin/ps", "-eo", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
    ).stdout
    alive = [row.split() for row in rows.splitlines()]
    family = {parent}
    for _ in range(3):
        family |= {
            int(pid) for pid, above, stat in alive if int(above) in family and stat[0] != "Z"
        }
    return sorted(family - {parent})


def gone(pids: list[int], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        states = [Path(f"/proc/{pid}/stat") for pid in pids]
        alive = [path for path in states if path.exists() and " Z " not in path.read_text()]
        if not alive:
            return True
        time.sleep(0.02)
    return False


def live(port: int) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def has_grown(items: list[str], to: int) -> bool:
    return len(items) >= to


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, server: Any) -> Path:
    from sqlite3 import connect

    folder = tmp_path_factory.mktemp("serving")
    path = folder / "book.db"
    environment = {**os.environ, "REFERENCE_ADMIN": "an admin's long password"}
    command = [sys.executable, "-m", "reference_impl", "init", "--database", str(path)]
    subprocess.run(
        [*command, "--admin-password", "env:REFERENCE_ADMIN"],
        env=environment,
        check=True,
        capture_output=True,
    )
    connect(path).close()
    return path


def test_ready_is_one_json_line_and_means_that_every_worker_answers(
    database: Path, run_server: Callable[..., Any]
) -> None:
    running = run_server(database, "--workers", "3", stderr=subprocess.DEVNULL)
    assert running.ready["event"] == "ready"
    assert running.ready["workers"] == 3
    assert running.ready["pid"] == running.process.pid
    assert live(running.port) == 200
    assert len(processes_of(running.process.pid)) == 4
    running.process.send_signal(signal.SIGTERM)
    rest, _ = running.process.communicate(timeout=8)
    assert rest == ""
    assert running.process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_and_leaves_nobody_behind(
    database: Path, run_server: Callable[..., Any], number: int
) -> None:
    running = run_server(database)
    family = processes_of(running.process.pid)
    assert running.stop(number, timeout_s=30) == 0
    assert gone(family)
    assert live(running.port) is None


def test_it_starts_and_stops_every_time(database: Path, run_server: Callable[..., Any]) -> None:
    for _ in range(STARTS):
        running = run_server(database)
        family = processes_of(running.process.pid)
        assert running.stop(timeout_s=30) == 0
        assert gone(family)


def test_a_killed_worker_is_replaced_and_the_other_serves_meanwhile(
    database: Path, run_server: Callable[..., Any]
) -> None:
    running = run_server(database)
    main, *_ = processes_of(running.process.pid)
    workers = processes_of(main)
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    assert eventually(lambda: live(running.port) == 200, 3)
    assert eventually(lambda: len(set(processes_of(main)) - set(workers)) == 1)
    assert live(running.port) == 200
    assert running.stop() == 0


def test_a_killed_main_process_takes_its_workers_along_and_comes_back(
    database: Path, run_server: Callable[..., Any]
) -> None:
    running = run_server(database, "--port", "0")
    family = processes_of(running.process.pid)
    main = min(family)
    os.kill(main, signal.SIGKILL)
    assert gone(family)
    assert eventually(lambda: live(running.port) == 200)
    assert running.stop() == 0


def test_a_killed_supervisor_leaves_nobody_behind(
    database: Path, run_server: Callable[..., Any]
) -> None:
    running = run_server(database)
    family = processes_of(running.process.pid)
    assert len(family) == 3
    running.process.kill()
    running.stop()
    assert gone(family)


def test_it_ends_with_the_process_that_started_it(database: Path) -> None:
    starter = (
        "import subprocess, sys, os\n"
        "child = subprocess.Popen([sys.executable, '-m', 'reference_impl', 'serve', '--database',"
        f" {str(database)!r}, '--die-with-parent'], stdout=subprocess.PIPE, text=True)\n"
        "print(child.stdout.readline(), flush=True)\n"
        "os._exit(0)\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", starter], capture_output=True, text=True, timeout=30, check=True
    ).stdout
    event = json.loads(output)
    assert eventually(lambda: live(int(event["url"].rpartition(":")[2])) is None)
    assert gone([event["pid"]])


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_what_was_acknowledged_survives_killed_workers(
    database: Path, run_server: Callable[..., Any], log_in_as: Any, admin_password: str
) -> None:
    running = run_server(database)
    admin = log_in_as(running.port, "admin", admin_password)
    account = admin.account()
    acknowledged: list[str] = []
    stop = threading.Event()

    def write() -> None:
        client = type(admin)(running.port, admin.token)
        while not stop.is_set():
            try:
                answer = client.book("deposit", 1, to_account_id=account["id"])
            except (OSError, http.client.HTTPException):
                continue
            if answer.status == 201:
                acknowledged.append(answer.body["id"])

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    main = min(processes_of(running.process.pid))
    for number in range(3):
        enough = functools.partial(has_grown, acknowledged, 40 * (number + 1))
        assert eventually(enough, 20)
        os.kill(processes_of(main)[0], signal.SIGKILL)
        assert eventually(lambda: len(processes_of(main)) == 2)
    stop.set()
    for thread in threads:
        thread.join(30)
    # Killed one right after the other, both may still be starting.
    assert eventually(functools.partial(accepts, running.port))
    admin = type(admin)(running.port, admin.token)
    entries, cursor = [], ""
    while cursor is not None:
        page = admin.get(f"/v1/accounts/{account['id']}/entries?limit=200{cursor}").body
        entries += page["data"]
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    assert set(acknowledged) <= {entry["transaction_id"] for entry in entries}
    assert admin.balances(account)["ledger"] == len(entries)
    assert running.stop() == 0


def test_another_factory_is_started_the_same_way(database: Path, tmp_path: Path) -> None:
    (tmp_path / "launcher_app.py").write_text(
        "from reference_impl import ledger\n"
        "ledger.available = lambda **_: 42\n"
        "def make():\n"
        "    from reference_impl.app import create_app\n"
        "    return create_app()\n"
    )
    with start("launcher_app:make", database, tmp_path) as process:
        assert process.stdout is not None
        event = json.loads(process.stdout.readline())
        assert live(int(event["url"].rpartition(":")[2])) == 200
        process.terminate()
        assert process.wait(8) == 0


def test_a_factory_that_fails_ends_in_bounded_time(database: Path, tmp_path: Path) -> None:
    command = command_of("not_there:make", database, tmp_path)
    result = subprocess.run(command, capture_output=True, text=True, timeout=25, check=False)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "not_there" in result.stderr


def test_a_taken_port_is_refused_with_one_line(
    database: Path, run_server: Callable[..., Any], server: Any
) -> None:
    refused = run("serve", "--database", str(database), "--port", str(server.port))
    assert refused.returncode == 2
    assert f"--port {server.port}" in refused.stderr


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "REFERENCE_ADMIN": "an admin's long password"}
    return subprocess.run(
        [sys.executable, "-m", "reference_impl", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment,
    )


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_a_database_that_is_not_one_is_refused(tmp_path: Path, database: Path) -> None:
    missing, text, foreign, newer, damaged = (tmp_path / name for name in "mtfnd")
    assert "init --database" in one_line(run("serve", "--database", str(missing)))
    text.write_text("not a database, but long enough to have a header of 100 bytes" * 5)
    assert "not a SQLite database" in one_line(run("serve", "--database", str(text)))
    from sqlite3 import connect

    other = connect(foreign)
    other.execute("CREATE TABLE t (x)")
    other.close()
    assert "another program" in one_line(run("serve", "--database", str(foreign)))
    content = database.read_bytes()
    newer.write_bytes(content)
    book = connect(newer)
    book.execute("PRAGMA user_version = 99")
    book.close()
    assert "newer version" in one_line(run("serve", "--database", str(newer)))
    damaged.write_bytes(content[:5000] + b"\xff" * 9000 + content[14000:])
    line = one_line(run("serve", "--database", str(damaged)))
    assert "corrupt" in line
    assert str(damaged) in line


def test_a_missing_key_file_is_refused(tmp_path: Path, database: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes(database.read_bytes())
    assert "copy.db.key" in one_line(run("serve", "--database", str(copy)))


def test_init_takes_no_literal_password_and_no_existing_file(
    tmp_path: Path, database: Path
) -> None:
    path = str(tmp_path / "new.db")
    line = one_line(run("init", "--database", path, "--admin-password", "hunter2hunter2"))
    assert "env:NAME or file:PATH" in line
    assert "hunter2" not in line
    unset = one_line(run("init", "--database", path, "--admin-password", "env:NOT_SET_ANYWHERE"))
    assert "NOT_SET_ANYWHERE" in unset
    short = tmp_path / "short"
    short.write_text("short\n")
    assert "12 characters" in one_line(
        run("init", "--database", path, "--admin-password", f"file:{short}")
    )
    key = tmp_path / "new.db.key"
    key.write_text("of an older book")
    reference = ("--admin-password", "env:REFERENCE_ADMIN")
    assert "new.db.key" in one_line(run("init", "--database", path, *reference))
    assert key.read_text() == "of an older book"
    existing = ("init", "--database", str(database), "--admin-password", "env:REFERENCE_ADMIN")
    assert "already exists" in one_line(run(*existing))
    assert not Path(path).exists()


def test_plain_http_stays_on_loopback_unless_told(database: Path) -> None:
    refused = one_line(run("serve", "--database", str(database), "--host", "192.0.2.1"))
    assert "--allow-plain-http" in refused
