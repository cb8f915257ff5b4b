"""Takes credentials out of whatever is written down: by header, by key, and by known value."""

import json
import re
import threading
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"

SECRET_HEADERS = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "x-api-key",
        "x-alluse-secret",
    }
)
"""Headers whose value is a credential whatever it looks like."""

_KEY_NAMES = (
    r"(?:[A-Za-z0-9]+[_-])*"
    r"(?:passwords?|passwd|passphrase|secrets?|tokens?|otp|totp|authorization|private_key|api_key"
    r"|recovery_codes?|credentials?|otpauth_uri|challenge)"
    r"|accessToken|refreshToken|idToken|clientSecret|apiKey|newPassword|currentPassword"
)
_JSON_MEMBER = re.compile(
    rf'("(?:{_KEY_NAMES})"\s*:\s*)'
    r'(?:"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|\[[^\[\]{}]*+(?:\]|\Z)|-?[0-9][0-9.eE+-]*+)',
    re.IGNORECASE | re.DOTALL,
)
_FORM_MEMBER = re.compile(rf"((?:^|[?&;\s])(?:{_KEY_NAMES})=)[^&#;\s\"]++", re.IGNORECASE)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}+", re.IGNORECASE)
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{6,}+\.[A-Za-z0-9_-]{2,}+(?:\.[A-Za-z0-9_-]*+)?")

KNOWN_MIN_CHARS = 4
"""A shorter known value would blacken half of every text, and protects nothing."""


class KnownSecrets:
    """The secret values that this process has seen; grows with every login, thread-safe."""

    def __init__(self) -> None:
        """Start with none."""
        self._lock = threading.Lock()
        self._forms: tuple[str, ...] = ()

    def add(self, *values: str) -> None:
        """Remember values, in the forms in which they can appear in a text or URL."""
        forms = set(self._forms)
        for value in values:
            if len(value) >= KNOWN_MIN_CHARS:
                forms.add(value)
                forms.add(json.dumps(value)[1:-1])
                forms.add(json.dumps(value, ensure_ascii=False)[1:-1])
                forms.update(quoted(value) for quoted in (quote, quote_plus))
        with self._lock:
            forms.update(self._forms)
            # Longest first: a secret that contains another one goes as a whole.
            self._forms = tuple(sorted(forms, key=lambda form: (-len(form), form)))

    def remove_from(self, text: str) -> str:
        """Replace every known value in the text."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, REDACTED)
        return text


def redact(text: str, known: KnownSecrets) -> str:
    """Return the text without credentials; everything else stays as it was, byte for byte.

    Known values go first, then members of JSON and of forms or URLs whose name says secret, then
    what looks like a bearer token. It works on text, not on a parsed document, because evidence
    must show `10.0`, a doubled key or a body cut in half exactly as it was.
    """
    text = known.remove_from(text)
    text = _JSON_MEMBER.sub(rf'\1"{REDACTED}"', text)
    text = _FORM_MEMBER.sub(rf"\1{REDACTED}", text)
    text = _BEARER.sub(rf"\1 {REDACTED}", text)
    return _JWT.sub(REDACTED, text)


def redact_headers(
    headers: tuple[tuple[str, str], ...], known: KnownSecrets
) -> tuple[tuple[str, str], ...]:
    """Return the headers with credential headers replaced and the others redacted as text."""
    return tuple(
        (name, _credential(value) if name.lower() in SECRET_HEADERS else redact(value, known))
        for name, value in headers
    )


def _credential(value: str) -> str:
    scheme, space, _ = value.partition(" ")
    return f"{scheme} {REDACTED}" if space and scheme.isalpha() else REDACTED
