"""Time-based one-time codes (RFC 6238): six digits, SHA-1, 30 seconds, one step either way."""

import base64
import hashlib
import hmac
import secrets
from urllib.parse import quote, urlencode

DIGITS = 6
PERIOD_S = 30
SKEW_STEPS = 1
"""Steps before and after the present one whose codes are taken: clocks differ, people are slow."""
SECRET_BYTES = 20
"""As long as SHA-1's output (RFC 4226, section 4)."""
ISSUER = "alluse"


def new_secret() -> str:
    """Return a random secret in base32."""
    return base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode("ascii")


def step_of(now_ms: int) -> int:
    """Return the number of the present step."""
    return now_ms // (PERIOD_S * 1000)


def code(secret: str, step: int) -> str:
    """Return the code of one step (RFC 4226, section 5.3)."""
    key = base64.b32decode(secret)
    mac = hmac.new(key, step.to_bytes(8, "big"), hashlib.sha1).digest()
    offset = mac[-1] & 0x0F
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFFFFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def matching_step(secret: str, given: str, now_ms: int) -> int | None:
    """Return the latest step near the present whose code this is, None if it is of none.

    Every step is compared, in constant time: how long it takes says nothing about the code.
    """
    present, found = step_of(now_ms), None
    for step in range(present - SKEW_STEPS, present + SKEW_STEPS + 1):
        if hmac.compare_digest(code(secret, step).encode(), given.encode()):
            found = step
    return found


def uri(secret: str, username: str) -> str:
    """Return what an authenticator app reads from a QR code."""
    query = {
        "secret": secret,
        "issuer": ISSUER,
        "algorithm": "SHA1",
        "digits": DIGITS,
        "period": PERIOD_S,
    }
    return f"otpauth://totp/{quote(f'{ISSUER}:{username}')}?{urlencode(query)}"
