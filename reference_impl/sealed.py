"""Sensitive fields: encrypted at rest (AES-256-GCM), masked for roles that need no full value."""

import os
import secrets
from pathlib import Path

from .config import StartRefusedError

_NONCE_BYTES = 12


def key_path(database: Path) -> Path:
    """Return where the keys lie: beside the database, so that a copy of it alone reads nothing."""
    return Path(f"{database}.key")


def create_key(database: Path) -> None:
    """Write a first key, readable by the owner alone.

    Raises StartRefusedError if there is one: it may still be needed for a backup.
    """
    path = key_path(database)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise StartRefusedError(f"{path}: {error.strerror}; move it away") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"1 {secrets.token_hex(32)}\n")


def read_keys(database: Path) -> dict[int, bytes]:
    """Return the keys by number; the highest one encrypts.

    Raises StartRefusedError if the file is missing or not one number and key a line.
    """
    path = key_path(database)
    try:
        rows = [line.split() for line in path.read_text("ascii").splitlines() if line]
        keys = {int(number): bytes.fromhex(key) for number, key in rows}
    except (OSError, ValueError) as error:
        raise StartRefusedError(f"{path}: cannot be read ({error}); restore it") from error
    if not keys or any(len(key) != 32 for key in keys.values()):
        raise StartRefusedError(f"{path}: a line is a number and 64 hex digits; restore it")
    return keys


class Sealer:
    """Encrypts and decrypts single values; the key's number stands before each."""

    def __init__(self, keys: dict[int, bytes]) -> None:
        """Keep the keys; nothing is imported before the first value."""
        self._keys = keys

    def seal(self, text: str | None) -> bytes | None:
        """Encrypt a value that may be absent."""
        if text is None:
            return None
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        number, nonce = max(self._keys), os.urandom(_NONCE_BYTES)
        sealed = AESGCM(self._keys[number]).encrypt(nonce, text.encode(), None)
        return number.to_bytes(2, "big") + nonce + sealed

    def open(self, sealed: bytes | None) -> str | None:
        """Decrypt a value that may be absent."""
        if sealed is None:
            return None
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = self._keys[int.from_bytes(sealed[:2], "big")]
        nonce, rest = sealed[2 : 2 + _NONCE_BYTES], sealed[2 + _NONCE_BYTES :]
        return AESGCM(key).decrypt(nonce, rest, None).decode()


def mask(text: str | None) -> str | None:
    """Hide all but the last four characters, and all of a short value."""
    if text is None:
        return None
    return f"***{text[-4:]}" if len(text) > 8 else "***"
