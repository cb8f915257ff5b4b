"""A stop that was asked for is heard whenever it comes, and is no crash."""

import contextlib
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ._starting import start
from ._waiting import eventually


@pytest.fixture
def database(make_database: Callable[[Path], Path], tmp_path: Path) -> Path:
    return make_database(tmp_path / "book.db")


EARLY = """
import signal, sys
from reference_impl import serving
wait = None
for _ in range(3000):
    asked = []
    wait = serving._until(asked, False)
    signal.signal(signal.SIGALRM, lambda got, _: asked.append(got))
    signal.setitimer(signal.ITIMER_REAL, 0.0001)
    while not wait(0):
        pass
"""


def test_a_signal_is_heard_at_every_moment() -> None:
    result = subprocess.run([sys.executable, "-c", EARLY], timeout=60, check=False)
    assert result.returncode == 0


def test_a_stop_during_the_start_is_quick_and_no_crash(database: Path, tmp_path: Path) -> None:
    """A worker that is still building its application hears of it; what it holds is given back."""
    with building(database, tmp_path) as process:
        begun_s = time.monotonic()
        process.terminate()
        assert process.wait(30) == 0
        assert time.monotonic() - begun_s < 3, "it was told, and not killed for not hearing"
    assert leases_held(database) == 0


def test_a_worker_killed_by_the_stop_has_not_crashed(database: Path, tmp_path: Path) -> None:
    """What did not end in time, and could not give its leases back, was stopped all the same."""
    with building(database, tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN)") as process:
        process.terminate()
        assert process.wait(40) == 0
    assert leases_held(database) == 0


@contextlib.contextmanager
def building(database: Path, folder: Path, first: str = "pass") -> Iterator[subprocess.Popen[str]]:
    """Start a server whose worker has its leases and goes on building for a minute."""
    (folder / "slow_app.py").write_text(
        "import pathlib, signal, time\n"
        "def make():\n"
        "    from reference_impl.app import create_app\n"
        "    app = create_app()\n"
        f"    {first}\n"
        "    time.sleep(1.5)\n"  # the leases are taken
        f"    pathlib.Path({str(folder)!r}, 'built').touch()\n"
        "    time.sleep(60)\n"
        "    return app\n"
    )
    with start("slow_app:make", database, folder) as process:
        assert eventually((folder / "built").exists, 15)
        assert leases_held(database) > 0
        yield process


def leases_held(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        row = connection.execute("SELECT count(*) FROM leases WHERE until > 0").fetchone()
    return int(row[0])
