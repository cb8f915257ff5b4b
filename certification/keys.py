"""Ed25519 key files: made once, never overwritten, private ones for their owner only."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import (  # type: ignore[attr-defined] # re-exported without __all__
    CryptoSigner,
    SSlibKey,
)

from certification.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KEY_FILE_BYTES_MAX = 16_384
"""An Ed25519 key in PEM has about 120 bytes; anything far larger is not one."""
PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """Where a new key was written, and the id that certificates name it by."""

    private: Path
    public: Path
    keyid: str


def generate_key(path_prefix: Path) -> KeyPair:
    """Write `<prefix>.pem` (private, 0600) and `<prefix>.pub`: both or neither.

    Nothing is overwritten. Raises `UsageError` where one of the files exists or
    the folder cannot be written.
    """
    private = path_prefix.with_name(path_prefix.name.removesuffix(".pem") + ".pem")
    public = private.with_suffix(".pub")
    signer = CryptoSigner.generate_ed25519()
    public_pem = _public_pem(signer.public_key)
    _create(public, public_pem, PUBLIC_MODE)
    try:
        _create(private, signer.private_bytes, PRIVATE_MODE)
    except BaseException:
        public.unlink()
        raise
    return KeyPair(private=private, public=public, keyid=signer.public_key.keyid)


def load_private_key(path: Path) -> CryptoSigner:
    """Read an Ed25519 private key; `UsageError` for anything else or a key open to everyone."""
    pem = _read(path)
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o007:
        raise UsageError(f"{path}: every user can read this private key", hint=f"chmod 600 {path}")
    if b"PUBLIC KEY" in pem:
        raise UsageError(f"{path}: this is a public key", hint="sign with the .pem file beside it")
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise UsageError(
            f"{path}: the private key is protected by a password",
            hint="sign with a key made by `certify keygen`",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(
            f"{path}: not a private key in PEM", hint="make one with `certify keygen`"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path}: not an Ed25519 key", hint="make one with `certify keygen`")
    return CryptoSigner(key)


def load_trusted(paths: Sequence[Path]) -> tuple[SSlibKey, ...]:
    """Read public keys from files, or from every `*.pub` of a folder.

    No path at all gives no keys: then every signer is unknown. Raises `UsageError` naming the file
    that is not a public key.
    """
    keys: dict[str, SSlibKey] = {}
    for path in paths:
        files = sorted(path.glob("*.pub")) if path.is_dir() else [path]
        if not files:
            raise UsageError(f"{path}: no *.pub file in this folder", hint="put public keys there")
        for file in files:
            key = _load_public_key(file)
            keys[key.keyid] = key
    return tuple(keys.values())


def _load_public_key(path: Path) -> SSlibKey:
    pem = _read(path)
    if b"PRIVATE KEY" in pem:
        raise UsageError(
            f"{path}: this is a private key",
            hint="verify with the .pub file, and keep this one secret",
        )
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(
            f"{path}: not a public key in PEM", hint="`certify keygen` writes one as .pub"
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{path}: not an Ed25519 key", hint="`certify keygen` writes one as .pub")
    return SSlibKey.from_crypto(key)


def _public_pem(key: SSlibKey) -> bytes:
    raw = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    return raw.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(KEY_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror})", hint="give the path of a key file"
        ) from None
    if len(data) > KEY_FILE_BYTES_MAX:
        raise UsageError(f"{path}: too large for a key", hint="give the path of a key file")
    return data


def _create(path: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise UsageError(
            f"{path}: exists already and is never overwritten", hint="choose another name"
        ) from None
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be written ({error.strerror})", hint="choose a folder you can write to"
        ) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            # The umask cuts the mode at creation; the private key's must be exact.
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
