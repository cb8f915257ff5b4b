"""URLs of a target: read strictly, joined without surprises, compared with the allow-list."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpcore

_DEFAULT_PORTS = {"http": 80, "https": 443}


class AddressError(ValueError):
    """A URL that cannot be used; the text says why and never repeats the URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseUrl:
    """Scheme, host, port and the path prefix below which the contract's paths lie."""

    scheme: str
    host: str
    """Lower case ASCII; an IPv6 address without brackets."""
    port: int
    prefix: str = ""
    """Empty, or `/something` without a slash at its end."""

    @property
    def authority(self) -> str:
        """The value of the Host header: the port only where it is not the scheme's own."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == _DEFAULT_PORTS[self.scheme] else f"{name}:{self.port}"

    @property
    def text(self) -> str:
        """The URL without a slash at its end."""
        return f"{self.scheme}://{self.authority}{self.prefix}"

    def join(self, target: str) -> str:
        """Return the URL of a path and query below the prefix."""
        return f"{self.text}{target}"

    def http_url(self, target: str) -> httpcore.URL:
        """Return the same in the form that the HTTP library sends unchanged."""
        return httpcore.URL(
            scheme=self.scheme, host=self.host, port=self.port, target=f"{self.prefix}{target}"
        )


def parse_base_url(text: str) -> BaseUrl:
    """Read `http(s)://host[:port][/prefix]`; `AddressError` for anything else."""
    if any(character <= " " or character == "\x7f" for character in text):
        raise AddressError("it contains a space or a control character")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise AddressError(str(error)) from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise AddressError("it must begin with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise AddressError("it must not carry a user name or password")
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise AddressError("it must not carry a query or fragment")
    if not parts.hostname:
        raise AddressError("it names no host")
    if port == 0:
        raise AddressError("port 0 is nowhere")
    prefix = parts.path.rstrip("/")
    if not prefix.isascii():
        raise AddressError("its path must be percent-encoded")
    return BaseUrl(
        scheme=parts.scheme,
        host=_host(parts.hostname),
        port=port or _DEFAULT_PORTS[parts.scheme],
        prefix=prefix,
    )


def split_absolute(text: str) -> tuple[BaseUrl, str]:
    """Split an absolute URL into its server and its path with query."""
    head, mark, query = text.partition("?")
    url = parse_base_url(head)
    bare = BaseUrl(scheme=url.scheme, host=url.host, port=url.port)
    return bare, f"{urlsplit(head).path or '/'}{mark}{query}"


def host_allowed(url: BaseUrl, allow_hosts: tuple[str, ...]) -> bool:
    """Whether `host` or `host:port` of the URL is in the list."""
    name = f"[{url.host}]" if ":" in url.host else url.host
    allowed = {entry.lower() for entry in allow_hosts}
    return bool(allowed & {url.host, name, f"{name}:{url.port}"})


def _host(name: str) -> str:
    if ":" in name:
        try:
            return ipaddress.IPv6Address(name).compressed
        except ValueError:
            raise AddressError("its IPv6 address is not one") from None
    try:
        host = name.encode("idna").decode() if not name.isascii() else name
    except UnicodeError:
        raise AddressError("its host name cannot be written in ASCII") from None
    if not all(character.isalnum() or character in "-._" for character in host):
        raise AddressError("its host name contains a character that no host name has")
    return host.lower()
