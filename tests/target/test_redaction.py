"""Nothing that is a credential gets into a record, whatever surrounds it."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certification.target.recording import TEXT_MAX_CHARS, body_text
from certification.target.redaction import REDACTED, KnownSecrets, redact, redact_headers

SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=4, max_size=40)
KEYS = st.sampled_from(
    ["password", "access_token", "refresh_token", "new_password", "client_secret", "Password"]
)
JUNK = st.text(max_size=60)


def known(*values: str) -> KnownSecrets:
    secrets = KnownSecrets()
    secrets.add(*values)
    return secrets


@given(secret=SECRETS, before=JUNK, after=JUNK)
def test_a_known_value_is_nowhere(secret: str, before: str, after: str) -> None:
    secrets = known(secret)
    forms = (secret, json.dumps(secret), quote(secret), json.dumps(secret, ensure_ascii=False))
    text = "|".join((before, *forms, after))
    shown = secrets.remove_from(text)
    # A secret that is itself part of the mark cannot be told from the mark.
    assert secret in REDACTED or secret not in shown.replace(REDACTED, "\0")


@given(key=KEYS, secret=SECRETS, ascii_only=st.booleans(), cut=st.integers(0, 60))
def test_a_value_under_a_secret_key_is_not_shown_even_when_cut(
    key: str, secret: str, ascii_only: bool, cut: int
) -> None:
    secret = f"S3-{secret}-E7"
    text = json.dumps({"amount": 10.0, key: secret, "after": [1]}, ensure_ascii=ascii_only)
    whole = redact(text, KnownSecrets())
    assert json.loads(whole) == {"amount": 10.0, key: REDACTED, "after": [1]}
    assert "S3-" not in redact(text[: len(text) - cut], KnownSecrets())


@given(text=st.text('abc€,.019"{}:[]\\=&? \n', max_size=200))
def test_other_text_stays_as_it_was(text: str) -> None:
    assert redact(text, KnownSecrets()) == text


@pytest.mark.parametrize(
    "text",
    [
        '{"amount": 10.0, "amount": 1e400, "currency": NaN',
        '{"token_type": "Bearer", "expires_in": 900}',
        '{"code": "token_expired", "title": "The token has expired"}',
        '{"auth": {"password": {"min_length": 12}, "token_ttl": 900}}',
    ],
)
def test_evidence_that_is_no_secret_is_exact(text: str) -> None:
    assert redact(text, KnownSecrets()) == text


@pytest.mark.parametrize(
    "text",
    [
        '{"password" : "hunter2hunter2"}',
        '{"password": "a\\"hunter2"}',
        '{"password": 4711004711}',
        '{"recovery_codes": ["4711004711", "hunter2"]}',
        "grant=x&password=hunter2&a=b",
        "https://host/path?access_token=hunter2",
        "Authorization: Bearer hunter2hunter2",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.hunter2",
    ],
)
def test_shapes_of_secrets(text: str) -> None:
    shown = redact(text, KnownSecrets())
    assert "hunter2" not in shown
    assert "4711004711" not in shown
    assert REDACTED in shown


def test_headers() -> None:
    headers = (
        ("authorization", "Bearer abc"),
        ("Set-Cookie", "sid=1"),
        ("X-Note", "my hunter2hunter2"),
        ("ETag", '"1"'),
    )
    assert redact_headers(headers, known("hunter2hunter2")) == (
        ("authorization", f"Bearer {REDACTED}"),
        ("Set-Cookie", REDACTED),
        ("X-Note", f"my {REDACTED}"),
        ("ETag", '"1"'),
    )


def test_body_is_cut_after_redaction() -> None:
    secret = "s" * 50
    body = b"x" * (TEXT_MAX_CHARS - 25) + secret.encode() + b"y" * 100_000
    shown = body_text(body, known(secret))
    assert shown is not None
    assert "sss" not in shown
    assert len(shown) < TEXT_MAX_CHARS + 100
    assert shown.endswith(f"[cut; {len(body)} bytes in all]")


def test_cut_inside_a_character_is_still_text() -> None:
    shown = body_text("€".encode() * 100_000, KnownSecrets())
    assert shown is not None
    assert shown.startswith("€" * 100)


def test_bytes_are_shown_as_base64_without_the_secret() -> None:
    shown = body_text(b"\xff\xfe hunter2hunter2 \xff", known("hunter2hunter2"))
    assert shown is not None
    assert shown.startswith("[19 bytes, not UTF-8, base64] ")
    raw = base64.b64decode(shown.rpartition(" ")[2])
    assert b"hunter2" not in raw
    assert raw.startswith(b"\xff\xfe ")


def test_nothing_is_none_and_empty_is_empty() -> None:
    assert body_text(None, KnownSecrets()) is None
    assert body_text(b"", KnownSecrets()) == ""
