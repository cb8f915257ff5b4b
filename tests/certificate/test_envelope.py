from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certification.certificate.envelope import (
    EnvelopeError,
    SignatureState,
    canonical,
    open_envelope,
    signature_state,
)
from certification.errors import ExitCode
from certification.keys import load_trusted

if TYPE_CHECKING:
    from pathlib import Path

from tests.certificate.signed_run import NO, YES, Signed, ask


def test_no_changed_byte_anywhere_is_trusted(signed: Signed) -> None:
    data = signed.certificate.read_bytes()
    trusted = load_trusted([signed.public])
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 8)
        try:
            state = signature_state(open_envelope(bytes(changed)), trusted)
        except EnvelopeError:
            continue
        assert state is not SignatureState.TRUSTED, position


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_byte_for_any_other_ends_in_an_answer_and_never_in_trust(
    signed: Signed, tmp_path: Path, data: st.DataObject
) -> None:
    original = signed.certificate.read_bytes()
    position = data.draw(st.integers(0, len(original) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda byte: byte != original[position]))
    changed = tmp_path / "changed.json"
    changed.write_bytes(original[:position] + bytes([value]) + original[position + 1 :])
    report = ask(signed, certificate=changed)
    assert report.signature.answer is not YES
    assert report.exit_code is not ExitCode.REACHED


def test_a_space_or_an_unused_base64_bit_is_a_change_too(signed: Signed) -> None:
    data = signed.certificate.read_bytes()
    pretty = json.dumps(json.loads(data), indent=1).encode()
    envelope = json.loads(data)
    sig = envelope["signatures"][0]["sig"]
    assert sig.endswith("==")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    twin = alphabet[alphabet.index(sig[-3]) ^ 1]
    envelope["signatures"][0]["sig"] = f"{sig[:-3]}{twin}=="
    assert base64.b64decode(sig) == base64.b64decode(envelope["signatures"][0]["sig"])
    for changed in (pretty, data[:-1], data + b" ", canonical(envelope) + b"\n"):
        with pytest.raises(EnvelopeError):
            open_envelope(changed)


def envelope_bytes(**changes: Any) -> bytes:
    document: dict[str, Any] = {
        "payload": "e30=",
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"keyid": "a" * 64, "sig": "AAAA"}],
    }
    return canonical(document | changes) + b"\n"


ONE_SIGNATURE = {"keyid": "a" * 64, "sig": "AAAA"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[]", "no JSON object"),
        (b"{}", "no DSSE envelope"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"payload":NaN}', "NaN is no JSON"),
        (b'{"payload":"","payload":""}', "a key is there twice"),
        (b'{"payload":"\\ud800"}', "not UTF-8"),
        (b" " * (8 * 1024 * 1024 + 1), "larger than"),
        (envelope_bytes(payloadType="text/html"), "payload type is 'text/html'"),
        (envelope_bytes(payload="?"), "not base64"),
        (envelope_bytes(payload=3), "the payload is no text"),
        (envelope_bytes(signatures=[]), "0 signatures"),
        (envelope_bytes(signatures=[ONE_SIGNATURE, ONE_SIGNATURE]), "2 signatures"),
        (envelope_bytes(signatures=["x"]), "needs keyid and sig"),
        (envelope_bytes(signatures=[ONE_SIGNATURE | {"sig": 1}]), "are texts"),
        (envelope_bytes(signatures=[ONE_SIGNATURE | {"sig": "é"}]), "not base64"),
        (envelope_bytes(signatures=[ONE_SIGNATURE | {"keyid": "<b>"}]), "keyid"),
    ],
)
def test_what_is_no_certificate_gets_one_clear_line(
    signed: Signed, data: bytes, message: str
) -> None:
    signed.certificate.write_bytes(data)
    report = ask(signed)
    assert report.signature.answer is NO
    assert message in report.signature.because
    assert "\n" not in report.signature.because
    assert report.exit_code is ExitCode.NOT_REACHED
