"""Content encodings of an answer: undone only up to a cap."""

import zlib


class TooLarge(Exception):  # noqa: N818 - caught by the client, never seen by a user
    """The decompressed body passed its cap."""


def decompress(body: bytes, encoding: str, *, body_max_bytes: int) -> tuple[bytes, tuple[str, ...]]:
    """Undo gzip or deflate; return the body and the violations.

    The client asks for `identity`; RFC 9110 section 12.5.3 lets a server answer otherwise, so gzip
    and deflate are read, and anything else (several layers too) is a violation with an empty body.
    `TooLarge` before more than `body_max_bytes` were made, whatever the ratio.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body, ()
    if name not in ("gzip", "x-gzip", "deflate"):
        return b"", (f"Content-Encoding {name[:40]!r} was not asked for and cannot be read",)
    try:
        return _inflate(body, raw=False, cap=body_max_bytes), ()
    except zlib.error:
        if name != "deflate":
            return b"", ("the body is not what Content-Encoding: gzip says",)
    try:
        # Some servers send a bare stream for `deflate`; RFC 9110 section 8.4.1.2 mentions them.
        return _inflate(body, raw=True, cap=body_max_bytes), ()
    except zlib.error:
        return b"", ("the body is not what Content-Encoding: deflate says",)


def _inflate(body: bytes, *, raw: bool, cap: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS if raw else zlib.MAX_WBITS | 32)
    plain = inflater.decompress(body, cap + 1)
    if len(plain) > cap:
        raise TooLarge
    if not inflater.eof:
        raise zlib.error("the compressed stream ends early")
    return plain
