"""Standard Webhooks: secrets, and the headers that prove who sent an event and when."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

PREFIX = "whsec_"
SECRET_BYTES = 32


def new_secret() -> str:
    """Return a secret in its shown form."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signature(secret: str, message_id: str, sent_s: int, body: bytes) -> str:
    """Return one signature: HMAC-SHA256 of id, seconds and body, as `v1,<base64>`."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{message_id}.{sent_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def headers(valid: Sequence[str], message_id: str, sent_s: int, body: bytes) -> dict[str, str]:
    """Return the three headers; during a rotation there is a signature by each valid secret."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(sent_s),
        "webhook-signature": " ".join(
            signature(secret, message_id, sent_s, body) for secret in valid
        ),
    }
