"""Identifiers: a type prefix and a UUIDv7, so that ids sort by the time they were made."""

import os
import re

PATTERN = re.compile(r"^(acc|txn|usr|ses|gev|sys|rpt)_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


def new_id(prefix: str, now_ms: int) -> str:
    """Return `<prefix>_<uuid7>` (RFC 9562 section 5.7) for the given instant."""
    random = int.from_bytes(os.urandom(10), "big")
    value = (now_ms & (2**48 - 1)) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76  # version 7
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant 10
    digits = f"{value:032x}"
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return f"{prefix}_{'-'.join(parts)}"
