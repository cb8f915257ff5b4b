"""Time-based one-time codes (RFC 6238) as an authenticator app makes them."""

from __future__ import annotations

import base64
import hashlib
import hmac


def step_of(now_s: float, period_s: int) -> int:
    """Return the number of the step that an instant of Unix time lies in (RFC 6238, section 4)."""
    return int(now_s) // period_s


def code(secret: str, step: int, digits: int = 6) -> str:
    """Return the code of one step (RFC 4226, section 5.3, with HMAC-SHA-1).

    `secret` is base32, with or without its padding, in either case and with spaces, as apps take
    it. Raises ValueError where it is not base32.
    """
    text = secret.replace(" ", "").upper()
    key = base64.b32decode(text + "=" * (-len(text) % 8))
    mac = hmac.new(key, step.to_bytes(8, "big"), hashlib.sha1).digest()
    offset = mac[-1] & 0x0F
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFFFFFF
    return str(number % 10**digits).zfill(digits)


def wrong_code(secret: str, step: int, digits: int = 6, around: int = 5) -> str:
    """Return a code of the right form that belongs to no step within `around` of this one."""
    right = {code(secret, near, digits) for near in range(step - around, step + around + 1)}
    return next(
        text for number in range(10**digits) if (text := str(number).zfill(digits)) not in right
    )
