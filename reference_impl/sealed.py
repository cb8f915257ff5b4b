"""Sensitive fields: encrypted at rest (AES-256-GCM), masked for roles that need no full value.

The keys lie in a file beside the database: a copy of the database alone reads nothing, and gives
nothing to try guesses of passwords on. A line is a number and a key. Number 0 is the pepper of
keyed digests and stays; the highest number encrypts, the others only read (see `rotation`).
"""

import hashlib
import hmac
import os
import secrets
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .config import StartRefusedError
from .idempotency import Reply

_NONCE_BYTES = 12
PEPPER = 0
CONCEALED = "X-Stored-Sealed"
"""Marks a stored answer whose body is encrypted; never sent."""
SENSITIVE = (b'"email":"', b'"legal_name":"', b'"external_account_ref":"', b'"secret":"')
"""Members whose values are not stored in the clear, as they stand in compact JSON."""


def key_path(database: Path) -> Path:
    """Return where the keys lie: beside the database, so that a copy of it alone reads nothing."""
    return Path(f"{database}.key")


def create_key(database: Path) -> None:
    """Write the pepper and a first key, readable by the owner alone.

    Raises StartRefusedError if there is one: it may still be needed for a backup.
    """
    path = key_path(database)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise StartRefusedError(f"{path}: {error.strerror}; move it away") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(render({PEPPER: secrets.token_bytes(32), 1: secrets.token_bytes(32)}))


def render(keys: Mapping[int, bytes]) -> str:
    """Return the text of a key file."""
    return "".join(f"{number} {key.hex()}\n" for number, key in sorted(keys.items()))


def read_keys(database: Path) -> dict[int, bytes]:
    """Return the keys by number; the highest one encrypts.

    Raises StartRefusedError if the file is missing or not one number and key a line.
    """
    path = key_path(database)
    try:
        rows = [line.split() for line in path.read_text("ascii").splitlines() if line]
        keys = {int(number): bytes.fromhex(key) for number, key in rows}
    except OSError as error:
        raise StartRefusedError(f"{path}: {error.strerror}; restore it") from error
    except ValueError:
        # Its text, and a chained traceback, would carry what stands in the file: keys.
        raise StartRefusedError(f"{path}: not one number and key a line; restore it") from None
    if not keys or any(len(key) != 32 for key in keys.values()):
        raise StartRefusedError(f"{path}: a line is a number and 64 hex digits; restore it")
    if PEPPER not in keys or max(keys) == PEPPER:
        raise StartRefusedError(f"{path}: number {PEPPER} or every other is missing; restore it")
    return keys


def peppered(keys: Mapping[int, bytes], secret: bytes) -> bytes:
    """Return a secret that takes both the database and the key file to know."""
    return hmac.new(keys[PEPPER], secret, hashlib.sha256).digest()


def key_number(sealed: bytes) -> int:
    """Return the number of the key that a value was encrypted with."""
    return int.from_bytes(sealed[:2], "big")


class Sealer:
    """Encrypts and decrypts single values; the key's number stands before each.

    Follows the key file: a new key encrypts from the next value on, in every process.
    """

    def __init__(self, database: Path) -> None:
        """Read the keys. Raises StartRefusedError as `read_keys` does."""
        self._database = database
        self._lock = threading.Lock()
        self._read_at = self._stamp()
        self._keys = read_keys(database)

    def seal(self, text: str | None) -> bytes | None:
        """Encrypt a value that may be absent."""
        return None if text is None else self.seal_bytes(text.encode())

    def open(self, sealed: bytes | None) -> str | None:
        """Decrypt a value that may be absent."""
        return None if sealed is None else self.open_bytes(sealed).decode()

    def seal_bytes(self, value: bytes) -> bytes:
        """Encrypt with the newest key."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._follow()
        number, nonce = max(self._keys), os.urandom(_NONCE_BYTES)
        return (
            number.to_bytes(2, "big")
            + nonce
            + AESGCM(self._keys[number]).encrypt(nonce, value, None)
        )

    def open_bytes(self, sealed: bytes) -> bytes:
        """Decrypt with the key that the value names.

        Raises KeyError if the key is gone, cryptography's InvalidTag if the value was changed.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        number = key_number(sealed)
        if number not in self._keys:
            self._follow()
        nonce, rest = sealed[2 : 2 + _NONCE_BYTES], sealed[2 + _NONCE_BYTES :]
        return AESGCM(self._keys[number]).decrypt(nonce, rest, None)

    def conceal(self, reply: Reply) -> Reply:
        """Return an answer as it is stored: encrypted if it shows a sensitive member."""
        if not any(name in reply.body for name in SENSITIVE):
            return reply
        headers = {**reply.headers, CONCEALED: "1"}
        return replace(reply, body=self.seal_bytes(reply.body), headers=headers)

    def reveal(self, reply: Reply) -> Reply:
        """Return a stored answer as it was given."""
        if CONCEALED not in reply.headers:
            return reply
        headers = {name: value for name, value in reply.headers.items() if name != CONCEALED}
        return replace(reply, body=self.open_bytes(reply.body), headers=headers)

    def _stamp(self) -> tuple[int, int]:
        """Return what changes when the key file is replaced."""
        try:
            status = key_path(self._database).stat()
        except OSError:
            return (0, 0)
        return (status.st_ino, status.st_mtime_ns)

    def _follow(self) -> None:
        """Read the keys again if the file was replaced; keep the old ones if it is unreadable."""
        stamp = self._stamp()
        if stamp in {self._read_at, (0, 0)}:
            return
        with self._lock:
            self._keys, self._read_at = read_keys(self._database), stamp


def mask(text: str | None) -> str | None:
    """Hide all but the last four characters, and all of a short value."""
    if text is None:
        return None
    return f"***{text[-4:]}" if len(text) > 8 else "***"
