"""Trust: the private authority, no authority, and a server that asks for a client certificate."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from certification.errors import UsageError
from certification.target.address import parse_base_url
from certification.target.client import Request
from certification.target.file import client_settings
from certification.target.model import Limits, Target, Tls
from certification.target.outcomes import Answer, Lost, NoAnswer
from tests.target import servers
from tests.target.certificates import Authority, authority
from tests.target.servers import answer, serving

if TYPE_CHECKING:
    from pathlib import Path

    from certification.target.session import Access
    from tests.target.conftest import MakeAccess

GET = Request(method="GET", target="/")


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return authority(tmp_path)


def get(access: Access) -> Answer | NoAnswer:
    return access.client.send(GET, access.sink)


def context_of(tls: Tls) -> dict[str, object]:
    url = parse_base_url("https://127.0.0.1")
    limits = Limits(allow_hosts=("127.0.0.1",))
    target = Target(name="x", base_url=url, identities={}, limits=limits, tls=tls)
    return {"tls": client_settings(target).tls, "deadline_s": 3.0}


def test_private_authority(access_to: MakeAccess, ca: Authority) -> None:
    with serving(servers.says(answer()), tls=ca.server_context()) as server:
        trusting = get(access_to(server.url, **context_of(Tls(ca=ca.pem))))
        assert isinstance(trusting, Answer)
        outcome = get(access_to(server.url, deadline_s=3.0))
        assert isinstance(outcome, NoAnswer)
        assert outcome.reason is Lost.TLS
        assert "CERTIFICATE_VERIFY_FAILED" in outcome.detail


def test_client_certificate(access_to: MakeAccess, ca: Authority) -> None:
    certificate, key = ca.issue("client", ExtendedKeyUsageOID.CLIENT_AUTH)
    tls = Tls(ca=ca.pem, client_certificate=certificate, client_key=key)
    with serving(servers.says(answer()), tls=ca.server_context(ask_client=True)) as server:
        assert isinstance(get(access_to(server.url, **context_of(tls))), Answer)
        outcome = get(access_to(server.url, **context_of(Tls(ca=ca.pem))))
        assert isinstance(outcome, NoAnswer)
        # Under TLS 1.3 the refusal follows the handshake and can be overtaken by the reset.
        assert outcome.reason in (Lost.TLS, Lost.CONNECTION_LOST)


def test_handshake_that_never_ends(access_to: MakeAccess, ca: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        started = time.monotonic()
        outcome = get(access_to(f"https://127.0.0.1:{port}"))
        assert time.monotonic() - started < 5
    assert isinstance(outcome, NoAnswer)
    assert outcome.reason is Lost.DEADLINE


def test_files_that_are_no_certificates(ca: Authority, tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("nothing")
    with pytest.raises(UsageError, match=r"tls\.ca"):
        context_of(Tls(ca=tmp_path / "text.pem"))
    certificate, _ = ca.issue("client", ExtendedKeyUsageOID.CLIENT_AUTH)
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_bytes(
        ca.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    for key in (encrypted, tmp_path / "text.pem", tmp_path / "ca-key.pem"):
        with pytest.raises(UsageError, match=r"tls\.client_certificate"):
            context_of(Tls(client_certificate=certificate, client_key=key))
