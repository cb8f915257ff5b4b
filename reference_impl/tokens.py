"""Tokens: signed access tokens of 15 minutes, and random refresh tokens kept as digests."""

import functools
import hashlib
import secrets
from dataclasses import dataclass

import jwt

from .config import ACCESS_TTL_S
from .problems import Problem

ALGORITHM = "HS256"
ISSUER = "alluse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a valid access token says."""

    user_id: str
    session_id: str
    expires_s: int


def issue(secret: str, *, user_id: str, session_id: str, now_ms: int) -> str:
    """Return an access token for a session."""
    now_s = now_ms // 1000
    claims = {
        "iss": ISSUER,
        "sub": user_id,
        "sid": session_id,
        "iat": now_s,
        "exp": now_s + ACCESS_TTL_S,
        "jti": secrets.token_hex(8),
    }
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


@functools.lru_cache(maxsize=4096)
def read(secret: str, token: str) -> Access:
    """Check the signature and return the claims; Problem `token_invalid` otherwise.

    Only good tokens are remembered, so that a busy client's token is verified once. Expiry is not
    judged here: `check_fresh` does, by the server's clock, on every request.
    """
    try:
        claims = jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            options={
                "require": ["exp", "sub", "sid"],
                "verify_exp": False,
                "verify_iat": False,
            },
        )
        return Access(
            user_id=str(claims["sub"]), session_id=str(claims["sid"]), expires_s=int(claims["exp"])
        )
    except (jwt.InvalidTokenError, ValueError, TypeError):
        raise Problem("token_invalid", "The access token is not valid.") from None


def check_fresh(access: Access, now_ms: int) -> None:
    """Refuse an access token whose time is over."""
    if access.expires_s * 1000 <= now_ms:
        raise Problem("token_expired", "The access token has expired; refresh the session.")


def new_refresh_token() -> str:
    """Return a random refresh token."""
    return f"rt_{secrets.token_urlsafe(32)}"


def digest(token: str) -> bytes:
    """Return what is stored of a refresh token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
