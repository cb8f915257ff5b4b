"""The launcher: ready, not ready, stubborn, noisy, and gone with a killed runner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from certification.errors import HarnessError
from certification.target import launcher
from certification.target.file import load_target
from certification.target.launcher import PASSWORD_VARIABLE, Command, launch, prepare
from certification.target.model import Role

ROOT = Path(__file__).resolve().parents[2]
READY = """
import json, os, signal, subprocess, sys, threading
def ready():
    print("starting", flush=True)
    print(json.dumps({"event": "ready", "url": "http://127.0.0.1:4711"}), flush=True)
def rest():
    while True:
        signal.pause()
"""
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
CHILD = """
child = subprocess.Popen([sys.executable, "-c", "import signal, time\\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\\nprint(1, flush=True)\\ntime.sleep(600)"],
    stdout=subprocess.PIPE)
child.stdout.readline()
with open(sys.argv[1] + ".child", "w") as file:
    file.write(str(child.pid))
"""


def program(body: str) -> Command:
    return Command(serve=(sys.executable, "-c", READY + body, "{database}"))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"


def gone_within(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while alive(pid):
        if time.monotonic() > end:
            return False
        threading.Event().wait(0.02)
    return True


@pytest.fixture
def brief_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "STOP_GRACE_S", 0.5)


def test_target_file_of_a_started_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with launch(program("ready(); rest()"), folder=tmp_path) as local:
        assert alive(local.pid)
        for name, value in local.environment.items():
            monkeypatch.setenv(name, value)
        file = tmp_path / "target.toml"
        file.write_text(local.target_toml())
        target = load_target(file)
        password = target.identities[Role.ADMIN].password.reveal()
        assert password == local.environment[PASSWORD_VARIABLE]
        assert len(password) >= 24
        assert password not in local.target_toml()
        assert target.base_url == local.base_url
        assert target.grants.fault
    assert not alive(local.pid)


def test_password_is_new_each_time_and_in_the_environment(tmp_path: Path) -> None:
    body = f'print(os.environ["{PASSWORD_VARIABLE}"], flush=True); ready(); rest()'
    seen = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with launch(program(body), folder=tmp_path / name) as local:
            password = local.environment[PASSWORD_VARIABLE]
        assert password in local.log.read_text()
        seen.append(password)
    assert seen[0] != seen[1]


def test_preparation_comes_first_and_its_failure_is_told(tmp_path: Path) -> None:
    init = (sys.executable, "-c", "import sys; open(sys.argv[1], 'w')", "{database}")
    serve = program("assert os.path.exists(sys.argv[1]); ready(); rest()").serve
    with launch(Command(init=init, serve=serve), folder=tmp_path):
        pass
    broken = (sys.executable, "-c", "import sys; sys.exit('the disk is full')")
    with (
        pytest.raises(HarnessError, match="the disk is full"),
        launch(Command(init=broken, serve=serve), folder=tmp_path),
    ):
        pass


def test_targets_of_one_preparation_have_a_copy_each(tmp_path: Path) -> None:
    init = (sys.executable, "-c", "import sys; open(sys.argv[1], 'x').write('made')", "{database}")
    serve = program("file = open(sys.argv[1], 'a'); file.write('!'); file.close(); ready(); rest()")
    (tmp_path / "made").mkdir()
    prepared = prepare(Command(init=init), folder=tmp_path / "made")
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        with launch(replace(serve, init=init, prepared=prepared), folder=tmp_path / name) as local:
            assert local.environment[PASSWORD_VARIABLE] == prepared.password
        assert (tmp_path / name / "target.db").read_text() == "made!"
    assert (prepared.folder / "target.db").read_text() == "made"
    assert prepared.password not in repr(prepared)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("sys.exit('port is taken')", "ended before it was ready; it said last: port is taken"),
        ("rest()", "not ready in time"),
        ("print('{}', flush=True); print('{\"event\": 1}', flush=True); rest()", "not ready"),
    ],
)
def test_not_ready(body: str, says: str, tmp_path: Path) -> None:
    with (
        pytest.raises(HarnessError, match=says),
        launch(program(body), folder=tmp_path, ready_timeout_s=1.0),
    ):
        pass


def test_program_that_is_not_there(tmp_path: Path) -> None:
    command = Command(serve=("/no/such/program",))
    with pytest.raises(HarnessError, match="No such file"), launch(command, folder=tmp_path):
        pass


@pytest.mark.usefixtures("brief_grace")
def test_stubborn_target_and_its_children_are_killed(tmp_path: Path) -> None:
    with launch(program(DEAF + CHILD + "ready(); rest()"), folder=tmp_path) as local:
        child = int((tmp_path / "target.db.child").read_text())
        assert alive(child)
    assert not alive(local.pid)
    assert gone_within(child, 5)


@pytest.mark.usefixtures("brief_grace")
def test_children_go_with_a_target_that_died_by_itself(tmp_path: Path) -> None:
    body = CHILD + "ready(); os.kill(os.getpid(), signal.SIGKILL)"
    with launch(program(body), folder=tmp_path):
        child = int((tmp_path / "target.db.child").read_text())
    assert gone_within(child, 5)


def test_polite_target_ends_by_itself(tmp_path: Path) -> None:
    body = """
def leave(*_):
    print("goodbye", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
ready(); rest()
"""
    with launch(program(body), folder=tmp_path) as local:
        pass
    assert "goodbye" in local.log.read_text()


def test_noise_is_drained_and_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "LOG_MAX_BYTES", 100_000)
    body = """
sys.stderr.write("e" * 3_000_000); sys.stderr.flush()
sys.stdout.write("o" * 3_000_000 + "\\n"); sys.stdout.flush()
ready(); rest()
"""
    with launch(program(body), folder=tmp_path) as local:
        pass
    assert local.log.stat().st_size <= 100_000


RUNNER = """
import sys
from dataclasses import replace
from pathlib import Path
from certification.target import launcher
launcher.STOP_GRACE_S = 0.5
with launcher.launch(
    launcher.Command(serve=(sys.executable, "-c", sys.argv[2], "{database}")),
    folder=Path(sys.argv[1]),
) as local:
    print(local.pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_runner_is_killed(number: signal.Signals, tmp_path: Path) -> None:
    body = READY + DEAF + CHILD + "ready(); rest()"
    with subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(tmp_path), body],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as runner:
        assert runner.stdout is not None
        pid = int(runner.stdout.readline())
        child = int((tmp_path / "target.db.child").read_text())
        assert alive(pid)
        assert alive(child)
        runner.send_signal(number)
        runner.wait(timeout=10)
        assert gone_within(pid, 10)
        assert gone_within(child, 10)
