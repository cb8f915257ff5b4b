"""One attempt: its total time, what counts as an answer, kept connections, and certificates."""

import datetime as dt
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reference_impl.delivery import addresses, sending
from reference_impl.delivery.rules import Outcome

from ._receiver import receiving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def served(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """Give each connection to `behave`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    def one(connection: socket.socket) -> None:
        with connection:
            try:
                behave(connection)
            except OSError:
                return

    threading.Thread(target=run, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def line_to(url: str, timeout_s: float = 2.0, ca: Path | None = None) -> sending.Line:
    place = addresses.parse(url, {"127.0.0.1", "localhost"})
    return sending.Line(place, timeout_s=timeout_s, context=sending.tls_context(ca))


def post(url: str, timeout_s: float = 2.0, ca: Path | None = None) -> Outcome:
    """Make one attempt on a connection of its own."""
    line = line_to(url, timeout_s, ca)
    try:
        return line.post(b"{}", {})
    finally:
        line.close()


def replying(reply: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(reply)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)

    return behave


@pytest.mark.parametrize(
    ("reply", "status", "error"),
    [
        (OK, 200, ""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 None\r\n\r\n", 204, ""),
        (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK, 200, ""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", 302, ""),
        (b"HTTP/1.0 500 Broken\r\n\r\n", 500, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\nx", 200, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx", 200, ""),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", None, "malformed"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", None, "malformed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, None, "malformed"),
        (b"HTTP/1.1 200 OK\r\nX: cut", None, "malformed"),
        (b"", None, "connection"),
    ],
)
def test_an_answer_is_its_status_and_nothing_else(
    reply: bytes, status: int | None, error: str
) -> None:
    with served(replying(reply)) as port:
        outcome = post(f"http://127.0.0.1:{port}/")
    assert (outcome.status, outcome.error) == (status, error)


def test_retry_after_is_read() -> None:
    with served(replying(b"HTTP/1.1 503 No\r\nretry-AFTER: 7\r\n\r\n")) as port:
        assert post(f"http://127.0.0.1:{port}/").retry_after_s == 7.0


def test_the_time_is_that_of_the_whole_attempt() -> None:
    def dribble(connection: socket.socket) -> None:
        connection.recv(65536)
        for _ in range(1000):
            connection.sendall(b"H")
            time.sleep(0.02)

    def hang(connection: socket.socket) -> None:
        connection.recv(65536)
        time.sleep(5)

    for behave in (dribble, hang):
        with served(behave) as port:
            began_s = time.monotonic()
            outcome = post(f"http://127.0.0.1:{port}/", 0.3)
            assert outcome.error == "timeout"
            assert time.monotonic() - began_s < 3


def test_a_port_that_nobody_listens_on_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert post(f"http://127.0.0.1:{port}/").error == "connection"


def test_a_connection_is_kept_and_made_anew_when_the_other_side_ended_it() -> None:
    accepted: list[int] = []

    def twice(connection: socket.socket) -> None:
        accepted.append(1)
        for _ in range(2):
            if not connection.recv(65536):
                return
            connection.sendall(OK)

    with served(twice) as port:
        line = line_to(f"http://127.0.0.1:{port}/")
        assert [line.post(b"{}", {}).status for _ in range(6)] == [200] * 6
        line.close()
    assert len(accepted) == 3


def test_a_body_that_stops_does_not_mix_into_the_next_answer() -> None:
    def short(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nHTTP/1.1 500 ")
        time.sleep(1)

    with served(short) as port:
        line = line_to(f"http://127.0.0.1:{port}/", 0.3)
        assert [line.post(b"{}", {}).status for _ in range(2)] == [200, 200]
        line.close()


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """Return a server's context with a certificate of its own, and the file to trust it by."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / f"{name}.pem", folder / f"{name}.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    return context, pem


def test_a_certificate_counts_for_its_name_only(tmp_path: Path) -> None:
    context, pem = certificate(tmp_path, "127.0.0.1")
    with receiving(context) as receiver:
        url = f"https://127.0.0.1:{receiver.port}/"
        assert post(url, ca=pem).status == 204
        assert post(url).error == "tls"
        other = f"https://localhost:{receiver.port}/"
        assert post(other, ca=pem).error in {"tls", "connection"}
    assert len(receiver.got) == 1
