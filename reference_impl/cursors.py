"""Page cursors: opaque, authenticated, and bound to the query that they continue."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from .problems import Problem

_TAG_BYTES = 16
_LENGTH_MAX = 2048


def next_cursor(secret: bytes, query: Mapping[str, Any], last: Sequence[Any]) -> str:
    """Return the cursor for the page after the key `last` of this query (filters, sort, limit)."""
    payload = json.dumps({"q": dict(query), "a": list(last)}, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_tag(secret, payload) + payload).rstrip(b"=").decode()


def read(secret: bytes, cursor: str) -> tuple[dict[str, Any], list[Any]]:
    """Return the query and the last key of a cursor; Problem `invalid_cursor` if not ours."""
    if len(cursor) > _LENGTH_MAX or not cursor.isascii():
        raise _invalid()
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _invalid() from None
    tag, payload = raw[:_TAG_BYTES], raw[_TAG_BYTES:]
    canonical = base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == cursor
    if not (hmac.compare_digest(tag, _tag(secret, payload)) and canonical):
        raise _invalid()
    document = json.loads(payload)
    return document["q"], document["a"]


def check_same_query(stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse parameters beside a cursor that differ from those it was made with."""
    different = sorted(name for name, value in given.items() if stored.get(name) != value)
    if different:
        raise Problem("cursor_mismatch", f"The cursor was made with another {different[0]}.")


def _tag(secret: bytes, payload: bytes) -> bytes:
    return hmac.new(secret, payload, hashlib.sha256).digest()[:_TAG_BYTES]


def _invalid() -> Problem:
    return Problem("invalid_cursor", "Use next_cursor as it was given.")
