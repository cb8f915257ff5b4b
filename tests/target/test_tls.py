"""Trust: the private authority, no authority, and a server that asks for a client certificate."""

from __future__ import annotations

import contextlib
import socket
import threading
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


def test_tunnel_through_a_proxy(access_to: MakeAccess, ca: Authority) -> None:
    """Trust is between us and the target: the proxy passes bytes and sees none of them."""
    seen: list[bytes] = []

    def tunnel(connection: socket.socket, request: bytes) -> None:
        seen.append(request)
        host, _, port = request.split(b" ")[1].decode().rpartition(":")
        with socket.create_connection((host, int(port))) as onward:
            connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=pump, args=(onward, connection), daemon=True)
            back.start()
            pump(connection, onward)
            back.join(5)

    with serving(servers.says(answer(b'"x"')), tls=ca.server_context()) as server:
        with serving(tunnel) as proxy:
            settings = context_of(Tls(ca=ca.pem))
            settings["proxy"] = parse_base_url(proxy.url)
            access = access_to(server.url, **settings)
            outcome = get(access)
            assert isinstance(outcome, Answer), outcome
            assert isinstance(get(access), Answer)
            access.client.close()
        assert server.connections == 1
    assert len(seen) == 1
    assert seen[0].startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1".encode())


def test_proxy_that_refuses(access_to: MakeAccess) -> None:
    with serving(servers.says(answer(b"", status="403 Forbidden"))) as proxy:
        access = access_to("https://127.0.0.1:1", proxy=parse_base_url(proxy.url))
        outcome = get(access)
    assert isinstance(outcome, NoAnswer)
    assert outcome.reason is Lost.REFUSED
    assert "403" in outcome.detail


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


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
