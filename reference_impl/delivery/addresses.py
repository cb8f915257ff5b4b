"""Where webhooks may lead: never to an internal address, however it is written or resolved.

The rules hold twice: when a URL is registered, and at every connection, which goes to the very
address that was looked at. So a name that changes its address in between gains nothing.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

URL_MAX = 2048
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]
"""Return the addresses of a host name as text; raises OSError if it has none."""

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_WITH_PORT = re.compile(r"(?:(?P<bare>[^:]+)|\[(?P<inner>[^\]]+)\]):(?P<port>[1-9][0-9]{0,4})")
_INTERNAL_NAMES = ("localhost", "local", "internal", "localdomain", "home.arpa", "intranet")
_INTERNAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        "168.63.129.16/32",  # metadata of Azure, in public space
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata is in it
        "192.88.99.0/24",  # relays of 6to4
        "::/96",  # IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "64:ff9b::/96",  # NAT64, RFC 6052
        "64:ff9b:1::/48",  # NAT64, RFC 8215
        "100::/64",  # discard
        "2001::/23",  # Teredo and other protocol assignments
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation, RFC 9637
        "5f00::/16",  # segment routing
        "fec0::/10",  # site-local
    )
)
"""Beside what `ipaddress` calls not global; most carry an IPv4 address inside."""
_INTERFACE = re.compile(rb"[\x00\x02]\x00\x5e\xfe")
"""Interface id of ISATAP: an IPv4 address follows."""


class NotAllowedError(Exception):
    """An address that webhooks may not lead to; the text says why and repeats no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a URL leads, before its name is resolved."""

    tls: bool
    host: str
    """Lower case, an IPv6 address without brackets."""
    port: int
    target: str
    """Path and query as sent."""
    trusted: bool
    """The operator named the host: it may be internal and plain http."""

    @property
    def authority(self) -> str:
        """Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def parse(url: str, trusted: Collection[str] = ()) -> Place:
    """Return where a URL leads; NotAllowedError for every form that is not plain and public.

    `trusted` are hosts, or host:port, that the operator allows although they are internal.
    """
    if len(url) > URL_MAX or not url.isascii() or re.search(r"[\x00-\x20\x7f\\]", url):
        raise NotAllowedError(f"a URL is ASCII without blanks, at most {URL_MAX} characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise NotAllowedError("not a URL") from None
    if parts.scheme not in {"https", "http"}:
        raise NotAllowedError("the scheme is not https")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise NotAllowedError("a URL carries no credentials")
    if parts.fragment or not parts.hostname or port == 0:
        raise NotAllowedError("a URL has a host, a port from 1 and no fragment")
    host, tls = parts.hostname.lower(), parts.scheme == "https"
    port = port or (443 if tls else 80)
    known = host in trusted or f"{host}:{port}" in trusted or f"[{host}]:{port}" in trusted
    if not (tls or known):
        raise NotAllowedError("the scheme is not https")
    if not known:
        _check_host(host)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(tls=tls, host=host, port=port, target=target, trusted=known)


def _check_host(host: str) -> None:
    """Refuse names of internal zones, and addresses in any but the one usual form."""
    if ":" in host:
        check_address(host)
        return
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):  # then it is an IPv4 address for some parser
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise NotAllowedError("an IPv4 address is four decimal numbers") from None
        check_address(host)
        return
    if not all(_LABEL.fullmatch(label) for label in labels) or len(host) > 253:
        raise NotAllowedError("not a host name")
    if len(labels) == 1 or any(
        host == name or host.endswith(f".{name}") for name in _INTERNAL_NAMES
    ):
        raise NotAllowedError("the name is one of a private network")


def check_address(text: str) -> Address:
    """Return an address that is public; NotAllowedError for every other one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise NotAllowedError("not an address") from None
    within = any(address in network for network in _INTERNAL if network.version == address.version)
    if within or not address.is_global or address.is_multicast or address.is_reserved:
        raise NotAllowedError("the address is not public")
    if address.version == 6 and _INTERFACE.fullmatch(address.packed[8:12]):
        raise NotAllowedError("the address is not public")
    return address


def is_host(text: str) -> bool:
    """Tell whether a text is an address, or a name that could have one."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        labels = text.lower().split(".")
        named = len(text) <= 253 and all(_LABEL.fullmatch(label) for label in labels)
        return named and _NUMBER.fullmatch(labels[-1]) is None
    return True


def is_allowance(text: str) -> bool:
    """Tell whether `parse` could find a text among those trusted: host, host:port, [host]:port."""
    found = _WITH_PORT.fullmatch(text)
    if found is None or is_host(text):
        return is_host(text)
    return is_host(found["bare"] or found["inner"]) and int(found["port"]) < 65_536


def addresses(place: Place, resolve: Resolve) -> tuple[str, ...]:
    """Return the addresses to connect to, each of them checked.

    One internal address among several refuses them all. Raises NotAllowedError, and OSError where
    there is no address.
    """
    found = tuple(dict.fromkeys(resolve(place.host, place.port)))
    if not found:
        raise OSError("the name has no address")
    if not place.trusted:
        for text in found:
            check_address(text)
    return found


def resolve_by_system(host: str, port: int) -> tuple[str, ...]:
    """Ask the system's resolver. Raises OSError (socket.gaierror) if it knows none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError("not a name that can be resolved") from None
    return tuple(str(entry[4][0]) for entry in found)
