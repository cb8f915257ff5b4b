"""What an operator may say about outside systems, and how wrong settings are refused."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reference_impl.config import StartRefusedError
from reference_impl.integration import registry
from tests.reference_impl.conftest import init_database

SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()
MARKET = {
    "ALLUSE_COUNTERPARTY_MARKET_URL": "https://market.example:8443/api/",
    "ALLUSE_COUNTERPARTY_MARKET_TOKEN": "t0ken",
    "ALLUSE_COUNTERPARTY_MARKET_SECRET": SECRET,
}
URL = "ALLUSE_COUNTERPARTY_MARKET_URL"
TOKEN = "ALLUSE_COUNTERPARTY_MARKET_TOKEN"
KEY = "ALLUSE_COUNTERPARTY_MARKET_SECRET"


def test_nothing_is_configured_unless_it_is_named() -> None:
    assert not any(point.configured for point in registry.load({"PATH": "/bin"}))
    found = registry.load(MARKET)
    assert [point.name for point in found if point.configured] == ["market"]
    assert found["market"].url == "https://market.example:8443/api"
    assert found["market"].secret == bytes(32)


def test_a_token_may_lie_in_a_file_and_is_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("from-a-file\n")
    point = registry.load({**MARKET, TOKEN: f"file:{path}"})["market"]
    assert point.token == "from-a-file"
    assert "from-a-file" not in repr(point)
    assert SECRET not in repr(point)


@pytest.mark.parametrize(
    ("change", "named", "hint"),
    [
        ({URL: "market.example"}, URL, "not an http or https URL"),
        ({URL: "ftp://market.example"}, URL, "not an http or https URL"),
        ({URL: "https://"}, URL, "not an http or https URL"),
        ({URL: "https://market.example:99999"}, URL, "ort"),
        ({URL: "https://market.example:0"}, URL, "port 0"),
        ({URL: "https://me:pass@market.example"}, URL, "user"),
        ({URL: "https://market.example/?a=b"}, URL, "query"),
        ({URL: "https://market.example/ x"}, URL, "blank"),
        ({URL: "http://market.example"}, URL, "in the clear"),
        ({URL: ""}, TOKEN, "set both"),
        ({TOKEN: ""}, TOKEN, "give the token"),
        ({TOKEN: "two words"}, TOKEN, "give the token"),
        ({TOKEN: "file:/no/such/file"}, TOKEN, "name a readable text file"),
        ({KEY: "hello"}, KEY, "whsec_"),
        ({KEY: "whsec_AAAA"}, KEY, "24 to 64 bytes"),
        ({"ALLUSE_COUNTERPARTY_MARKT_URL": "https://x"}, "ALLUSE_COUNTERPARTY_MARKT_URL", "choose"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(
    change: dict[str, str], named: str, hint: str
) -> None:
    with pytest.raises(StartRefusedError) as refused:
        registry.load({**MARKET, **change})
    text = str(refused.value)
    assert text.startswith(named)
    assert hint in text
    assert not any(value and len(value) > 4 and value in text for value in ("me:pass", "two words"))


def test_the_server_refuses_it_before_its_port_opens(tmp_path: Path) -> None:
    book = init_database(tmp_path / "book.db")
    command = [sys.executable, "-m", "reference_impl", "serve", "--database", str(book)]
    done = subprocess.run(
        command,
        env={**os.environ, **MARKET, URL: "market.example"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert URL in done.stderr


def test_timing_is_refused_by_the_name_of_its_option(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "reference_impl", "serve", "--database", str(tmp_path / "x")]
    for wrong in ("300", "300/1", "5/1/1", "300/0/1", "a/b/c", "300/1/1/1", "-300/1/1"):
        done = subprocess.run(
            [*command, "--call-timing", wrong],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 2, wrong
        assert f"--call-timing {wrong}" in done.stderr
