"""Which addresses webhooks may lead to, however they are written, resolved or changed."""

import socket
from collections.abc import Sequence
from typing import Any

import pytest

from reference_impl.delivery import addresses, sending
from reference_impl.delivery.addresses import NotAllowedError

REFUSED = (
    "http://example.com/",
    "ftp://example.com/",
    "https://",
    "https:///path",
    "https://user:word@example.com/",
    "https://example.com@10.0.0.1/",
    "https://example.com/#there",
    "https://exa mple.com/",
    "https://example.com/\r\nX: y",
    "https://example.com\\@10.0.0.1/",
    "https://ex\u00e4mple.com/",
    "https://example.com:0/",
    "https://example.com:99999/",
    "https://example.com:x/",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://a.localhost/",
    "https://printer.local/",
    "https://metadata.google.internal/",
    "https://intranet/",
    "https://127.0.0.1/",
    "https://127.255.255.254/",
    "https://0.0.0.0/",
    "https://0/",
    "https://10.1.2.3/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.1.1/",
    "https://100.64.0.1/",
    "https://100.100.100.200/",
    "https://169.254.169.254/latest/meta-data/",
    "https://168.63.129.16/",
    "https://192.0.0.192/",
    "https://192.0.2.1/",
    "https://198.18.0.1/",
    "https://203.0.113.9/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://017700000001/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://1.2.3.4.5/",
    "https://010.8.8.8/",
    "https://127.0.0.1./",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::ffff:8.8.8.8]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b:1::a00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:7f00:1::]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fd00:ec2::254]/",
    "https://[fc00::1]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://[2001:db8::1]/",
    "https://[2606:4700::200:5efe:7f00:1]/",
    "https://" + "a" * 64 + ".example/",
    "https://example.com/" + "a" * 2048,
)


@pytest.mark.parametrize("url", REFUSED)
def test_an_internal_or_odd_url_is_refused_before_anything_is_resolved(url: str) -> None:
    with pytest.raises(NotAllowedError):
        addresses.parse(url)


@pytest.mark.parametrize(
    ("url", "host", "port", "target", "authority"),
    [
        ("https://example.com", "example.com", 443, "/", "example.com"),
        ("https://Example.COM:8443/a/b?c=d", "example.com", 8443, "/a/b?c=d", "example.com:8443"),
        ("https://8.8.8.8/x", "8.8.8.8", 443, "/x", "8.8.8.8"),
        ("https://[2606:4700::1111]/", "2606:4700::1111", 443, "/", "[2606:4700::1111]"),
    ],
)
def test_a_public_url_is_taken_apart(
    url: str, host: str, port: int, target: str, authority: str
) -> None:
    place = addresses.parse(url)
    assert (place.host, place.port, place.target) == (host, port, target)
    assert place.authority == authority
    assert place.tls
    assert not place.trusted


def test_the_operator_allows_a_host_or_one_port_of_it_and_nothing_beside() -> None:
    assert addresses.parse("http://127.0.0.1:9000/x", {"127.0.0.1"}).trusted
    assert addresses.parse("http://127.0.0.1:9000/x", {"127.0.0.1:9000"}).trusted
    assert addresses.parse("http://[::1]:9000/x", {"[::1]:9000"}).trusted
    for url in ("http://127.0.0.1:9001/", "http://127.0.0.2:9000/", "https://127.0.0.1:9001/"):
        with pytest.raises(NotAllowedError):
            addresses.parse(url, {"127.0.0.1:9000"})


def answers(*texts: str) -> addresses.Resolve:
    def resolve(_host: str, _port: int) -> Sequence[str]:
        return texts

    return resolve


@pytest.mark.parametrize(
    "found", [("127.0.0.1",), ("8.8.8.8", "10.0.0.1"), ("::1",), ("::ffff:10.0.0.1",), ("fd00::1",)]
)
def test_a_name_is_refused_if_any_of_its_addresses_is_internal(found: tuple[str, ...]) -> None:
    place = addresses.parse("https://hooks.example.com/")
    with pytest.raises(NotAllowedError):
        addresses.addresses(place, answers(*found))
    assert addresses.addresses(place, answers("8.8.8.8", "8.8.8.8")) == ("8.8.8.8",)


class ConnectedError(Exception):
    """Where a connection would have gone."""


def test_a_connection_goes_to_the_address_that_was_checked(monkeypatch: Any) -> None:
    def connect(address: tuple[str, int], **_: Any) -> None:
        raise ConnectedError(address)

    monkeypatch.setattr(socket, "create_connection", connect)
    line = sending.Line(
        addresses.parse("https://hooks.example.com/"),
        timeout_s=1.0,
        context=sending.tls_context(None),
        resolve=answers("93.184.216.34"),
    )
    with pytest.raises(ConnectedError) as caught:
        line.post(b"{}", {})
    assert caught.value.args[0] == ("93.184.216.34", 443)


def test_a_name_that_moves_inside_is_refused_at_the_next_connection(monkeypatch: Any) -> None:
    where = ["93.184.216.34"]
    asked: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], **_: Any) -> None:
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    line = sending.Line(
        addresses.parse("https://hooks.example.com/"),
        timeout_s=1.0,
        context=sending.tls_context(None),
        resolve=lambda _host, _port: where,
    )
    assert line.post(b"{}", {}).error == "connection"
    where[:] = ["127.0.0.1"]
    assert line.post(b"{}", {}).error == "not_allowed"
    assert asked == [("93.184.216.34", 443)]


def test_a_resolver_that_does_not_answer_is_left_in_time() -> None:
    import threading
    import time

    ended = threading.Event()

    def resolve(_host: str, _port: int) -> Sequence[str]:
        ended.wait(10)
        return ("8.8.8.8",)

    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        sending.resolved(addresses.parse("https://hooks.example.com/"), resolve, 0.1)
    assert time.monotonic() - began_s < 5
    ended.set()
