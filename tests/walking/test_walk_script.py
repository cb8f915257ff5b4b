"""A walk against a deployment with a known fault: found, made short, shown again by a script."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "fixtures" / "defects" / "_launcher.py"
PASSWORD = "a password of the walk, long enough"
ENVIRONMENT = {**os.environ, "WALK_PASSWORD": PASSWORD}
CHECK = "functional/walk/money-follows-the-model"
PEOPLE = "functional/walk/people-follow-the-model"
RUN_TIMEOUT_S = 200.0
ROLES = ("customer", "customer2", "operator", "manager", "auditor")


def post(url: str, path: str, body: Any, **headers: str) -> Any:
    request = urllib.request.Request(  # noqa: S310  the test's own server
        url + path,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **headers},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  the same
        return json.load(answer)


@contextmanager
def deployment(folder: Path, *, defect: str | None) -> Iterator[tuple[str, int]]:
    """Start the reference, with a planted defect if one is named; give its URL and process id."""
    folder.mkdir(exist_ok=True)
    database = str(folder / "book.db")
    init = [sys.executable, "-m", "reference_impl", "init", "--database", database]
    init += ["--admin-password", "env:WALK_PASSWORD"]
    subprocess.run(init, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True, timeout=60)
    start = [str(LAUNCHER), defect] if defect else ["-m", "reference_impl"]
    process = subprocess.Popen(
        [sys.executable, *start, "serve", "--database", database],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    assert process.stdout is not None
    try:
        url = json.loads(process.stdout.readline())["url"]
        watchdog.cancel()
        token = post(url, "/v1/auth/login", {"username": "admin", "password": PASSWORD})
        for number, role in enumerate(ROLES):
            body = {"username": role, "password": PASSWORD, "roles": [role.rstrip("2")]}
            bearer = f"Bearer {token['access_token']}"
            headers = {"Authorization": bearer, "Idempotency-Key": f"walk-user-number-{number}"}
            post(url, "/v1/users", body, **headers)
        yield url, process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)
        process.stdout.close()


def walk(folder: Path, url: str, check: str = CHECK, **trials: int) -> tuple[int, str, Path]:
    """Run a walk, that over money, with a budget; return exit code, output and run's folder."""
    identities = "".join(
        f'[identities.{role}]\nusername = "{role}"\npassword = "env:WALK_PASSWORD"\n'
        for role in (*ROLES, "admin")
    )
    target = folder / "target.toml"
    target.write_text(f'[target]\nname = "walked"\nbase_url = "{url}"\n{identities}', "utf-8")
    standard = (ROOT / "certification" / "profiles" / "standard.toml").read_text("utf-8")
    wanted = "\n".join(f"{name} = {value}" for name, value in trials.items())
    kept = re.sub(r"(?ms)^\[trials\]\n(.*?)(?=^\[|\Z)", "", standard)
    profile = folder / "profile.toml"
    profile.write_text(f"{kept}\n[trials]\n{wanted}\n", "utf-8")
    out = folder / "run"
    command = [sys.executable, "-m", "certification", "run", "--target", str(target)]
    command += ["--profile", str(profile), "--check", check, "--out", str(out), "--seed", "7"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr, out


def records(out: Path, kind: str) -> list[dict[str, Any]]:
    with gzip.open(out / "evidence.jsonl.gz", "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    return [record for record in found if record["kind"] == kind]


def test_a_planted_fault_is_found_made_short_and_shown_again(tmp_path: Path) -> None:
    with deployment(tmp_path, defect="transfer-skims-a-unit") as (url, _):
        code, said, out = walk(tmp_path, url, walk_requests=400, walk_shrink_requests=2_500)
        assert code == 1, said
        findings = [found for case in records(out, "case") for found in case["findings"]]
        best = min(findings, key=lambda found: len(found["script"]))
        steps = re.findall(r"\b\d+\. ", best["message"])
        assert 1 < len(steps) <= 5, best["message"]
        assert "intermittent" not in best["message"]

        script = tmp_path / "again.sh"
        script.write_text(best["script"], "utf-8")
        roles = ("CUSTOMER", "OPERATOR", "MANAGER")
        names = {f"{role}_USERNAME": role.lower() for role in roles}
        secrets = {f"{role}_PASSWORD": PASSWORD for role in roles}
        environment = {"PATH": os.environ["PATH"], "BASE_URL": url, **names, **secrets}
        again = subprocess.run(
            ["bash", str(script)],  # noqa: S607  found on the PATH of the test
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert again.returncode == 1, again.stdout + again.stderr
        assert "FAILED" in again.stderr
        assert PASSWORD not in best["script"]
        assert best["script"].splitlines()[0] in (out / "report.html").read_text("utf-8")

    with deployment(tmp_path / "clean", defect=None) as (url, _):
        environment["BASE_URL"] = url
        right = subprocess.run(
            ["bash", str(script)],  # noqa: S607  the same
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert right.returncode == 0, right.stdout + right.stderr


def test_a_walk_keeps_to_its_budget_and_passes_on_a_right_deployment(tmp_path: Path) -> None:
    with deployment(tmp_path, defect=None) as (url, _):
        _, said, out = walk(tmp_path, url, walk_requests=150)
    cases = records(out, "case")
    assert [case["outcome"] for case in cases] == ["PASS", "PASS"], said
    # An example that has begun is walked to its end.
    assert all(150 <= case["observations"] <= 330 for case in cases)


@pytest.mark.slow
def test_a_deployment_that_dies_in_the_middle_ends_the_walk(tmp_path: Path) -> None:
    with deployment(tmp_path, defect=None) as (url, pid):
        killer = threading.Timer(6.0, os.killpg, (pid, signal.SIGKILL))
        killer.start()
        began = time.monotonic()
        code, said, _ = walk(tmp_path, url, walk_requests=20_000)
        killer.cancel()
    assert code in {1, 3}, said
    assert "Traceback" not in said
    assert time.monotonic() - began < RUN_TIMEOUT_S


def test_the_catalogue_is_read_without_the_libraries_of_the_walk() -> None:
    code = (
        "import sys; from certification.checks import load_catalogue; load_catalogue();"
        "print([n for n in ('hypothesis', 'schemathesis') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_a_script_makes_its_own_users_and_holds_no_secret_of_them(tmp_path: Path) -> None:
    with deployment(tmp_path, defect="enabling-revives-sessions") as (url, _):
        code, said, out = walk(tmp_path, url, PEOPLE, walk_shrink_requests=600)
        assert code == 1, said
        (found,) = [found for case in records(out, "case") for found in case["findings"]]
        assert "an admin enables person" in found["message"]
        assert not re.search(r"ey[A-Za-z0-9_-]{10,}|Zx9![0-9a-f]|usr_", found["script"])

        script = tmp_path / "again.sh"
        script.write_text(found["script"], "utf-8")
        environment = {"PATH": os.environ["PATH"], "BASE_URL": url}
        environment |= {"ADMIN_USERNAME": "admin", "ADMIN_PASSWORD": PASSWORD}
        assert shown_again(script, environment) == 1

    with deployment(tmp_path / "clean", defect=None) as (url, _):
        assert shown_again(script, {**environment, "BASE_URL": url}) == 0


def shown_again(script: Path, environment: dict[str, str]) -> int:
    """Run a script; return its exit code, 1 where the failure shows again."""
    done = subprocess.run(
        ["bash", str(script)],  # noqa: S607  found on the PATH of the test
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 or "FAILED" in done.stderr, done.stderr
    return done.returncode
