"""The command, the target file's section, and the counterparties of a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpcore
import pytest

from certification.cli import doctor_
from certification.counterparties import beside
from certification.counterparties.hosting import Host
from certification.counterparties.names import Party
from certification.counterparties.parties import Counterparties
from certification.errors import UsageError
from certification.model import Category, CheckId, Module, Outcome, PlannedCheck, Severity
from certification.target.file import load_target
from certification.target.launcher import COUNTERPARTY_PREFIX, Command, launch

TOKEN = "a-token-of-sixteen-characters"
SERVE = """
import json, os, signal
told = {n: v for n, v in os.environ.items() if n.startswith("ALLUSE_COUNTERPARTY_")}
open(%r, "w").write(json.dumps(told))
print(json.dumps({"event": "ready", "url": "http://127.0.0.1:4711"}), flush=True)
signal.pause()
"""


@contextmanager
def running(*options: str, token: str | None = TOKEN) -> Iterator[dict[str, Any]]:
    """Run the command; yield what it printed; it must end cleanly on Ctrl-C."""
    environment = {name: value for name, value in os.environ.items() if "CERTIFY_" not in name}
    if token is not None:
        environment["CERTIFY_COUNTERPARTIES_TOKEN"] = token
    command = [sys.executable, "-m", "certification", "counterparties", "--json", *options]
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield json.loads(line)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
            assert (process.returncode, errors) == (0, "")
        finally:
            process.kill()


def test_the_command_serves_until_interrupted(tmp_path: Path) -> None:
    folder = tmp_path / "journals"
    with running("--ports-from", "0", "--journal", str(folder)) as told:
        assert told["control"]["token"] == TOKEN
        parties = Counterparties.attach(told["control"]["url"], TOKEN)
        assert {row.url for row in parties} == set(told["counterparties"].values())
        assert told["settings"]["COUNTERPARTY_MARKET_TOKEN"] == parties.market.token
        httpcore.request("GET", f"{parties.market.url}/v1/health")
        (seen,) = parties.market.journal()
        assert seen.status == 401
        parties.close()
    rows = (folder / "market.jsonl").read_text().splitlines()
    assert [json.loads(row)["status"] for row in rows] == [401]


def test_without_a_token_one_is_made() -> None:
    with running("--ports-from", "0", token=None) as told:
        assert len(told["control"]["token"]) >= 32
        Counterparties.attach(told["control"]["url"], told["control"]["token"]).close()
        folder = Path(told["journal"])
        assert folder.is_dir()
    assert not folder.exists()


def test_a_short_token_is_refused() -> None:
    command = [sys.executable, "-m", "certification", "counterparties"]
    environment = {**os.environ, "CERTIFY_COUNTERPARTIES_TOKEN": "short"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "fewer than 16" in done.stderr


# -- the target file ---------------------------------------------------------------------------


def target(folder: Path, section: str) -> Path:
    file = folder / "target.toml"
    file.write_text(
        '[target]\nbase_url = "http://127.0.0.1:8000"\n'
        f'[identities.admin]\nusername = "a"\npassword = "env:TOKEN"\n{section}'
    )
    return file


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", TOKEN)


def test_a_target_file_names_the_control_api(tmp_path: Path) -> None:
    section = '[counterparties]\ncontrol = "http://127.0.0.1:9400"\ntoken = "env:TOKEN"\n'
    found = load_target(target(tmp_path, section)).counterparties
    assert found is not None
    assert found.control.text == "http://127.0.0.1:9400"
    assert found.token.reveal() == TOKEN
    assert load_target(target(tmp_path, "")).counterparties is None


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ('control = "http://10.0.0.1:9400"\ntoken = "env:TOKEN"', "counterparties.control"),
        ('control = "https://127.0.0.1:9400"\ntoken = "env:TOKEN"', "counterparties.control"),
        ('control = "http://127.0.0.1:9400"', "counterparties.token"),
        ('control = "http://127.0.0.1:9400"\ntoken = "abc"', "literal secret"),
        ('token = "env:TOKEN"', "control"),
        ('control = "http://127.0.0.1:1"\ntoken = "env:TOKEN"\nport = 1', "port"),
    ],
)
def test_a_wrong_section_is_named(tmp_path: Path, lines: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        load_target(target(tmp_path, f"[counterparties]\n{lines}\n"))


def test_simulators_that_are_not_there_are_a_mistake_of_the_operator(tmp_path: Path) -> None:
    section = '[counterparties]\ncontrol = "http://127.0.0.1:1"\ntoken = "env:TOKEN"\n'
    given = load_target(target(tmp_path, section)).counterparties
    assert given is not None
    with pytest.raises(UsageError, match=r"counterparties\.control"):
        beside.found(given)


def test_what_the_target_file_names_is_found(tmp_path: Path) -> None:
    with Counterparties.start() as parties:
        url, token = parties.wire.control_url, parties.wire.token
        section = f'[counterparties]\ncontrol = "{url}"\ntoken = "file:token"\n'
        (tmp_path / "token").write_text(token)
        given = load_target(target(tmp_path, section)).counterparties
        assert given is not None
        there = beside.found(given)
        there.serve("http://127.0.0.1:8000")
        assert parties.overview()["deployment"] == "http://127.0.0.1:8000"
        attached = beside.from_environment(there.environment())
        assert attached is not None
        assert attached.market.token == parties.market.token
        attached.close()
        assert token not in repr(there)


def test_the_doctor_says_whether_calls_arrive(tmp_path: Path) -> None:
    with Counterparties.start() as parties:
        httpcore.request("GET", f"{parties.market.url}/v1/health")
        wire = parties.wire
        there = beside.Beside(control_url=wire.control_url, token=wire.token)
        opened: Any = SimpleNamespace(counterparties=there)
        rows = {line.partition(":")[0]: line for line in doctor_._counterparties(opened)}
        assert "1 requests, last 20" in rows["market"]
        assert "1 not as its contract says" in rows["market"]
        assert "0 requests, last never" in rows["reporting"]
    nothing: Any = SimpleNamespace(counterparties=None)
    assert "not simulated" in str(doctor_._counterparties(nothing))


# -- an embedded target ------------------------------------------------------------------------


def test_an_embedded_target_is_told_before_it_starts_and_served_only_when_asked(
    tmp_path: Path,
) -> None:
    told_file = tmp_path / "told.json"
    command = Command(serve=(sys.executable, "-c", SERVE % str(told_file)))
    with beside.held() as there:
        told = there.told(COUNTERPARTY_PREFIX)
        with launch(replace(command, environment=told), folder=tmp_path):
            assert json.loads(told_file.read_text()) == told
        url = told["ALLUSE_COUNTERPARTY_MARKET_URL"]
        with pytest.raises(httpcore.ConnectError):
            httpcore.request("GET", f"{url}/v1/health")
        there.serve("http://127.0.0.1:4711")
        token = told["ALLUSE_COUNTERPARTY_MARKET_TOKEN"]
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        headers = [("authorization", f"Bearer {token}"), ("traceparent", trace)]
        assert httpcore.request("GET", f"{url}/v1/health", headers=headers).status == 200
    assert set(told) == {
        *(f"ALLUSE_COUNTERPARTY_{party.name}_URL" for party in Party),
        *(f"ALLUSE_COUNTERPARTY_{party.name}_TOKEN" for party in Party),
        "ALLUSE_COUNTERPARTY_MARKET_SECRET",
    }


def test_only_a_check_that_is_going_to_run_has_them_served() -> None:
    def row(module: Module, outcome: Outcome | None = None) -> PlannedCheck:
        return PlannedCheck(
            id=CheckId("integration/market/x"),
            version=1,
            suite="integration",
            category=Category.FUNCTIONALITY,
            title="t",
            failure_title="f",
            severity=Severity.LOW,
            requirements=(),
            phase="parallel",
            modules=(module,),
            fixed_outcome=outcome,
            fixed_reason=None if outcome is None else "r",
        )

    assert beside.wanted([row(Module.CORE), row(Module.INTEGRATION)])
    assert not beside.wanted([row(Module.CORE)])
    assert not beside.wanted([row(Module.INTEGRATION, Outcome.NOT_APPLICABLE)])


def test_holding_ports_starts_nothing() -> None:
    with beside.held() as there:
        assert isinstance(there.host, Host)
        assert not there.host.serving
