"""Commands that send an exchange, or a whole check, again."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

from certification.model import Header
from certification.report.text import visible

if TYPE_CHECKING:
    from certification.model import Exchange

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header name by RFC 9110; anything else (`@file` above all) would mean something to curl."""
_SECRET_HEADERS: Final = frozenset(
    {"authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token"}
)
_REDACTED: Final = "[redacted]"
"""What the recorder leaves where a secret was."""
_COMPUTED_HEADERS: Final = frozenset({"host", "content-length", "connection", "transfer-encoding"})
"""curl works these out itself; a copied value would be wrong after an edit."""


def curl(exchange: Exchange, *, body_limit: int | None = None) -> str:
    """Return `exchange` as a curl command for bash, with `$TOKEN` where a secret was.

    A body of more than `body_limit` characters is named as a file instead of being copied.

    Nothing that the target or a check wrote reaches the shell unquoted; characters that a terminal
    would act on when pasted are spelled out.
    """
    words = [f"--request {quote(exchange.method)}", f"--url {quote(exchange.url)}"]
    for name, value in exchange.request_headers:
        lowered = name.lower()
        if lowered in _COMPUTED_HEADERS or not _TOKEN.fullmatch(name):
            continue
        words.append(f"--header {_header(name, value)}")
    body = exchange.request_body
    if body is not None and body_limit is not None and len(body) > body_limit:
        words.append("--data-binary @request-body.txt")
    elif body is not None:
        words.append(f"--data-raw {quote(body)}")
    return " \\\n  ".join(["curl --include --globoff", *words])


def _header(name: str, value: str) -> str:
    """Return one header as a shell word; secrets become a variable that the shell fills in."""
    lowered = name.lower()
    if lowered == "authorization":
        scheme = "Basic" if value.lower().startswith("basic") else "Bearer"
        return f'"{name}: {scheme} $TOKEN"' if _plain(name) else quote(f"{name}: {value}")
    if lowered in _SECRET_HEADERS:
        return f'"{name}: $TOKEN"' if _plain(name) else quote(f"{name}: {value}")
    return quote(f"{name}: {value}")


def _plain(name: str) -> bool:
    """Whether a header name is safe between double quotes."""
    return re.fullmatch(r"[A-Za-z-]+", name) is not None


def quote(word: str) -> str:
    """Return `word` as exactly one word of bash, without raw control or direction characters.

    What evidence redacted becomes `$TOKEN`, outside the quotes of the rest.
    """
    return '"$TOKEN"'.join(_quoted(part) for part in word.split(_REDACTED))


def _quoted(text: str) -> str:
    """Return text as one shell word that expands to itself."""
    if "\n" not in text and "\t" not in text and visible(text) == text:
        return shlex.quote(text)
    return "$'" + "".join(_ansi_c(character) for character in text) + "'"


def _ansi_c(character: str) -> str:
    """Return one character as bash writes it between `$'` and `'`."""
    if character in "\\'":
        return "\\" + character
    if character.isprintable():
        return character
    raw = character.encode("utf-8", errors="replace")
    return "".join(f"\\{byte:03o}" for byte in raw)


def certify_command(check: str, header: Header) -> str:
    """Return the command that runs one check again, on the same target with the same data."""
    target = f" --target {quote(header.target_file)}" if header.target_file else ""
    profile = f" --profile {quote(str(header.profile['name']))}"
    return f"certify run{target}{profile} --check {quote(check)} --seed {header.seed}"
