"""The signed envelope (DSSE) as a file: one spelling, and a reader that trusts nothing in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError

from certification.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securesystemslib.signer import (  # type: ignore[attr-defined] # re-exported without __all__
        CryptoSigner,
        Key,
        SSlibKey,
    )

    from certification.model import Json

PAYLOAD_TYPE = "application/vnd.in-toto+json"
ENVELOPE_BYTES_MAX = 8 * 1024 * 1024
"""A certificate lists requirements and checks by name; a thousand of each stay far below."""


class EnvelopeError(Exception):
    """The bytes are no envelope of ours; the message says what is wrong, in one line."""


class SignatureState(Enum):
    """What can be said about the signature; three different answers."""

    TRUSTED = "trusted"
    UNKNOWN_KEY = "unknown_key"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """An envelope that has the right form; whether it is genuine is `signature_state`'s to say."""

    envelope: Envelope
    keyid: str

    @property
    def payload(self) -> bytes:
        """The signed bytes."""
        payload: bytes = self.envelope.payload
        return payload


def canonical(document: Json) -> bytes:
    """Serialise with sorted keys and no spaces, so that one document has one spelling."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def seal(statement: Json, signer: CryptoSigner) -> bytes:
    """Sign a statement; the bytes of the envelope's file."""
    envelope = Envelope(canonical(statement), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return canonical(envelope.to_dict()) + b"\n"


def read_envelope_file(path: Path) -> bytes:
    """Read the file's bytes up to the cap; `UsageError` where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(ENVELOPE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror})", hint="give the path of a certificate"
        ) from None


def open_envelope(data: bytes) -> Sealed:
    """Take an envelope apart without believing it; raises `EnvelopeError`.

    Bytes that are not exactly the canonical spelling are refused: otherwise spaces, the
    order of keys and the unused bits of base64 could be changed without any signature noticing.
    """
    if len(data) > ENVELOPE_BYTES_MAX:
        raise EnvelopeError(f"larger than {ENVELOPE_BYTES_MAX} bytes, so no certificate")
    document = parse_json(data, "the envelope")
    if set(document) != {"payload", "payloadType", "signatures"}:
        raise EnvelopeError("no DSSE envelope of payload, payloadType and signatures")
    if document["payloadType"] != PAYLOAD_TYPE:
        raise EnvelopeError(f"payload type is {document['payloadType']!r:.80}, not {PAYLOAD_TYPE}")
    keyid = _only_keyid(document["signatures"])
    if not isinstance(document["payload"], str):
        raise EnvelopeError("the payload is no text")
    try:
        envelope = Envelope.from_dict(json.loads(data))
        spelled = canonical(envelope.to_dict()) + b"\n"
    except (ValueError, TypeError, KeyError, AttributeError):
        # securesystemslib reports bad base64 as a ValueError of its own.
        raise EnvelopeError("payload or signature is not base64") from None
    if spelled != data:
        raise EnvelopeError("edited or reformatted: its bytes are not the ones that were written")
    return Sealed(envelope=envelope, keyid=keyid)


def signature_state(sealed: Sealed, trusted: Sequence[SSlibKey]) -> SignatureState:
    """Check the signature against the keys given, and no other."""
    keys: list[Key] = [key for key in trusted if key.keyid == sealed.keyid]
    if not keys:
        return SignatureState.UNKNOWN_KEY
    try:
        sealed.envelope.verify(keys, 1)
    except VerificationError:
        return SignatureState.BAD
    return SignatureState.TRUSTED


def parse_json(data: bytes, what: str) -> Json:
    """Parse one JSON object strictly: UTF-8, no duplicate key, no NaN, bounded depth."""
    try:
        document = json.loads(
            data.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant
        )
        canonical(document)  # half a surrogate pair can be escaped in, and cannot be spelled again
    except UnicodeError:
        raise EnvelopeError(f"{what} is not UTF-8 text") from None
    except RecursionError:
        raise EnvelopeError(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise EnvelopeError(f"{what} is not JSON: {str(error)[:120]}") from None
    if not isinstance(document, dict):
        raise EnvelopeError(f"{what} is no JSON object")
    return document


def _only_keyid(signatures: object) -> str:
    if not isinstance(signatures, list) or len(signatures) != 1:
        count = len(signatures) if isinstance(signatures, list) else 0
        raise EnvelopeError(f"{count} signatures; a certificate carries exactly one")
    signature = signatures[0]
    if not isinstance(signature, dict) or set(signature) != {"keyid", "sig"}:
        raise EnvelopeError("the signature needs keyid and sig, nothing else")
    if not all(isinstance(value, str) for value in signature.values()):
        raise EnvelopeError("keyid and sig are texts")
    keyid: str = signature["keyid"]
    if len(keyid) > 128 or not keyid.isalnum():
        raise EnvelopeError("the keyid is none")
    return keyid


def _no_duplicates(pairs: list[tuple[str, Any]]) -> Json:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key is there twice")
    return document


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")
