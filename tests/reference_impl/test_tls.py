"""TLS 1.3 and nothing below it, and the headers that go with every answer."""

import contextlib
import datetime as dt
import http.client
import ipaddress
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from reference_impl import tls
from reference_impl.config import Settings, StartRefusedError


def make_pair(folder: Path, passphrase: bytes | None = None) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1, signed by itself, and its key."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "reference")])
    today = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=30))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    lock: Any = serialization.NoEncryption()
    if passphrase:
        lock = serialization.BestAvailableEncryption(passphrase)
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(pem))
    paths[1].write_bytes(key.private_bytes(pem, form, lock))
    return paths


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def secure(
    tmp_path: Path,
    pair: tuple[Path, Path],
    make_database: Callable[[Path], Path],
    run_server: Callable[..., Any],
) -> Iterator[Any]:
    database = make_database(tmp_path / "book.db")
    certificate, key = pair
    server = run_server(database, "--certificate", str(certificate), "--key", str(key))
    yield server
    assert server.stop() == 0


def context_of(pair: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(pair[0]))


def test_tls_1_3_is_served_and_nothing_else(secure: Any, pair: tuple[Path, Path]) -> None:
    assert secure.ready["url"] == f"https://127.0.0.1:{secure.port}"
    context = context_of(pair)
    with (
        socket.create_connection(("127.0.0.1", secure.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        assert wrapped.version() == "TLSv1.3"
    older = context_of(pair)
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", secure.port), timeout=5) as plain,
        pytest.raises(ssl.SSLError),
    ):
        older.wrap_socket(plain, server_hostname="127.0.0.1")
    connection = http.client.HTTPConnection("127.0.0.1", secure.port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", "/health/live")
        with pytest.raises((OSError, http.client.HTTPException)):
            connection.getresponse()


def test_a_session_over_tls_and_the_headers(
    secure: Any, pair: tuple[Path, Path], admin_password: str
) -> None:
    connection = http.client.HTTPSConnection(
        "127.0.0.1", secure.port, timeout=10, context=context_of(pair)
    )
    with contextlib.closing(connection):
        body = json.dumps({"username": "admin", "password": admin_password})
        sent = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/auth/login", body, sent)
        answer = connection.getresponse()
        token = json.loads(answer.read())["access_token"]
        for path, status in (("/v1/accounts", 200), ("/v1/nothing", 404)):
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
            hsts = answer.headers["Strict-Transport-Security"]
            assert hsts == "max-age=31536000; includeSubDomains"
            check_headers({name.lower(): value for name, value in answer.headers.items()})


def check_headers(headers: dict[str, str]) -> None:
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"


def test_plain_answers_carry_the_same_but_no_hsts(admin: Any) -> None:
    for path in ("/v1/accounts", "/v1/nothing", "/health/live", "/.well-known/alluse"):
        headers = admin.get(path).headers
        check_headers(headers)
        assert "strict-transport-security" not in headers


def serve(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reference_impl", "serve", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_plain_http_is_for_loopback_only(tmp_path: Path) -> None:
    done = serve("--database", str(tmp_path / "none.db"), "--host", "192.0.2.1")
    assert done.returncode == 2
    assert "--certificate" in done.stderr


def settings(tmp_path: Path, certificate: Path | str, key: Path | str) -> Settings:
    return Settings(database=tmp_path, certificate=str(certificate), private_key=str(key))


def test_a_pair_that_cannot_serve_is_refused_in_one_line(
    tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    certificate, key = pair
    tls.check(settings(tmp_path, certificate, key))
    tls.check(settings(tmp_path, "", ""))
    _, stranger = make_pair(tmp_path / "other")
    locked_certificate, locked_key = make_pair(tmp_path / "locked", b"open sesame")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no key at all")
    for wrong, text in (
        ((certificate, ""), "come together"),
        (("", key), "come together"),
        ((certificate, tmp_path / "none.pem"), "no such file"),
        ((certificate, stranger), "belong together"),
        ((certificate, nonsense), "belong together"),
        ((nonsense, key), "belong together"),
        ((locked_certificate, locked_key), "passphrase"),
    ):
        with pytest.raises(StartRefusedError, match=text) as refused:
            tls.check(settings(tmp_path, *wrong))
        assert "\n" not in str(refused.value)
