"""Whatever stands at the base URL, `certify run` ends in time with one message and exit code."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.target.servers import (
    Behaviour,
    answer,
    dribbles,
    floods,
    never_answers,
    resets,
    says,
    serving,
)

BOUND_S = 60
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
MARKUP = "</script><script>alert(1)</script>\x1b[31m"

BEHAVIOURS: Mapping[str, tuple[Behaviour, int, str]] = {
    "html": (says(answer(b"<html>hello</html>", media_type="text/html")), 2, "HTML"),
    "redirect": (
        says(b"HTTP/1.1 302 Found\r\nLocation: http://other.example/\r\nContent-Length: 0\r\n\r\n"),
        2,
        "redirects (302)",
    ),
    "never answers": (never_answers, 3, "did not answer"),
    "resets": (resets, 3, "closed the connection"),
    "dribbles for ever": (dribbles(HEAD + b"Transfer-Encoding: chunked\r\n\r\n"), 2, "never ends"),
    "endless body": (
        floods(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"4\r\nxxxx\r\n" * 1000),
        2,
        # Its deadline or its cap, whichever comes first on this machine.
        "not a conforming deployment",
    ),
    "compression bomb": (
        says(
            HEAD
            + b"Content-Encoding: gzip\r\nContent-Length: "
            + str(len(gzip.compress(bytes(64 << 20)))).encode()
            + b"\r\n\r\n"
            + gzip.compress(bytes(64 << 20))
        ),
        2,
        "not a conforming deployment",
    ),
    "200,000 levels": (says(answer(b"[" * 200_000 + b"]" * 200_000)), 2, "cannot be read"),
    "markup": (
        says(answer(json.dumps({"modules": MARKUP, "contract_version": MARKUP}).encode())),
        2,
        "declares no modules",
    ),
    "404": (says(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), 2, "is not there"),
}


def certify(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder of its own."""
    return subprocess.run(
        [sys.executable, "-m", "certification", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )


def target_file(folder: Path, url: str, more: str = "") -> Path:
    """Write a target file with a short deadline."""
    file = folder / "target.toml"
    file.write_text(
        f'[target]\nbase_url = "{url}"\n[identities.admin]\nusername = "admin"\n'
        f'password = "env:SECRET_OF_TARGET"\n[limits]\ntimeout_s = 1\n{more}',
        encoding="utf-8",
    )
    return file


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_what_is_no_deployment_is_called_so(tmp_path: Path, name: str) -> None:
    behaviour, code, message = BEHAVIOURS[name]
    with serving(behaviour) as server:
        file = target_file(tmp_path, server.url)
        began = time.monotonic()
        done = certify(
            "run", "--target", str(file), "--out", "run", folder=tmp_path, SECRET_OF_TARGET="s3cret"
        )
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stderr + done.stdout
    assert "\x1b" not in done.stderr
    assert time.monotonic() - began < BOUND_S / 2
    assert not (tmp_path / "run").exists(), "nothing was observed, so nothing is left"


HERE = '[target]\nbase_url = "http://127.0.0.1:1"\n'
ADMIN = '[identities.admin]\nusername = "a"\npassword = '


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'{HERE}{ADMIN}"hunter2-literal"\n', "identities.admin.password"),
        (f'{HERE}{ADMIN}"env:NOT_SET_ANYWHERE"\n', "NOT_SET_ANYWHERE"),
        (f'{HERE}naem = "x"\n', "naem"),
        ('[target]\nbase_url = "ftp://127.0.0.1"\n', "base_url"),
        (f'{HERE}[limits]\nallow_hosts = ["b.example"]\n{ADMIN}"env:HOME"\n', "allow_hosts"),
        ("[target\n", "not TOML"),
    ],
)
def test_a_mistake_in_the_target_file_is_named_before_anything_is_sent(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "t.toml").write_text(text, encoding="utf-8")
    done = certify("run", "--target", "t.toml", "--out", "run", folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "t.toml" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--profile", "nosuch"], "nosuch"),
        (["run", "--check", "functional/no/such"], "no check of the profile"),
        (["run", "--suite", "nosuch"], "no such suite"),
        (["run", "--level", "PLATINUM"], "PLATINUM"),
        (["run", "-k", "(((", "--out", "x"], "-k ((("),
        (["run", "--sign", "nokey.pem"], "nokey.pem"),
        (["run", "--sign", "nokey.pem", "-k", "money"], "a partial run is not signed"),
        (["run", "--waivers", "none.toml"], "none.toml"),
        (["run", "--target", "none.toml"], "none.toml"),
        (["run", "--out", "/proc/run"], "/proc/run"),
        (["score", "none.jsonl.gz"], "none.jsonl.gz"),
        (["verify", "none.json"], "none.json"),
        (["explain", "functional/nosuch"], "functional/nosuch"),
        (["prove", "nosuch"], "nosuch"),
        (["init", "not a url"], "not a url"),
        (["claims", "none.toml"], "none.toml"),
        (["nosuch"], "nosuch"),
        (["run", "--nosuch"], "--nosuch"),
    ],
)
def test_a_mistake_on_the_command_line_is_named(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = certify(*arguments, folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_with_a_run_in_it_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "evidence.jsonl.gz").write_bytes(b"kept")
    done = certify("run", "--out", "run", folder=tmp_path)
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert (tmp_path / "run" / "evidence.jsonl.gz").read_bytes() == b"kept"
