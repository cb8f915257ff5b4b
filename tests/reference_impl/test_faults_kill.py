"""kill -9 of a worker and of the whole group at any instant under load.

REFERENCE_KILLS=200 in the environment makes the night's run of it.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from . import _faults as faults
from ._waiting import eventually

KILLS = int(os.environ.get("REFERENCE_KILLS", "6"))
PAUSE_S = (0.02, 0.6)


def test_no_acknowledged_write_is_lost_and_nothing_is_half_done(
    tmp_path: Path,
    make_database: Any,
    run_server: Callable[..., Any],
    log_in_as: Any,
    admin_password: str,
) -> None:
    database = make_database(tmp_path / "book.db")
    server = run_server(database)
    load = faults.start_load(log_in_as(server.port, "admin", admin_password))
    drawn = random.Random(KILLS)  # noqa: S311 - when and whom to kill
    try:
        for number in range(KILLS):
            time.sleep(drawn.uniform(*PAUSE_S))
            kill(server, whole=number % 2 == 1, drawn=drawn)
            goes_on = partial(load.has_acknowledged, len(load.acknowledged) + 4)
            assert eventually(lambda: len(faults.workers(server)) >= 2)
            assert eventually(goes_on)
    finally:
        load.stop()
    assert eventually(lambda: faults.alive(server.port))
    faults.assert_replays(load)
    assert server.stop() == 0
    faults.assert_whole(database, load)
    assert load.tries > len(load.acknowledged) >= 4 * KILLS


def kill(server: Any, *, whole: bool, drawn: random.Random) -> None:
    """Kill one worker, or granian's main process with all of its group at once."""
    if whole:
        main = faults.children(server.process.pid)[0]
        os.killpg(main, signal.SIGKILL)
        assert eventually(lambda: main not in faults.children(server.process.pid))
    else:
        os.kill(drawn.choice(faults.workers(server)), signal.SIGKILL)
