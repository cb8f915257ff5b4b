"""Checkpoints of the audit trail: size, root, time and epoch, signed with Ed25519.

The signed bytes are CONTEXT followed by the canonical JSON (RFC 8785) of the four members. The
private key is derived from a seed in the database and the pepper in the key file beside it: both
are made at init, and a copy of the database alone signs nothing.
"""

import functools
import json
from dataclasses import asdict, dataclass
from typing import Any

CONTEXT = b"alluse-audit-checkpoint-v1\n"
MEMBERS = ("epoch", "root", "size", "ts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A signed statement about the first `size` records; root and signature in hex."""

    size: int
    root: str
    ts: str
    epoch: int
    signature: str

    def document(self) -> dict[str, Any]:
        """Return the members."""
        return asdict(self)


def canonical(document: Any) -> bytes:
    """Return canonical JSON of a document whose member names are ASCII and numbers integers."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def message(*, size: int, root: str, ts: str, epoch: int) -> bytes:
    """Return the bytes that are signed."""
    return CONTEXT + canonical({"size": size, "root": root, "ts": ts, "epoch": epoch})


class Signer:
    """Signs checkpoints."""

    def __init__(self, seed: bytes) -> None:
        """Take the 32 bytes that the key is made from."""
        self._seed = seed

    def sign(self, *, size: int, root: bytes, ts: str, epoch: int) -> Checkpoint:
        """Return the signed checkpoint."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        said = message(size=size, root=root.hex(), ts=ts, epoch=epoch)
        signature = Ed25519PrivateKey.from_private_bytes(self._seed).sign(said)
        return Checkpoint(size=size, root=root.hex(), ts=ts, epoch=epoch, signature=signature.hex())

    def sign_message(self, said: bytes) -> str:
        """Return the signature of other bytes, which begin with a context of their own, in hex."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self._seed).sign(said).hex()

    @functools.cached_property
    def public_key(self) -> str:
        """The public key as PEM (SubjectPublicKeyInfo)."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.from_private_bytes(self._seed).public_key()
        return key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()


def parse(document: Any) -> Checkpoint | None:
    """Return the checkpoint in a decoded JSON value, None if it is not one.

    Members beyond the checkpoint's own, such as proofs, are left aside.
    """
    if not isinstance(document, dict):
        return None
    kinds = {"size": int, "root": str, "ts": str, "epoch": int, "signature": str}
    if any(type(document.get(name)) is not kind for name, kind in kinds.items()):
        return None
    return Checkpoint(**{name: document[name] for name in kinds})


def is_signed(checkpoint: Checkpoint, public_key: str) -> bool:
    """Check a signature; only its one spelling in lower-case hex counts.

    Raises ValueError if the key is not an Ed25519 public key in PEM.
    """
    said = message(
        size=checkpoint.size, root=checkpoint.root, ts=checkpoint.ts, epoch=checkpoint.epoch
    )
    return verifies(public_key, said, checkpoint.signature)


def verifies(public_key: str, said: bytes, signature: str) -> bool:
    """Check the signature, in hex, of some bytes. Raises ValueError as `is_signed` does."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = load_pem_public_key(public_key.encode())
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("the key is not an Ed25519 public key")  # noqa: TRY004 - of the file, not of an argument
    try:
        key.verify(bytes.fromhex(signature), said)
    except (InvalidSignature, ValueError):
        return False
    return bytes.fromhex(signature).hex() == signature
