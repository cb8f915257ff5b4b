"""The target file: what it gives, and a message with line, key and fix for every mistake."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from certification.errors import UsageError
from certification.target.address import parse_base_url
from certification.target.file import client_settings, load_target
from certification.target.model import Role
from certification.target.template import target_template

WHOLE = """\
proxy = "http://proxy.example.org:3128"

[target]
name = "staging"
base_url = "https://staging.example.org:8443/bank/"

[identities.admin]
username = "root"
password = "env:ADMIN_PW"

[identities.service]
username = "robot"
password = "file:robot.secret"

[grants]
load = true
source = "src"
metrics = "/metrics"
alerts = "https://alerts.example.org/api"
[grants.hooks]
stop = ["systemctl", "stop", "it"]

[limits]
allow_hosts = ["staging.example.org:8443", "alerts.example.org"]
requests_per_second = 2.5
requests_max = 1000
timeout_s = 0.5
body_max_bytes = 1024
"""
MINIMAL = """\
[target]
base_url = "http://127.0.0.1:8000"
[identities.admin]
username = "root"
password = "env:ADMIN_PW"
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADMIN_PW", "admin-secret-1")
    (tmp_path / "robot.secret").write_text("robot-secret-2\n")
    (tmp_path / "src").mkdir()


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "target.toml"
    path.write_text(text)
    return path


def test_whole_file(tmp_path: Path) -> None:
    target = load_target(write(tmp_path, WHOLE))
    assert target.name == "staging"
    assert target.base_url.text == "https://staging.example.org:8443/bank"
    assert target.proxy is not None
    assert target.proxy.text == "http://proxy.example.org:3128"
    assert target.identities[Role.ADMIN].password.reveal() == "admin-secret-1"
    assert target.identities[Role.SERVICE].password.reveal() == "robot-secret-2"
    assert (target.grants.load, target.grants.attack, target.grants.fault) == (True, False, False)
    assert target.grants.source == tmp_path / "src"
    assert target.grants.hooks == {"stop": ("systemctl", "stop", "it")}
    settings = client_settings(target)
    assert (settings.deadline_s, settings.body_max_bytes) == (0.5, 1024)
    assert (target.limits.requests_per_second, target.limits.requests_max) == (2.5, 1000)


def test_smallest_file_grants_nothing_and_allows_its_own_host(tmp_path: Path) -> None:
    target = load_target(write(tmp_path, MINIMAL))
    assert target.limits.allow_hosts == ("127.0.0.1",)
    assert (target.grants.load, target.grants.attack, target.grants.fault) == (False,) * 3
    assert target.name == "127.0.0.1:8000"


def test_secrets_do_not_show(tmp_path: Path) -> None:
    target = load_target(write(tmp_path, WHOLE))
    for text in (repr(target), str(target), f"{target.identities}"):
        assert "secret-1" not in text
        assert "secret-2" not in text
    with pytest.raises(TypeError):
        pickle.dumps(target.identities[Role.ADMIN].password)


def test_five_identities_are_enough_without_admin(tmp_path: Path) -> None:
    names = ("customer", "customer2", "operator", "manager", "auditor")
    tables = "".join(
        f'[identities.{n}]\nusername = "{n}"\npassword = "env:ADMIN_PW"\n' for n in names
    )
    head = '[target]\nbase_url = "http://127.0.0.1:8000"\n'
    target = load_target(write(tmp_path, head + tables))
    assert {role.value for role in target.identities} == set(names)
    with pytest.raises(UsageError, match=r"neither an admin nor all of the five.*auditor"):
        load_target(write(tmp_path, head + tables.rpartition("[identities.auditor]")[0]))


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('"env:ADMIN_PW"', '"hunter2"', 5, "identities.admin.password: holds a literal secret"),
        ('"env:ADMIN_PW"', "47110815", 5, "identities.admin.password: holds a literal secret"),
        ('"env:ADMIN_PW"', '"env:NOT_SET_X"', 5, "the environment variable NOT_SET_X is not set"),
        ('"env:ADMIN_PW"', '"file:gone"', 5, "gone cannot be read"),
        ('password = "env:ADMIN_PW"', "", 3, "identities.admin.password: is missing"),
        (
            'username = "root"',
            'user = "root"',
            3,
            "identities.admin: the key 'username' is missing",
        ),
        ('username = "root"', 'username = "root"\npasword = "hunter2"', 5, "pasword: unknown key"),
        ("[identities.admin]", "[identities.boss]", 3, "identities.boss: unknown key"),
        ("http://127.0.0.1:8000", "ftp://127.0.0.1", 2, "must begin with http://"),
        ("http://127.0.0.1:8000", "http://u:hunter2@h/", 2, "must not carry a user name"),
        ("http://127.0.0.1:8000", "http:///x", 2, "names no host"),
        ("http://127.0.0.1:8000", "http://h:99999", 2, "not a usable URL"),
        ("http://127.0.0.1:8000", "http://h/?a=b", 2, "query or fragment"),
        ("http://127.0.0.1:8000", "http://h\\n", 2, "control character"),
        ("http://127.0.0.1:8000", "http://[::g]/", 2, "not a usable URL"),
    ],
)
def test_mistakes_in_the_small_file(
    old: str, new: str, line: int, says: str, tmp_path: Path
) -> None:
    path = write(tmp_path, MINIMAL.replace(old, new))
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        load_target(path)
    assert caught.value.message.startswith(f"{path}:{line}: ")
    for text in (caught.value.message, caught.value.hint or ""):
        assert "hunter2" not in text
        assert "47110815" not in text


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ('[limits]\nallow_hosts = ["other.example.org"]', "limits.allow_hosts: 127.0.0.1"),
        ('[limits]\nallow_hosts = ["http://127.0.0.1"]', "limits.allow_hosts: 'http://127.0.0.1'"),
        ("[limits]\nrequests_max = 0", "limits.requests_max"),
        ("[limits]\nrequests_max = 1.5", "limits.requests_max"),
        ("[limits]\ntimeout_s = -1", "limits.timeout_s"),
        ("[limits]\ntimout_s = 1", "limits.timout_s: unknown key"),
        ('[grants]\nload = "yes"', "grants.load"),
        ('[grants]\nsource = "nowhere"', "nowhere does not exist"),
        ('[grants]\nmetrics = "metrics"', "grants.metrics: is not a usable URL"),
        ('[grants]\nmetrics = "http://other.example.org/"', "not in limits.allow_hosts"),
        ('[grants.hooks]\nstop = "systemctl stop"', "grants.hooks.stop"),
        ("[grants.hooks]\nstop = []", "grants.hooks.stop: is an empty command"),
        ('[grants.hooks]\nexplode = ["x"]', "grants.hooks.explode: unknown key"),
        ('[tls]\nclient_key = "target.toml"', "tls.client_key: stands alone"),
        ('[tls]\nca = "nowhere.pem"', "nowhere.pem does not exist"),
        ("[tsl]", "tsl: unknown key"),
    ],
)
def test_mistakes_in_the_rest(extra: str, says: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"{MINIMAL}\n{extra}\n")
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        load_target(path)
    assert caught.value.message.startswith(f"{path}:")


@pytest.mark.parametrize("proxy", ["https://p:1", "http://p:1/x", "http://u:hunter2@p:1"])
def test_wrong_proxy(proxy: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="proxy") as caught:
        load_target(write(tmp_path, f'proxy = "{proxy}"\n{MINIMAL}'))
    assert "hunter2" not in caught.value.message


def test_identity_written_as_a_text_is_not_echoed(tmp_path: Path) -> None:
    text = '[target]\nbase_url = "http://h"\n[identities]\nadmin = "hunter2"\n'
    with pytest.raises(UsageError, match=r"identities\.admin") as caught:
        load_target(write(tmp_path, text))
    assert "hunter2" not in caught.value.message


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.toml"):
        load_target(tmp_path / "gone.toml")


@pytest.mark.parametrize("name", ["bank", "bank\n[identities.x]\nx = 1", '"""', "\x1b[31m"])
@pytest.mark.parametrize("url", ["https://h.example.org/p", "http://[::1]:8000"])
def test_template_loads_whatever_the_deployment_calls_itself(
    name: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TARGET_ADMIN_PASSWORD", "x1234")
    document = {
        "implementation": {"name": name, "version": 7},
        "modules": [{"id": name}, 3, {"id": "core"}],
    }
    target = load_target(write(tmp_path, target_template(parse_base_url(url), document)))
    assert target.base_url.text == url
    assert set(target.identities) == {Role.ADMIN}
    assert not target.grants.attack
