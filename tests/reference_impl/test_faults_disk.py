"""A disk that is full, and one whose sync fails."""

import contextlib
import http.client
import resource
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import _faults as faults
from ._waiting import eventually

SPACE_MB = 6


@pytest.fixture
def serving_book(
    make_database: Any, run_server: Callable[..., Any], log_in_as: Any, admin_password: str
) -> Callable[..., Any]:
    """Make a book in a folder and serve it; give its path, the server and the admin's client."""

    def serve(folder: Path, **options: Any) -> tuple[Path, Any, Any]:
        database = make_database(folder / "book.db")
        server = run_server(database, **options)
        return database, server, log_in_as(server.port, "admin", admin_password)

    return serve


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of a few megabytes."""
    if not faults.is_root():
        pytest.skip("a small file system needs root; the file size limit is tried instead")
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SPACE_MB}m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small file system here: {mounted.stderr.strip()}")
    yield place
    command = ["umount", "-l", str(place)]
    subprocess.run(command, check=True)


def write_until_refused(admin: Any, account: dict[str, Any]) -> tuple[Any, int]:
    memo = "x" * 500
    for number in range(20_000):
        answer = admin.book("deposit", 1, to_account_id=account["id"], memo=memo)
        if answer.status != 201:
            return answer, number
    raise AssertionError("the disk never filled")


def check_refusing(admin: Any, account: dict[str, Any], booked: int) -> None:
    """Reads go on and see every acknowledged write; every write is refused."""
    assert admin.balances(account)["ledger"] == booked
    assert admin.get("/v1/accounts?limit=5").status == 200
    for _ in range(3):
        answer = admin.book("deposit", 1, to_account_id=account["id"], memo="x" * 500)
        assert (answer.status, answer.code) == (503, "busy")


def test_a_full_disk_refuses_writes_and_heals_by_itself(
    small_disk: Path, serving_book: Callable[..., Any]
) -> None:
    database, server, admin = serving_book(small_disk)
    account = admin.account()
    before = faults.workers(server)
    filler = small_disk / "filler"
    free = shutil.disk_usage(small_disk).free
    filler.write_bytes(bytes(free - 600_000))
    refused, booked = write_until_refused(admin, account)
    assert refused.code == "busy"
    check_refusing(admin, account, booked)
    filler.unlink()
    again = admin.book("deposit", 1, to_account_id=account["id"])
    assert again.status == 201, again.body
    assert faults.workers(server) == before
    assert admin.balances(account)["ledger"] == booked + 1
    assert server.stop() == 0
    faults.assert_whole(database, faults.Load(server.port, "", []))


def test_a_file_size_limit_refuses_writes_and_heals_by_itself(
    tmp_path: Path, serving_book: Callable[..., Any]
) -> None:
    database, server, admin = serving_book(tmp_path)
    account = admin.account()
    before = faults.workers(server)
    limit = Path(f"{database}-wal").stat().st_size + 300_000
    set_limit(before, limit)
    refused, booked = write_until_refused(admin, account)
    assert refused.code == "busy"
    check_refusing(admin, account, booked)
    set_limit(before, resource.RLIM_INFINITY)
    again = admin.book("deposit", 1, to_account_id=account["id"])
    assert again.status == 201, again.body
    assert faults.workers(server) == before
    assert admin.balances(account)["ledger"] == booked + 1
    assert server.stop() == 0
    faults.assert_whole(database, faults.Load(server.port, "", []))


def set_limit(pids: list[int], soft: int) -> None:
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int broken(int fd) {
  char link[64], path[4096];
  const char *flag = getenv("FAULT_FLAG");
  if (!flag || access(flag, F_OK)) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return strstr(path, "book.db") != NULL;
}
int fsync(int fd) {
  if (broken(fd)) { errno = EIO; return -1; }
  return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
int fdatasync(int fd) {
  if (broken(fd)) { errno = EIO; return -1; }
  return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"""


@pytest.fixture
def sync_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let servers started from here fail to sync the book while the returned file exists."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the library that lets fsync fail")
    source, library = tmp_path / "shim.c", tmp_path / "shim.so"
    source.write_text(SHIM)
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    flag = tmp_path / "sync-fails"
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("FAULT_FLAG", str(flag))
    return flag


def test_a_failed_sync_is_not_acknowledged_and_ends_the_worker(
    sync_fails: Path, tmp_path: Path, serving_book: Callable[..., Any]
) -> None:
    with (tmp_path / "log").open("w") as log:
        database, server, admin = serving_book(tmp_path, stderr=log.fileno())
    account = admin.account()
    assert admin.book("deposit", 5, to_account_id=account["id"]).status == 201
    before = faults.workers(server)
    sync_fails.touch()
    key = str(uuid.uuid4())
    answer = admin.book("deposit", 7, to_account_id=account["id"], key=key)
    assert (answer.status, answer.code) == (503, "busy")
    assert "not known" in answer.body["detail"]
    assert eventually(lambda: not set(before) <= set(faults.workers(server)))
    sync_fails.unlink()
    assert eventually(lambda: len(faults.workers(server)) == len(before))
    assert eventually(lambda: "the database is whole" in (tmp_path / "log").read_text())
    assert eventually(lambda: retried(admin, account, key) == 201)
    assert admin.balances(account)["ledger"] == 12
    assert server.stop() == 0
    faults.assert_whole(database, faults.Load(server.port, "", []))


def retried(admin: Any, account: dict[str, Any], key: str) -> int:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return int(admin.book("deposit", 7, to_account_id=account["id"], key=key).status)
    time.sleep(0.1)
    return 0


def test_under_load_no_write_is_acknowledged_that_was_not_synced(
    sync_fails: Path, tmp_path: Path, serving_book: Callable[..., Any]
) -> None:
    database, server, admin = serving_book(tmp_path, stderr=subprocess.DEVNULL)
    load = faults.start_load(admin)
    try:
        assert eventually(lambda: len(load.acknowledged) > 20)
        sync_fails.touch()
        assert eventually(lambda: bool(load.refused))
        time.sleep(1.0)  # what was synced before is answered by then
        silent = len(load.acknowledged)
        time.sleep(1.0)
        assert len(load.acknowledged) == silent
        sync_fails.unlink()
        assert eventually(lambda: len(load.acknowledged) > silent + 20)
    finally:
        load.stop()
    faults.assert_replays(load)
    assert server.stop() == 0
    faults.assert_whole(database, load)
